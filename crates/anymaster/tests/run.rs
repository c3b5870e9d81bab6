//! `Run`, on a cluster in memory and on one that fails as a test tells it to.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anymaster::dynamic_allocation::{DynamicAllocationPolicy, Workload};
use anymaster::{
    Cancellation, Executors, Run, RunEnd, RunEvent, RunObserver, RunOutcome, RunOutput, Work,
    WorkSource,
};
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, CommandLine, Cursor, DriverStatus, Event, ExecutorId,
    ExecutorStatus, ExecutorTarget, ExecutorTemplate, KilledBy, ProfileId, ResourceProfile, State,
    Status, Subject, SubmissionId,
};
use anymaster_core::testing::{FakeBackend, FakeCluster, MockClusterManager};
use anymaster_core::{
    BackendInfo, ClusterManager, ConnectOptions, Error, ErrorKind, EventStream, Finding, Launched,
    Registry, Result,
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

/// Notes what it is told, a line each, and passes the lines on.
struct Notes {
    lines: Mutex<Vec<String>>,
    told: mpsc::UnboundedSender<String>,
}

impl RunObserver for Notes {
    fn observe(&self, event: RunEvent<'_>) {
        let line = match event {
            RunEvent::Driver(driver) => format!("driver {}", driver.state.word()),
            RunEvent::Executor(executor) => {
                format!("executor {} {}", executor.id, executor.state.word())
            }
            RunEvent::Output(subject, chunk) => {
                format!("{subject}: {}", String::from_utf8_lossy(&chunk.bytes).trim_end())
            }
            RunEvent::OutputEnded(subject) => format!("no more of {subject}"),
            RunEvent::Diagnosis(findings) => format!("diagnosis: {}", findings[0].what),
            RunEvent::Ending { at_once } => format!("ending, at once: {at_once}"),
            RunEvent::Leftover { executors } => format!("left over: {executors}"),
            RunEvent::CleanupFailed(error) => format!("not cleaned up: {error}"),
            RunEvent::Allocation(_) => return,
            other => format!("{other:?}"),
        };
        self.lines.lock().unwrap().push(line.clone());
        let _ = self.told.send(line);
    }
}

/// A run under observation.
struct Observed {
    notes: Arc<Notes>,
    told: mpsc::UnboundedReceiver<String>,
    cancellation: Cancellation,
}

impl Observed {
    fn new(run: Run) -> (Run, Self) {
        let (sender, told) = mpsc::unbounded_channel();
        let notes = Arc::new(Notes { lines: Mutex::default(), told: sender });
        let cancellation = Cancellation::new();
        let run = run.with_observer(Arc::clone(&notes) as _).with_cancellation(&cancellation);
        (run, Self { notes, told, cancellation })
    }

    /// Waits until this was told.
    async fn until(&mut self, line: &str) {
        while self.told.recv().await.unwrap() != line {}
    }

    fn count(&self, line: &str) -> usize {
        self.notes.lines.lock().unwrap().iter().filter(|told| *told == line).count()
    }
}

fn id() -> SubmissionId {
    SubmissionId::new("one").unwrap()
}

fn app() -> AppId {
    AppId::new("one").unwrap()
}

fn spec(command: &str) -> ApplicationSpec {
    let mut words = command.split(' ');
    let command = CommandLine::new(words.next().unwrap()).args(words);
    ApplicationSpec::new("test", command)
}

fn executors(command: &str, number: u32) -> ExecutorTarget {
    let mut words = command.split(' ');
    let command = CommandLine::new(words.next().unwrap()).args(words);
    ExecutorTarget::new(ExecutorTemplate::new(command), ResourceProfile::default(), number)
}

const FAKE: BackendInfo = BackendInfo::new("fake", &[("fake", "fake://here")], "in memory");

/// A cluster in memory, as a program gets it: through a registry.
async fn fake() -> (FakeCluster, Arc<dyn ClusterManager>) {
    let cluster = FakeCluster::new();
    let registry = Registry::new().with(FakeBackend::new(&FAKE, cluster.clone()));
    let options = ConnectOptions::new(registry.parse("fake://here").unwrap());
    (cluster, registry.connect(options).await.unwrap())
}

async fn submit(cluster: Arc<dyn ClusterManager>, command: &str) -> Run {
    Run::submit(cluster, &id(), &spec(command)).await.unwrap()
}

fn driver(state: State) -> DriverStatus {
    DriverStatus::new(id(), app(), "test").with_state(state)
}

fn ended(cause: Cause) -> State {
    State::ended(cause, Timestamp::UNIX_EPOCH)
}

fn synced() -> Result<Event> {
    Ok(Event::Synced(Cursor("1".into())))
}

fn changed(state: State) -> Result<Event> {
    Ok(Event::Changed(Status::Driver(driver(state))))
}

/// A snapshot of a driver that runs, and what comes after it.
fn snapshot_and(rest: impl IntoIterator<Item = Result<Event>>) -> Vec<Result<Event>> {
    let snapshot = [Ok(Event::Restarted), changed(State::Running), synced()];
    snapshot.into_iter().chain(rest).collect()
}

/// A cluster that launches a driver, and whose watch tells this and then nothing more.
fn mock(events: Vec<Result<Event>>) -> MockClusterManager {
    let mut cluster = MockClusterManager::new();
    cluster.expect_launch_driver().returning(|_, _| Ok(Launched::new(driver(State::Running))));
    let events = Mutex::new(Some(events));
    cluster.expect_watch().returning(move |_| {
        let events = events.lock().unwrap().take().unwrap();
        Ok(stream::iter(events).chain(stream::pending()).boxed() as EventStream)
    });
    cluster
}

async fn to_end(cluster: MockClusterManager) -> Result<RunOutcome> {
    submit(Arc::new(cluster), "sleep").await.wait().await
}

#[tokio::test]
async fn a_driver_runs_to_its_end_and_its_output_is_reported() {
    let (_, cluster) = fake().await;
    let run = submit(cluster, "echo hello").await.with_output(RunOutput::Driver);
    assert!(!run.existed());
    let (run, observed) = Observed::new(run);
    let outcome = run.wait().await.unwrap();
    assert!(matches!(outcome.end, RunEnd::DriverEnded), "{outcome:?}");
    assert_eq!((outcome.exit_code(), outcome.cancelled), (0, false));
    assert_eq!(observed.count("driver of one: hello"), 1);
    assert_eq!(observed.count("no more of driver of one"), 1);
}

#[tokio::test]
async fn the_same_submission_is_attached_to_and_its_exit_code_is_told() {
    let (_, cluster) = fake().await;
    assert!(!submit(Arc::clone(&cluster), "exit 7").await.existed());
    let run = submit(cluster, "exit 7").await;
    assert!(run.existed());
    assert_eq!(run.wait().await.unwrap().exit_code(), 7);
}

#[tokio::test]
async fn a_submission_that_is_refused_is_an_error() {
    let mut cluster = MockClusterManager::new();
    let denied = || Error::new(ErrorKind::Denied, "not for you");
    cluster.expect_launch_driver().returning(move |_, _| Err(denied()));
    let error = Run::submit(Arc::new(cluster), &id(), &spec("sleep")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Denied, "not for you"));
}

#[tokio::test]
async fn executors_that_are_refused_end_the_driver() {
    let mut cluster = mock(Vec::new());
    let refused = || Error::invalid("no such resource");
    cluster.expect_request_executors().returning(move |_, _| Err(refused()));
    cluster.expect_get().returning(|_| Ok(driver(State::Running)));
    let killed = |subject: &Subject, grace: &Duration| {
        *subject == Subject::Driver(id()) && *grace == Duration::from_secs(3)
    };
    cluster.expect_kill().withf(killed).once().returning(|_, _| Ok(()));
    let run = submit(Arc::new(cluster), "sleep").await.with_grace(Duration::from_secs(3));
    let error = run.with_executors(executors("sleep", 1)).wait().await.unwrap_err();
    assert_eq!(error.message(), "no such resource");
}

#[tokio::test]
async fn executors_that_come_too_late_are_no_error() {
    let end = || ended(Cause::Exited { code: 4 });
    let mut cluster = mock(vec![Ok(Event::Restarted), changed(end()), synced()]);
    cluster.expect_request_executors().returning(|_, _| Err(Error::conflict("one has ended")));
    cluster.expect_get().returning(move |_| Ok(driver(end())));
    cluster.expect_cleanup().once().returning(|_| Ok(()));
    let run = submit(Arc::new(cluster), "sleep").await.with_executors(executors("sleep", 1));
    assert_eq!(run.wait().await.unwrap().exit_code(), 4);
}

#[tokio::test]
async fn a_watch_that_is_lost_says_that_the_driver_goes_on() {
    let lost = vec![Err(Error::unavailable("the API server is away"))];
    let outcome = to_end(mock(snapshot_and(lost))).await.unwrap();
    let RunEnd::WatchLost(error) = &outcome.end else { panic!("{outcome:?}") };
    assert_eq!(error.message(), "the API server is away");
    assert_eq!((outcome.driver.state.clone(), outcome.exit_code()), (State::Running, 1));

    let mut cluster = MockClusterManager::new();
    cluster.expect_launch_driver().returning(|_, _| Ok(Launched::new(driver(State::Running))));
    cluster.expect_watch().returning(|_| Ok(stream::iter(snapshot_and([])).boxed()));
    let outcome = to_end(cluster).await.unwrap();
    assert!(matches!(outcome.end, RunEnd::WatchLost(_)), "{outcome:?}");

    let mut cluster = MockClusterManager::new();
    cluster.expect_launch_driver().returning(|_, _| Ok(Launched::new(driver(State::Running))));
    cluster.expect_watch().returning(|_| Err(Error::new(ErrorKind::Denied, "no watching")));
    assert_eq!(to_end(cluster).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_driver_that_a_snapshot_does_not_show_was_deleted() {
    let mut cluster = mock(snapshot_and([Ok(Event::Restarted), synced()]));
    cluster.expect_cleanup().once().returning(|_| Ok(()));
    let outcome = to_end(cluster).await.unwrap();
    assert!(matches!(outcome.end, RunEnd::Deleted), "{outcome:?}");
    assert_eq!(outcome.exit_code(), 1);
}

#[tokio::test]
async fn a_run_that_is_cancelled_ends_its_driver() {
    let (fake, cluster) = fake().await;
    let run = submit(cluster, "sleep").await.with_executors(executors("sleep", 2));
    let (run, mut observed) = Observed::new(run);
    let running = tokio::spawn(run.wait());
    observed.until("executor 2 Running").await;
    observed.cancellation.cancel();
    let outcome = running.await.unwrap().unwrap();
    assert!(matches!(outcome.end, RunEnd::DriverEnded) && outcome.cancelled, "{outcome:?}");
    let cause = outcome.driver.state.end().map(|end| &end.cause);
    assert_eq!(cause, Some(&Cause::Killed { by: KilledBy::Request }));
    assert_eq!(observed.count("executor 1 Killed"), 1);
    let left = fake.list(&Default::default()).await.unwrap();
    assert!(left.iter().all(|status| status.state().is_none_or(State::is_ended)), "{left:?}");
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_it_is_waited_for_ends() {
    let (_, cluster) = fake().await;
    let (run, observed) = Observed::new(submit(cluster, "sleep").await);
    observed.cancellation.cancel();
    assert!(run.wait().await.unwrap().cancelled);
}

#[tokio::test]
async fn a_second_cancellation_does_not_wait() {
    let mut cluster = MockClusterManager::new();
    cluster.expect_launch_driver().returning(|_, _| Ok(Launched::new(driver(State::Running))));
    let (end, over) = tokio::sync::oneshot::channel();
    let rest = stream::once(async move {
        over.await.unwrap();
        changed(ended(Cause::Killed { by: KilledBy::Request }))
    });
    let events: EventStream = stream::iter(snapshot_and([])).chain(rest).boxed();
    let (events, end) = (Mutex::new(Some(events)), Mutex::new(Some(end)));
    cluster.expect_watch().returning(move |_| Ok(events.lock().unwrap().take().unwrap()));
    let graces = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&graces);
    cluster.expect_kill().returning(move |_, grace| {
        asked.lock().unwrap().push(grace);
        // It does not want to end, but has to.
        if grace.is_zero() {
            end.lock().unwrap().take().unwrap().send(()).unwrap();
        }
        Ok(())
    });
    cluster.expect_cleanup().returning(|_| Ok(()));
    let run = submit(Arc::new(cluster), "sleep").await.with_grace(Duration::from_secs(7));
    let (run, mut observed) = Observed::new(run);
    let running = tokio::spawn(run.wait());
    observed.cancellation.cancel();
    observed.until("ending, at once: false").await;
    observed.cancellation.cancel();
    observed.until("ending, at once: true").await;
    assert!(running.await.unwrap().unwrap().cancelled);
    assert!(graces.lock().unwrap().contains(&Duration::ZERO), "{graces:?}");
}

#[tokio::test]
async fn a_driver_that_cannot_be_ended_is_an_error() {
    let mut cluster = mock(snapshot_and([]));
    cluster.expect_kill().returning(|_, _| Err(Error::new(ErrorKind::Denied, "not yours")));
    let (run, observed) = Observed::new(submit(Arc::new(cluster), "sleep").await);
    observed.cancellation.cancel();
    assert_eq!(run.wait().await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_detached_run_that_is_cancelled_leaves_its_driver_alone() {
    let (fake, cluster) = fake().await;
    let (run, mut observed) = Observed::new(submit(cluster, "sleep").await.detached());
    let running = tokio::spawn(run.wait());
    observed.until("driver Running").await;
    observed.cancellation.cancel();
    let outcome = running.await.unwrap().unwrap();
    assert!(matches!(outcome.end, RunEnd::Detached) && outcome.cancelled, "{outcome:?}");
    assert_eq!(fake.get(&id()).await.unwrap().state, State::Running);
    // Whoever comes later follows it to its end.
    fake.kill_with(&Subject::Driver(id()), Cause::OutOfMemory { limit_mib: None });
    let found = fake.get(&id()).await.unwrap();
    let run = Run::attach(Arc::new(fake), found).detached();
    assert_eq!(run.wait().await.unwrap().exit_code(), 137);
}

#[tokio::test]
async fn a_driver_whose_executors_are_given_up_is_ended() {
    let (_, cluster) = fake().await;
    let mut app = spec("sleep");
    app.conf.set("spark.executor.maxNumFailures", "2");
    let run = Run::submit(cluster, &id(), &app).await.unwrap();
    let run = run.with_executors(executors("exit 9", 1));
    let outcome = run.wait().await.unwrap();
    let RunEnd::GivenUp { why } = &outcome.end else { panic!("{outcome:?}") };
    assert!(why.contains("exited with code 9"), "{why}");
    assert!(!outcome.cancelled && outcome.driver.state.is_ended(), "{outcome:?}");
}

#[tokio::test]
async fn an_end_is_told_once_whatever_becomes_of_the_watch() {
    let (fake, cluster) = fake().await;
    let run = submit(cluster, "sleep").await.with_executors(executors("sleep", 1));
    let (run, mut observed) = Observed::new(run);
    let running = tokio::spawn(run.wait());
    observed.until("executor 1 Running").await;
    fake.kill_with(&Subject::Executor(app(), ExecutorId(1)), Cause::Signaled { signal: 9 });
    observed.until("executor 2 Running").await;
    fake.drop_watches();
    // It is told again of the one that lives.
    observed.until("executor 2 Running").await;
    fake.kill_with(&Subject::Driver(id()), Cause::Finished);
    assert_eq!(running.await.unwrap().unwrap().exit_code(), 0);
    let ends: HashMap<_, _> =
        ["executor 1 Failed", "executor 2 Killed"].map(|end| (end, observed.count(end))).into();
    assert!(ends.values().all(|times| *times == 1), "{ends:?}");
}

#[tokio::test]
async fn what_cannot_be_cleaned_up_is_told_and_changes_no_exit_code() {
    let end = changed(ended(Cause::Exited { code: 3 }));
    let mut cluster = mock(vec![Ok(Event::Restarted), end, synced()]);
    cluster.expect_cleanup().returning(|_| Err(Error::unavailable("the API server is away")));
    let (run, observed) = Observed::new(submit(Arc::new(cluster), "sleep").await);
    assert_eq!(run.wait().await.unwrap().exit_code(), 3);
    assert_eq!(observed.count("not cleaned up: the API server is away"), 1);
}

#[tokio::test(start_paused = true)]
async fn executors_that_do_not_end_are_waited_for_so_long() {
    let executor = ExecutorStatus::new(app(), ExecutorId(1), ProfileId(0), State::Running);
    let rest = [Ok(Event::Changed(Status::Executor(executor))), changed(ended(Cause::Finished))];
    let mut cluster = mock(snapshot_and(rest));
    cluster.expect_cleanup().once().returning(|_| Ok(()));
    let (run, observed) = Observed::new(submit(Arc::new(cluster), "sleep").await);
    assert_eq!(run.wait().await.unwrap().exit_code(), 0);
    assert_eq!(observed.count("left over: 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_stays_pending_is_diagnosed() {
    let pending = || State::Pending { why: None };
    let mut cluster = MockClusterManager::new();
    cluster.expect_launch_driver().returning(move |_, _| Ok(Launched::new(driver(pending()))));
    let events = vec![Ok(Event::Restarted), changed(pending()), synced()];
    let events = Mutex::new(Some(events));
    cluster.expect_watch().returning(move |_| {
        let events = events.lock().unwrap().take().unwrap();
        Ok(stream::iter(events).chain(stream::pending()).boxed())
    });
    let finding = || Finding::new("no node has room");
    cluster.expect_diagnose().returning(move |_| Ok(vec![finding()]));
    let (run, mut observed) = Observed::new(submit(Arc::new(cluster), "sleep").await.detached());
    let running = tokio::spawn(run.wait());
    observed.until("diagnosis: no node has room").await;
    observed.until("diagnosis: no node has room").await;
    observed.cancellation.cancel();
    assert!(matches!(running.await.unwrap().unwrap().end, RunEnd::Detached));
}

/// An engine whose work a test sets.
#[derive(Debug)]
struct Engine(watch::Receiver<u64>);

#[async_trait]
impl WorkSource for Engine {
    async fn work(&self) -> Result<Work> {
        Ok(Work::new(Workload::new(*self.0.borrow(), 0)))
    }
}

#[tokio::test(start_paused = true)]
async fn executors_that_are_there_stay_and_follow_the_work_from_then_on() {
    let (fake, cluster) = fake().await;
    submit(Arc::clone(&cluster), "sleep").await;
    cluster.request_executors(&app(), &executors("sleep", 3)).await.unwrap();
    let known = Executors::follow(&*cluster, &app()).await.unwrap();
    known.ready(3).await.unwrap();

    let (work, receiver) = watch::channel(3);
    let policy = DynamicAllocationPolicy::default();
    let run = submit(cluster, "sleep").await.with_executors(executors("sleep", 0));
    let run = run.with_dynamic_allocation(policy, Arc::new(Engine(receiver)));
    let (run, mut observed) = Observed::new(run);
    let running = tokio::spawn(run.wait());
    // There is work for one more, and then for none.
    work.send_replace(4);
    observed.until("executor 4 Running").await;
    work.send_replace(0);
    known.none_left().await.unwrap();
    fake.kill_with(&Subject::Driver(id()), Cause::Finished);
    assert_eq!(running.await.unwrap().unwrap().exit_code(), 0);
    let ends = (1..=5).map(|id| observed.count(&format!("executor {id} Killed")));
    assert_eq!(ends.collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
}
