//! `anymaster kill ID…`: ends applications, or one executor, and waits until they have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use anymaster_core::model::{AppId, DriverStatus, Event, ExecutorId, State, Status, Subject};
use anymaster_core::{ClusterManager, Error, ErrorKind, Result, WatchOptions};
use clap::Args;
use futures::StreamExt as _;
use futures::future::join_all;

use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;
use crate::printer::Printer;
use crate::text::duration;

/// How long an end may take beyond the grace.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Ids, beginnings of ids, or patterns such as 'app-2026*'
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// How long they have to end by themselves before they are made to
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    grace: Duration,
    /// End only this executor of the application; it is replaced while the target stands
    #[arg(long, value_name = "N")]
    executor: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

impl Arguments {
    /// As `spark-submit --kill`.
    pub(crate) fn one(id: &str, connection: Connection) -> Self {
        Self {
            ids: vec![id.to_owned()],
            grace: Duration::from_secs(10),
            executor: None,
            connection,
        }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let cluster =
        arguments.connection.open(context, arguments.ids.first().map(String::as_str)).await?;
    let printer = context.printer;
    let ids = arguments.ids.iter().map(String::as_str);
    let known = lookup::named(&*cluster, ids).await?;
    let mut chosen: Vec<&DriverStatus> = Vec::new();
    let mut seen = BTreeSet::new();
    // All ids are looked up before anything is ended.
    for text in &arguments.ids {
        for driver in known.several(text)? {
            // A pattern means what can still be ended; an id means what it says.
            let meant = !text.contains(['*', '?']) || !driver.state.is_ended();
            if meant && seen.insert(&driver.submission) {
                chosen.push(driver);
            }
        }
    }
    let unreadable: Vec<_> =
        arguments.ids.iter().flat_map(|text| known.unreadable_like(text)).collect();
    unreadable.iter().for_each(|error| printer.error(error));
    let mut exit = if unreadable.is_empty() { Exit::Success } else { Exit::Failure };
    if chosen.is_empty() {
        if !unreadable.is_empty() {
            return Ok(exit);
        }
        printer.message("all applications that match have ended already");
        return Ok(Exit::Success);
    }
    if let Some(executor) = arguments.executor {
        let [driver] = chosen.as_slice() else {
            return Err(Error::invalid(format!(
                "--executor {executor} needs one application, but {} are named",
                chosen.len()
            ))
            .into());
        };
        let subject = Subject::Executor(driver.app.clone(), ExecutorId(executor));
        let target = Target {
            app: &driver.app,
            subject,
            label: format!("{driver_id} executor {executor}", driver_id = driver.submission),
        };
        end(&*cluster, &target, arguments.grace, printer).await?;
        return Ok(Exit::Success);
    }

    let targets: Vec<_> = chosen
        .iter()
        .filter(|driver| {
            if let State::Ended(end) = &driver.state {
                printer.message(format!("{} had ended already: {}", driver.submission, end.cause));
            }
            !driver.state.is_ended()
        })
        .map(|driver| Target {
            app: &driver.app,
            subject: Subject::Driver(driver.submission.clone()),
            label: format!("{} ({})", driver.submission, driver.name),
        })
        .collect();
    let ends =
        join_all(targets.iter().map(|target| end(&*cluster, target, arguments.grace, printer)));
    for error in ends.await.into_iter().filter_map(Result::err) {
        printer.error(&error);
        exit = Exit::Failure;
    }
    Ok(exit)
}

/// Something to be ended.
#[derive(Debug)]
struct Target<'a> {
    app: &'a AppId,
    subject: Subject,
    label: String,
}

/// Ends something and waits for it, so that a script that goes on finds it gone.
async fn end(
    cluster: &dyn ClusterManager,
    target: &Target<'_>,
    grace: Duration,
    printer: Printer,
) -> Result<()> {
    let mut events = cluster.watch(&WatchOptions::of(target.app)).await?;
    cluster.kill(&target.subject, grace).await?;
    let ended = async {
        while let Some(event) = events.next().await {
            if let Event::Changed(status) = event?
                && is_about(&status, &target.subject)
                && let Some(State::Ended(end)) = status.state()
            {
                return Ok(end.cause.to_string());
            }
        }
        Err(Error::unavailable(format!("{}: the cluster stopped telling about it", target.label)))
    };
    let cause =
        tokio::time::timeout(grace.saturating_add(PATIENCE), ended).await.map_err(|_| {
            Error::new(
                ErrorKind::Timeout,
                format!("{} was asked to end, but has not ended yet", target.label),
            )
            .with_hint(format!("anymaster explain {} says why", target.app))
        })??;
    printer.message(format!("{}: {cause}", target.label));
    Ok(())
}

fn is_about(status: &Status, subject: &Subject) -> bool {
    match (status, subject) {
        (Status::Driver(driver), Subject::Driver(id)) => driver.submission == *id,
        (Status::Executor(executor), Subject::Executor(app, id)) => {
            executor.app == *app && executor.id == *id
        }
        _ => false,
    }
}
