//! Follows an application to its end.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, Applications, Event, ExecutorId, ExecutorStatus, ExecutorTarget, State,
    Status, Subject,
};
use anymaster_core::{ClusterManager, Error, EventStream, Finding, Result, WatchOptions};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{Calls, Run, RunEnd, RunEvent, RunOutcome, RunOutput, output};
use crate::dynamic::DynamicExecutors;

/// How long executors may take to end after their driver.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a driver may be pending before the cluster is asked why, for the first time and again.
const DIAGNOSIS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// How many executors that ended are remembered.
const MAX_ENDED: usize = 10_000;

/// Of how many executors the output is reported at once.
const MAX_OUTPUTS: usize = 64;

/// A run that is under way.
pub(super) struct Follow {
    run: Run,
    calls: Calls,
    applications: Applications,
    /// The executors are requested here: when they are given up, nobody else can react.
    ends_when_given_up: bool,
    given_up: bool,
    cancelled: bool,
    /// The driver is about to be ended.
    kill: Option<JoinHandle<Result<()>>>,
    outputs: JoinSet<()>,
    /// Requests as many executors as there is work for; stopped with the run.
    allocation: JoinSet<()>,
    /// Tells outputs that nothing more will be written.
    ended: watch::Sender<bool>,
    reported: Reported,
}

impl Follow {
    pub(super) fn new(run: Run, ends_when_given_up: bool) -> Self {
        Self {
            calls: Calls::of(&run.cancellation),
            run,
            applications: Applications::default(),
            ends_when_given_up,
            given_up: false,
            cancelled: false,
            kill: None,
            outputs: JoinSet::new(),
            allocation: JoinSet::new(),
            ended: watch::Sender::new(false),
            reported: Reported::default(),
        }
    }

    /// Requests executors, and follows the application to its end.
    pub(super) async fn run(mut self, target: Option<ExecutorTarget>) -> Result<RunOutcome> {
        if let Some(target) = target.filter(|_| !self.has_ended()) {
            self.allocate(target).await?;
        }
        let end = self.follow().await?;
        if let RunEnd::Detached | RunEnd::WatchLost(_) = end {
            return Ok(self.outcome(end));
        }
        self.allocation.shutdown().await;
        self.finish_outputs().await;
        self.clean_up().await;
        let end = match end {
            RunEnd::DriverEnded if self.given_up => RunEnd::GivenUp { why: self.why_given_up() },
            end => end,
        };
        Ok(self.outcome(end))
    }

    fn outcome(self, end: RunEnd) -> RunOutcome {
        RunOutcome { driver: self.run.driver, end, cancelled: self.cancelled }
    }

    /// Requests executors: these, or as many as there is work for.
    async fn allocate(&mut self, target: ExecutorTarget) -> Result<()> {
        let Some((policy, source)) = self.run.dynamic.take() else {
            return self.request(&target).await;
        };
        let (cluster, app) = (Arc::clone(&self.run.cluster), self.run.driver.app.clone());
        let following = DynamicExecutors::new(cluster, &app, target, policy, source);
        let Some(followed) = self.calls.or(following).await else {
            self.cancel();
            return Ok(());
        };
        let mut executors = followed?;
        self.request(&executors.first_target()).await?;
        self.allocation.spawn(executors.run(app));
        Ok(())
    }

    /// Requests executors; ends the driver if they are refused.
    async fn request(&mut self, target: &ExecutorTarget) -> Result<()> {
        let cluster = Arc::clone(&self.run.cluster);
        let requesting = cluster.request_executors(&self.run.driver.app, target);
        let Some(requested) = self.calls.or(requesting).await else {
            self.cancel();
            return Ok(());
        };
        let Err(error) = requested else { return Ok(()) };
        // A driver that has ended already wants none; how it ended is what there is to say.
        let now = cluster.get(&self.run.driver.submission).await;
        if now.is_ok_and(|driver| driver.state.is_ended()) {
            return Ok(());
        }
        let subject = Subject::Driver(self.run.driver.submission.clone());
        Err(match cluster.kill(&subject, self.run.grace).await {
            Ok(()) => error,
            Err(kill) => error.context(format!("{subject} could not be ended ({kill})")),
        })
    }

    /// Follows until all has ended.
    async fn follow(&mut self) -> Result<RunEnd> {
        let Some(mut events) = self.open().await? else { return Ok(RunEnd::Detached) };
        self.report(RunEvent::Driver(&self.run.driver));
        let mut deadline = None;
        let mut due = Some(Instant::now() + DIAGNOSIS[0]);
        let mut diagnosis: Option<BoxFuture<'static, Result<Vec<Finding>>>> = None;
        while !self.is_over() {
            if deadline.is_none() && self.has_ended() {
                deadline = Some(Instant::now() + PATIENCE);
            }
            tokio::select! {
                biased;
                () = self.calls.next() => {
                    if self.run.detached {
                        self.cancelled = true;
                        return Ok(RunEnd::Detached);
                    }
                    self.cancel();
                }
                killed = result_of(&mut self.kill) => killed.unwrap_or_else(|error| {
                    Err(Error::unavailable("ending the driver failed").with_source(error))
                })?,
                event = events.next() => match event {
                    Some(Ok(event)) => self.observe(event),
                    Some(Err(error)) => return Ok(RunEnd::WatchLost(error)),
                    None => {
                        let app = &self.run.driver.app;
                        let why = format!("the cluster stopped reporting on {app}");
                        return Ok(RunEnd::WatchLost(Error::unavailable(why)));
                    }
                },
                found = result_of(&mut diagnosis) => {
                    match found {
                        Ok(findings) => self.report(RunEvent::Diagnosis(&findings)),
                        Err(error) => tracing::info!(%error, "no diagnosis"),
                    }
                    due = Some(Instant::now() + DIAGNOSIS[1]);
                }
                () = at(due) => {
                    due = None;
                    if let State::Pending { .. } = self.run.driver.state {
                        diagnosis = Some(self.diagnose());
                    }
                }
                () = at(deadline) => {
                    let known = self.applications.get(&self.run.driver.app);
                    let executors = known.map_or(0, |application| application.alive());
                    self.report(RunEvent::Leftover { executors });
                    break;
                }
            }
            if self.is_deleted() {
                return Ok(RunEnd::Deleted);
            }
        }
        Ok(RunEnd::DriverEnded)
    }

    /// Begins to read the driver's output and to watch the application, unless a detached run is
    /// cancelled before.
    async fn open(&mut self) -> Result<Option<EventStream>> {
        let (cluster, driver) = (Arc::clone(&self.run.cluster), self.run.driver.clone());
        let subject = Subject::Driver(driver.submission);
        let has_output = self.run.output != RunOutput::Nothing;
        let mut opening = pin!(async {
            let output = match has_output {
                true => Some(output::open(&*cluster, &subject).await?),
                false => None,
            };
            Ok::<_, Error>((output, cluster.watch(&WatchOptions::of(&driver.app)).await?))
        });
        let (output, events) = loop {
            match self.calls.or(&mut opening).await {
                Some(opened) => break opened?,
                None if self.run.detached => {
                    self.cancelled = true;
                    return Ok(None);
                }
                None => self.cancel(),
            }
        };
        if let Some(chunks) = output {
            let subject = Subject::Driver(self.run.driver.submission.clone());
            let (observer, ended) = (Arc::clone(&self.run.observer), self.ended.subscribe());
            self.outputs
                .spawn(async move { output::report(&subject, chunks, &*observer, ended).await });
        }
        Ok(Some(events))
    }

    fn report(&self, event: RunEvent<'_>) {
        self.run.observer.observe(event);
    }

    fn has_ended(&self) -> bool {
        self.run.driver.state.is_ended()
    }

    fn is_over(&self) -> bool {
        match self.run.detached {
            true => self.has_ended(),
            false => {
                let known = self.applications.get(&self.run.driver.app);
                known.is_some_and(|application| application.is_over())
            }
        }
    }

    /// Whether a whole snapshot does not show the driver, which has not ended.
    fn is_deleted(&self) -> bool {
        let known = self.applications.get(&self.run.driver.app);
        self.applications.is_synced()
            && !self.has_ended()
            && known.is_none_or(|application| application.driver.is_none())
    }

    fn observe(&mut self, event: Event) {
        if let Event::Changed(status) = &event {
            match status {
                Status::Driver(driver) if driver.submission == self.run.driver.submission => {
                    self.run.driver = driver.clone();
                    self.report(RunEvent::Driver(driver));
                }
                Status::Executor(executor) => self.observe_executor(executor),
                Status::Allocation(allocation) if !self.has_ended() => {
                    self.report(RunEvent::Allocation(allocation));
                    if let AllocationPhase::GivenUp { .. } = &allocation.phase {
                        self.give_up();
                    }
                }
                _ => {}
            }
        }
        self.applications.observe(event);
        while self.outputs.try_join_next().is_some() {}
    }

    fn observe_executor(&mut self, executor: &ExecutorStatus) {
        let id = executor.id;
        let has_output = matches!(executor.state, State::Running | State::Ended(_));
        let is_over = self.reported.ended.contains(&id);
        if self.run.output == RunOutput::All
            && has_output
            && !is_over
            && self.reported.outputs.insert(id)
        {
            self.report_output(id);
        }
        if !executor.state.is_ended() || self.reported.end(id) {
            self.report(RunEvent::Executor(executor));
        }
    }

    fn report_output(&mut self, id: ExecutorId) {
        // That of the driver is one more.
        if self.outputs.len() > MAX_OUTPUTS {
            return self.report(RunEvent::OutputSkipped(id));
        }
        let subject = Subject::Executor(self.run.driver.app.clone(), id);
        let cluster = Arc::clone(&self.run.cluster);
        let (observer, ended) = (Arc::clone(&self.run.observer), self.ended.subscribe());
        self.outputs.spawn(async move {
            match output::open(&*cluster, &subject).await {
                Ok(chunks) => output::report(&subject, chunks, &*observer, ended).await,
                Err(error) => observer.observe(RunEvent::OutputLost(&subject, &error)),
            }
        });
    }

    fn diagnose(&self) -> BoxFuture<'static, Result<Vec<Finding>>> {
        let (cluster, app) = (Arc::clone(&self.run.cluster), self.run.driver.app.clone());
        Box::pin(async move { cluster.diagnose(&app).await })
    }

    /// First the driver is asked to end; who asks again has no more patience.
    fn cancel(&mut self) {
        let at_once = self.cancelled;
        self.cancelled = true;
        self.report(RunEvent::Ending { at_once });
        self.kill(if at_once { Duration::ZERO } else { self.run.grace });
    }

    fn give_up(&mut self) {
        if self.ends_when_given_up && !self.given_up {
            self.given_up = true;
            self.kill(self.run.grace);
        }
    }

    fn why_given_up(&self) -> Box<str> {
        let known = self.applications.get(&self.run.driver.app);
        match known.and_then(|known| known.allocation.as_ref()).map(|known| &known.phase) {
            Some(AllocationPhase::GivenUp { why }) => why.clone(),
            _ => "too many executors failed".into(),
        }
    }

    fn kill(&mut self, grace: Duration) {
        let cluster = Arc::clone(&self.run.cluster);
        let subject = Subject::Driver(self.run.driver.submission.clone());
        // One that is under way goes on.
        self.kill = Some(tokio::spawn(async move { cluster.kill(&subject, grace).await }));
    }

    /// What was written before the end is still reported, unless nobody wants to wait.
    async fn finish_outputs(&mut self) {
        self.ended.send_replace(true);
        let outputs = &mut self.outputs;
        let finished = self.calls.or(async { while outputs.join_next().await.is_some() {} }).await;
        self.cancelled |= finished.is_none();
    }

    /// Nothing of the application is left behind, unless nobody wants to wait.
    async fn clean_up(&mut self) {
        let cluster = Arc::clone(&self.run.cluster);
        match self.calls.or(cluster.cleanup(&self.run.driver.app)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => self.report(RunEvent::CleanupFailed(&error)),
            None => self.cancelled = true,
        }
    }
}

/// The result of something that is under way; never, if nothing is.
async fn result_of<F: Future + Unpin>(under_way: &mut Option<F>) -> F::Output {
    let Some(future) = under_way else { return std::future::pending().await };
    let result = future.await;
    *under_way = None;
    result
}

/// That time; never, if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Of which executors something was reported: each may be told of again.
#[derive(Debug, Default)]
struct Reported {
    /// The living whose output is reported.
    outputs: BTreeSet<ExecutorId>,
    /// The latest of those that ended: all was reported of them.
    ended: BTreeSet<ExecutorId>,
}

impl Reported {
    /// Notes that an executor has ended. Returns whether that is news.
    fn end(&mut self, id: ExecutorId) -> bool {
        self.outputs.remove(&id);
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
        let mut reported = Reported::default();
        for id in (1..=2 * MAX_ENDED as u64).map(ExecutorId) {
            assert!(reported.outputs.insert(id));
            assert!(reported.end(id));
            assert!(!reported.end(id));
        }
        assert_eq!((reported.outputs.len(), reported.ended.len()), (0, MAX_ENDED));
    }
}
