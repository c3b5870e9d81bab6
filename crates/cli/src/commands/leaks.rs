//! `anymaster leaks`: what no living application owns.

use std::time::Duration;

use anymaster_core::{Error, Leak};
use clap::Args;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::args::{Connection, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Format;
use crate::table::{Fit, Table};
use crate::text::{age, count, duration};

/// How many are deleted at once.
const AT_ONCE: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = "\
On Kubernetes: config maps, services, claims and secrets whose application has no living pod, and
executors that ended after their driver. Drivers that ended are kept for their logs: see submit --ttl.
On YARN: files of your submissions whose application has ended, and uploads that have not come to
their end. What an application was to leave (spark.yarn.preserve.staging.files) is no leak.")]
pub(crate) struct Arguments {
    /// Delete them
    #[arg(long)]
    delete: bool,
    /// Leave alone what is younger: it may belong to a submission that is under way
    #[arg(long, value_name = "TIME", default_value = "2min", value_parser = duration)]
    older_than: Duration,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let master = arguments.connection.master(context)?;
    let cluster = arguments.connection.open(context, None).await?;
    let Some(cluster) = cluster.administration() else {
        return Err(Error::unsupported(format!("{master} keeps nothing beyond its applications"))
            .with_hint(
                "what can be left over is on Kubernetes and YARN: --master k8s://https://host:6443, --master yarn",
            )
            .into());
    };
    let leaks = cluster.leaks(arguments.older_than).await?;
    match format {
        Format::Json | Format::Yaml => context.printer.value(format, &leaks)?,
        Format::Text | Format::Wide if leaks.is_empty() => {
            context.printer.message("nothing is left over");
        }
        Format::Text | Format::Wide => {
            let fit = context.printer.fit(format);
            context.printer.data(&render(&leaks, fit, Timestamp::now()))?;
        }
    }
    if !arguments.delete {
        if !leaks.is_empty() {
            context.printer.message("anymaster leaks --delete removes them");
        }
        return Ok(Exit::Success);
    }
    let removals = leaks.iter().map(|leak| cluster.remove_leak(leak));
    let results: Vec<_> = stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
    let mut exit = Exit::Success;
    let mut deleted = 0;
    for result in results {
        match result {
            Ok(()) => deleted += 1,
            Err(error) => {
                context.printer.error(&error);
                exit = Exit::Failure;
            }
        }
    }
    context.printer.message(format!("{} deleted", count(deleted, "object")));
    Ok(exit)
}

fn render(leaks: &[Leak], fit: Fit, now: Timestamp) -> String {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "AGE", "WHY"], fit);
    for leak in leaks {
        table.row([
            leak.kind.into(),
            leak.namespace.as_str().into(),
            leak.name.as_str().into(),
            age(leak.created, now).into(),
            leak.why.as_str().into(),
        ]);
    }
    table.render()
}
