//! What breaks on a real YARN (`tests/clusters/yarn`), and what is left then: `tests/all yarn` runs it, one after the
//! other, as each takes away something that the others need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-yarn --test yarn_faults -- --ignored --test-threads 1`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anymaster_conformance::processes::{self, Process};
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, CommandLine, Event, ExecutorId, ExecutorStatus, ExecutorTarget,
    ExecutorTemplate, Filter, KilledBy, ResourceProfile, StartFailure, State, Status, Subject,
    SubmissionId,
};
use anymaster_core::{
    ClusterManager, ConnectOptions, ErrorKind, EventStream, Health, Registry, WatchOptions,
};
use anymaster_yarn::YARN;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// An application whose driver waits, and what is seen of it.
struct Scene {
    cluster: Arc<dyn ClusterManager>,
    id: SubmissionId,
    app: AppId,
    events: EventStream,
    driver: Option<State>,
    executors: BTreeMap<ExecutorId, ExecutorStatus>,
}

async fn connect() -> Arc<dyn ClusterManager> {
    let options = ConnectOptions::new("yarn".parse().unwrap());
    Registry::new().with(YARN).connect(options).await.unwrap()
}

fn spec(more: &[(&str, &str)]) -> ApplicationSpec {
    let program = format!("local:{}", std::env::var("ANYMASTER_PROGRAM").unwrap());
    let mut conf: Conf = [("spark.anymaster.yarn.program", program.as_str())].into_iter().collect();
    more.iter().for_each(|(key, value)| conf.set(*key, *value));
    ApplicationSpec::new("faults", CommandLine::new("sleep").args(["3600"])).with_conf(conf)
}

fn wait(executors: u32, memory_mib: u64) -> ExecutorTarget {
    let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    ExecutorTarget::new(template, ResourceProfile::new(1.0, memory_mib), executors)
}

fn id_of(name: &str) -> SubmissionId {
    SubmissionId::new(&format!("{name}-{}", std::process::id())).unwrap()
}

/// Does something to a daemon of the cluster.
fn daemon(arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("tests/clusters/yarn/daemon"));
    assert!(command.args(arguments).status().unwrap().success(), "{arguments:?}");
}

impl Scene {
    async fn new(name: &str) -> Self {
        let (cluster, id) = (connect().await, id_of(name));
        let app = AppId::new(id.as_str()).unwrap();
        cluster.launch_driver(&id, &spec(&[])).await.unwrap();
        let events = cluster.watch(&WatchOptions::of(&app)).await.unwrap();
        let mut scene = Self { cluster, id, app, events, driver: None, executors: BTreeMap::new() };
        scene.until("the driver runs", |scene| scene.driver == Some(State::Running)).await;
        scene
    }

    fn running(&self) -> Vec<ExecutorId> {
        let running = self.executors.values().filter(|it| it.state == State::Running);
        running.map(|it| it.id).collect()
    }

    fn cause(&self, id: u64) -> Option<&Cause> {
        self.executors.get(&ExecutorId(id))?.state.end().map(|end| &end.cause)
    }

    fn still_run(&self, before: &[ExecutorId]) {
        let ended = before.iter().filter_map(|id| self.cause(id.0).map(|cause| (id, cause)));
        let ended: Vec<_> = ended.collect();
        assert!(ended.is_empty(), "{before:?} ran, and of these have ended {ended:?}");
    }

    async fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            let event = tokio::time::timeout_at(deadline, self.events.next()).await;
            let Ok(event) = event else {
                panic!("not seen: {what}; driver {:?}, {:#?}", self.driver, self.executors)
            };
            match event.unwrap().unwrap() {
                Event::Changed(Status::Driver(driver)) => self.driver = Some(driver.state),
                Event::Changed(Status::Executor(executor)) => {
                    self.executors.insert(executor.id, executor);
                }
                _ => {}
            }
        }
    }

    async fn request(&self, executors: u32) {
        self.cluster.request_executors(&self.app, &wait(executors, 64)).await.unwrap();
    }

    /// Ends the driver: nothing is left then.
    async fn end(mut self) {
        let driver = Subject::Driver(self.id.clone());
        self.cluster.kill(&driver, Duration::from_secs(1)).await.unwrap();
        self.nothing_is_left().await;
    }

    async fn nothing_is_left(&mut self) {
        self.until("all has ended", |scene| {
            scene.driver.as_ref().is_some_and(State::is_ended)
                && scene.executors.values().all(|it| it.state.is_ended())
        })
        .await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !processes::of_application(&self.app).is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "processes are left");
            // Nobody announces that a process is not there.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn a_resource_manager_that_is_killed_in_mid_ramp_costs_no_executor() {
    let mut scene = Scene::new("rm-killed").await;
    scene.request(20).await;
    scene.until("the first executors run", |scene| !scene.running().is_empty()).await;
    let before = scene.running();
    tokio::task::spawn_blocking(|| daemon(&["restart", "rm", "KILL"])).await.unwrap();
    scene.until("all executors run", |scene| scene.running().len() == 20).await;
    scene.still_run(&before);
    // It is heard again: targets, and ends.
    scene.request(22).await;
    scene.until("more executors run", |scene| scene.running().len() == 22).await;
    let victim = processes::executor(&scene.app, ExecutorId(1)).await;
    victim.iter().for_each(Process::kill);
    scene.until("its end is seen", |scene| scene.cause(1).is_some()).await;
    assert_eq!(scene.cause(1), Some(&Cause::Signaled { signal: 9 }));
    scene.until("it is replaced", |scene| scene.running().len() == 22).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn a_node_manager_that_is_killed_and_comes_back_costs_no_executor() {
    let mut scene = Scene::new("nm-killed").await;
    scene.request(6).await;
    scene.until("all executors run", |scene| scene.running().len() == 6).await;
    let before = scene.running();
    // A NodeManager says that a container runs just before it starts the program. One that is killed between the two
    // takes the container for lost when it is back (Hadoop 3.4, `ContainerLaunch`, `RecoveredContainerLaunch`).
    for id in &before {
        assert!(processes::executor(&scene.app, *id).await.is_some(), "{id}");
    }
    tokio::task::spawn_blocking(|| daemon(&["restart", "nm1", "KILL"])).await.unwrap();
    // It starts and ends executors as before.
    scene.request(10).await;
    scene.until("more executors run", |scene| scene.running().len() == 10).await;
    scene.still_run(&before);
    scene.request(0).await;
    scene.until("none runs", |scene| scene.executors.values().all(|it| it.state.is_ended())).await;
    for id in 1..=10 {
        let wanted = Some(&Cause::Killed { by: KilledBy::ScaleDown });
        assert_eq!(scene.cause(id), wanted, "executor {id}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn with_an_application_master_that_is_killed_driver_and_executors_end() {
    let mut scene = Scene::new("am-killed").await;
    scene.request(3).await;
    scene.until("all executors run", |scene| scene.running().len() == 3).await;
    let all = processes::of_application(&scene.app);
    let driver = all.iter().find(|process| !process.is_of_executor()).unwrap();
    driver.kill_parent();
    scene.nothing_is_left().await;
    let cause = scene.driver.as_ref().and_then(State::end).map(|end| &end.cause);
    assert_eq!(cause, Some(&Cause::Signaled { signal: 9 }));
    for id in 1..=3 {
        assert_eq!(scene.cause(id), Some(&Cause::Killed { by: KilledBy::DriverEnd }));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn what_the_cluster_cannot_give_is_refused_with_numbers_and_names() {
    let cluster = connect().await;
    let error = cluster
        .launch_driver(&id_of("queue"), &spec(&[("spark.yarn.queue", "nowhere")]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert!(error.message().contains("unknown queue: nowhere"), "{error}");
    let huge = spec(&[]).with_driver_resources(ResourceProfile::new(1.0, 1 << 20));
    let error = cluster.launch_driver(&id_of("huge"), &huge).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert!(error.message().contains("8192 MiB"), "{error}");

    let scene = Scene::new("too-large").await;
    let error = scene.cluster.request_executors(&scene.app, &wait(1, 1 << 20)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert!(error.message().contains("1048576 MiB") && error.message().contains("8192"), "{error}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn why_containers_ended_is_what_their_nodes_say() {
    let mut scene = Scene::new("memory").await;
    // Holds 800 MB until it is ended.
    let line = "{ head -c 800000000 /dev/zero; sleep 3600; } | tail";
    let template = ExecutorTemplate::new(CommandLine::new("sh").args(["-c", line]));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 64), 1);
    scene.cluster.request_executors(&scene.app, &target).await.unwrap();
    scene.until("its end is seen", |scene| scene.cause(1).is_some()).await;
    let limit = match scene.cause(1) {
        Some(Cause::OutOfMemory { limit_mib: Some(limit) }) => *limit,
        other => panic!("{other:?}"),
    };
    assert!((64..800).contains(&limit), "{limit} MiB");
    scene.end().await;

    let program = [("spark.anymaster.yarn.program", "local:/no/such/program")];
    let (cluster, id) = (connect().await, id_of("no-program"));
    cluster.launch_driver(&id, &spec(&program)).await.unwrap();
    let mut events =
        cluster.watch(&WatchOptions::of(&AppId::new(id.as_str()).unwrap())).await.unwrap();
    let cause = loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
        if let Event::Changed(Status::Driver(driver)) = event.unwrap().unwrap()
            && let State::Ended(end) = driver.state
        {
            break end.cause;
        }
    };
    let Cause::CouldNotStart { failure: StartFailure::BadCommand, why } = &cause else {
        panic!("{cause:?}")
    };
    assert!(why.contains("/no/such/program"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn hdfs_in_safe_mode_is_told_and_what_runs_goes_on() {
    let scene = Scene::new("safe-mode").await;
    // A name node that was started again waits for the blocks of files, of which that application has some.
    let take = || {
        daemon(&["stop", "dn"]);
        daemon(&["restart", "nn"]);
    };
    tokio::task::spawn_blocking(take).await.unwrap();
    let error = scene.cluster.launch_driver(&id_of("later"), &spec(&[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("Name node is in safe mode"), "{error}");
    assert!(error.hint().unwrap().contains("hdfs dfsadmin -safemode"), "{error}");
    let administration = scene.cluster.administration().unwrap();
    let staging = async || {
        let checks = administration.preflight().await;
        checks.into_iter().find(|check| check.name == "staging directory").unwrap()
    };
    let told = staging().await;
    assert_eq!(told.health, Health::Missing, "{told:?}");
    assert!(told.detail.contains("safe mode") && told.remedy.is_some(), "{told:?}");
    tokio::task::spawn_blocking(|| daemon(&["start", "dn"])).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while staging().await.health != Health::Ok {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", staging().await);
        // Nobody announces that it has left safe mode.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let later = scene.cluster.launch_driver(&id_of("later"), &spec(&[])).await.unwrap();
    let driver = Subject::Driver(later.driver.submission);
    scene.cluster.kill(&driver, Duration::ZERO).await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn garbage_on_the_port_of_an_application_master_disturbs_nobody() {
    let mut scene = Scene::new("garbage").await;
    scene.request(1).await;
    scene.until("the executor runs", |scene| scene.running().len() == 1).await;
    let report = scene.cluster.get(&scene.id).await.unwrap().report.unwrap();
    let fact = |name: &str| report.facts.iter().find(|(key, _)| *key == name).unwrap().1.clone();
    let address =
        format!("{}:{}", fact("ApplicationMaster host"), fact("ApplicationMaster RPC port"));
    let random: Vec<u8> =
        (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let greeting = b"anymaster-yarn 1";
    // Nothing that is understood, short and long; a greeting with nonsense; a greeting with a proof of zeros.
    let texts = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        random.clone(),
        [&greeting[..], &random].concat(),
        [&greeting[..], &[0; 64], &[0xff; 4096]].concat(),
    ];
    for (number, text) in texts.iter().enumerate() {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // It may be closed before all of it was sent.
        let _ = stream.write_all(text).await;
        let mut answer = Vec::new();
        let closing = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(closing.is_ok(), "text {number}: the connection stays");
        // Its greeting, which has no secrets.
        assert!(answer.len() <= 48, "text {number}: {} bytes", answer.len());
    }
    // Those who say nothing are closed after a while, and those who are too many at once.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let before = scene.running();
    for stream in &mut silent {
        let mut answer = Vec::new();
        let closing = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(closing.is_ok(), "a connection that says nothing stays");
    }
    scene.request(2).await;
    scene.until("another one runs", |scene| scene.running().len() == 2).await;
    scene.still_run(&before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real YARN: tests/all yarn"]
async fn two_submissions_with_one_id_at_once_are_one_application() {
    let (cluster, id) = (connect().await, id_of("twice"));
    let same = spec(&[]);
    let (one, other) =
        tokio::join!(cluster.launch_driver(&id, &same), cluster.launch_driver(&id, &same));
    let (one, other) = (one.unwrap().driver, other.unwrap().driver);
    assert_eq!((&one.submission, &one.uid), (&id, &other.uid));
    let different = spec(&[("spark.yarn.tags", "other")]);
    let error = cluster.launch_driver(&id, &different).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    // The one that lost is gone with its files.
    let living = cluster.list(&Filter::drivers().live()).await.unwrap();
    let ours = living.into_iter().filter_map(Status::into_driver).filter(|it| it.submission == id);
    assert_eq!(ours.count(), 1);
    cluster.kill(&Subject::Driver(id), Duration::from_secs(1)).await.unwrap();
}
