//! From a driver's start to its end: relays output, shows progress, passes Ctrl-C on, and ends with
//! the driver's own exit code.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, ApplicationSpec, DriverStatus, Event, ExecutorId, ExecutorStatus, State,
    Status, Subject, SubmissionId,
};
use anymaster_core::{
    ClusterManager, Error, EventStream, LogOptions, MasterUrl, Result, WatchOptions,
};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Printer;
use crate::progress::Progress;
use crate::relay;
use crate::signals::Interrupts;
use crate::view::Applications;

/// How long executors may take to end after their driver.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many executors that ended are remembered.
const MAX_ENDED: usize = 10_000;

/// How many executors' outputs are relayed at once.
const MAX_RELAYS: usize = 64;

/// What differs between `submit` and `run`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// How long the driver has to end by itself after Ctrl-C.
    pub(crate) grace: Duration,
    /// Relay the executors' output, too.
    pub(crate) executor_logs: bool,
    /// Nobody but us can react when too many executors failed: end the driver.
    pub(crate) end_when_given_up: bool,
}

/// One driver, and all we know of its application.
#[derive(Debug)]
pub(crate) struct Session {
    cluster: Arc<dyn ClusterManager>,
    driver: DriverStatus,
    options: Options,
    printer: Printer,
    progress: Progress,
    applications: Applications,
    /// Tells relays that nothing more will be written.
    ended: watch::Sender<bool>,
    relays: JoinSet<Result<()>>,
    told: Told,
    kill: Option<JoinHandle<Result<()>>>,
    interrupted: Option<i32>,
    given_up: bool,
    /// Output of the driver could not be written to ours.
    output_lost: Arc<AtomicBool>,
}

impl Session {
    /// For a driver that was launched.
    pub(crate) fn new(
        cluster: Arc<dyn ClusterManager>,
        driver: DriverStatus,
        options: Options,
        printer: Printer,
    ) -> Self {
        Self {
            cluster,
            driver,
            options,
            printer,
            progress: Progress::new(printer),
            applications: Applications::default(),
            ended: watch::Sender::new(false),
            relays: JoinSet::new(),
            told: Told::default(),
            kill: None,
            interrupted: None,
            given_up: false,
            output_lost: Arc::default(),
        }
    }

    /// The same after a signal: the driver is asked to end.
    pub(crate) fn end(mut self, signal: i32) -> Self {
        self.interrupt(signal);
        self
    }

    /// Waits until the driver and its executors have ended.
    pub(crate) async fn wait(mut self, interrupts: &mut Interrupts) -> Outcome {
        let mut events = self.open(interrupts).await?;
        let mut deadline = None;
        loop {
            let patience = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                signal = interrupts.next() => self.interrupt(signal),
                killed = join(&mut self.kill) => killed?,
                event = events.next() => {
                    let event = event.unwrap_or_else(|| Err(Error::unavailable(format!(
                        "the cluster stopped telling about {}", self.driver.app
                    ))))?;
                    if self.take_in(event) {
                        break;
                    }
                }
                () = patience => {
                    self.warn_of_leftovers();
                    break;
                }
            }
            if deadline.is_none() && self.driver.state.is_ended() {
                deadline = Some(Instant::now() + PATIENCE);
            }
        }
        self.progress.finish();
        self.finish_relays(interrupts).await;
        self.settle(interrupts).await;
        Ok(self.verdict())
    }

    /// Nothing of the application is left behind, unless the user does not want to wait.
    async fn settle(&mut self, interrupts: &mut Interrupts) {
        tokio::select! {
            settled = self.cluster.cleanup(&self.driver.app) => if let Err(error) = settled {
                let id = &self.driver.submission;
                self.printer.warn(format!("something of {id} may be left: {error}"));
            },
            signal = interrupts.next() => {
                self.interrupted.get_or_insert(signal);
            }
        }
    }

    /// Begins to follow the driver's output, and what becomes of the application.
    async fn open(&mut self, interrupts: &mut Interrupts) -> Result<EventStream> {
        let (cluster, driver) = (Arc::clone(&self.cluster), self.driver.clone());
        let mut opening = pin!(async {
            let subject = Subject::Driver(driver.submission);
            let follow = LogOptions { follow: true, ..LogOptions::default() };
            let chunks = cluster.logs(&subject, &follow).await?;
            Ok((chunks, cluster.watch(&WatchOptions::of(&driver.app)).await?))
        });
        let opened: Result<_> = loop {
            match interrupts.or(&mut opening).await {
                Ok(opened) => break opened,
                Err(signal) => self.interrupt(signal),
            }
        };
        let (chunks, events) = opened?;
        let (progress, lost) = (self.progress.clone(), Arc::clone(&self.output_lost));
        self.relays.spawn(relay::driver(chunks, progress, self.ended.subscribe(), lost));
        Ok(events)
    }

    fn relay_executor(&mut self, id: ExecutorId) {
        if self.relays.len() > MAX_RELAYS {
            self.progress.talk(format!(
                "executor {id}: its output is not shown, as {MAX_RELAYS} others are; \
                 anymaster logs {} {id} prints it",
                self.driver.submission
            ));
            return;
        }
        let subject = Subject::Executor(self.driver.app.clone(), id);
        let (cluster, progress) = (Arc::clone(&self.cluster), self.progress.clone());
        let ended = self.ended.subscribe();
        self.relays.spawn(async move {
            let follow = LogOptions { follow: true, ..LogOptions::default() };
            let chunks = cluster.logs(&subject, &follow).await?;
            relay::executor(chunks, id.0, progress, ended).await
        });
    }

    /// Takes an event in. Returns whether all of the application has ended.
    fn take_in(&mut self, event: Event) -> bool {
        match event {
            Event::Restarted => self.applications.clear(),
            Event::Synced(_) => {}
            Event::Changed(status) => {
                match &status {
                    Status::Driver(driver) => self.driver = driver.clone(),
                    Status::Executor(executor) => self.see_executor(executor),
                    Status::Allocation(allocation) if !self.driver.state.is_ended() => {
                        self.progress.show(allocation);
                        if let AllocationPhase::GivenUp { .. } = &allocation.phase {
                            self.give_up();
                        }
                    }
                    _ => {}
                }
                self.applications.apply(status);
                while let Some(relayed) = self.relays.try_join_next() {
                    self.check_relay(relayed);
                }
            }
        }
        self.applications.get(&self.driver.app).is_some_and(|application| application.is_over())
    }

    fn see_executor(&mut self, executor: &ExecutorStatus) {
        let id = executor.id;
        let has_output = matches!(executor.state, State::Running | State::Ended(_));
        let is_over = self.told.ended.contains(&id);
        if self.options.executor_logs && has_output && !is_over && self.told.relayed.insert(id) {
            self.relay_executor(id);
        }
        if let State::Ended(end) = &executor.state
            && self.told.end(id)
            && end.cause.is_failure()
        {
            self.progress.talk(format!("executor {id}: {}", end.cause));
            for line in end.last_lines.iter().flat_map(|lines| lines.lines()) {
                self.progress.talk(format!("  | {line}"));
            }
        }
    }

    /// First the driver is asked to end; who asks again has no more patience.
    fn interrupt(&mut self, signal: i32) {
        let (grace, words) = match self.interrupted {
            None => (self.options.grace, "ending; once more ends it at once"),
            Some(_) => (Duration::ZERO, "ending at once"),
        };
        self.interrupted.get_or_insert(signal);
        self.progress.talk(format!("{}: {words}", self.driver.submission));
        self.kill_driver(grace);
    }

    fn give_up(&mut self) {
        if self.options.end_when_given_up && !self.given_up {
            self.given_up = true;
            self.kill_driver(self.options.grace);
        }
    }

    fn kill_driver(&mut self, grace: Duration) {
        let cluster = Arc::clone(&self.cluster);
        let subject = Subject::Driver(self.driver.submission.clone());
        self.kill = Some(tokio::spawn(async move { cluster.kill(&subject, grace).await }));
    }

    fn warn_of_leftovers(&self) {
        let application = self.applications.get(&self.driver.app);
        let left = application.map_or(0, |application| application.alive());
        self.progress.talk(format!(
            "warning: the driver of {} ended, but {left} of its executors have not",
            self.driver.submission
        ));
    }

    /// What was written before the end is still shown, unless the user does not want to wait.
    async fn finish_relays(&mut self, interrupts: &mut Interrupts) {
        self.ended.send_replace(true);
        loop {
            tokio::select! {
                relayed = self.relays.join_next() => match relayed {
                    Some(relayed) => self.check_relay(relayed),
                    None => return,
                },
                signal = interrupts.next() => {
                    self.interrupted.get_or_insert(signal);
                    return;
                }
            }
        }
    }

    fn check_relay(&self, relayed: Result<Result<()>, tokio::task::JoinError>) {
        match relayed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.progress.talk(format!("warning: output is missing: {error}")),
            Err(error) => self.progress.talk(format!("warning: output is missing: {error}")),
        }
    }

    fn verdict(&self) -> Exit {
        let id = &self.driver.submission;
        let Some(end) = self.driver.state.end() else { return Exit::Failure };
        if self.given_up {
            let application = self.applications.get(&self.driver.app);
            let why = match application.and_then(|a| a.allocation.as_ref()).map(|a| &a.phase) {
                Some(AllocationPhase::GivenUp { why }) => why.to_string(),
                _ => "too many executors failed".to_owned(),
            };
            let mut error = Error::unavailable(format!("{id}: {why}"));
            // Elsewhere nothing is left of a driver that was ended.
            if !self.cluster.capabilities().detached_drivers {
                error = error.with_hint(format!("anymaster explain {id}"));
            }
            self.printer.error(&error);
            return Exit::ExecutorFailures;
        }
        if let Some(signal) = self.interrupted {
            return Exit::Interrupted(signal);
        }
        let code = end.cause.exit_code();
        if code != 0 {
            self.printer.talk(format!("{id}: {}", end.cause));
            self.printer.talk(format!("  anymaster explain {id} says more"));
        }
        if code == 0 && self.output_lost.load(Ordering::Relaxed) {
            return Exit::Failure;
        }
        Exit::Driver(code)
    }
}

/// Connects to a cluster and launches a driver on it.
pub(crate) async fn launch(
    context: &Context,
    master: &MasterUrl,
    id: &SubmissionId,
    app: &ApplicationSpec,
) -> Result<(Arc<dyn ClusterManager>, DriverStatus)> {
    let cluster = context.connect(master, app.conf.clone()).await?;
    let driver = cluster.launch_driver(id, app).await?.driver;
    Ok((cluster, driver))
}

/// What there is to say of a launch that a signal ended.
pub(crate) fn interrupted(printer: Printer, id: &SubmissionId, signal: i32) -> Exit {
    printer.talk(format!(
        "{id}: not waited for until it was launched; anymaster status {id} says whether it was"
    ));
    Exit::Interrupted(signal)
}

/// The result of a call that is under way, or never without one.
async fn join(call: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    let Some(under_way) = call else { return std::future::pending().await };
    let result = under_way.await;
    *call = None;
    result.unwrap_or_else(|error| {
        Err(Error::unavailable("ending the driver failed").with_source(error))
    })
}

/// Of which executors something was said: each may be told of again.
#[derive(Debug, Default)]
struct Told {
    /// The living whose output is relayed.
    relayed: BTreeSet<ExecutorId>,
    /// The latest of those that ended: all was said of them.
    ended: BTreeSet<ExecutorId>,
}

impl Told {
    /// Notes that an executor has ended. Returns whether that is news.
    fn end(&mut self, id: ExecutorId) -> bool {
        self.relayed.remove(&id);
        let is_news = self.ended.insert(id);
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_first();
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_that_come_and_go_leave_little_behind() {
        let mut told = Told::default();
        for id in (1..=2 * MAX_ENDED as u64).map(ExecutorId) {
            assert!(told.relayed.insert(id));
            assert!(told.end(id));
            assert!(!told.end(id));
        }
        assert_eq!((told.relayed.len(), told.ended.len()), (0, MAX_ENDED));
    }
}
