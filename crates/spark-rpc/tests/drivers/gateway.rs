//! A gateway over a cluster in memory, called by drivers that repeat what Spark has said.

use std::sync::Arc;

use anymaster_core::model::{AppId, Applications, Cause, ExecutorId, Filter, State, Subject};
use anymaster_core::testing::FakeCluster;
use anymaster_core::{ClusterManager, ErrorKind};
use anymaster_net::Admission;
use anymaster_spark_rpc::{Gateway, GatewayOptions, SparkInstallation, SparkMaster, Sparks};
use anymaster_spark_wire::Frame;
use tokio::sync::oneshot;

use crate::pretend::{Driver, PATIENCE, about, sample};

/// Executors that run until they are ended.
fn sleeping() -> Sparks {
    Sparks::Elsewhere(SparkInstallation {
        java: vec!["sleep".to_owned()],
        ..SparkInstallation::at("/opt/spark")
    })
}

struct Served {
    cluster: FakeCluster,
    url: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

async fn serve(sparks: Sparks) -> Served {
    let cluster = FakeCluster::new();
    let mut options = GatewayOptions::new(Arc::new(cluster.clone()), sparks);
    options.conf.set("spark.deploy.defaultCores", "2");
    let gateway = Gateway::bind(options).await.unwrap();
    let url = gateway.url();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(gateway.serve(async {
        // A sender that is dropped stops it as well.
        let _ = stopped.await;
    }));
    Served { cluster, url, stop, serving }
}

impl Served {
    async fn state(&self, app: &str) -> Applications {
        let filter = Filter::of(&AppId::new(app).unwrap());
        self.cluster.list(&filter).await.unwrap().into_iter().collect()
    }

    /// Waits until the application is over; returns why its driver ended.
    async fn over(&self, app: &str) -> Cause {
        let id = AppId::new(app).unwrap();
        let over = async {
            loop {
                let state = self.state(app).await;
                let application = state.get(&id).unwrap();
                if application.is_over() {
                    let driver = application.driver.clone().unwrap();
                    return driver.state.end().unwrap().cause.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, over).await.expect("the application does not end")
    }

    async fn running(&self, app: &str) -> Vec<u64> {
        let state = self.state(app).await;
        let executors = &state.get(&AppId::new(app).unwrap()).unwrap().executors;
        let running = executors.values().filter(|executor| executor.state == State::Running);
        running.map(|executor| executor.id.0).collect()
    }
}

fn executor(app: &str, id: u64) -> Subject {
    Subject::Executor(AppId::new(app).unwrap(), ExecutorId(id))
}

#[tokio::test]
async fn a_driver_gets_its_executors_and_is_told_of_their_ends() {
    for version in ["3.5.9", "4.0.5", "4.1.4", "4.3.0"] {
        let served = serve(sleeping()).await;
        let (mut driver, app) = Driver::register(&served.url, version).await;
        assert!(app.starts_with("app-2"), "{app}");
        let mut first = [driver.executor().await, driver.executor().await];
        first.sort_unstable();
        assert_eq!(first, [1, 2], "{version}");
        // As `kill -9` does; it is replaced.
        served.cluster.kill_with(&executor(&app, 2), Cause::Signaled { signal: 9 });
        let ended = driver.expect("ExecutorUpdated").await;
        assert_eq!((ended.number("id"), ended.state(), ended.exit_status()), (2, 5, Some(137)));
        assert_eq!(driver.executor().await, 3);
        // A node is lost: it is not the application's fault, and what it held is gone.
        served.cluster.kill_with(&executor(&app, 1), Cause::Lost { why: "cable".into() });
        let lost = driver.expect("ExecutorUpdated").await;
        assert_eq!((lost.number("id"), lost.state(), lost.exit_status()), (1, 4, None));
        assert!(lost.option("workerHost").is_some());
        driver.expect("WorkerRemoved").await;
        assert_eq!(driver.executor().await, 4);
        driver.send(&about(version, "UnregisterApplication", &app)).await;
        assert_eq!(served.over(&app).await, Cause::Finished);
    }
}

#[tokio::test]
async fn totals_and_kills_of_dynamic_allocation_are_kept() {
    for version in ["3.5.9", "4.0.5", "4.1.4"] {
        let served = serve(sleeping()).await;
        let (mut driver, app) = Driver::register(&served.url, version).await;
        assert_eq!([driver.executor().await, driver.executor().await], [1, 2]);
        // Of other applications nothing can be asked.
        driver.send(&sample(version, "KillExecutors")).await;
        assert!(!driver.answer().await);
        // The sample gives up executor 0 or 1 while the total stands: it is replaced if there is such a one.
        driver.send(&about(version, "KillExecutors", &app)).await;
        assert!(driver.answer().await);
        driver.send(&about(version, "RequestExecutors", &app)).await;
        assert!(driver.answer().await);
        for _ in 0..100 {
            driver.send(&about(version, "RequestExecutors", &app)).await;
            assert!(driver.answer().await);
        }
        drop(driver);
        let cause = served.over(&app).await;
        assert!(matches!(cause, Cause::Lost { .. }), "{version}: {cause}");
    }
}

#[tokio::test]
async fn executors_end_with_the_connection_of_their_driver() {
    let served = serve(sleeping()).await;
    let (mut driver, app) = Driver::register(&served.url, "4.0.5").await;
    driver.executor().await;
    driver.executor().await;
    assert_eq!(served.running(&app).await.len(), 2);
    drop(driver);
    assert!(matches!(served.over(&app).await, Cause::Lost { .. }));
}

#[tokio::test]
async fn an_application_that_is_killed_from_outside_is_told_so() {
    let served = serve(sleeping()).await;
    let (mut driver, app) = Driver::register(&served.url, "4.0.5").await;
    driver.executor().await;
    driver.executor().await;
    let id = anymaster_core::model::SubmissionId::new(&app).unwrap();
    served.cluster.kill(&Subject::Driver(id), PATIENCE).await.unwrap();
    let removed = driver.expect("ApplicationRemoved").await;
    assert_eq!(removed.text("message"), "KILLED");
}

#[tokio::test]
async fn executors_that_die_at_once_end_the_application_with_the_reason() {
    let broken =
        SparkInstallation { java: vec!["exit".to_owned()], ..SparkInstallation::at("/opt/spark") };
    let served = serve(Sparks::Elsewhere(broken)).await;
    let (mut driver, app) = Driver::register(&served.url, "3.5.9").await;
    let mut ended = 0;
    let removed = loop {
        let said = driver.next().await.unwrap();
        match said.class.as_str() {
            "ApplicationRemoved" => break said,
            "ExecutorUpdated" if said.state() == 5 => ended += 1,
            _ => {}
        }
    };
    assert!(ended > 10, "{ended} ends were told");
    let message = removed.text("message");
    assert!(message.starts_with("FAILED: 11 executors failed"), "{message}");
    assert!(matches!(served.over(&app).await, Cause::CouldNotStart { .. }));
}

#[tokio::test]
async fn a_driver_whose_spark_is_not_there_is_told_so_in_words() {
    let none = Sparks::ThisMachine { homes: Vec::new(), java: "/usr/bin/java".into() };
    let served = serve(none).await;
    let mut driver = Driver::connect(&served.url).await;
    driver.send(&sample("4.0.5", "CheckExistence-Master")).await;
    assert!(driver.answer().await);
    driver.send(&sample("4.0.5", "RegisterApplication")).await;
    let message = driver.expect("ApplicationRemoved").await.text("message");
    assert!(message.contains("the driver runs Spark 4.0 (Scala 2.13)"), "{message}");
    assert!(message.contains("spark.anymaster.gateway.sparkHomes"), "{message}");
}

#[tokio::test]
async fn a_registration_that_is_repeated_is_one_application() {
    let served = serve(sleeping()).await;
    let (mut driver, app) = Driver::register(&served.url, "4.1.4").await;
    driver.send(&sample("4.1.4", "RegisterApplication")).await;
    driver.send(&about("4.1.4", "UnregisterApplication", &app)).await;
    served.over(&app).await;
    let all = served.cluster.list(&Filter::drivers()).await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn a_gateway_that_ends_ends_its_executors() {
    let served = serve(sleeping()).await;
    let (mut driver, app) = Driver::register(&served.url, "4.1.4").await;
    driver.executor().await;
    served.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, served.serving).await.expect("it does not end").unwrap();
    let state: Applications = served
        .cluster
        .list(&Filter::of(&AppId::new(&app).unwrap()))
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(state.get(&AppId::new(&app).unwrap()).unwrap().is_over());
}

#[tokio::test]
async fn an_executor_finds_its_worker_and_nothing_else_exists() {
    let served = serve(sleeping()).await;
    let mut executor = Driver::connect(&served.url).await;
    executor.send(&sample("4.0.5", "CheckExistence-Worker-client")).await;
    assert!(executor.answer().await);
    let mut other = sample("4.0.5", "CheckExistence-Master");
    let at = other.windows(6).rposition(|window| window == b"Master").unwrap();
    other[at] = b'F';
    executor.send(&other).await;
    assert!(!executor.answer().await);
}

#[tokio::test]
async fn strangers_are_turned_away_and_disturb_nobody() {
    let served = serve(sleeping()).await;
    let (mut driver, app) = Driver::register(&served.url, "4.0.5").await;
    driver.executor().await;
    driver.executor().await;
    let mut deep = vec![0xAC, 0xED, 0, 5];
    deep.extend([0x73, 0x72, 0, 1, b'A', 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0x78, 0x70]);
    (0..100_000).for_each(|_| deep.extend([0x73, 0x71, 0, 0x7E, 0, 0]));
    let mut handles = vec![0xAC, 0xED, 0, 5];
    handles.extend([0x73, 0x72, 0, 1, b'A', 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0x78, 0x70]);
    (0..1_000_000).for_each(|_| handles.extend([0x74, 0, 0]));
    let tell = |content: &[u8]| {
        let body = [&[0, 0, 0, 6][..], b"Master", content].concat();
        Frame::OneWay { body }.encode()
    };
    let messages: [Vec<u8>; 8] = [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        vec![0xFF; 100],
        i64::MAX.to_be_bytes().to_vec(),
        [&i64::to_be_bytes(1 << 40)[..], &[3]].concat(),
        tell(&deep),
        tell(&handles),
        tell(b"no stream of Java's"),
        // A frame for blocks.
        [&i64::to_be_bytes(20)[..], &[6], &[0; 11]].concat(),
    ];
    for message in messages {
        let mut stranger = Driver::connect(&served.url).await;
        // It may be closed before all of it is there.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger.stream, &message).await;
        assert!(stranger.frame().await.is_none(), "{:?}", &message[..8]);
    }
    // A registration without the question before it.
    let mut stranger = Driver::connect(&served.url).await;
    stranger.send(&sample("4.0.5", "RegisterApplication")).await;
    assert!(stranger.frame().await.is_none());
    driver.send(&about("4.0.5", "RequestExecutors", &app)).await;
    assert!(driver.answer().await);
}

#[tokio::test]
async fn a_master_that_waits_for_its_turn_is_there_and_takes_nothing_in() {
    let cluster = FakeCluster::new();
    let options = GatewayOptions::new(Arc::new(cluster.clone()), sleeping());
    let master = SparkMaster::new(options).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("spark://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (stream, from) = listener.accept().await.unwrap();
        let admitted = Arc::new(Admission::of_process().admit(from.ip()).unwrap());
        master.serve(Box::new(stream), admitted, false).await
    });
    let mut driver = Driver::connect(&url).await;
    for message in ["CheckExistence-Master", "RegisterApplication", "CheckExistence-Master"] {
        driver.send(&sample("4.0.5", message)).await;
    }
    // These are the answers to the questions; the registration has none.
    assert!(driver.answer().await && driver.answer().await);
    drop(driver);
    serving.await.unwrap().unwrap();
    assert_eq!(cluster.list(&Filter::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_cluster_without_external_drivers_is_refused() {
    let mut cluster = anymaster_core::testing::MockClusterManager::new();
    cluster.expect_capabilities().return_const(anymaster_core::Capabilities::new());
    cluster.expect_name().return_const("toy");
    let options = GatewayOptions::new(Arc::new(cluster), sleeping());
    let error = Gateway::bind(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("toy"), "{error}");
}

/// A request of SASL with this token.
fn sasl(token: &[u8]) -> Vec<u8> {
    let user = b"sparkSaslUser";
    let mut body = vec![0xEA];
    for part in [&user[..], token] {
        body.extend((part.len() as i32).to_be_bytes());
        body.extend(part);
    }
    Frame::RpcRequest { id: 1, body }.encode()
}

#[tokio::test]
async fn with_a_secret_nobody_is_heard_before_the_proof() {
    let mut options = GatewayOptions::new(Arc::new(FakeCluster::new()), sleeping());
    options.conf.set("spark.authenticate", "true");
    options.conf.set("spark.authenticate.secret", "s3cret");
    let gateway = Gateway::bind(options).await.unwrap();
    let url = gateway.url();
    let serving = tokio::spawn(gateway.serve(std::future::pending()));
    // Without authentication: told as Spark tells it, and closed.
    let mut plain = Driver::connect(&url).await;
    plain.send(&sample("4.0.5", "CheckExistence-Master")).await;
    match plain.frame().await {
        Some(Frame::RpcFailure { text, .. }) => {
            assert!(text.contains("Expected SaslMessage"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    assert!(plain.frame().await.is_none());
    // A registration without a question is not even answered.
    let mut rude = Driver::connect(&url).await;
    rude.send(&sample("4.0.5", "RegisterApplication")).await;
    assert!(rude.frame().await.is_none());
    // Another secret.
    let mut wrong = Driver::connect(&url).await;
    wrong.send(&sasl(b"")).await;
    let Some(Frame::RpcResponse { body, .. }) = wrong.frame().await else { panic!("no challenge") };
    let challenge = String::from_utf8(body).unwrap();
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let token = format!(
        "charset=utf-8,username=\"x\",realm=\"default\",nonce=\"{nonce}\",nc=00000001,cnonce=\"c\",\
         digest-uri=\"null/default\",maxbuf=65536,response=00000000000000000000000000000000,qop=auth"
    );
    wrong.send(&sasl(token.as_bytes())).await;
    match wrong.frame().await {
        Some(Frame::RpcFailure { text, .. }) => assert!(text.contains("DIGEST-MD5"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(wrong.frame().await.is_none());
    serving.abort();
}
