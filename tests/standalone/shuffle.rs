//! The shuffle service in a worker: executors of a real Spark use it.

use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::ports::free_port;
use anymaster_test_support::spark;
use anymaster_test_support::standalone::Cluster;

#[test]
#[ignore = "needs Spark"]
fn blocks_of_executors_that_were_killed_are_read_from_the_worker_and_go_with_their_application() {
    let port = format!("spark.shuffle.service.port={}", free_port());
    let enabled = "spark.shuffle.service.enabled=true";
    let mut cluster = Cluster::master(Home::new(), &[enabled, &port]);
    cluster.add_worker(4, "4g");
    let mark = cluster.home.path().join("ran");
    let properties = [enabled, &port, "spark.shuffle.readHostLocalDisk=false", "spark.cores.max=2"];
    let fetches = "spark.shuffle.service.fetch.rdd.enabled=true";
    let more: Vec<_> =
        properties.iter().chain([&fetches]).flat_map(|property| ["--conf", property]).collect();
    let part = ["shuffled", mark.to_str().unwrap()];
    spark::succeeds(&cluster.home, &cluster.master.ready, &more, &part);
    // The worker tells its service when the application has ended.
    let work = cluster.home.path().join("work-0");
    let blocks = || {
        let apps = std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().path());
        let executors = apps.filter_map(|app| std::fs::read_dir(app).ok()).flatten();
        let dirs =
            executors.filter_map(|it| std::fs::read_dir(it.unwrap().path().join("blocks")).ok());
        dirs.flatten().count()
    };
    eventually("the blocks are gone", || (blocks() == 0).then_some(()));
}
