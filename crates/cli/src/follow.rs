//! Waits for a driver that goes on without us, and tells what becomes of it.
//!
//! Without a terminal, in the words of Spark's own submission (`LoggingPodStatusWatcher`), which
//! other tools read; on a terminal, as progress. Ctrl-C ends the waiting, not the driver.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{DriverStatus, Event, Report, State, Status};
use anymaster_core::text::printable;
use anymaster_core::{BackendInfo, ClusterManager, Error, MasterUrl, Result, WatchOptions};
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior};

use crate::exit::{Exit, Outcome};
use crate::printer::Printer;
use crate::progress::Progress;
use crate::signals::Interrupts;
use crate::view::reason;

/// How often an unchanged state is reported, unless a property sets it (Spark 3.5, the default of
/// `spark.kubernetes.report.interval`).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a driver may be pending before the cluster is asked for the reason.
const PATIENCE: Duration = Duration::from_secs(10);

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
        Ok(Self { name, master, interval, verbose })
    }
}

/// One driver, and how it is told of.
#[derive(Debug)]
pub(crate) struct Follow {
    cluster: Arc<dyn ClusterManager>,
    driver: DriverStatus,
    options: Options,
    printer: Printer,
    progress: Progress,
    /// In Spark's words.
    plain: bool,
    told: Option<Arc<Report>>,
    told_state: Option<State>,
}

impl Follow {
    /// For a driver that was launched.
    pub(crate) fn new(
        cluster: Arc<dyn ClusterManager>,
        driver: DriverStatus,
        options: Options,
        printer: Printer,
    ) -> Self {
        let plain = options.verbose || !printer.is_talk_terminal();
        Self {
            cluster,
            driver,
            options,
            printer,
            progress: Progress::new(printer),
            plain,
            told: None,
            told_state: None,
        }
    }

    /// Waits until the driver has ended.
    pub(crate) async fn wait(mut self, interrupts: &mut Interrupts) -> Outcome {
        let whole = whole(&self.options.name, &self.driver);
        let mut events = self.cluster.watch(&WatchOptions::of(&self.driver.app)).await?;
        self.tell();
        if self.plain {
            self.progress.talk(format!("Waiting for application {whole} to finish..."));
        }
        let mut ticks = tokio::time::interval(self.options.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut diagnosis = Some(Instant::now() + PATIENCE);
        let mut listed = None;
        while !self.driver.state.is_ended() {
            let patience = async {
                match diagnosis {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                signal = interrupts.next() => return Ok(self.detach(signal)),
                event = events.next() => match event {
                    Some(Ok(Event::Restarted)) => listed = Some(false),
                    Some(Ok(Event::Changed(Status::Driver(driver)))) if driver.submission == self.driver.submission => {
                        listed = listed.map(|_| true);
                        self.driver = driver;
                        self.tell();
                    }
                    Some(Ok(Event::Changed(_))) => {}
                    Some(Ok(Event::Synced(_))) => {
                        if listed.take() == Some(false) {
                            return Err(self.vanished().into());
                        }
                    }
                    Some(Err(error)) => return Err(self.lost_sight(error).into()),
                    None => return Err(self.lost_sight(Error::unavailable("the cluster stopped telling")).into()),
                },
                () = patience => diagnosis = self.diagnose().await,
                _ = ticks.tick() => self.tick(),
            }
        }
        self.progress.finish();
        Ok(self.verdict(&whole))
    }

    /// Tells the driver's state if it is another one than was told last.
    fn tell(&mut self) {
        if self.plain {
            if let Some(report) = &self.driver.report
                && self.told.as_ref() != Some(report)
            {
                self.progress.talk_lines(format!("State changed, new state: {}", block(report)));
                self.told = Some(Arc::clone(report));
            }
            return;
        }
        let state = &self.driver.state;
        if self.told_state.as_ref() == Some(state) {
            return;
        }
        let host = self.driver.host.as_ref().filter(|_| *state == State::Running);
        let place = host.map_or_else(String::new, |host| format!(" on {host}"));
        let why = Some(reason(state))
            .filter(|why| !why.is_empty())
            .map_or_else(String::new, |why| format!(": {why}"));
        if state.is_ended() {
            self.progress.finish();
        } else {
            self.progress.wait_for(format!("{}: {}{place}{why}", self.options.name, state.word()));
        }
        let is_news = self.told_state.as_ref().is_none_or(|told| told.word() != state.word());
        if is_news {
            self.progress.talk(format!("driver: {}{place}", state.word()));
        }
        self.told_state = Some(state.clone());
    }

    fn tick(&self) {
        if self.plain {
            let facts = self.driver.report.iter().flat_map(|report| &report.facts);
            let phase =
                facts.filter(|(name, _)| *name == "phase").map(|(_, value)| value.as_str()).next();
            let phase = phase.unwrap_or(self.driver.state.word());
            self.progress
                .talk(format!("Application status for {} (phase: {phase})", self.driver.app));
        }
    }

    /// Says why a driver is still pending. Returns when to look again.
    async fn diagnose(&mut self) -> Option<Instant> {
        if !matches!(self.driver.state, State::Pending { .. }) {
            return None;
        }
        let next = Some(Instant::now() + 6 * PATIENCE);
        match self.cluster.diagnose(&self.driver.app).await {
            Ok(findings) => {
                for finding in findings {
                    self.progress.talk(format!("{}: {}", self.driver.submission, finding.what));
                    for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                        self.progress.talk(format!("  {line}"));
                    }
                }
            }
            Err(error) => tracing::info!(%error, "no diagnosis"),
        }
        next
    }

    fn detach(&self, signal: i32) -> Exit {
        self.progress.finish();
        let (id, master) = (&self.driver.submission, &self.options.master);
        self.printer.talk(format!("{id} goes on without us"));
        self.printer.talk(format!("  anymaster watch {id} --master {master}   waits again"));
        self.printer.talk(format!("  anymaster kill {id} --master {master}    ends it"));
        Exit::Interrupted(signal)
    }

    fn vanished(&self) -> Error {
        self.progress.finish();
        Error::not_found(format!("the driver of {} was deleted", self.driver.submission))
            .with_hint("someone, or something, deleted it before its end was seen")
    }

    fn lost_sight(&self, error: Error) -> Error {
        self.progress.finish();
        let (id, master) = (&self.driver.submission, &self.options.master);
        let again = format!("anymaster watch {id} --master {master}");
        let hint = format!("the driver goes on; {again} waits again");
        let hint = error.hint().map_or(hint.clone(), |before| format!("{before}\n{hint}"));
        error.context(format!("cannot wait for {id} any more")).with_hint(hint)
    }

    fn verdict(&self, whole: &str) -> Exit {
        let id = &self.driver.submission;
        if self.plain {
            if let Some(report) = &self.driver.report {
                let words = match report.processes.as_slice() {
                    [] => "No containers were found in the driver pod.".to_owned(),
                    processes => processes
                        .iter()
                        .map(|process| lines(process, "\n\t "))
                        .collect::<Vec<_>>()
                        .join("\n"),
                };
                self.printer.talk_lines(format!("Container final statuses:\n\n{words}"));
            }
            self.printer.talk(format!("Application {whole} finished"));
        }
        let Some(end) = self.driver.state.end() else { return Exit::Failure };
        let code = end.cause.exit_code();
        if code != 0 {
            self.printer.talk(format!("{id}: {}", end.cause));
            let master = &self.options.master;
            self.printer.talk(format!("  anymaster explain {id} --master {master} says more"));
        }
        Exit::Driver(code)
    }
}

/// `pi with application ID spark-1 and submission ID default:pi-driver`.
pub(crate) fn whole(name: &str, driver: &DriverStatus) -> String {
    let (app, id) = (&driver.app, &driver.submission);
    format!("{name} with application ID {app} and submission ID {id}")
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
