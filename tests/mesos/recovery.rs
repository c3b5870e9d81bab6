//! A dispatcher that is shot, and goes on where it was.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Scene, create, programs_of, rest, so_many_programs_of, variable};
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, eventually, nothing_is_left};
use anymaster_test_support::mesos::Cluster;
use anymaster_test_support::ports::free_ports;

/// What is to be remembered is written into files.
const IN_FILES: [&str; 2] =
    ["spark.deploy.recoveryMode=FILESYSTEM", "spark.deploy.recoveryDirectory=kept"];
const MANY: [&str; 2] = ["spark.mesos.maxDrivers=10000", "spark.mesos.retainedDrivers=10000"];

struct ZooKeeper(Child);

impl ZooKeeper {
    fn start(port: u16, dir: &Path) -> Self {
        // It is `variable` that says what is missing.
        variable("SPARK_HOME");
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clusters/zookeeper/run");
        let mut command = Command::new(script);
        command.arg(port.to_string()).arg(dir).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Those who submit end with this, also if the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Short drivers are submitted all the time, and the dispatcher is shot all the time.
fn survives(kept: &str, mode: &[&str], rounds: u64) {
    let conf = [&MANY[..], mode].concat();
    let resources = "cpus:64;mem:16384;ports:[31000-32000]";
    let mesos = Cluster::new(2, 1, &[("RESOURCES", resources)]);
    let mut scene = Scene::on(mesos, Home::new(), &conf, &[]);
    let framework = scene.framework();
    // One that goes on all the while.
    let run = scene.run(kept, 2, &["--executor-cores", "0.1"]);
    scene.until_running(kept, 2);
    let before = so_many_programs_of(kept, 3);
    // It is the submitter's connection, not the driver, that ends with the dispatcher.
    drop(run);

    let log = scene.home.path().join("log");
    let program = format!("echo $ANYMASTER_APPLICATION_ID >> {}", log.display());
    let (port, over) = (scene.port, AtomicBool::new(false));
    let refused = Mutex::new(String::new());
    let (acknowledged, count) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = create("/bin/sh", &["-c", &program], &[]);
                while !over.load(Ordering::Relaxed) {
                    let answer = rest(port, "POST", "create", Some(&request));
                    let said = answer.unwrap_or_else(|said| said);
                    let answer: Value = serde_json::from_str(&said).unwrap_or_default();
                    match answer["submissionId"].as_str() {
                        Some(id) if answer["success"] == true => {
                            acknowledged.lock().unwrap().push(id.to_owned());
                            count.fetch_add(1, Ordering::Relaxed);
                            // The machine is small.
                            std::thread::sleep(Duration::from_millis(300));
                        }
                        // It is dead, and will be back.
                        _ => {
                            *refused.lock().unwrap() = said;
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            });
        }
        let _ends = Ends(&over);
        for round in 0..rounds {
            // Right after it has acknowledged something; or at another moment of what is under way.
            let now = count.load(Ordering::Relaxed);
            let began = Instant::now();
            while count.load(Ordering::Relaxed) == now {
                let refused = refused.lock().unwrap().clone();
                assert!(began.elapsed() < Duration::from_secs(120), "round {round}: {refused}");
                std::thread::sleep(Duration::from_millis(5));
            }
            if round % 2 == 1 {
                std::thread::sleep(Duration::from_millis(37 * (round * 7 % 13)));
            }
            scene.dispatcher.shoot();
            scene.start_again();
        }
        std::thread::sleep(Duration::from_millis(500));
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() as u64 >= rounds, "only {}", acknowledged.len());
    let ran = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut ran: HashMap<String, u32> = HashMap::new();
        text.lines().for_each(|line| *ran.entry(line.to_owned()).or_default() += 1);
        ran
    };
    eventually("every driver that was acknowledged has run", || {
        let ran = ran();
        acknowledged.iter().all(|id| ran.contains_key(id)).then_some(())
    });
    for id in &acknowledged {
        let answer = scene.until_state(id, "FINISHED");
        assert!(!answer["message"].as_str().unwrap_or_default().contains("lost"), "{answer}");
    }
    let ran = ran();
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");

    scene.until_running(kept, 2);
    assert_eq!(programs_of(kept), before, "nothing was disturbed");
    assert_eq!(scene.framework(), framework);
    scene.call("kill", &[kept]).expect(0, &[]);
    nothing_is_left(kept);
    eventually("Mesos has no task left", || scene.running_tasks().is_empty().then_some(()));
}

#[test]
#[ignore = "needs Mesos"]
fn what_was_acknowledged_survives_a_dispatcher_that_is_shot_files() {
    survives("files", &IN_FILES, 10);
}

#[test]
#[ignore = "needs Mesos and ZooKeeper"]
fn what_was_acknowledged_survives_a_dispatcher_that_is_shot_zookeeper() {
    let (port, dir) = (free_ports(1), tempfile::tempdir().unwrap());
    let zookeeper = ZooKeeper::start(port, dir.path());
    let url = format!("spark.deploy.zookeeper.url=127.0.0.1:{port}");
    let timeout = "spark.anymaster.zookeeper.sessionTimeout=2s";
    survives("zookeeper", &["spark.deploy.recoveryMode=ZOOKEEPER", &url, timeout], 10);
    drop(zookeeper);
}

/// A dispatcher that hears of it when it may write no more, as if its disk were full.
fn start_on_a_small_disk(scene: &mut Scene) {
    let own = scene.command();
    let mut command = Command::new("env");
    command.arg("--ignore-signal=XFSZ").arg(own.get_program()).args(own.get_args());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(own.get_current_dir().unwrap_or(Path::new(".")));
    scene.dispatcher.shoot();
    // What it says may go to a file too.
    scene.dispatcher = Daemon::start_quietly(command.stderr(Stdio::null()));
}

/// How large its files may be from now on.
fn may_write(scene: &Scene, bytes: &str) {
    let (pid, size) = (scene.dispatcher.id().to_string(), format!("--fsize={bytes}:unlimited"));
    let set = Command::new("prlimit").args(["--pid", &pid, &size]).status().unwrap();
    assert!(set.success());
}

#[test]
#[ignore = "needs Mesos"]
fn nothing_is_acknowledged_while_a_disk_is_full_and_the_dispatcher_goes_on() {
    let mut scene = Scene::new(1, &IN_FILES);
    start_on_a_small_disk(&mut scene);
    let go = scene.home.path().join("go");
    let program = format!("until [ -e {} ]; do sleep 0.05; done; exit 3", go.display());
    let submitted = scene.start_driver("full", &[], &["/bin/sh", "-c", &program]);
    scene.until("full", "it runs", |status| status["driver"]["state"] == "running");
    // When this is answered, that is written down.
    scene.rest("POST", "kill/nobody", None);
    may_write(&scene, "1");
    std::fs::write(&go, "").unwrap();
    scene.until("full", "its end is known", |status| status["driver"]["state"] == "ended");
    // Masters count an end as one of the past when it has been acknowledged.
    let is_in = |list: &str| {
        let state = scene.master("state").unwrap();
        let tasks = state["frameworks"][0][list].as_array().unwrap().clone();
        tasks.iter().any(|task| task["id"] == "full.driver")
    };
    assert!(is_in("tasks"));
    may_write(&scene, "unlimited");
    eventually("it is acknowledged", || is_in("completed_tasks").then_some(()));
    drop(submitted);
}

#[test]
#[ignore = "needs Mesos"]
fn how_a_driver_ended_while_the_dispatcher_was_away_is_told() {
    let mut scene = Scene::new(1, &IN_FILES);
    let go = scene.home.path().join("go");
    let program = format!("until [ -e {} ]; do sleep 0.05; done; exit 3", go.display());
    let submitted = scene.start_driver("meanwhile", &[], &["/bin/sh", "-c", &program]);
    scene.until("meanwhile", "it runs", |status| status["driver"]["state"] == "running");
    scene.dispatcher.shoot();
    std::fs::write(&go, "").unwrap();
    eventually("the master knows that it has ended", || {
        scene.task("meanwhile.driver").filter(|task| task["state"] == "TASK_FAILED")
    });
    scene.start_again();
    let status =
        scene.until("meanwhile", "its end is told", |status| status["driver"]["state"] == "ended");
    let cause = &status["driver"]["cause"];
    assert_eq!((&cause["cause"], &cause["code"]), (&json!("exited"), &json!(3)), "{status}");
    drop(submitted);
}

#[test]
#[ignore = "needs Mesos"]
fn a_driver_that_waits_to_be_started_again_does_so_after_the_dispatcher_was_shot() {
    let mut scene = Scene::new(1, &IN_FILES);
    let log = scene.home.path().join("times");
    let program = format!("echo >> {0}; [ $(wc -l < {0}) -ge 5 ]", log.display());
    let submitted = scene.start_driver("fifth", &["--supervise"], &["/bin/sh", "-c", &program]);
    for _ in 0..2 {
        eventually("it waits", || {
            let answer = rest(scene.port, "GET", "status/fifth", None).ok()?;
            answer.contains("RETRYING").then_some(())
        });
        scene.dispatcher.shoot();
        scene.start_again();
    }
    scene.until_state("fifth", "FINISHED");
    submitted.wait().expect(0, &["finished"]);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 5);
}
