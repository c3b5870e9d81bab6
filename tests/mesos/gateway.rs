//! Drivers of the real Spark, through a gateway that is a framework of Mesos, or a client of a dispatcher.

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::mesos::Cluster;
use anymaster_test_support::spark;
use serde_json::Value;

use crate::scene::{Scene, master, variable};

/// What executors find on agents, which have no environment of ours.
fn java() -> String {
    format!("spark.executorEnv.JAVA_HOME={}", variable("JAVA_HOME"))
}

fn gateway(home: &Home, url: &str, more: &[&str]) -> Daemon {
    let spark_home =
        format!("spark.anymaster.gateway.executorSparkHome={}", variable("SPARK_HOME"));
    spark::gateway(home, url, &[&["--conf", &spark_home][..], more].concat())
}

/// The tasks that run, of all frameworks.
fn running(mesos: &Cluster) -> Vec<Value> {
    let all = master(mesos, "tasks?limit=1000").unwrap_or_default();
    let all = all["tasks"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|task| task["state"] == "TASK_RUNNING").collect()
}

#[test]
#[ignore = "needs Mesos and Spark"]
fn drivers_have_tasks_of_mesos_as_executors_and_one_that_is_killed_is_replaced() {
    let (home, mesos) = (Home::new(), Cluster::new(2, 1, &[]));
    let gateway = gateway(&home, &format!("mesos://{}", mesos.url), &[]);
    let (mark, java) = (home.path().join("killed"), java());
    let more = ["--conf", "spark.cores.max=2", "--conf", &java];
    spark::succeeds(&home, &gateway.ready, &more, &["killed", mark.to_str().unwrap()]);
    // The heap of its executors, and Spark's overhead.
    let all = master(&mesos, "tasks?limit=1000").unwrap();
    let tasks = all["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 3, "{all}");
    assert!(tasks.iter().all(|task| task["resources"]["mem"] == 896.0), "{all}");
    eventually("no task is left", || running(&mesos).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Mesos and Spark"]
fn tasks_end_with_the_gateway_that_is_killed() {
    let (home, mesos) = (Home::new(), Cluster::new(1, 1, &[]));
    let mut gateway = gateway(&home, &format!("mesos://{}", mesos.url), &[]);
    let java = java();
    let more = ["--conf", "spark.cores.max=1", "--conf", &java];
    let _driver = spark::start(&home, &gateway.ready, &more, &["waits"]);
    eventually("its executor runs", || (!running(&mesos).is_empty()).then_some(()));
    gateway.shoot();
    eventually("its executor ends", || running(&mesos).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Mesos and Spark"]
fn a_dispatcher_runs_the_executors_of_a_gateway_and_shows_them() {
    let scene = Scene::new(1, &[]);
    let gateway =
        gateway(&scene.home, &scene.url(), &["--conf", "spark.submit.deployMode=cluster"]);
    let java = java();
    let more = ["--conf", "spark.cores.max=2", "--conf", &java];
    spark::succeeds(&scene.home, &gateway.ready, &more, &["sql"]);
    let listed: Value = serde_json::from_str(&scene.call("ps", &["-a", "-o", "json"]).out).unwrap();
    assert_eq!(listed[0]["name"], "gateway", "{listed}");
}
