//! Operators that end, several at once, and an API server with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::{Site, application};
use crate::cluster::{kubectl, until};
use crate::proxy::Proxy;

/// The uids of drivers by their submissions, as they are created.
struct Drivers {
    watch: Child,
    seen: std::thread::JoinHandle<BTreeMap<String, BTreeSet<String>>>,
}

impl Drivers {
    fn watch(namespace: &str) -> Self {
        let id = "{.metadata.labels.sparkoperator\\.k8s\\.io/submission-id}";
        let columns = format!("jsonpath={id}{{' '}}{{.metadata.uid}}{{'\\n'}}");
        let mut watch = Command::new("kubectl")
            .args(["-n", namespace, "get", "pods", "-l", "spark-role=driver", "-w", "-o", &columns])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let seen = std::thread::spawn(move || {
            let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for line in lines.map_while(Result::ok) {
                let (submission, uid) = line.split_once(' ').unwrap();
                seen.entry(submission.to_owned()).or_default().insert(uid.to_owned());
            }
            seen
        });
        Self { watch, seen }
    }

    /// So many submissions, each with one driver.
    #[track_caller]
    fn expect(mut self, submissions: usize) {
        self.watch.kill().unwrap();
        self.watch.wait().unwrap();
        let seen = self.seen.join().unwrap();
        assert_eq!(seen.len(), submissions, "{seen:?}");
        assert!(seen.values().all(|uids| uids.len() == 1), "{seen:?}");
    }
}

/// Eight applications that complete, and one that runs three times.
fn apply_some(site: &Site) {
    for number in 0..8 {
        site.apply(&application(&format!("ok-{number}"), "true"));
    }
    let mut fails = application("fails", "exit 1");
    fails["spec"]["restartPolicy"] =
        json!({"type": "OnFailure", "onFailureRetries": 2, "onFailureRetryInterval": 1});
    site.apply(&fails);
}

/// What [`apply_some`] applied has ended as it should, with eleven submissions.
#[track_caller]
fn all_ended(site: &Site, drivers: Drivers) {
    for number in 0..8 {
        let app = site.until_state(&format!("ok-{number}"), "COMPLETED");
        assert_eq!(app["status"]["executionAttempts"], 1, "{app}");
    }
    let failed = site.until_state("fails", "FAILED");
    assert_eq!(failed["status"]["executionAttempts"], 3, "{failed}");
    drivers.expect(11);
}

#[test]
#[ignore = "needs a cluster"]
fn an_operator_that_is_killed_again_and_again_submits_nothing_twice() {
    let site = Site::new("operator-kill");
    let drivers = Drivers::watch(&site.namespace.name);
    apply_some(&site);
    // Each life ends at another step of some application: later and later after its beginning.
    for life in 0..12 {
        let operator = site.operator(&[]);
        std::thread::sleep(Duration::from_millis(60 * life));
        drop(operator);
    }
    let _operator = site.operator(&[]);
    all_ended(&site, drivers);
}

#[test]
#[ignore = "needs a cluster"]
fn operators_without_a_lock_submit_nothing_twice() {
    let site = Site::new("operator-two");
    let drivers = Drivers::watch(&site.namespace.name);
    let _operators = [site.operator(&[]), site.operator(&[]), site.operator(&[])];
    apply_some(&site);
    all_ended(&site, drivers);
}

#[test]
#[ignore = "needs a cluster"]
fn refusals_and_expired_watches_disturb_no_application() {
    let site = Site::new("operator-storm");
    let name = site.namespace.name.as_str();
    let account = format!("--serviceaccount={name}:spark");
    kubectl(&[
        "-n",
        name,
        "create",
        "rolebinding",
        "proxy",
        "--clusterrole=anymaster-operator",
        &account,
    ]);
    let proxy = Proxy::new(name);
    let drivers = Drivers::watch(name);
    let operator = site.operator(&["--master", &proxy.master]);
    until("it is ready", || (operator.get("/readyz").0 == 200).then_some(()));
    proxy.faults.storm.store(60, Ordering::Relaxed);
    proxy.faults.expiries.store(4, Ordering::Relaxed);
    apply_some(&site);
    all_ended(&site, drivers);
    assert!(proxy.faults.storm.load(Ordering::Relaxed) < 30, "the storm was hardly met");
}

#[test]
#[ignore = "needs a cluster of our own"]
fn applications_go_on_when_an_api_server_restarts() {
    let site = Site::new("operator-restarts");
    let _operator = site.operator(&[]);
    site.apply(&application("long", "sleep 5; exit 0"));
    site.until_state("long", "RUNNING");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clusters/kube/apiserver");
    for verb in ["stop", "start"] {
        assert!(Command::new(script).arg(verb).status().unwrap().success());
    }
    site.apply(&application("later", "true"));
    for name in ["long", "later"] {
        let app = site.until_state(name, "COMPLETED");
        assert_eq!(app["status"]["submissionAttempts"], 1, "{app}");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn of_operators_with_a_lock_one_works_and_another_takes_over() {
    let site = Site::new("operator-lock");
    let lock = ["--leader-election", "--leader-election-lock-namespace", &site.namespace.name];
    let first = site.operator(&lock);
    until("the first leads", || (first.get("/readyz").1 == "ok").then_some(()));
    let second = site.operator(&lock);
    assert_eq!(second.get("/readyz"), (200, "standing by".to_owned()));
    site.apply(&application("one", "true"));
    site.until_state("one", "COMPLETED");
    assert!(second.get("/metrics").1.contains("anymaster_operator_leading 0"));
    // It gives the lock up when it stops.
    assert_eq!(first.stop(), Some(0));
    until("the second leads", || (second.get("/readyz").1 == "ok").then_some(()));
    site.apply(&application("two", "true"));
    site.until_state("two", "COMPLETED");
    // The lock of one that was killed ends by itself.
    drop(second);
    let third = site.operator(&lock);
    assert_eq!(third.get("/readyz").1, "standing by");
    site.apply(&application("three", "true"));
    site.until_state("three", "COMPLETED");
    assert!(third.get("/metrics").1.contains("anymaster_operator_leading 1"));
}
