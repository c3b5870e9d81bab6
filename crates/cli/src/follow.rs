//! Waits for a driver that goes on without us, and shows what becomes of it.
//!
//! Without a terminal, in the words of Spark's own submission (`LoggingPodStatusWatcher`), which
//! other tools read; on a terminal, as progress. Ctrl-C ends the waiting, not the driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster::{Run, RunEnd, RunEvent, RunObserver, RunOutcome};
use anymaster_core::conf::Conf;
use anymaster_core::model::{Cause, DriverStatus, End, Report, State};
use anymaster_core::text::printable;
use anymaster_core::{BackendInfo, MasterUrl, Result, SubmitDialect};
use tokio::time::MissedTickBehavior;

use crate::exit::{Exit, Outcome};
use crate::printer::Printer;
use crate::progress::Progress;
use crate::session;
use crate::signals::Interrupts;
use crate::view::reason;

/// How often an unchanged state is reported, unless a property sets it (Spark 3.5, the default of
/// `spark.kubernetes.report.interval`).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How a driver is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The application's name.
    pub(crate) name: String,
    /// Where it is, for commands that are proposed.
    pub(crate) master: MasterUrl,
    /// How often the state is told though it has not changed.
    pub(crate) interval: Duration,
    /// In Spark's words on a terminal, too.
    pub(crate) verbose: bool,
    /// In which of Spark's words.
    pub(crate) dialect: SubmitDialect,
}

impl Options {
    /// As properties say it.
    ///
    /// # Errors
    /// If one of them is neither a flag nor a time.
    pub(crate) fn of(
        conf: &Conf,
        name: String,
        master: MasterUrl,
        info: &BackendInfo,
        verbose: bool,
    ) -> Result<Self> {
        let interval = info.report_interval.map(|key| conf.read(key)).transpose()?;
        let interval = interval.unwrap_or(REPORT_INTERVAL).max(Duration::from_millis(1));
        Ok(Self { name, master, interval, verbose, dialect: info.dialect })
    }
}

/// Waits until the driver of a run that goes on without us has ended.
pub(crate) async fn wait(
    run: Run,
    options: Options,
    printer: Printer,
    interrupts: &mut Interrupts,
) -> Outcome {
    let follow = Arc::new(Follow::new(run.driver(), options, printer));
    let run = run.detached().with_observer(Arc::clone(&follow) as _);
    let waited = tokio::select! {
        waited = session::to_end(run, interrupts) => waited,
        never = follow.report_states() => match never {},
    };
    follow.progress.finish();
    let (outcome, signal) = waited?;
    follow.verdict(outcome, signal)
}

/// What is shown of a driver.
struct Follow {
    options: Options,
    /// `name with application ID … and submission ID …`.
    whole: String,
    printer: Printer,
    progress: Progress,
    /// In Spark's words.
    plain: bool,
    shown: Mutex<Shown>,
}

/// What was shown last.
struct Shown {
    driver: DriverStatus,
    report: Option<Arc<Report>>,
    state: Option<State>,
}

impl Follow {
    fn new(driver: &DriverStatus, options: Options, printer: Printer) -> Self {
        Self {
            whole: whole(&options.name, driver),
            plain: options.verbose || !printer.is_stderr_terminal(),
            options,
            printer,
            progress: Progress::new(printer),
            shown: Mutex::new(Shown { driver: driver.clone(), report: None, state: None }),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the driver's state if it is another one than was shown last.
    fn show(&self, driver: &DriverStatus) {
        let mut shown = self.shown();
        let is_first = shown.state.is_none();
        shown.driver = driver.clone();
        let before = shown.state.replace(driver.state.clone());
        if self.plain {
            if let Some(report) = &driver.report
                && shown.report.as_ref() != Some(report)
            {
                self.progress.message_lines(self.changed(driver, report));
                shown.report = Some(Arc::clone(report));
            }
            if is_first && self.options.dialect != SubmitDialect::ApplicationReport {
                let whole = &self.whole;
                self.progress.message(format!("Waiting for application {whole} to finish..."));
            }
            return;
        }
        let state = &driver.state;
        if before.as_ref() == Some(state) {
            return;
        }
        let host = driver.host.as_ref().filter(|_| *state == State::Running);
        let place = host.map_or_else(String::new, |host| format!(" on {host}"));
        let why = Some(reason(state))
            .filter(|why| !why.is_empty())
            .map_or_else(String::new, |why| format!(": {why}"));
        if state.is_ended() {
            self.progress.finish();
        } else {
            self.progress.wait_for(format!("{}: {}{place}{why}", self.options.name, state.word()));
        }
        if before.is_none_or(|before| before.word() != state.word()) {
            self.progress.message(format!("driver: {}{place}", state.word()));
        }
    }

    /// A report that has changed.
    fn changed(&self, driver: &DriverStatus, report: &Report) -> String {
        match self.options.dialect {
            SubmitDialect::ApplicationReport => application_report(driver, report),
            _ => format!("State changed, new state: {}", block(report)),
        }
    }

    /// Shows the state again and again though it has not changed.
    async fn report_states(&self) -> std::convert::Infallible {
        // YARN's client tells every thirtieth report that says nothing new.
        let every = match self.options.dialect {
            SubmitDialect::ApplicationReport => 30,
            _ => 1,
        };
        let mut ticks = tokio::time::interval(self.options.interval * every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let shown = self.shown();
            if !self.plain || shown.state.is_none() || shown.driver.state.is_ended() {
                continue;
            }
            let driver = &shown.driver;
            if self.options.dialect == SubmitDialect::ApplicationReport {
                self.progress.message(application_state(driver));
                continue;
            }
            let facts = driver.report.iter().flat_map(|report| &report.facts);
            let phase =
                facts.filter(|(name, _)| *name == "phase").map(|(_, value)| value.as_str()).next();
            let phase = phase.unwrap_or(driver.state.word());
            self.progress
                .message(format!("Application status for {} (phase: {phase})", driver.app));
        }
    }

    fn verdict(&self, outcome: RunOutcome, signal: Option<i32>) -> Outcome {
        let (id, master) = (&outcome.driver.submission, &self.options.master);
        match outcome.end {
            RunEnd::Detached => {
                self.printer.message(format!("{id} goes on without us"));
                self.printer
                    .message(format!("  anymaster watch {id} --master {master}   waits again"));
                self.printer.message(format!("  anymaster kill {id} --master {master}    ends it"));
                return Ok(Exit::Interrupted(signal.unwrap_or_default()));
            }
            RunEnd::Deleted => return Err(session::deleted(id).into()),
            RunEnd::WatchLost(error) => {
                let again = format!("anymaster watch {id} --master {master}");
                let hint = format!("the driver goes on; {again} waits again");
                let hint = error.hint().map_or(hint.clone(), |before| format!("{before}\n{hint}"));
                let error = error.context(format!("cannot wait for {id} any more"));
                return Err(error.with_hint(hint).into());
            }
            _ => {}
        }
        if self.options.dialect == SubmitDialect::ApplicationReport {
            self.printer.message(format!(
                "Application {id} {}",
                match outcome.driver.state.end() {
                    Some(End { cause: Cause::Killed { .. }, .. }) => "is killed",
                    Some(End { cause: Cause::Finished, .. }) => "finished",
                    _ => "finished with failed status",
                }
            ));
        } else if self.plain {
            if let Some(report) = &outcome.driver.report {
                let words = match report.processes.as_slice() {
                    [] => "No containers were found in the driver pod.".to_owned(),
                    processes => processes
                        .iter()
                        .map(|process| lines(process, "\n\t "))
                        .collect::<Vec<_>>()
                        .join("\n"),
                };
                self.printer.message_lines(format!("Container final statuses:\n\n{words}"));
            }
            self.printer.message(format!("Application {} finished", self.whole));
        }
        let code = outcome.exit_code();
        if let Some(end) = outcome.driver.state.end().filter(|_| code != 0) {
            self.printer.message(format!("{id}: {}", end.cause));
            self.printer.message(format!("  anymaster explain {id} --master {master} says more"));
        }
        Ok(Exit::Driver(code))
    }
}

impl RunObserver for Follow {
    fn observe(&self, event: RunEvent<'_>) {
        match event {
            RunEvent::Driver(driver) => self.show(driver),
            RunEvent::Diagnosis(findings) => {
                self.progress.show_findings(&self.shown().driver.submission, findings);
            }
            RunEvent::CleanupFailed(error) => {
                let id = &self.shown().driver.submission;
                self.progress.message(format!("warning: something of {id} may be left: {error}"));
            }
            _ => {}
        }
    }
}

/// `pi with application ID spark-1 and submission ID default:pi-driver`.
pub(crate) fn whole(name: &str, driver: &DriverStatus) -> String {
    let (app, id) = (&driver.app, &driver.submission);
    format!("{name} with application ID {app} and submission ID {id}")
}

/// The report of an application as YARN's client prints it (Spark 3.5, `Client.monitorApplication`).
pub(crate) fn application_report(driver: &DriverStatus, report: &Report) -> String {
    let facts: Vec<_> = report.facts.iter().filter(|(name, _)| *name != "state").cloned().collect();
    format!("{}{}", application_state(driver), lines(&facts, "\n\t "))
}

fn application_state(driver: &DriverStatus) -> String {
    let facts = driver.report.iter().flat_map(|report| &report.facts);
    let state = facts.filter(|(name, _)| *name == "state").map(|(_, value)| value.as_str()).next();
    let state = state.unwrap_or(driver.state.word());
    format!("Application report for {} (state: {state})", driver.app)
}

/// A report as Spark prints it.
pub(crate) fn block(report: &Report) -> String {
    let mut text = lines(&report.facts, "\n\t ");
    text += "\n\t container status: ";
    if report.processes.is_empty() {
        text += "N/A";
    }
    let processes: Vec<_> =
        report.processes.iter().map(|process| lines(process, "\n\t\t ")).collect();
    text + &processes.join("\n")
}

fn lines(facts: &[(&'static str, String)], lead: &str) -> String {
    facts
        .iter()
        .map(|(name, value)| {
            let value = if value.is_empty() { "N/A".into() } else { printable(value) };
            format!("{lead}{name}: {value}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_sparks_layout() {
        let report = Report {
            facts: vec![("pod name", "pi-1-driver".into()), ("node name", String::new())],
            processes: vec![vec![("container name", "c".into()), ("exit code", "7".into())]],
        };
        assert_eq!(
            block(&report),
            "\n\t pod name: pi-1-driver\n\t node name: N/A\n\t container status: \
             \n\t\t container name: c\n\t\t exit code: 7"
        );
        assert!(block(&Report::default()).ends_with("container status: N/A"));
    }
}
