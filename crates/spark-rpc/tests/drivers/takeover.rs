//! A master that begins to lead takes over the drivers of the one before, which repeat what Spark has said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anymaster_core::model::{AppId, Applications, Cause, Filter};
use anymaster_core::testing::FakeCluster;
use anymaster_core::{ClusterManager as _, Result};
use anymaster_net::Admission;
use anymaster_spark_rpc::{DriverRecords, GatewayOptions, SparkInstallation, SparkMaster, Sparks};
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::pretend::{self, Driver, about, sample};

const VERSION: &str = "4.1.4";
const PAGE: &str = "http://127.0.0.1:8080";

/// Records in memory.
#[derive(Debug, Default)]
struct Records(Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl DriverRecords for Records {
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }

    async fn set(&self, app: &AppId, record: Option<Vec<u8>>) -> Result<()> {
        let mut records = self.0.lock().unwrap();
        match record {
            Some(record) => records.insert(app.to_string(), record),
            None => records.remove(app.as_str()),
        };
        Ok(())
    }
}

/// A master that leads. Aborting these ends it, as a crash does.
struct Leading {
    url: String,
    leads: JoinHandle<()>,
    serves: JoinHandle<()>,
}

impl Leading {
    async fn start(cluster: &FakeCluster, records: &Arc<Records>) -> Self {
        let spark = SparkInstallation {
            java: vec!["sleep".to_owned()],
            ..SparkInstallation::at("/opt/spark")
        };
        let mut options = GatewayOptions::new(Arc::new(cluster.clone()), Sparks::Elsewhere(spark));
        options.conf.set("spark.deploy.defaultCores", "2");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        options.port = port;
        let master = SparkMaster::new(options).unwrap();
        let leads = {
            let (master, records) = (master.clone(), Arc::clone(records));
            tokio::spawn(async move {
                master.lead(records, &Admission::of_process(), PAGE).await;
            })
        };
        let serves = tokio::spawn(async move {
            let admission = Admission::of_process();
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                let admitted = Arc::new(admission.admit(from.ip()).unwrap());
                let master = master.clone();
                connections
                    .spawn(async move { master.serve(Box::new(stream), admitted, true).await });
            }
        });
        Self { url: format!("spark://127.0.0.1:{port}"), leads, serves }
    }

    async fn crash(self) {
        for task in [self.leads, self.serves] {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }
}

/// A driver that listens: it is registered at a master.
async fn register(master: &Leading) -> (Driver, TcpListener, String) {
    // The port of the driver that was captured, in its envelope and in its reference.
    const CAPTURED: [u8; 4] = 46_777_u32.to_be_bytes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u32::from(listener.local_addr().unwrap().port()).to_be_bytes();
    let mut registration = sample(VERSION, "RegisterApplication");
    let at: Vec<_> =
        (0..registration.len() - 4).filter(|at| registration[*at..at + 4] == CAPTURED).collect();
    assert_eq!(at.len(), 2);
    for at in at {
        registration[at..at + 4].copy_from_slice(&port);
    }
    let mut driver = Driver::connect(&master.url).await;
    driver.send(&sample(VERSION, "CheckExistence-Master")).await;
    assert!(driver.answer().await);
    driver.send(&registration).await;
    let app = driver.expect("RegisteredApplication").await.text("appId");
    (driver, listener, app)
}

async fn cause(cluster: &FakeCluster, app: &str) -> Option<Cause> {
    let id = AppId::new(app).unwrap();
    let state: Applications = cluster.list(&Filter::of(&id)).await.unwrap().into_iter().collect();
    let driver = state.get(&id)?.driver.clone()?;
    driver.state.end().map(|end| end.cause.clone())
}

/// Waits until nothing is recorded.
async fn forgotten(records: &Records) {
    let forgotten = async {
        while !records.all().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(pretend::PATIENCE, forgotten).await.unwrap();
}

#[tokio::test]
async fn a_driver_goes_on_with_its_executors_at_the_next_master() {
    let (cluster, records) = (FakeCluster::new(), Arc::<Records>::default());
    let first = Leading::start(&cluster, &records).await;
    let (mut driver, listener, app) = register(&first).await;
    assert_eq!([driver.executor().await, driver.executor().await], [1, 2]);
    let registered = records.all();
    // The totals of dynamic allocation are recorded as well.
    driver.send(&about(VERSION, "RequestExecutors", &app)).await;
    assert!(driver.answer().await);
    let recorded = async {
        while records.all() == registered {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(pretend::PATIENCE, recorded).await.unwrap();
    first.crash().await;
    assert!(driver.next().await.is_none(), "its connection is gone");
    assert_eq!(cause(&cluster, &app).await, None);

    let second = Leading::start(&cluster, &records).await;
    let (stream, _) = listener.accept().await.unwrap();
    let mut driver = Driver::of(stream);
    let changed = driver.expect("MasterChanged").await;
    assert_eq!(changed.text("masterWebUiUrl"), PAGE);
    driver.send(&about(VERSION, "MasterChangeAcknowledged", &app)).await;
    let mut known = [driver.executor().await, driver.executor().await];
    known.sort_unstable();
    assert_eq!(known, [1, 2]);
    driver.send(&about(VERSION, "UnregisterApplication", &app)).await;
    forgotten(&records).await;
    assert_eq!(cause(&cluster, &app).await, Some(Cause::Finished));
    second.crash().await;
}

#[tokio::test]
async fn a_driver_that_is_gone_or_another_one_is_lost() {
    let (cluster, records) = (FakeCluster::new(), Arc::<Records>::default());
    for is_gone in [true, false] {
        let first = Leading::start(&cluster, &records).await;
        let (_driver, listener, app) = register(&first).await;
        first.crash().await;
        let listener = Some(listener).filter(|_| !is_gone);
        let second = Leading::start(&cluster, &records).await;
        if let Some(listener) = listener {
            let (stream, _) = listener.accept().await.unwrap();
            let mut driver = Driver::of(stream);
            driver.expect("MasterChanged").await;
            driver.send(&about(VERSION, "MasterChangeAcknowledged", "app-of-another")).await;
            while driver.next().await.is_some() {}
        }
        forgotten(&records).await;
        let cause = cause(&cluster, &app).await;
        assert!(matches!(cause, Some(Cause::Lost { .. })), "{cause:?}");
        second.crash().await;
    }
}

#[tokio::test]
async fn a_record_of_a_later_release_is_left_alone() {
    let (cluster, records) = (FakeCluster::new(), Arc::<Records>::default());
    let later = br#"{"format": 2, "anything": 1}"#.to_vec();
    records.set(&AppId::new("app-1").unwrap(), Some(later)).await.unwrap();
    let master = Leading::start(&cluster, &records).await;
    let (_driver, _listener, app) = register(&master).await;
    let known: Vec<_> = records.all().into_iter().map(|(app, _)| app).collect();
    assert_eq!(known, ["app-1", app.as_str()]);
    master.crash().await;
}
