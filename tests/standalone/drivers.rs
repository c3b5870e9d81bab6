//! Drivers of the real Spark at a master of ours, with executors on its workers.

use std::process::Stdio;

use anymaster_test_support::home::{eventually, processes_of, said};
use anymaster_test_support::spark;
use anymaster_test_support::standalone::{Cluster, KEEPING};
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

/// A job in the middle of which the master is killed, and later ended; afterwards the cluster. `more`: properties of
/// the cluster and of the driver.
fn outlives_masters(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(2, &[&KEEPING[..], more].concat());
    let file = |name: &str| cluster.home.path().join(name).to_str().unwrap().to_owned();
    let (ran, killed, ended) = (file("ran"), file("killed"), file("ended"));
    let more = [&["spark.cores.max=2"], more].concat();
    let more: Vec<_> = more.iter().flat_map(|property| ["--conf", property]).collect();
    let part = ["outlives", &ran, &killed, &ended];
    let mut job = spark::job(&cluster.home, &cluster.master.ready, &more, &part);
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for (round, is_shot) in [(&killed, true), (&ended, false)] {
        eventually("both tasks run", || {
            let lines = std::fs::read_to_string(&ran).ok()?;
            (lines.lines().filter(|line| line.starts_with(&**round)).count() == 2).then_some(())
        });
        if is_shot {
            cluster.master.shoot();
        } else {
            cluster.master.signal("TERM");
            assert_eq!(cluster.master.wait(), Some(0));
        }
        cluster.start_again();
        std::fs::write(round, "").unwrap();
    }
    let said = said(&job.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let changes = said.err.matches("Master has changed, new master is at").count();
    assert_eq!(changes, 2, "{}", said.err);
    assert_eq!(applications(&cluster).len(), 1);
    let status = status(&cluster, "gateway");
    assert_eq!(status["driver"]["cause"]["cause"], "finished", "{status}");
    let app = status["app"].as_str().unwrap();
    eventually("all executors end", || processes_of(app).is_empty().then_some(()));
    cluster
}

#[test]
#[ignore = "needs Spark"]
fn a_driver_and_its_executors_outlive_masters() {
    let mut cluster = outlives_masters(&[]);
    // One that is gone when the next master comes is not waited for.
    let cores = ["--conf", "spark.cores.max=2"];
    let driver = spark::start(&cluster.home, &cluster.master.ready, &cores, &["waits"]);
    let app = eventually("it has executors", || {
        let mut all = applications(&cluster).into_iter();
        let app = all.find(|app| app["executors"]["running"] == 2)?;
        Some(app["app"].as_str().unwrap().to_owned())
    });
    cluster.master.shoot();
    drop(driver);
    cluster.start_again();
    eventually("its application has ended", || {
        let status = cluster.status(&app)?;
        (status["driver"]["state"] == "ended").then_some(())
    });
    eventually("all executors end", || processes_of(&app).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Spark"]
fn a_driver_that_knows_a_secret_outlives_masters() {
    outlives_masters(&["spark.authenticate=true", "spark.authenticate.secret=s3cret"]);
}

#[test]
#[ignore = "needs Spark"]
fn a_driver_whose_connections_are_encrypted_outlives_masters() {
    outlives_masters(&[
        "spark.authenticate=true",
        "spark.authenticate.secret=s3cret",
        "spark.network.crypto.enabled=true",
        "spark.network.crypto.saslFallback=false",
    ]);
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
