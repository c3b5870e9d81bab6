//! Comparisons on clusters that are not real, some of which do not do what they should.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anymaster_compare::{
    Candidate, CompareOptions, Comparison, Job, Limits, MeasuredOutcome, Phase, Prices, Progress,
    Shapes, Stop, compare, follow,
};
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, CommandLine, Event, ExecutorTarget, ExecutorTemplate, Filter,
    ResourceProfile, Status, Subject, SubmissionId,
};
use anymaster_core::testing::{FakeBackend, FakeCluster};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, ClusterManager, ConnectOptions, DriverPlacement, Error,
    EventStream, Launched, LogOptions, LogStream, MasterUrl, Registry, Result, SubmissionIdForm,
    WatchOptions,
};
use async_trait::async_trait;
use futures::StreamExt as _;

const INFO: BackendInfo = {
    let mut info = BackendInfo::new("fake", &[("fake", "fake://host")], "a fake");
    info.drivers = DriverPlacement::ThisMachine;
    info
};

/// What a cluster does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Down,
    NeverConnects,
    NeverAnswers,
    NeverLaunches,
    Refuses,
}

#[derive(Debug, Clone)]
struct Faulty {
    fault: Fault,
    kills: Arc<AtomicU32>,
}

#[async_trait]
impl Backend for Faulty {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        Ok(master.clone())
    }

    async fn connect(&self, _: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        match self.fault {
            Fault::Down => Err(Error::unavailable("connection refused").with_hint("start it")),
            Fault::NeverConnects => std::future::pending().await,
            _ => Ok(Arc::new(self.clone())),
        }
    }
}

#[async_trait]
impl ClusterManager for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    async fn launch_driver(&self, _: &SubmissionId, _: &ApplicationSpec) -> Result<Launched> {
        match self.fault {
            Fault::NeverLaunches => std::future::pending().await,
            _ => Err(Error::unsupported("no drivers here")),
        }
    }

    async fn request_executors(&self, _: &AppId, _: &ExecutorTarget) -> Result<()> {
        panic!("it has no driver")
    }

    async fn kill(&self, _: &Subject, _: Duration) -> Result<()> {
        self.kills.fetch_add(1, Ordering::Relaxed);
        Err(Error::not_found("no such driver"))
    }

    async fn watch(&self, _: &WatchOptions) -> Result<EventStream> {
        panic!("it has no driver")
    }

    async fn list(&self, _: &Filter) -> Result<Vec<Status>> {
        match self.fault {
            Fault::NeverAnswers => std::future::pending().await,
            _ => Ok(Vec::new()),
        }
    }

    async fn logs(&self, _: &Subject, _: &LogOptions) -> Result<LogStream> {
        panic!("it has no driver")
    }
}

fn job(driver: CommandLine) -> Job {
    let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    let profile = ResourceProfile::new(1.0, 1024);
    Job {
        app: ApplicationSpec::new("a job", driver),
        target: Some(ExecutorTarget::new(template, profile.clone(), 2)),
        dynamic: None,
        shapes: Shapes { driver: ResourceProfile::new(1.0, 0), executor: profile },
        ids: SubmissionIdForm::Application,
        grace: Duration::from_secs(1),
    }
}

fn candidate(backend: impl Backend, master: &str, job: Result<Job>) -> Candidate {
    let registry = Registry::new().with(backend);
    let master = registry.parse(master).unwrap();
    let prices = Prices::parse("core-hour = 1\ngib-hour = 1").unwrap();
    Candidate {
        title: "a fake".to_owned(),
        connect: ConnectOptions::new(master.clone()),
        price: prices.of(master.as_str()),
        master,
        registry,
        job,
    }
}

fn options(runs: u32) -> CompareOptions {
    let limits = Limits { answer: Duration::from_secs(30), run: Duration::from_secs(60) };
    CompareOptions { name: "a job".to_owned(), runs, limits, currency: String::new() }
}

async fn compared(candidates: Vec<Candidate>, runs: u32) -> (Comparison, Vec<String>) {
    let begun: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&begun);
    let observer = Arc::new(move |step: Progress<'_>| {
        if let Progress::Begins(master, number, _) = step {
            told.lock().unwrap().push(format!("{master} {number}"));
        }
    });
    let comparison = compare(candidates, &options(runs), observer, &Stop::new()).await;
    let begun = begun.lock().unwrap().clone();
    (comparison, begun)
}

fn exit(code: &str) -> CommandLine {
    CommandLine::new("exit").args([code])
}

/// Whether all that a fake cluster ever ran has ended.
async fn all_ended(cluster: &FakeCluster) -> bool {
    let living = cluster.list(&Filter::default().live()).await.unwrap();
    living.iter().all(|status| status.state().is_none())
}

#[tokio::test]
async fn clusters_run_a_job_in_turn() {
    let fake = || FakeBackend::new(&INFO, FakeCluster::new());
    let candidates = vec![
        candidate(fake(), "fake://a", Ok(job(exit("0")))),
        candidate(fake(), "fake://b", Ok(job(exit("3")))),
    ];
    let (comparison, begun) = compared(candidates, 2).await;
    assert_eq!(begun, ["fake://a 1", "fake://b 1", "fake://a 2", "fake://b 2"]);
    let [a, b] = &comparison.clusters[..] else { panic!("{comparison:?}") };
    assert_eq!((a.finished(), b.finished(), comparison.is_complete()), (2, 0, false));
    assert!(a.phase(Phase::Submission).is_some() && a.phase(Phase::CleanUp).is_some());
    let failed = &b.runs[0].end;
    assert_eq!((failed.outcome, failed.exit_code), (MeasuredOutcome::Failed, Some(3)));
    // Of one that only failed, what its runs took is shown all the same.
    assert!(b.phase(Phase::Submission).is_some());
    assert_eq!(comparison.csv().lines().count(), 5);
    assert!(comparison.markdown().contains("| finished | 2 of 2 | 0 of 2 |"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_down_hangs_or_refuses_does_not_hold_up_the_others() {
    let faults = [
        Fault::Down,
        Fault::NeverConnects,
        Fault::NeverAnswers,
        Fault::NeverLaunches,
        Fault::Refuses,
    ];
    let kills = Arc::new(AtomicU32::new(0));
    let mut candidates: Vec<_> = faults
        .iter()
        .map(|fault| {
            let backend = Faulty { fault: *fault, kills: Arc::clone(&kills) };
            candidate(backend, &format!("fake://{fault:?}"), Ok(job(exit("0"))))
        })
        .collect();
    let good = FakeBackend::new(&INFO, FakeCluster::new());
    candidates.push(candidate(good.clone(), "fake://good", Ok(job(exit("0")))));
    let unsuitable = Err(Error::unsupported("it has no GPU"));
    candidates.push(candidate(good, "fake://unsuitable", unsuitable));
    let (comparison, begun) = compared(candidates, 2).await;
    let expected = ["fake://NeverLaunches 1", "fake://Refuses 1", "fake://good 1", "fake://good 2"];
    assert_eq!(begun, expected);
    let columns = comparison.clusters.iter();
    let why: Vec<_> = columns
        .map(|column| column.obstacle.as_ref().map_or("", |obstacle| obstacle.why.as_str()))
        .collect();
    let expected = [
        "connection refused",
        "no connection within 30s",
        "no answer within 30s",
        "the cluster did not answer the submission within 30s",
        "no drivers here",
        "",
        "it has no GPU",
    ];
    assert_eq!(why, expected);
    assert_eq!(comparison.clusters[5].finished(), 2);
    assert!(comparison.clusters[6].capabilities.is_some());
    // Whether the driver was started is not known: it is ended all the same.
    assert_eq!(kills.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stop_ends_the_run_and_keeps_what_is_known() {
    let cluster = FakeCluster::new();
    let backend = || FakeBackend::new(&INFO, cluster.clone());
    let sleep = CommandLine::new("sleep").args(["3600"]);
    let candidates = vec![
        candidate(backend(), "fake://a", Ok(job(exit("0")))),
        candidate(backend(), "fake://b", Ok(job(sleep))),
        candidate(backend(), "fake://c", Ok(job(exit("0")))),
    ];
    let stop = Stop::new();
    let called = stop.clone();
    let observer = Arc::new(move |step: Progress<'_>| {
        if let Progress::Allocation("fake://b", _, allocation) = step
            && allocation.running == 2
        {
            called.call();
        }
    });
    let comparison = compare(candidates, &options(3), observer, &stop).await;
    assert!(comparison.interrupted && !comparison.is_complete());
    let columns = comparison.clusters.iter();
    let outcomes: Vec<Vec<_>> =
        columns.map(|column| column.runs.iter().map(|run| run.end.outcome).collect()).collect();
    let expected =
        [vec![MeasuredOutcome::Finished], vec![MeasuredOutcome::Interrupted], Vec::new()];
    assert_eq!(outcomes, expected);
    let run = &comparison.clusters[1].runs[0];
    assert_eq!(run.timeline.executors.len(), 2);
    assert!(run.cost.is_some_and(|cost| cost > 0.0));
    assert!(all_ended(&cluster).await);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_ended() {
    let cluster = FakeCluster::new();
    let backend = FakeBackend::new(&INFO, cluster.clone());
    let sleep = CommandLine::new("sleep").args(["3600"]);
    let (comparison, _) = compared(vec![candidate(backend, "fake://a", Ok(job(sleep)))], 2).await;
    let column = &comparison.clusters[0];
    assert_eq!(column.runs.len(), 1, "{column:?}");
    assert_eq!(column.runs[0].end.outcome, MeasuredOutcome::TimedOut);
    let why = &column.obstacle.as_ref().unwrap().why;
    assert_eq!(why, "it took longer than 60s, and was ended");
    assert!(all_ended(&cluster).await);
}

#[tokio::test]
async fn what_runs_is_followed_to_its_end() {
    let cluster = FakeCluster::new();
    let (id, job) = (SubmissionId::new("app-1").unwrap(), job(CommandLine::new("sleep")));
    let launched = cluster.launch_driver(&id, &job.app).await.unwrap();
    let app = launched.driver.app.clone();
    cluster.request_executors(&app, &job.target.unwrap()).await.unwrap();
    let all_run = async {
        let mut events = cluster.watch(&WatchOptions::of(&app)).await.unwrap();
        while let Some(event) = events.next().await {
            if let Event::Changed(Status::Allocation(allocation)) = event.unwrap()
                && allocation.running == 2
            {
                return;
            }
        }
    };
    all_run.await;
    let driver = cluster.get(&id).await.unwrap();
    let stop = Stop::new();
    // It is polled first, and so has seen what runs.
    let (timeline, ()) = tokio::join!(biased; follow(&cluster, &driver, &stop), async {
        cluster.kill_with(&Subject::Driver(id.clone()), Cause::Finished);
    });
    let timeline = timeline.unwrap();
    assert_eq!(timeline.driver.cause, Some(Cause::Finished));
    assert_eq!(timeline.executors.len(), 2);
    for bar in &timeline.executors {
        assert!(bar.ran().is_some(), "{bar:?}");
    }
    assert!(timeline.marks.all_ended.is_some(), "{timeline:?}");
}

#[tokio::test]
async fn a_follower_that_is_stopped_ends_nothing() {
    let cluster = FakeCluster::new();
    let (id, job) = (SubmissionId::new("app-1").unwrap(), job(CommandLine::new("sleep")));
    let driver = cluster.launch_driver(&id, &job.app).await.unwrap().driver;
    let stop = Stop::new();
    stop.call();
    let timeline = follow(&cluster, &driver, &stop).await.unwrap();
    assert_eq!((timeline.driver.ended, timeline.marks.all_ended), (None, None));
    assert!(!cluster.get(&id).await.unwrap().state.is_ended());
}
