//! `anymaster ps`: a line per application.

use std::collections::BTreeMap;

use anymaster_core::model::{AppId, Application, Applications, Event, Filter, Status, Unreadable};
use anymaster_core::{ClusterManager, MasterUrl, WatchOptions};
use clap::Args;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::{Connection, Output};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lookup;
use crate::printer::{Colors, Format, Printer};
use crate::table::{Cell, Table};
use crate::text::age;
use crate::view::reason;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Show those that ended, too
    #[arg(short, long)]
    all: bool,
    /// Go on and print each application again when it changes
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// One application in a list, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line<'a> {
    id: &'a str,
    app: &'a AppId,
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: String,
    executors: Executors,
    submitted: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    master: String,
}

/// An application that is there and cannot be read, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Damaged<'a> {
    id: &'a AppId,
    app: &'a AppId,
    state: &'static str,
    reason: &'a str,
    master: String,
}

/// An element of the list for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Application(Line<'a>),
    Unreadable(Damaged<'a>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Executors {
    running: u64,
    target: Option<u64>,
    failed: u64,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let master = arguments.connection.master(context)?;
    let cluster = arguments.connection.open(context, None).await?;
    if arguments.watch {
        return watch(&*cluster, &master, arguments.all, format, context.printer).await;
    }
    let mut filter = Filter::default().live_executors();
    filter.live = !arguments.all;
    let applications: Applications = cluster.list(&filter).await?.into_iter().collect();
    let shown: Vec<_> =
        applications.oldest_first().into_iter().filter(|a| a.driver.is_some()).collect();
    match format {
        Format::Text | Format::Wide if shown.is_empty() => {
            context.printer.message(if arguments.all {
                "no applications"
            } else {
                "no applications are running; anymaster ps -a lists those that ended"
            });
        }
        Format::Text | Format::Wide => {
            let colors = context.printer.colors();
            let mut table = Table::new(headings(format), context.printer.fit(format));
            for application in shown {
                row(&mut table, application, &master, format, Timestamp::now(), colors);
            }
            context.printer.data(&table.render())?;
        }
        Format::Json | Format::Yaml => {
            let lines = shown.iter().filter_map(|a| line(a, &master)).map(Entry::Application);
            let damaged =
                applications.unreadable().map(|it| Entry::Unreadable(damaged(it, &master)));
            context.printer.value(format, &lines.chain(damaged).collect::<Vec<_>>())?;
        }
    }
    // As ls: what can be shown is shown, and the exit code says that something cannot.
    let mut exit = Exit::Success;
    for unreadable in applications.unreadable() {
        context.printer.error(&lookup::cannot_show(unreadable));
        exit = Exit::Failure;
    }
    Ok(exit)
}

fn damaged<'a>(unreadable: &'a Unreadable, master: &MasterUrl) -> Damaged<'a> {
    Damaged {
        id: &unreadable.app,
        app: &unreadable.app,
        state: "Unreadable",
        reason: &unreadable.why,
        master: master.to_string(),
    }
}

async fn watch(
    cluster: &dyn ClusterManager,
    master: &MasterUrl,
    all: bool,
    format: Format,
    printer: Printer,
) -> Outcome {
    let mut events = cluster.watch(&WatchOptions::all()).await?;
    let mut applications = Applications::default();
    let mut printed = Printed::default();
    while let Some(event) = events.next().await {
        let event = event?;
        let changed = match &event {
            Event::Changed(status) => Some(status.app().clone()),
            _ => None,
        };
        if let Event::Changed(Status::Unreadable(unreadable)) = &event {
            show_unreadable(unreadable, master, format, printer)?;
        }
        let was_synced = applications.is_synced();
        applications.observe(event);
        let changed = match (was_synced, applications.is_synced(), changed) {
            (false, true, _) => applications.oldest_first(),
            (true, true, Some(app)) => applications.get(&app).into_iter().collect(),
            _ => continue,
        };
        printed.show(&changed, master, all, format, printer)?;
    }
    Ok(Exit::Success)
}

fn show_unreadable(
    unreadable: &Unreadable,
    master: &MasterUrl,
    format: Format,
    printer: Printer,
) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => printer.item(format, &damaged(unreadable, master)),
        Format::Text | Format::Wide => {
            printer.error(&lookup::cannot_show(unreadable));
            Ok(())
        }
    }
}

/// What `ps --watch` has printed, so that nothing is printed twice and columns stay in line.
#[derive(Debug, Default)]
struct Printed {
    widths: Vec<usize>,
    last: BTreeMap<AppId, String>,
}

impl Printed {
    fn show(
        &mut self,
        applications: &[&Application],
        master: &MasterUrl,
        all: bool,
        format: Format,
        printer: Printer,
    ) -> Result<(), Failure> {
        let mut table = match self.widths.is_empty() {
            true => Table::new(headings(format), printer.fit(format)),
            false => Table::continuing(std::mem::take(&mut self.widths), printer.fit(format)),
        };
        for application in applications {
            let Some(line) = line(application, master) else { continue };
            let ended = application.driver.as_ref().is_some_and(|d| d.state.is_ended());
            let known = self.last.contains_key(&application.id);
            // An end is shown once to those who saw the beginning.
            if ended && !all && !known {
                continue;
            }
            let fingerprint = format!("{} {:?} {}", line.state, line.executors, line.reason);
            if self.last.get(&application.id) == Some(&fingerprint) {
                continue;
            }
            self.last.insert(application.id.clone(), fingerprint);
            match format {
                Format::Json | Format::Yaml => printer.item(format, &line)?,
                Format::Text | Format::Wide => {
                    let now = Timestamp::now();
                    row(&mut table, application, master, format, now, printer.colors());
                }
            }
        }
        self.widths = table.widths();
        if matches!(format, Format::Text | Format::Wide) {
            printer.data(&table.render())?;
        }
        Ok(())
    }
}

fn line<'a>(application: &'a Application, master: &MasterUrl) -> Option<Line<'a>> {
    let driver = application.driver.as_ref()?;
    Some(Line {
        id: driver.submission.as_str(),
        app: &application.id,
        name: &driver.name,
        state: driver.state.word(),
        reason: reason(&driver.state),
        executors: Executors {
            running: application.running(),
            target: application.target(),
            failed: application.allocation.as_ref().map_or(0, |allocation| allocation.failed),
        },
        submitted: driver.submitted,
        ended: driver.state.end().map(|end| end.at),
        host: driver.host.as_deref(),
        master: master.to_string(),
    })
}

/// `running/target`; without a target there is nothing to say.
fn executors_word(application: &Application) -> String {
    match (application.running(), application.target()) {
        (0, None) => "-".to_owned(),
        (running, None) => running.to_string(),
        (running, Some(target)) => format!("{running}/{target}"),
    }
}

fn headings(format: Format) -> &'static [&'static str] {
    match format {
        Format::Wide => &["ID", "NAME", "STATE", "EXECUTORS", "AGE", "MASTER", "HOST", "REASON"],
        _ => &["ID", "NAME", "STATE", "EXECUTORS", "AGE", "MASTER"],
    }
}

fn row(
    table: &mut Table,
    application: &Application,
    master: &MasterUrl,
    format: Format,
    now: Timestamp,
    colors: Colors,
) {
    let Some(driver) = &application.driver else { return };
    let word = driver.state.word();
    let mut cells: Vec<Cell> = vec![
        driver.submission.as_str().into(),
        (&*driver.name).into(),
        Cell::painted(word, colors.state(&driver.state, word)),
        executors_word(application).into(),
        age(driver.submitted, now).into(),
        master.to_string().into(),
    ];
    if format == Format::Wide {
        cells.push(driver.host.as_deref().unwrap_or("-").into());
        cells.push(reason(&driver.state).into());
    }
    table.row(cells);
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AllocationPhase, Cause, State};

    use super::*;
    use crate::table::Fit;
    use crate::view::samples::{NOW, allocation, driver, ended, executor};

    fn master() -> MasterUrl {
        "local[*]".parse().unwrap()
    }

    fn statuses() -> Vec<Status> {
        vec![
            driver("app-2", "pi", State::Running, 192),
            allocation("app-2", [2, 1, 1, 3], AllocationPhase::Moving),
            executor("app-2", 1, State::Running, 100),
            driver("app-1", "数値計算", ended(Cause::Exited { code: 3 }, 100, None), 7200),
            driver("app-3", "x", State::Pending { why: Some("queue is full".into()) }, 5),
        ]
    }

    #[test]
    fn the_table_has_a_line_per_application_oldest_first() {
        let applications: Applications = statuses().into_iter().collect();
        let now = Timestamp::from_second(NOW).unwrap();
        for format in [Format::Text, Format::Wide] {
            let mut table = Table::new(headings(format), Fit::Whole);
            for application in applications.oldest_first() {
                row(&mut table, application, &master(), format, now, Colors::OFF);
            }
            insta::assert_snapshot!(format!("ps_{format:?}"), table.render());
        }
    }

    #[test]
    fn programs_get_the_same_with_names() {
        let applications: Applications = statuses().into_iter().collect();
        let lines: Vec<_> =
            applications.oldest_first().iter().filter_map(|a| line(a, &master())).collect();
        insta::assert_snapshot!(serde_json::to_string_pretty(&lines).unwrap());
    }
}
