//! `anymaster watch [ID]`: what happens, as it happens.

use anymaster_core::WatchOptions;
use anymaster_core::model::{Application, Applications, Cursor, Event, Status};
use anymaster_core::text::printable;
use clap::Args;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::{Connection, Output};
use crate::commands::status::allocation_words;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;
use crate::printer::{Colors, Format};
use crate::view::reason;

#[derive(Debug, Args)]
#[command(after_help = "\
First comes the state as it is, then every change. With an ID it ends when the application has, with the driver's exit code.")]
pub(crate) struct Arguments {
    /// An application's id, or the beginning of it; without it, all are watched
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// An event for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Item<'a> {
    /// Forget what you know: the state as it is follows.
    Restarted,
    /// A line of the state, or a change.
    Changed {
        #[serde(flatten)]
        status: &'a Status,
    },
    /// All of the state was told; from here on there are changes.
    Synced { cursor: &'a Cursor },
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let cluster = arguments.connection.open(context, arguments.id.as_deref()).await?;
    let options = match &arguments.id {
        Some(id) => WatchOptions::of(&lookup::one(&*cluster, id).await?.app),
        None => WatchOptions::all(),
    };
    let mut events = cluster.watch(&options).await?;
    let mut applications = Applications::default();
    while let Some(event) = events.next().await {
        let event = event?;
        match format {
            Format::Json | Format::Yaml => {
                let item = match &event {
                    Event::Restarted => Item::Restarted,
                    Event::Changed(status) => Item::Changed { status },
                    Event::Synced(cursor) => Item::Synced { cursor },
                };
                context.printer.item(format, &item)?;
            }
            Format::Text | Format::Wide => {
                if let Event::Changed(status) = &event {
                    let colors = context.printer.colors();
                    context.printer.data(&line(status, Timestamp::now(), colors))?;
                }
            }
        }
        // Of all applications, nothing needs to be remembered.
        let Some(app) = &options.app else { continue };
        applications.observe(event);
        let application = applications.get(app);
        if applications.is_synced() && application.is_some_and(Application::is_over) {
            let end = application.and_then(|application| application.driver.as_ref()?.state.end());
            return Ok(end.map_or(Exit::Failure, |end| Exit::Driver(end.cause.exit_code())));
        }
    }
    Ok(Exit::Success)
}

fn line(status: &Status, now: Timestamp, colors: Colors) -> String {
    let when = match status {
        Status::Executor(executor) => executor.since,
        Status::Driver(driver) => driver.state.end().map_or(now, |end| end.at),
        _ => now,
    };
    let subject = match status {
        Status::Driver(driver) => format!("driver ({})", printable(&driver.name)),
        Status::Executor(executor) => format!("executor {}", executor.id),
        Status::Unreadable(_) => "record".to_owned(),
        _ => "executors".to_owned(),
    };
    let what = match status {
        Status::Allocation(allocation) => printable(&allocation_words(allocation)).into_owned(),
        Status::Unreadable(unreadable) => format!("cannot be read: {}", printable(&unreadable.why)),
        status => status.state().map_or_else(String::new, |state| {
            let word = colors.state(state, state.word());
            match reason(state) {
                why if why.is_empty() || why.eq_ignore_ascii_case(state.word()) => word,
                why => format!("{word}: {}", printable(&why)),
            }
        }),
    };
    format!("{when:.0}  {}  {subject}  {what}\n", status.app())
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AllocationPhase, Cause, State};

    use super::*;
    use crate::view::samples::{NOW, allocation, driver, ended, executor};

    fn samples() -> Vec<Status> {
        vec![
            driver("app-1", "pi", State::Pending { why: Some("no agent yet".into()) }, 9),
            driver("app-1", "pi", State::Running, 9),
            allocation("app-1", [2, 0, 2, 0], AllocationPhase::Moving),
            executor("app-1", 1, State::Running, 8),
            executor("app-1", 1, ended(Cause::Signaled { signal: 9 }, 2, None), 2),
            driver("app-1", "pi", ended(Cause::Finished, 1, None), 9),
        ]
    }

    #[test]
    fn each_event_is_a_line() {
        let now = Timestamp::from_second(NOW).unwrap();
        let lines: String = samples().iter().map(|s| line(s, now, Colors::OFF)).collect();
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn programs_get_json_lines() {
        let cursor = Cursor("17".into());
        let mut items = vec![Item::Restarted, Item::Synced { cursor: &cursor }];
        let samples = samples();
        items.extend(samples[2..5].iter().map(|status| Item::Changed { status }));
        let lines: Vec<_> = items.iter().map(|i| serde_json::to_string(i).unwrap()).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
