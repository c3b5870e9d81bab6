//! Masters and workers that are shot or stand still at the worst moments: what was acknowledged happens,
//! once.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use anymaster_test_support::bytes::noise;
use anymaster_test_support::home::{Home, eventually, processes_of};
use anymaster_test_support::standalone::{Cluster, KEEPING, curl};
use anymaster_test_support::submissions::{rest, state, submit_program};

/// Which drivers have begun, as each of them says itself.
struct Begun(PathBuf);

impl Begun {
    fn new(home: &Home) -> Self {
        Self(home.file("begun", ""))
    }

    /// Submits a driver that says that it has begun; its id, if that was acknowledged.
    fn submit(&self, port: u16, more: &str) -> Result<String, String> {
        let script = format!("echo $ANYMASTER_APPLICATION_ID >> {}; {more}", self.0.display());
        submit_program(port, "sh", &["-c", &script])
    }

    /// How often each has begun.
    fn times(&self) -> BTreeMap<String, u32> {
        let mut times = BTreeMap::new();
        for id in std::fs::read_to_string(&self.0).unwrap().lines() {
            *times.entry(id.to_owned()).or_default() += 1;
        }
        times
    }
}

fn until(port: u16, id: &str, word: &str) {
    eventually(&format!("{id} is {word}"), || {
        let now = state(port, id)?;
        let is_over = ["FINISHED", "FAILED", "ERROR", "KILLED"].contains(&&*now);
        assert!(now == word || !is_over, "{id} is {now}, not {word}");
        (now == word).then_some(())
    });
}

/// Waits until the master has so many workers that are alive.
fn until_workers(cluster: &Cluster, many: usize) {
    eventually(&format!("{many} workers are alive"), || {
        let said: Value = serde_json::from_str(&curl(&[&cluster.page("/json/")])).ok()?;
        (said["aliveworkers"] == many).then_some(())
    });
}

#[test]
#[ignore = "takes a while"]
fn fifty_masters_that_are_shot_lose_nothing_start_nothing_twice_and_call_no_success_a_failure() {
    const KILLS: u64 = 50;
    let mut cluster = Cluster::new(2, &KEEPING);
    let begun = Begun::new(&cluster.home);
    let (port, over) = (cluster.rest, AtomicBool::new(false));
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(id) = begun.submit(port, "") {
                        acknowledged.lock().unwrap().push(id);
                    }
                    // The machine is small; and a master that is dead will be back.
                    std::thread::sleep(Duration::from_millis(30));
                }
            });
        }
        for round in 0..KILLS {
            // Each time at another moment of what is under way; some soon after the one before.
            let moment = u64::from(noise(round, 9)[8]) * if round % 3 == 0 { 1 } else { 2 };
            std::thread::sleep(Duration::from_millis(moment));
            cluster.master.shoot();
            cluster.start_again();
        }
        over.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() as u64 > KILLS, "only {}", acknowledged.len());
    let distinct: HashSet<_> = acknowledged.iter().collect();
    assert_eq!(distinct.len(), acknowledged.len(), "an id was given twice");
    for id in &acknowledged {
        until(port, id, "FINISHED");
    }
    let times = begun.times();
    for id in &acknowledged {
        assert_eq!(times.get(id), Some(&1), "{id} was acknowledged");
    }
    // Nor are those that nobody heard of any more: their master died as it answered.
    let often: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(often.is_empty(), "{often:?}");
}

#[test]
#[ignore = "takes a while"]
fn a_second_crash_soon_after_the_first_ends_no_driver_of_a_worker_that_stands_still() {
    let mut cluster = Cluster::new(2, &KEEPING);
    for app in ["one", "two", "three", "four"] {
        cluster.submit_one_that_waits(app);
    }
    let all = || ["one", "two", "three", "four"].map(processes_of).concat();
    let before = all();
    cluster.workers[1].signal("STOP");
    for _ in 0..2 {
        cluster.master.shoot();
        cluster.start_again();
        until_workers(&cluster, 1);
        // It has written down who is there.
        cluster.call("ps", &[]).expect(0, &[]);
    }
    // Longer than one that was not awaited would be waited for.
    std::thread::sleep(Duration::from_millis(2_700));
    cluster.workers[1].signal("CONT");
    until_workers(&cluster, 2);
    for app in ["one", "two", "three", "four"] {
        assert_eq!(state(cluster.rest, app).as_deref(), Some("RUNNING"), "{app}");
    }
    assert_eq!(all(), before, "nothing was disturbed");
    curl(&["-X", "POST", &format!("http://127.0.0.1:{}/v1/submissions/killall", cluster.rest)]);
    eventually("all have ended", || all().is_empty().then_some(()));
}

#[test]
#[ignore = "takes a while"]
fn a_driver_given_to_a_worker_that_stands_still_is_placed_again_and_begins_once() {
    let timeout = ["spark.worker.timeout=2s"];
    let mut cluster = Cluster::master(Home::new(), &[&KEEPING[..], &timeout].concat());
    cluster.add_worker(1, "1g");
    cluster.add_worker(1, "1g");
    until_workers(&cluster, 2);
    let begun = Begun::new(&cluster.home);
    cluster.workers[0].signal("STOP");
    // One core each: one of them goes to the worker that stands still.
    let ids = [begun.submit(cluster.rest, ""), begun.submit(cluster.rest, "")];
    for id in ids.each_ref().map(|id| id.as_ref().unwrap()) {
        until(cluster.rest, id, "FINISHED");
    }
    // It comes back with an order that nobody confirmed.
    cluster.workers[0].signal("CONT");
    until_workers(&cluster, 2);
    let more = begun.submit(cluster.rest, "").unwrap();
    until(cluster.rest, &more, "FINISHED");
    let times = begun.times();
    assert_eq!((times.len(), times.values().sum::<u32>()), (3, 3), "{times:?}");
}

/// Submits many, from several clients, each over one connection.
fn submit_many(home: &Home, port: u16, many: usize) {
    let body = json!({
        "action": "CreateSubmissionRequest", "appArgs": [], "appResource": "true",
        "clientSparkVersion": "4.0.5", "environmentVariables": {}, "mainClass": "",
        "sparkProperties": {"spark.app.name": "many", "spark.driver.memory": "1m"},
    });
    let body = home.file("body", &body.to_string());
    let data = format!("@{}", body.display());
    // curl repeats a URL with a range over one connection.
    let url = |many: usize| format!("http://127.0.0.1:{port}/v1/submissions/create?[1-{many}]");
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let said = || curl(&["--data-binary", &data, "-o", "/dev/null", &url(many / 5)]);
            scope.spawn(said);
        }
    });
}

#[test]
#[ignore = "takes a while"]
fn the_master_answers_while_twelve_thousand_applications_are_killed() {
    const MANY: usize = 12_345;
    let cluster = Cluster::master(Home::new(), &KEEPING[..2]);
    let first = submit_program(cluster.rest, "true", &[]).unwrap();
    submit_many(&cluster.home, cluster.rest, MANY);
    let (port, over) = (cluster.rest, AtomicBool::new(false));
    let (longest, killed) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                rest(port, "GET", &format!("status/{first}"), "").unwrap();
                longest = longest.max(began.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            longest
        });
        let began = Instant::now();
        let said = rest(port, "POST", "killall", "").unwrap();
        assert_eq!(said["success"], true, "{said}");
        let killed = began.elapsed();
        over.store(true, Ordering::Relaxed);
        (asking.join().unwrap(), killed)
    });
    println!("killall of {MANY} took {killed:?}; the longest that `status` waited: {longest:?}");
    // Quadratic, it was 26 s for a program as it is given out; this one may be ten times as slow.
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    eventually("all are dead", || {
        let said: Value = serde_json::from_str(&curl(&[&cluster.page("/json/")])).ok()?;
        said["activedrivers"].as_array()?.is_empty().then_some(())
    });
}
