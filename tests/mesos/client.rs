//! Drivers on this machine, with a framework of their own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, CommandLine, ExecutorTarget, ExecutorTemplate, Filter, ResourceProfile, State, Status,
};
use anymaster_core::{Backend as _, ClusterManager, ConnectOptions};
use serde_json::Value;

use crate::scene::{master, programs_of, so_many_programs_of};
use anymaster_test_support::example::{digits, pi};
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::mesos::Cluster;

/// By this the program below is told where Mesos is.
const URL: &str = "ANYMASTER_TEST_MESOS";
/// By this its id.
const APP: &str = "ANYMASTER_TEST_APP";

/// Not a test: the program of the others. It wants three executors, says when they run, and ends with its
/// standard input.
#[test]
#[ignore = "it is a program"]
fn driver() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let conf: Conf = [("spark.submit.deployMode", "client"), ("spark.app.name", "own")]
            .into_iter()
            .collect();
        let options = ConnectOptions::new(url.parse().unwrap()).with_conf(conf);
        let cluster = anymaster_mesos::MESOS.connect(options).await.unwrap();
        let app = AppId::new(&std::env::var(APP).unwrap()).unwrap();
        let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600".to_owned()]));
        let target = ExecutorTarget::new(template, ResourceProfile::new(0.5, 16), 3);
        cluster.request_executors(&app, &target).await.unwrap();
        while running(&*cluster, &app).await < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        println!("\nready");
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
            .await
            .unwrap()
            .unwrap();
    });
}

async fn running(cluster: &dyn ClusterManager, app: &AppId) -> usize {
    let filter = Filter::of(app);
    let all = cluster.list(&filter).await.unwrap();
    let is_running = |status: &&Status| matches!(status, Status::Executor(executor) if executor.state == State::Running);
    all.iter().filter(is_running).count()
}

/// Starts it; its three executors run.
fn start(mesos: &Cluster, app: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "client::driver"]);
    command.env(URL, format!("mesos://{}", mesos.url)).env(APP, app);
    let mut driver = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let mut until_ready = lines.by_ref().map_while(Result::ok);
    assert!(until_ready.any(|line| line == "ready"), "it ended");
    // What it says more is read, so that it can.
    std::thread::spawn(|| lines.for_each(drop));
    driver
}

/// A document of the master that leads.
fn frameworks(mesos: &Cluster) -> Vec<Value> {
    let all = master(mesos, "frameworks").unwrap_or_default();
    all["frameworks"].as_array().cloned().unwrap_or_default()
}

/// Neither of its framework nor of its executors.
fn nothing_is_left(mesos: &Cluster, name: &str, app: &str) {
    let is_gone = || frameworks(mesos).iter().all(|framework| framework["name"] != name);
    eventually("its framework is gone", || is_gone().then_some(()));
    eventually("its executors are gone", || programs_of(app).is_empty().then_some(()));
}

#[test]
#[ignore = "needs Mesos"]
fn a_driver_on_this_machine_has_executors_that_end_with_it_however_it_ends() {
    let mesos = Cluster::new(2, 1, &[]);
    for is_shot in [false, true] {
        let mut driver = start(&mesos, "here");
        let all = frameworks(&mesos);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["name"], "own", "{all:?}");
        so_many_programs_of("here", 3);
        if is_shot {
            driver.kill().unwrap();
        } else {
            drop(driver.stdin.take());
        }
        assert_eq!(driver.wait().unwrap().success(), !is_shot);
        nothing_is_left(&mesos, "own", "here");
    }
}

#[test]
#[ignore = "needs Mesos and ZooKeeper"]
fn its_master_is_found_through_zookeeper() {
    let mesos = Cluster::new(1, 3, &[]);
    assert!(mesos.url.to_string().starts_with("zk://"), "{}", mesos.url);
    let mut driver = start(&mesos, "found");
    assert_eq!(frameworks(&mesos).len(), 1);
    drop(driver.stdin.take());
    assert!(driver.wait().unwrap().success());
    nothing_is_left(&mesos, "own", "found");
}

#[test]
#[ignore = "needs Mesos"]
fn a_program_is_started_here_as_a_framework_of_its_own() {
    let (mesos, home) = (Cluster::new(2, 1, &[]), Home::new());
    let url = format!("mesos://{}", mesos.url);
    let to = ["submit", "--master", &url, "--deploy-mode", "client", "--submission-id", "pi"];
    let sizes = ["--executor-memory", "64m", "--conf", "spark.executor.cores=1"];
    let sizes = [&["--name", "works out pi"], &sizes[..]].concat();
    let program = ["--conf", "spark.executor.instances=2", pi().to_str().unwrap(), "10"];
    let ran = home.call(&[&to[..], &sizes[..], &program[..]].concat());
    ran.expect(0, &[]);
    assert!(digits(&ran.out).starts_with("3.1"), "{ran:?}");
    assert!(ran.out.contains("by 2 executors"), "{ran:?}");
    nothing_is_left(&mesos, "works out pi", "pi");
    // It is known here, as what runs on this machine is.
    assert!(home.call(&["ps", "-a"]).out.contains("Finished"));
}

#[test]
#[ignore = "needs Mesos"]
fn a_driver_that_is_to_run_on_an_agent_needs_a_dispatcher() {
    let home = Home::new();
    let zookeeper = "mesos://zk://127.0.0.1:1/mesos";
    let submit = ["submit", "--master", zookeeper, "--deploy-mode", "cluster", "/bin/true"];
    home.call(&submit).expect(1, &["a Mesos master does not start drivers", "URL of a dispatcher"]);
}
