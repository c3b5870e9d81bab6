//! Executors of programs that are not Spark: kept at their number, whatever happens around them.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Namespace, Ran, kubectl, needs_own_cluster, start, until};
use crate::proxy::Proxy;

/// A template with which executors go to nodes that only pretend: many fit, and they never end.
const PRETENDING: &str = "spec: {nodeSelector: {type: kwok}, tolerations: [{operator: Exists}], \
                          containers: [{name: executor}]}\n";

/// A run of a driver that waits, with executors.
struct Run {
    namespace: Namespace,
    id: String,
    _template: tempfile::NamedTempFile,
    process: Option<Child>,
}

impl Run {
    fn new(purpose: &str, template: &str, executors: u32, more: &[&str]) -> Self {
        Self::with_executor(purpose, template, "sleep 3600", executors, more)
    }

    fn with_executor(
        purpose: &str,
        template: &str,
        executor: &str,
        executors: u32,
        more: &[&str],
    ) -> Self {
        let namespace = Namespace::new(purpose);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), template).unwrap();
        let id = format!("{purpose}-{}", std::process::id());
        let mut run = Self { namespace, id, _template: file, process: None };
        run.process = Some(start(&mut run.command(executor, executors, more)));
        run
    }

    fn command(&self, executor: &str, executors: u32, more: &[&str]) -> Command {
        let mut command = self.namespace.anymaster(&["run", "--submission-id", &self.id]);
        command.args([
            "--driver",
            "sleep 3600",
            "--executor",
            executor,
            "--executor-cores",
            "0.01",
        ]);
        command.args(["--executor-memory", "16m", "--executors", &executors.to_string()]);
        for conf in [
            format!("spark.kubernetes.namespace={}", self.namespace.name),
            "spark.kubernetes.container.image=registry.test/busybox:1".to_owned(),
            "spark.kubernetes.driver.request.cores=10m".to_owned(),
            "spark.executor.memoryOverhead=16m".to_owned(),
            format!(
                "spark.kubernetes.executor.podTemplateFile={}",
                self._template.path().display()
            ),
        ] {
            command.args(["--conf", &conf]);
        }
        command.args(more);
        command
    }

    /// What is known of the application.
    fn status(&self) -> Value {
        let ran = self.namespace.verb(&["status", &self.id, "-o", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    /// The ids of the executors that live, by their pods.
    fn living(&self) -> BTreeSet<u64> {
        let pods = self.namespace.objects("pods");
        let living = pods.iter().filter(|pod| {
            pod["metadata"]["labels"]["spark-role"] == "executor"
                && pod["metadata"]["deletionTimestamp"].is_null()
                && matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running"))
        });
        let id = |pod: &Value| {
            pod["metadata"]["labels"]["spark-exec-id"].as_str().unwrap().parse().unwrap()
        };
        living.map(id).collect()
    }

    /// So many run, for whoever keeps them and for the API server.
    #[track_caller]
    fn until_running(&self, executors: usize) -> BTreeSet<u64> {
        until(&format!("{executors} executors run"), || {
            let allocation = self.status()["allocation"].clone();
            let is_reached = allocation["running"] == json!(executors)
                && allocation["pending"] == json!(0)
                && allocation["phase"] == "reached";
            let living = is_reached.then(|| self.living())?;
            (living.len() == executors).then_some(living)
        })
    }

    /// Nothing of its executors is left.
    #[track_caller]
    fn until_none_left(&self) {
        until("no executor is left", || {
            let pods = self.namespace.objects("pods");
            let is_left = |pod: &Value| pod["metadata"]["labels"]["spark-role"] == "executor";
            (!pods.iter().any(is_left)).then_some(())
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn executors_of_a_driver_that_is_deleted_go_with_it() {
    let mut run = Run::new("orphans", PRETENDING, 20, &[]);
    run.until_running(20);
    // Nobody is there to do it but the cluster.
    let mut keeper = run.process.take().unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let name = &run.namespace.name;
    kubectl(&[
        "-n",
        name,
        "delete",
        "pods",
        "-l",
        "spark-role=driver",
        "--force",
        "--grace-period=0",
    ]);
    run.until_none_left();
    for kind in ["configmaps", "secrets"] {
        until("nothing is left", || run.namespace.objects(kind).is_empty().then_some(()));
    }
}

#[test]
#[ignore = "needs a cluster"]
fn pods_that_are_deleted_at_random_are_replaced_and_drained_nodes_are_left() {
    let run = Run::new("churn", PRETENDING, 60, &[]);
    let first = run.until_running(60);
    let name = &run.namespace.name;
    for ids in [[3, 17, 41, 59], [1, 2, 60, 61]] {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let selector = format!("spark-exec-id in ({})", ids.join(","));
        kubectl(&["-n", name, "delete", "pods", "-l", &selector, "--wait=false"]);
    }
    let second = run.until_running(60);
    assert!(second.iter().all(|id| first.contains(id) || *id > 60), "an id came back: {second:?}");
    // Evictions, as `kubectl drain` asks for them; the node stays for others.
    for pod in run.namespace.objects("pods") {
        if pod["spec"]["nodeName"] != "fake-0" {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap();
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": run.namespace.name}
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), eviction.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", run.namespace.name);
        kubectl(&["create", "--raw", &path, "-f", &file.path().display().to_string()]);
    }
    run.until_running(60);
    // None of that is the application's fault.
    assert_eq!(run.status()["allocation"]["failed"], 0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_quota_stops_a_ramp_and_its_end_lets_it_go_on() {
    let namespace = Namespace::new("quota");
    kubectl(&["-n", &namespace.name, "create", "quota", "few", "--hard=pods=11"]);
    until("the quota counts", || {
        kubectl(&[
            "-n",
            &namespace.name,
            "get",
            "quota",
            "few",
            "-o",
            "jsonpath={.status.used.pods}",
        ])
        .contains('0')
        .then_some(())
    });
    let run = in_namespace(namespace, "quota", 25);
    let blocked = until("the quota is said", || {
        let allocation = run.status()["allocation"].clone();
        (allocation["phase"] == "blocked" && run.living().len() == 10).then_some(allocation)
    });
    assert!(blocked["why"].as_str().unwrap().contains("exceeded quota: few"), "{blocked}");
    let explained = run.namespace.verb(&["explain", &run.id]).stdout;
    assert!(explained.contains("exceeded quota"), "{explained}");
    kubectl(&["-n", &run.namespace.name, "delete", "quota", "few"]);
    run.until_running(25);
}

/// A run in a namespace that was prepared.
fn in_namespace(namespace: Namespace, purpose: &str, executors: u32) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PRETENDING).unwrap();
    let id = format!("{purpose}-{}", std::process::id());
    let mut run = Run { namespace, id, _template: file, process: None };
    run.process = Some(start(&mut run.command("sleep 3600", executors, &[])));
    run
}

#[test]
#[ignore = "needs a cluster"]
fn a_watch_that_is_silent_is_begun_again() {
    let namespace = Namespace::new("silent");
    let proxy = Proxy::new(&namespace.name);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PRETENDING).unwrap();
    let mut run = Run { namespace, id: "silent".to_owned(), _template: file, process: None };
    let more =
        ["--master", &proxy.master, "--conf", "spark.kubernetes.executor.apiPollingInterval=8s"];
    run.process = Some(start(&mut run.command("sleep 3600", 5, &more)));
    run.until_running(5);
    // From now on, watches that are open tell nothing.
    proxy.faults.silences.fetch_add(1, Ordering::Relaxed);
    kubectl(&["-n", &run.namespace.name, "delete", "pods", "-l", "spark-exec-id=2", "--now"]);
    let living = until("executor 2 is replaced", || {
        let living = run.living();
        (living.len() == 5).then_some(living)
    });
    assert!(living.contains(&6), "{living:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn who_keeps_executors_after_another_takes_over_what_is_there() {
    let mut run = Run::new("adopted", PRETENDING, 8, &[]);
    let before = run.until_running(8);
    let mut first = run.process.take().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    kubectl(&["-n", &run.namespace.name, "delete", "pods", "-l", "spark-exec-id=8", "--now"]);
    run.process = Some(start(&mut run.command("sleep 3600", 8, &[])));
    let after = until("8 executors run again", || {
        let living = run.living();
        (living.len() == 8).then_some(living)
    });
    let new: Vec<_> = after.difference(&before).collect();
    // Ids that may have been given are not given again.
    assert_eq!(new, [&1001], "{after:?}");
    assert!(before.iter().filter(|id| **id != 8).all(|id| after.contains(id)));
}

#[test]
#[ignore = "needs a cluster"]
fn executors_that_fail_say_how_and_what_they_wrote_last() {
    let namespace = Namespace::new("failing");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "spec: {nodeSelector: {type: real}}\n").unwrap();
    let run = Run { namespace, id: "failing".to_owned(), _template: file, process: None };
    let more = ["--conf", "spark.executor.maxNumFailures=1"];
    let executor = "sh -c 'echo before; echo cannot find the data >&2; exit 9'";
    let ran = Ran::of(&mut run.command(executor, 1, &more)).expect(11);
    assert!(ran.stderr.contains("executor 1: exited with code 9"), "{}", ran.stderr);
    assert!(ran.stderr.contains("| cannot find the data"), "{}", ran.stderr);
    assert!(ran.stderr.contains("spark.executor.maxNumFailures"), "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn executors_that_failed_can_be_asked_about_while_others_take_their_place() {
    let more = ["--conf", "spark.executor.maxNumFailures=1000"];
    let executor = "sh -c 'echo before; sleep 1; exit 9'";
    let template = "spec: {nodeSelector: {type: real}}\n";
    let run = Run::with_executor("asked", template, executor, 1, &more);
    until("executor 3 is there", || run.living().contains(&3).then_some(()));
    let explained = run.namespace.verb(&["explain", &run.id]).stdout;
    assert!(explained.contains("exited with code 9"), "{explained}");
    // The latest are kept, so that their logs can be read.
    let log = run.namespace.verb(&["logs", &run.id, "1"]).expect(0);
    assert_eq!(log.stdout, "before\n", "{log:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn an_image_that_is_not_there_is_said() {
    let more = [
        "--conf",
        "spark.kubernetes.executor.container.image=registry.test/nope:1",
        "--conf",
        "spark.kubernetes.container.image.pullPolicy=Never",
    ];
    let run = Run::new("noimage", "spec: {nodeSelector: {type: real}}\n", 1, &more);
    let explained = until("the image is named", || {
        let explained = run.namespace.verb(&["explain", &run.id]).stdout;
        explained.contains("registry.test/nope:1").then_some(explained)
    });
    assert!(explained.contains("could not start"), "{explained}");
}

#[test]
#[ignore = "needs a cluster of our own"]
fn a_ramp_to_2000_is_exact_although_the_api_server_restarts() {
    let Some(_) = needs_own_cluster() else { return };
    let run = Run::new("ramp", PRETENDING, 2000, &[]);
    until("some executors are there", || (run.living().len() > 200).then_some(()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clusters/kube/apiserver");
    let call = |args: &[&str]| assert!(Command::new(script).args(args).status().unwrap().success());
    call(&["stop", "KILL"]);
    std::thread::sleep(Duration::from_secs(10));
    call(&["start"]);
    let living = run.until_running(2000);
    let highest = living.last().copied().unwrap();
    assert!(highest <= 2010, "{highest} were started for 2000");
    run.namespace.verb(&["kill", &run.id]).expect(0);
    run.until_none_left();
}
