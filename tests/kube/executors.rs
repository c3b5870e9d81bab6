//! Executors of programs that are not Spark: the target is held under failures.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anymaster_core::model::{
    AppId, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile,
};
use anymaster_core::{ClusterManager as _, ConnectOptions};
use anymaster_k8s::Kubernetes;
use serde_json::{Value, json};

use crate::cluster::{Namespace, Ran, ca, kubectl, master, own_cluster, start, until};
use crate::proxy::Proxy;

/// A pod template for fake nodes, if the test cluster has them: many pods fit, and they never end.
fn pretending() -> &'static str {
    match own_cluster() {
        Some(_) => {
            "spec: {nodeSelector: {type: kwok}, tolerations: [{operator: Exists}], \
             containers: [{name: executor}]}\n"
        }
        None => "spec: {containers: [{name: executor}]}\n",
    }
}

/// An executor that waits.
const WAIT: &str = "sleep 3600";

/// A pod template for real nodes.
pub(crate) fn real() -> &'static str {
    match own_cluster() {
        Some(_) => "spec: {nodeSelector: {type: real}}\n",
        None => "spec: {containers: [{name: executor}]}\n",
    }
}

/// A run of a waiting driver with executors.
struct Run {
    namespace: Namespace,
    id: String,
    template: tempfile::NamedTempFile,
    process: Option<Child>,
}

impl Run {
    /// Starts executors that wait.
    fn new(purpose: &str, template: &str, executors: u32, more: &[&str]) -> Self {
        let mut run = Self::prepared(Namespace::new(purpose), template);
        run.start(WAIT, executors, more);
        run
    }

    /// Nothing runs yet.
    fn prepared(namespace: Namespace, template: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), template).unwrap();
        Self { id: namespace.name.clone(), namespace, template: file, process: None }
    }

    fn start(&mut self, executor: &str, executors: u32, more: &[&str]) {
        self.process = Some(start(&mut self.command(executor, executors, more)));
    }

    /// Kills the process that manages the executors.
    fn shoot(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
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
            format!("spark.kubernetes.executor.podTemplateFile={}", self.template.path().display()),
        ] {
            command.args(["--conf", &conf]);
        }
        command.args(more);
        command
    }

    /// The status of the application.
    fn status(&self) -> Value {
        let ran = self.namespace.verb(&["status", &self.id, "-o", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    /// The ids of live executors, from their pods.
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

    /// Waits until this many run, in the status and in the API server.
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

    /// Waits until this many live in the API server; the status may lag.
    #[track_caller]
    fn until_living(&self, executors: usize) -> BTreeSet<u64> {
        until(&format!("{executors} executors live"), || {
            let living = self.living();
            (living.len() == executors).then_some(living)
        })
    }

    /// Deletes executors by hand.
    fn delete(&self, selector: &str) {
        kubectl(&["-n", &self.namespace.name, "delete", "pods", "-l", selector, "--now"]);
    }

    /// Asks for the eviction of a pod, as `kubectl drain` does.
    fn evict(&self, pod: &str) {
        let namespace = &self.namespace.name;
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), eviction.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        kubectl(&["create", "--raw", &path, "-f", &file.path().display().to_string()]);
    }

    /// Waits until no executor is left.
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
        if self.process.is_some() {
            self.shoot();
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn executors_of_a_deleted_driver_are_deleted() {
    let mut run = Run::new("orphans", pretending(), 20, &[]);
    run.until_running(20);
    // Only the garbage collector is left to do it.
    run.shoot();
    let drivers = ["-l", "spark-role=driver", "--force", "--grace-period=0"];
    kubectl(&[&["-n", &run.namespace.name, "delete", "pods"], &drivers[..]].concat());
    run.until_none_left();
    for kind in ["configmaps", "secrets"] {
        until("nothing is left", || run.namespace.objects(kind).is_empty().then_some(()));
    }
}

#[test]
#[ignore = "needs a cluster"]
fn deleted_pods_are_replaced_and_drained_nodes_are_avoided() {
    let run = Run::new("churn", pretending(), 60, &[]);
    let first = run.until_running(60);
    for ids in ["3,17,41,59", "1,2,60,61"] {
        run.delete(&format!("spark-exec-id in ({ids})"));
    }
    let second = run.until_running(60);
    assert!(second.iter().all(|id| first.contains(id) || *id > 60), "an id came back: {second:?}");
    let on_node = |pod: &&Value| pod["spec"]["nodeName"] == "fake-0";
    for pod in run.namespace.objects("pods").iter().filter(on_node) {
        run.evict(pod["metadata"]["name"].as_str().unwrap());
    }
    run.until_running(60);
    // None of that counts as a failure of the application.
    assert_eq!(run.status()["allocation"]["failed"], 0);
}

#[test]
#[ignore = "needs a cluster"]
fn the_role_for_drivers_allows_killing_one_executor() {
    let mut run = Run::prepared(Namespace::new("one"), pretending());
    let name = run.namespace.name.clone();
    let role = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/driver.yaml");
    kubectl(&["-n", &name, "apply", "-f", role]);
    run.start(WAIT, 2, &[]);
    run.until_running(2);
    let file = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    };
    let token = file(kubectl(&["-n", &name, "create", "token", "driver"]).trim());
    let (ca, nobody) = (file(&ca()), file("apiVersion: v1\nkind: Config\n"));
    let mut kill = run.namespace.anymaster(&["kill", &run.id, "--executor", "1"]);
    kill.args(["--namespace", &name]).env("KUBECONFIG", nobody.path());
    for (key, file) in [("oauthTokenFile", &token), ("caCertFile", &ca)] {
        let path = file.path().display();
        kill.args(["-c", &format!("spark.kubernetes.authenticate.submission.{key}={path}")]);
    }
    Ran::of(&mut kill).expect(0);
    assert!(run.until_running(2).contains(&3));
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_the_user_created_owns_the_executors_of_its_process() {
    let namespace = Namespace::new("notebook");
    let name = &namespace.name;
    let image = "--image=registry.test/busybox:1";
    let waits = ["--command", "--", "sleep", "3600"];
    kubectl(&[&["-n", name, "run", "notebook", image], &waits[..]].concat());
    let template = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(template.path(), pretending()).unwrap();
    let conf = [
        ("spark.submit.deployMode", "client"),
        ("spark.kubernetes.driver.pod.name", "notebook"),
        ("spark.kubernetes.namespace", name),
        ("spark.kubernetes.container.image", "registry.test/busybox:1"),
        ("spark.kubernetes.executor.podTemplateFile", template.path().to_str().unwrap()),
    ];
    let options =
        ConnectOptions::new(master().parse().unwrap()).with_conf(conf.into_iter().collect());
    let executors = || {
        let mut pods = namespace.objects("pods");
        pods.retain(|pod| pod["metadata"]["labels"]["spark-role"] == "executor");
        pods
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = Kubernetes::connect(&options).await.unwrap();
        let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
        let target = ExecutorTarget::new(template, ResourceProfile::new(0.01, 16), 2);
        let app = AppId::new("lab-1").unwrap();
        let request = async || {
            cluster.request_executors(&app, &target).await.unwrap();
            until("two executors are there", || {
                let mut pods = executors();
                pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
                (pods.len() == 2).then_some(pods)
            })
        };
        request().await;
        // After the wait, nothing is left to do.
        cluster.cleanup(&app).await.unwrap();
        for pod in executors() {
            assert!(!pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
        }
        let made = request().await;
        for pod in made {
            assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "notebook", "{pod}");
        }
    });
    // No process manages them any more; the garbage collector knows their owner.
    drop(runtime);
    kubectl(&["-n", name, "delete", "pod", "notebook", "--now"]);
    until("no executor is left", || executors().is_empty().then_some(()));
}

#[test]
#[ignore = "needs a cluster"]
fn executors_of_a_lost_node_are_replaced() {
    // Unlike those of the other tests, these tolerate only what they must.
    let template =
        pretending().replace("{operator: Exists}", "{key: kwok.x-k8s.io/node, operator: Exists}");
    let run = Run::new("nodeloss", &template, 12, &[]);
    run.until_running(12);
    let mut watch = run.namespace.anymaster(&["watch", "-o", "json", "--namespace"]);
    let mut watch = start(watch.arg(&run.namespace.name));
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // The initial list is complete: no later change is missed.
    lines.next().unwrap().unwrap();
    // What the control plane does to the pods of a lost node.
    kubectl(&["taint", "node", "fake-1", "lost=true:NoExecute"]);
    let lost = lines.find(|line| line.as_ref().unwrap().contains(r#""cause":"lost""#));
    kubectl(&["taint", "node", "fake-1", "lost-"]);
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(lost.is_some());
    run.until_running(12);
    assert_eq!(run.status()["allocation"]["failed"], 0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_quota_stops_a_ramp_until_it_is_lifted() {
    let mut run = Run::prepared(Namespace::new("quota"), pretending());
    let name = run.namespace.name.clone();
    kubectl(&["-n", &name, "create", "quota", "few", "--hard=pods=11"]);
    until("the quota counts", || {
        let used = "jsonpath={.status.used.pods}";
        kubectl(&["-n", &name, "get", "quota", "few", "-o", used]).contains('0').then_some(())
    });
    run.start(WAIT, 25, &[]);
    let blocked = until("the quota is said", || {
        let allocation = run.status()["allocation"].clone();
        (allocation["phase"] == "blocked" && run.living().len() == 10).then_some(allocation)
    });
    assert!(blocked["why"].as_str().unwrap().contains("exceeded quota: few"), "{blocked}");
    let explained = run.namespace.verb(&["explain", &run.id]).stdout;
    assert!(explained.contains("exceeded quota"), "{explained}");
    kubectl(&["-n", &name, "delete", "quota", "few"]);
    run.until_running(25);
}

#[test]
#[ignore = "needs a cluster"]
fn a_silent_watch_is_reopened() {
    let mut run = Run::prepared(Namespace::new("silent"), pretending());
    let proxy = Proxy::new(&run.namespace.name);
    let patience = "spark.kubernetes.executor.apiPollingInterval=8s";
    run.start(WAIT, 5, &["--master", &proxy.master, "--conf", patience]);
    run.until_running(5);
    // From now on, open watches are silent.
    proxy.faults.silences.fetch_add(1, Ordering::Relaxed);
    run.delete("spark-exec-id=2");
    let living = run.until_living(5);
    assert!(living.contains(&6), "{living:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_successor_takes_over_existing_executors() {
    let mut run = Run::new("adopted", pretending(), 8, &[]);
    let before = run.until_running(8);
    run.shoot();
    run.delete("spark-exec-id=8");
    run.start(WAIT, 8, &[]);
    let after = run.until_living(8);
    // Reserved ids are not reused.
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), [&1001], "{after:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn claims_of_ended_executors_are_reused_by_their_replacements() {
    let mut run = Run::prepared(Namespace::new("claims"), pretending());
    let name = run.namespace.name.clone();
    let disks = [0, 1].map(|number| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{name}-{number}")},
            "spec": {
                "storageClassName": name, "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"],
                "hostPath": {"path": "/tmp"}, "persistentVolumeReclaimPolicy": "Delete",
            },
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": disks});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), list.to_string()).unwrap();
    kubectl(&["apply", "-f", &file.path().display().to_string()]);
    let volume = "spark.kubernetes.executor.volumes.persistentVolumeClaim.data";
    let conf = [
        "options.claimName=OnDemand",
        &format!("options.storageClass={name}"),
        "options.sizeLimit=1Gi",
        "mount.path=/data",
    ]
    .map(|option| format!("--conf={volume}.{option}"));
    run.start(WAIT, 2, &conf.each_ref().map(String::as_str));
    run.until_running(2);
    let claims = || {
        let claims = run.namespace.objects("persistentvolumeclaims");
        let name = |claim: &Value| claim["metadata"]["name"].as_str().unwrap().to_owned();
        claims.iter().map(name).collect::<BTreeSet<_>>()
    };
    let before = claims();
    assert!(
        before.iter().all(|claim| claim.ends_with("-pvc-0")) && before.len() == 2,
        "{before:?}"
    );
    run.delete("spark-exec-id=2");
    assert!(run.until_running(2).contains(&3));
    assert_eq!(claims(), before);
    // The driver ends by itself: its pod is kept for its log, the executors' claims are not.
    let drivers = ["-n", &name, "get", "pods", "-l", "spark-role=driver", "-o", "name"];
    let driver = kubectl(&drivers);
    kubectl(&["-n", &name, "exec", driver.trim(), "--", "killall", "sleep"]);
    until("no claim is left", || claims().is_empty().then_some(()));
    assert_eq!(kubectl(&drivers), driver);
    kubectl(&[
        "delete",
        "persistentvolumes",
        &format!("{name}-0"),
        &format!("{name}-1"),
        "--wait=false",
    ]);
}

#[test]
#[ignore = "needs a cluster"]
fn clock_skew_does_no_harm() {
    let mut run = Run::prepared(Namespace::new("clock"), pretending());
    let line = run.command(WAIT, 6, &[]);
    // Two hours ahead of the API server.
    let mut skewed = Command::new("faketime");
    skewed.args(["-f", "+2h"]).arg(line.get_program()).args(line.get_args());
    for (name, value) in line.get_envs() {
        match value {
            Some(value) => skewed.env(name, value),
            None => skewed.env_remove(name),
        };
    }
    run.process = Some(start(&mut skewed));
    run.until_running(6);
    run.delete("spark-exec-id=1");
    assert!(run.until_running(6).contains(&7));
}

#[test]
#[ignore = "needs a cluster"]
fn failed_executors_have_a_cause_and_their_last_output() {
    let run = Run::prepared(Namespace::new("failing"), real());
    let executor = "sh -c 'echo before; echo cannot find the data >&2; exit 9'";
    let more = ["--conf", "spark.executor.maxNumFailures=1"];
    let ran = Ran::of(&mut run.command(executor, 1, &more)).expect(11);
    assert!(ran.stderr.contains("executor 1: exited with code 9"), "{}", ran.stderr);
    assert!(ran.stderr.contains("| cannot find the data"), "{}", ran.stderr);
    assert!(ran.stderr.contains("spark.executor.maxNumFailures"), "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn failed_executors_are_retained_while_others_replace_them() {
    let mut run = Run::prepared(Namespace::new("asked"), real());
    let more = ["--conf", "spark.executor.maxNumFailures=1000"];
    run.start("sh -c 'echo before; sleep 1; exit 9'", 1, &more);
    until("a third executor is there", || run.living().iter().any(|id| *id >= 3).then_some(()));
    let explained = run.namespace.verb(&["explain", &run.id]).stdout;
    assert!(explained.contains("exited with code 9"), "{explained}");
    // The latest pods are retained, so that their logs can be read.
    let log = run.namespace.verb(&["logs", &run.id, "1"]).expect(0);
    assert_eq!(log.stdout, "before\n", "{log:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_missing_image_is_reported() {
    let image = "spark.kubernetes.executor.container.image=registry.test/nope:1";
    let never = "spark.kubernetes.container.image.pullPolicy=Never";
    let run = Run::new("noimage", real(), 1, &["--conf", image, "--conf", never]);
    // First from the kubelet's event, then from the executor's end.
    until("the image is named as the reason of an end", || {
        let explained = run.namespace.verb(&["explain", &run.id]).stdout;
        let words = ["registry.test/nope:1", "could not start"];
        words.iter().all(|word| explained.contains(word)).then_some(())
    });
}

#[test]
#[ignore = "needs a cluster of our own"]
fn a_ramp_to_2000_is_exact_although_the_api_server_restarts() {
    let run = Run::new("ramp", pretending(), 2000, &[]);
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
