//! Drivers of the real Spark, through a gateway to a standalone cluster of ours.

use anymaster_core::model::AppId;
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{eventually, processes_of};
use anymaster_test_support::spark;
use anymaster_test_support::standalone::Cluster;
use serde_json::Value;

fn gateway(cluster: &Cluster) -> Daemon {
    spark::gateway(&cluster.home, &cluster.master.ready, &[])
}

/// The one application of the cluster, as `ps` lists it.
fn application(cluster: &Cluster) -> Option<Value> {
    let said = cluster.call("ps", &["--all", "-o", "json"]);
    let all: Value = serde_json::from_str(&said.out).ok()?;
    all.as_array()?.first().cloned()
}

fn id(cluster: &Cluster) -> AppId {
    eventually("the application is known", || {
        application(cluster).and_then(|app| AppId::new(app["app"].as_str()?).ok())
    })
}

#[test]
#[ignore = "needs Spark"]
fn drivers_have_executors_on_the_workers_and_one_that_is_killed_is_replaced() {
    let cluster = Cluster::new(2, &[]);
    let gateway = gateway(&cluster);
    let mark = cluster.home.path().join("killed");
    let cores = ["--conf", "spark.cores.max=2"];
    spark::succeeds(&cluster.home, &gateway.ready, &cores, &["killed", mark.to_str().unwrap()]);
    let app = id(&cluster);
    let status = cluster.status(app.as_str()).unwrap();
    assert_eq!(status["driver"]["name"], "gateway", "{status}");
    assert_eq!(status["driver"]["cause"]["cause"], "finished", "{status}");
    assert_eq!(status["executors"].as_array().unwrap().len(), 3, "{status}");
    eventually("all executors end", || processes_of(app.as_str()).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Spark"]
fn an_application_is_lost_with_the_gateway_that_registered_it() {
    let cluster = Cluster::new(1, &[]);
    let mut gateway = gateway(&cluster);
    let _driver =
        spark::start(&cluster.home, &gateway.ready, &["--conf", "spark.cores.max=1"], &["waits"]);
    let app = id(&cluster);
    cluster.until_running(app.as_str(), 1);
    gateway.shoot();
    eventually("the application is lost", || {
        let status = cluster.status(app.as_str())?;
        (status["driver"]["cause"]["cause"] == "lost").then_some(())
    });
    eventually("its executor ends", || processes_of(app.as_str()).is_empty().then_some(()));
}
