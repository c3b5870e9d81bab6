//! The loop around the planner: wakes on events, on a new target and on its timer, plans, acts.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument as _, info_span};

use super::plan::{AllocatorState, Plan};
use super::{AllocationPolicy, ExecutorLaunch, Launcher, Refusal};
use crate::model::{AllocationStatus, AppId, Event, ExecutorId, ExecutorTarget};
use crate::{Backoff, EventStream, Result};

/// How many events are taken in before the next planning.
const EVENTS_PER_PLAN: usize = 4096;
/// The first pause before the watch is opened again.
const FIRST_RECONNECT: Duration = Duration::from_millis(50);
/// The longest one.
const LAST_RECONNECT: Duration = Duration::from_secs(5);

/// Keeps the executors of one application at the declared target.
///
/// Dropping it stops the loop where it is; the executors are left to the backend.
#[derive(Debug)]
pub struct Reconciler {
    target: watch::Sender<Option<Arc<ExecutorTarget>>>,
    allocation: watch::Receiver<AllocationStatus>,
    task: JoinHandle<()>,
}

impl Reconciler {
    /// Begins with what the launcher's watch shows; does nothing until a target is declared.
    pub fn spawn(launcher: Arc<dyn Launcher>, app: AppId, policy: AllocationPolicy) -> Self {
        Self::spawn_after(launcher, app, policy, ExecutorId(0))
    }

    /// As [`spawn`](Self::spawn), where ids up to `last` may have been given before and are not to be
    /// given again.
    pub fn spawn_after(
        launcher: Arc<dyn Launcher>,
        app: AppId,
        policy: AllocationPolicy,
        last: ExecutorId,
    ) -> Self {
        let (target, targets) = watch::channel(None);
        let (reports, allocation) = watch::channel(AllocationStatus::new(app.clone()));
        let looping = Loop {
            launcher,
            app,
            policy,
            targets,
            reports,
            state: AllocatorState::after(last),
            began: Instant::now(),
            actions: FuturesUnordered::new(),
            declared: false,
            reporting: false,
            unreported: false,
        };
        let span = info_span!(parent: None, "reconcile", app = %looping.app);
        Self { target, allocation, task: tokio::spawn(looping.run().instrument(span)) }
    }

    /// Declares the target; the last one declared counts.
    pub fn set_target(&self, target: ExecutorTarget) {
        self.target.send_replace(Some(Arc::new(target)));
    }

    /// How far it is; changes as executors come and go.
    pub fn allocation(&self) -> watch::Receiver<AllocationStatus> {
        self.allocation.clone()
    }

    /// Stops the loop and waits until it has stopped. Executors are left as they are.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The only error there can be is the cancellation that was just asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Loop {
    launcher: Arc<dyn Launcher>,
    app: AppId,
    policy: AllocationPolicy,
    targets: watch::Receiver<Option<Arc<ExecutorTarget>>>,
    reports: watch::Sender<AllocationStatus>,
    state: AllocatorState,
    began: Instant,
    actions: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// A target was declared since the last planning.
    declared: bool,
    /// A report is on its way; the next one waits, and only the last counts.
    reporting: bool,
    unreported: bool,
}

/// How a call to the launcher went.
enum Outcome {
    Started(Vec<(ExecutorId, Result<()>)>),
    Stopped(Vec<ExecutorId>, Result<()>),
    Reported(Result<()>),
}

impl Loop {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_RECONNECT, LAST_RECONNECT);
        loop {
            let (launcher, app) = (self.launcher.clone(), self.app.clone());
            let opened = self.meanwhile(async move { launcher.watch(&app).await }).await;
            match opened {
                None => return,
                Some(Ok(mut events)) => {
                    backoff.reset();
                    if self.follow(&mut events).await.is_none() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(app = %self.app, %error, "cannot watch the executors");
                }
            }
            backoff.failed(None);
            if self.meanwhile(backoff.pause()).await.is_none() {
                return;
            }
        }
    }

    /// Waits; hears in the meantime how calls went and which targets are declared. `None`: nobody can
    /// declare a target any more.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                Some(outcome) = self.actions.next() => self.settle(outcome),
                changed = self.targets.changed() => {
                    changed.ok()?;
                    self.declared = true;
                }
            }
        }
    }

    /// Follows one watch to its end. `None`: nobody can declare a target any more.
    async fn follow(&mut self, events: &mut EventStream) -> Option<()> {
        let mut again_at: Option<Duration> = None;
        loop {
            let now = self.now();
            if std::mem::take(&mut self.declared) {
                self.state.declared();
            }
            let target = self.targets.borrow().clone();
            if let Some(target) = &target {
                again_at = self.act(target, now);
                self.report(target);
            }
            let timer = async {
                match again_at {
                    Some(at) => tokio::time::sleep_until(self.began + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => {
                    let Some(Ok(event)) = event else {
                        if let Some(Err(error)) = event {
                            tracing::warn!(app = %self.app, %error, "the watch broke off");
                        }
                        return Some(());
                    };
                    if self.take(event, events).is_none() {
                        return Some(());
                    }
                }
                Some(outcome) = self.actions.next() => self.settle(outcome),
                changed = self.targets.changed() => {
                    changed.ok()?;
                    self.declared = true;
                }
                () = timer => {}
            }
        }
    }

    /// Takes in an event and those that are ready behind it. `None`: the watch ended.
    fn take(&mut self, first: Event, events: &mut EventStream) -> Option<()> {
        let now = self.now();
        self.state.apply(first, now);
        for _ in 1..EVENTS_PER_PLAN {
            match events.next().now_or_never() {
                None => break,
                Some(Some(Ok(event))) => self.state.apply(event, now),
                Some(_) => return None,
            }
        }
        Some(())
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn act(&mut self, target: &ExecutorTarget, now: Duration) -> Option<Duration> {
        let Plan { start, stop, again_at } = self.state.plan(target, &self.policy, now);
        if !stop.is_empty() {
            tracing::info!(executors = stop.len(), "stopping executors");
            let (launcher, app, grace) =
                (self.launcher.clone(), self.app.clone(), self.policy.stop_grace);
            self.actions.push(
                async move {
                    let result = launcher.stop(&app, &stop, grace).await;
                    Outcome::Stopped(stop, result)
                }
                .boxed(),
            );
        }
        if !start.is_empty() {
            tracing::info!(executors = start.len(), "starting executors");
            let template = Arc::new(target.template.clone());
            let launches: Vec<_> = start
                .iter()
                .filter_map(|(id, profile_id)| {
                    Some(ExecutorLaunch {
                        id: *id,
                        profile_id: *profile_id,
                        profile: target.profiles.get(profile_id)?.profile.clone(),
                        template: template.clone(),
                    })
                })
                .collect();
            let (launcher, app) = (self.launcher.clone(), self.app.clone());
            self.actions.push(
                async move {
                    let ids: Vec<_> = launches.iter().map(|launch| launch.id).collect();
                    let results = launcher.start(&app, launches).await;
                    Outcome::Started(ids.into_iter().zip(results).collect())
                }
                .boxed(),
            );
        }
        again_at
    }

    fn settle(&mut self, outcome: Outcome) {
        let now = self.now();
        match outcome {
            Outcome::Started(mut results) => {
                // What was accepted counts first: then the others are tried again soon.
                results.sort_by_key(|(_, result)| result.is_err());
                for (id, result) in results {
                    match result {
                        Ok(()) => self.state.accepted(id, &self.policy, now),
                        Err(error) => {
                            tracing::debug!(app = %self.app, executor = %id, %error, "start refused");
                            let spread = fastrand::f64();
                            self.state.refused(id, &Refusal::from(&error), spread, now);
                        }
                    }
                }
            }
            Outcome::Stopped(_, Ok(())) => self.state.stopped(),
            Outcome::Stopped(ids, Err(error)) => {
                tracing::warn!(app = %self.app, %error, "cannot stop executors");
                self.state.not_stopped(&ids, now);
            }
            Outcome::Reported(result) => {
                self.reporting = false;
                if let Err(error) = result {
                    tracing::warn!(app = %self.app, %error, "cannot report the allocation");
                }
            }
        }
    }

    /// Makes a change of the allocation known; while a report is under way, only the last one waits.
    fn report(&mut self, target: &ExecutorTarget) {
        let executors = self.state.executors();
        let status = AllocationStatus {
            app: self.app.clone(),
            target: target.total(),
            running: executors.running(),
            pending: executors.waiting(),
            failed: self.state.failed(),
            phase: self.state.phase(target),
        };
        let changed = self.reports.send_if_modified(|last| {
            let changed = *last != status;
            last.clone_from(&status);
            changed
        });
        self.unreported |= changed;
        if self.unreported && !self.reporting {
            (self.reporting, self.unreported) = (true, false);
            let launcher = self.launcher.clone();
            self.actions
                .push(async move { Outcome::Reported(launcher.report(status).await) }.boxed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures::stream;
    use jiff::Timestamp;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Error;
    use crate::model::{
        AllocationPhase, Cause, CommandLine, Cursor, End, ExecutorStatus, ExecutorTemplate,
        KilledBy, ProfileId, ResourceProfile, State, Status,
    };

    /// Runs what it is told to at once, and lets a test break things.
    #[derive(Debug, Default)]
    struct Bench {
        state: Mutex<BenchState>,
    }

    #[derive(Debug, Default)]
    struct BenchState {
        alive: BTreeMap<ExecutorId, ProfileId>,
        watchers: Vec<mpsc::UnboundedSender<Result<Event>>>,
        refuse: u32,
        /// How many stops and watches fail yet.
        refuse_stops: u32,
        refuse_watches: u32,
        watches: u32,
        stops: u32,
        fails: bool,
        starts: u64,
        reports: Vec<AllocationStatus>,
    }

    impl BenchState {
        fn tell(&mut self, id: ExecutorId, profile: ProfileId, state: State) {
            let status = Status::Executor(ExecutorStatus {
                app: app(),
                id,
                profile,
                state,
                since: Timestamp::UNIX_EPOCH,
                host: None,
            });
            let event = Event::Changed(status);
            self.watchers.retain(|watcher| watcher.send(Ok(event.clone())).is_ok());
        }

        fn end(&mut self, id: ExecutorId, cause: Cause) {
            if let Some(profile) = self.alive.remove(&id) {
                let end = End { cause, at: Timestamp::UNIX_EPOCH, last_lines: None };
                self.tell(id, profile, State::Ended(Box::new(end)));
            }
        }
    }

    #[async_trait]
    impl Launcher for Bench {
        async fn start(&self, _: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
            let mut state = self.state.lock().unwrap();
            let mut results = Vec::new();
            for ExecutorLaunch { id, profile_id, .. } in executors {
                if state.refuse > 0 {
                    state.refuse -= 1;
                    results.push(Err(Error::unavailable("the master is away")));
                    continue;
                }
                state.starts += 1;
                state.alive.insert(id, profile_id);
                state.tell(id, profile_id, State::Running);
                if state.fails {
                    state.end(id, Cause::Exited { code: 3 });
                }
                results.push(Ok(()));
            }
            results
        }

        async fn stop(&self, _: &AppId, executors: &[ExecutorId], _: Duration) -> Result<()> {
            let mut state = self.state.lock().unwrap();
            state.stops += 1;
            if state.refuse_stops > 0 {
                state.refuse_stops -= 1;
                return Err(Error::unavailable("the master is away"));
            }
            for id in executors {
                state.end(*id, Cause::Killed { by: KilledBy::ScaleDown });
            }
            Ok(())
        }

        async fn watch(&self, _: &AppId) -> Result<EventStream> {
            let mut state = self.state.lock().unwrap();
            state.watches += 1;
            if state.refuse_watches > 0 {
                state.refuse_watches -= 1;
                return Err(Error::unavailable("the master is away"));
            }
            let (sender, mut events) = mpsc::unbounded_channel();
            let alive: Vec<_> = state.alive.iter().map(|(id, profile)| (*id, *profile)).collect();
            sender.send(Ok(Event::Restarted)).unwrap();
            let others = std::mem::replace(&mut state.watchers, vec![sender]);
            for (id, profile) in alive {
                state.tell(id, profile, State::Running);
            }
            let sender = &state.watchers[0];
            sender.send(Ok(Event::Synced(Cursor(String::new())))).unwrap();
            state.watchers.extend(others);
            Ok(stream::poll_fn(move |context| events.poll_recv(context)).boxed())
        }

        async fn report(&self, allocation: AllocationStatus) -> Result<()> {
            self.state.lock().unwrap().reports.push(allocation);
            Ok(())
        }
    }

    fn app() -> AppId {
        AppId::new("app-1").unwrap()
    }

    fn target(executors: u32) -> ExecutorTarget {
        let template = ExecutorTemplate::new(CommandLine::new("worker"));
        ExecutorTarget::new(template, ResourceProfile::default(), executors)
    }

    async fn until(
        reconciler: &Reconciler,
        done: impl FnMut(&AllocationStatus) -> bool,
    ) -> AllocationStatus {
        let mut allocation = reconciler.allocation();
        let reached = tokio::time::timeout(Duration::from_secs(3600), allocation.wait_for(done));
        reached.await.expect("the allocation should have got there").unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn targets_are_reached_lowered_and_held() {
        let bench = Arc::new(Bench::default());
        let reconciler = Reconciler::spawn(bench.clone(), app(), AllocationPolicy::default());
        for wanted in [5, 5, 2, 50, 3, 20, 0] {
            reconciler.set_target(target(wanted));
            let wanted = u64::from(wanted);
            let status =
                until(&reconciler, |status| status.target == wanted && status.running == wanted);
            assert_eq!(status.await.phase, AllocationPhase::Reached);
            assert_eq!(bench.state.lock().unwrap().alive.len() as u64, wanted);
        }
        // 5, then 48 more, then 17 more: nothing was started that was not wanted.
        assert_eq!(bench.state.lock().unwrap().starts, 5 + 48 + 17);
    }

    #[tokio::test(start_paused = true)]
    async fn what_dies_is_replaced_and_a_broken_watch_is_opened_again() {
        let bench = Arc::new(Bench::default());
        let reconciler = Reconciler::spawn(bench.clone(), app(), AllocationPolicy::default());
        reconciler.set_target(target(3));
        until(&reconciler, |status| status.running == 3).await;
        {
            let mut state = bench.state.lock().unwrap();
            // Nobody hears of the first death: the watch is down.
            state.watchers.clear();
            state.end(ExecutorId(1), Cause::Signaled { signal: 9 });
        }
        let replaced = || bench.state.lock().unwrap().alive.contains_key(&ExecutorId(4));
        until(&reconciler, |status| status.running == 3 && replaced()).await;
        bench.state.lock().unwrap().end(ExecutorId(2), Cause::Signaled { signal: 9 });
        until(&reconciler, |status| status.failed == 1 && status.running == 3).await;
        let alive: Vec<_> = bench.state.lock().unwrap().alive.keys().copied().collect();
        assert_eq!(alive, [ExecutorId(3), ExecutorId(4), ExecutorId(5)]);
        reconciler.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_failures_end_the_spinning_until_a_new_target() {
        let bench = Arc::new(Bench::default());
        bench.state.lock().unwrap().fails = true;
        let policy = AllocationPolicy { max_failures: Some(4), ..AllocationPolicy::default() };
        let reconciler = Reconciler::spawn(bench.clone(), app(), policy);
        reconciler.set_target(target(1));
        let status =
            until(&reconciler, |status| matches!(status.phase, AllocationPhase::GivenUp { .. }))
                .await;
        assert_eq!(
            status.phase,
            AllocationPhase::GivenUp {
                why: "5 executors failed, more than the 4 that spark.executor.maxNumFailures allows; \
                      the last one: executor 5 exited with code 3"
                    .into()
            }
        );
        // Time passes, and nothing more is started.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(bench.state.lock().unwrap().starts, 5);
        bench.state.lock().unwrap().fails = false;
        reconciler.set_target(target(2));
        until(&reconciler, |status| status.running == 2).await;
        let last = bench.state.lock().unwrap().reports.last().cloned();
        assert_eq!(last.map(|report| report.target), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_start_is_tried_again_under_its_id() {
        let bench = Arc::new(Bench::default());
        bench.state.lock().unwrap().refuse = 7;
        let reconciler = Reconciler::spawn(bench.clone(), app(), AllocationPolicy::default());
        reconciler.set_target(target(2));
        let blocked =
            until(&reconciler, |status| matches!(status.phase, AllocationPhase::Blocked { .. }))
                .await;
        assert_eq!(blocked.phase, AllocationPhase::Blocked { why: "the master is away".into() });
        until(&reconciler, |status| status.phase == AllocationPhase::Reached).await;
        let alive: Vec<_> = bench.state.lock().unwrap().alive.keys().copied().collect();
        assert_eq!(alive, [ExecutorId(1), ExecutorId(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_cannot_be_opened_is_tried_again_no_faster_for_new_targets() {
        let bench = Arc::new(Bench::default());
        bench.state.lock().unwrap().refuse_watches = 6;
        let reconciler = Reconciler::spawn(bench.clone(), app(), AllocationPolicy::default());
        for wanted in 1..=50 {
            reconciler.set_target(target(wanted));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(bench.state.lock().unwrap().watches <= 2);
        until(&reconciler, |status| status.running == 50).await;
        assert_eq!(bench.state.lock().unwrap().watches, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_fails_is_tried_again_later_and_the_executor_still_counts_as_running() {
        let bench = Arc::new(Bench::default());
        bench.state.lock().unwrap().refuse_stops = 5;
        let reconciler = Reconciler::spawn(bench.clone(), app(), AllocationPolicy::default());
        reconciler.set_target(target(3));
        until(&reconciler, |status| status.running == 3).await;
        reconciler.set_target(target(1));
        tokio::time::sleep(Duration::from_millis(150)).await;
        // At once, and once more after 100 ms.
        assert_eq!(bench.state.lock().unwrap().stops, 2);
        until(&reconciler, |status| status.target == 1 && status.running == 1).await;
        assert_eq!(bench.state.lock().unwrap().starts, 3);
    }
}
