//! `anymaster explain ID`: why an application is pending or dead, in words, and what to do.

mod advice;
mod timeline;

use anymaster_core::model::{Application, ExecutorId, State, Subject};
use anymaster_core::{ClusterManager, ClusterManagerExt as _, LogOptions};
use clap::Args;
use futures::StreamExt as _;
use jiff::Timestamp;

use self::timeline::Timeline;
use crate::args::{Connection, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;
use crate::printer::Format;

/// How many lines of a log are shown.
const LAST_LINES: u64 = 10;
/// How much of a log is read for them at most.
const MAX_LOG_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let master = arguments.connection.master(context)?;
    let cluster = arguments.connection.open(context, Some(&arguments.id)).await?;
    let driver = lookup::one(&*cluster, &arguments.id).await?;
    let mut application = cluster.application(&driver.app).await?;
    fetch_last_lines(&*cluster, &mut application).await;
    let diagnosis = match cluster.diagnose(&driver.app).await {
        Ok(findings) => findings,
        Err(error) => {
            context.printer.warn(format!("the cluster cannot be asked for more: {error}"));
            Vec::new()
        }
    };
    let on_this_machine = context.is_this_machine(&master);
    let timeline = Timeline::of(&application, diagnosis, on_this_machine, Timestamp::now());
    match format {
        Format::Json | Format::Yaml => context.printer.value(format, &timeline)?,
        Format::Text | Format::Wide => {
            context.printer.data(&timeline.render(context.printer.colors()))?;
        }
    }
    Ok(Exit::Success)
}

/// Fills in the last lines of the logs that tell why something ended, where the backend has not.
async fn fetch_last_lines(cluster: &dyn ClusterManager, application: &mut Application) {
    if !cluster.capabilities().logs {
        return;
    }
    let telling: Vec<ExecutorId> =
        timeline::groups(application).iter().map(|group| group.example.id).collect();
    let app = application.id.clone();
    let executors = application.executors.iter_mut().filter(|(id, _)| telling.contains(id));
    let mut states: Vec<(Subject, &mut State)> = executors
        .map(|(id, executor)| (Subject::Executor(app.clone(), *id), &mut executor.state))
        .collect();
    if let Some(driver) = &mut application.driver {
        states.push((Subject::Driver(driver.submission.clone()), &mut driver.state));
    }
    for (subject, state) in states {
        if let State::Ended(end) = state
            && end.last_lines.is_none()
            && timeline::needs_lines(&end.cause)
        {
            end.last_lines = last_lines(cluster, &subject).await;
        }
    }
}

/// The last lines that something wrote, preferring its standard error. An explanation goes without
/// them rather than fail.
async fn last_lines(cluster: &dyn ClusterManager, subject: &Subject) -> Option<Box<str>> {
    use anymaster_core::LogSource::{Stderr, Stdout};
    for source in [Stderr, Stdout] {
        let options = LogOptions::default().tail(LAST_LINES).source(source);
        let mut chunks = match cluster.logs(subject, &options).await {
            Ok(chunks) => chunks,
            Err(error) => {
                tracing::info!(%subject, %error, "no log");
                continue;
            }
        };
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            text.extend_from_slice(&chunk.bytes);
            if text.len() > MAX_LOG_BYTES {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        if !text.trim().is_empty() {
            return Some(text.trim_end().into());
        }
    }
    None
}
