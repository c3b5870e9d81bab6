//! Drivers of the real Spark at a master of ours, with executors on its workers.

use anymaster_test_support::home::{eventually, processes_of, said};
use anymaster_test_support::spark;
use anymaster_test_support::standalone::Cluster;
use serde_json::Value;

/// The applications of the cluster, as `ps` lists them.
fn applications(cluster: &Cluster) -> Vec<Value> {
    let listed = cluster.call("ps", &["--all", "-o", "json"]);
    let all: Value =
        serde_json::from_str(&listed.out).unwrap_or_else(|error| panic!("{error}: {listed:?}"));
    all.as_array().unwrap().clone()
}

fn status(cluster: &Cluster, name: &str) -> Value {
    let all = applications(cluster);
    let app = all.iter().find(|app| app["name"] == name).unwrap_or_else(|| panic!("{all:?}"));
    cluster.status(app["app"].as_str().unwrap()).unwrap()
}

#[test]
#[ignore = "needs Spark"]
fn a_driver_has_executors_and_one_that_is_killed_is_replaced() {
    let cluster = Cluster::new(2, &[]);
    let mark = cluster.home.path().join("killed");
    let cores = ["--conf", "spark.cores.max=2"];
    let part = ["killed", mark.to_str().unwrap()];
    spark::succeeds(&cluster.home, &cluster.master.ready, &cores, &part);
    let status = status(&cluster, "gateway");
    assert_eq!(status["driver"]["cause"]["cause"], "finished", "{status}");
    assert_eq!(status["executors"].as_array().unwrap().len(), 3, "{status}");
    let app = status["app"].as_str().unwrap();
    eventually("all executors end", || processes_of(app).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Spark"]
fn dynamic_allocation_goes_up_and_down_and_up_on_workers() {
    let cluster = Cluster::new(1, &[]);
    let more = spark::DYNAMIC_ALLOCATION.map(|property| ["--conf", property]).concat();
    spark::succeeds(&cluster.home, &cluster.master.ready, &more, &["dynamic"]);
    let executors = status(&cluster, "gateway")["executors"].as_array().unwrap().len();
    assert!(executors >= 2, "{executors} executors");
}

#[test]
#[ignore = "needs Spark"]
fn a_cluster_with_a_secret_asks_drivers_for_it() {
    let cluster = Cluster::new(1, &["spark.authenticate.secret=s3cret"]);
    let with = |secret: &str| {
        let secret = format!("spark.authenticate.secret={secret}");
        let known = ["--conf", "spark.authenticate=true", "--conf", &secret];
        let mut job = spark::job(&cluster.home, &cluster.master.ready, &known, &["sql"]);
        said(&job.output().unwrap())
    };
    let right = with("s3cret");
    assert_eq!(right.code, Some(0), "{}", right.err);
    assert_ne!(with("other").code, Some(0));
    assert_eq!(applications(&cluster).len(), 1, "the other one is not known");
}

#[test]
#[ignore = "needs Spark"]
fn a_driver_whose_spark_no_worker_has_is_told_so() {
    let cluster = Cluster::new(1, &["spark.anymaster.worker.sparkHomes=,"]);
    let mut job = spark::job(&cluster.home, &cluster.master.ready, &[], &["sql"]);
    let said = said(&job.output().unwrap());
    assert_ne!(said.code, Some(0), "{said:?}");
    for words in ["as their driver, and no worker has it", "spark.anymaster.worker.sparkHomes"] {
        assert!(said.err.contains(words), "{}", said.err);
    }
}
