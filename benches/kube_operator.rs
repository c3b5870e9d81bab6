//! SparkApplications through `anymaster operator`: from `kubectl apply` to the driver's pod, to the status, to the end.
//! Drivers run on nodes that pretend.
//!
//!     NODE=0 NODES=12 tests/clusters/kube/up; eval "$(tests/clusters/kube/up)"
//!     deploy/build && APPLICATIONS=1000 RATE=600 cargo bench -p anymaster-benches --bench kube_operator

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::collections::HashMap;
use std::io::BufRead as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anymaster_benches::{namespace, peak_memory_of, percentile, program};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

fn application(name: &str) -> DynamicObject {
    let application = json!({
        "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "metadata": {"name": name},
        "spec": {
            "type": "Scala", "sparkVersion": "3.5.9", "image": "registry.test/driver:1", "mainClass": "Main",
            "mainApplicationFile": "local:///app.jar",
            "driver": {
                "nodeSelector": {"type": "kwok"},
                "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                "annotations": {"test/exit-code": "0", "test/after": "2s"},
                "coreRequest": "10m", "memory": "64m",
            },
            "executor": {"instances": 1},
        },
    });
    serde_json::from_value(application).unwrap()
}

/// When something was seen first, by the names of the applications.
type Seen = HashMap<String, Instant>;

/// The times at which the drivers of so many applications were created.
async fn watch_pods(pods: Api<Pod>, count: usize) -> Seen {
    let params = WatchParams::default().labels("spark-role=driver").timeout(290);
    let mut seen = Seen::new();
    let mut events = pods.watch(&params, "0").await.unwrap().boxed();
    while seen.len() < count {
        match events.next().await {
            Some(Ok(WatchEvent::Added(pod))) => {
                let name = pod.labels()["sparkoperator.k8s.io/app-name"].clone();
                seen.entry(name).or_insert_with(Instant::now);
            }
            Some(Ok(_)) => {}
            other => panic!("the watch of pods ended after {} drivers: {other:?}", seen.len()),
        }
    }
    seen
}

/// The times at which so many applications had a status, and were completed.
async fn watch_statuses(apps: Api<DynamicObject>, count: usize) -> (Seen, Seen) {
    let params = WatchParams::default().timeout(290);
    let (mut submitted, mut completed) = (Seen::new(), Seen::new());
    let mut events = apps.watch(&params, "0").await.unwrap().boxed();
    while completed.len() < count {
        let app = match events.next().await {
            Some(Ok(WatchEvent::Added(app) | WatchEvent::Modified(app))) => app,
            Some(Ok(_)) => continue,
            other => panic!("the watch ended after {} ends: {other:?}", completed.len()),
        };
        match app.data["status"]["applicationState"]["state"].as_str() {
            None | Some("") => continue,
            Some("COMPLETED") => completed.entry(app.name_any()).or_insert_with(Instant::now),
            Some(state) => {
                assert!(["SUBMITTED", "RUNNING"].contains(&state), "{}: {state}", app.name_any());
                submitted.entry(app.name_any()).or_insert_with(Instant::now)
            }
        };
    }
    (submitted, completed)
}

fn show(what: &str, created: &Seen, seen: &Seen) {
    let took: Vec<Duration> =
        seen.iter().map(|(name, at)| at.saturating_duration_since(created[name])).collect();
    let (p50, p99) = (percentile(took.clone(), 50), percentile(took, 99));
    println!("  from creation to {what}: p50 {p50:?}, p99 {p99:?}");
}

fn per_minute(began: Instant, seen: &Seen) -> f64 {
    let last = seen.values().max().map_or(Duration::ZERO, |at| at.saturating_duration_since(began));
    seen.len() as f64 * 60.0 / last.as_secs_f64()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::main]
async fn main() {
    let master = std::env::var("ANYMASTER_KUBE_MASTER")
        .unwrap_or_else(|_| panic!("ANYMASTER_KUBE_MASTER: tests/clusters/kube/up sets it"));
    let (count, rate) = (number("APPLICATIONS", 1000), number("RATE", 0));
    let client = Client::try_default().await.unwrap();
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/operator-crds.yaml");
    let kubectl = |arguments: &[&str]| {
        let status = Command::new("kubectl").args(arguments).stdout(Stdio::null()).status();
        assert!(status.unwrap().success(), "kubectl {arguments:?}");
    };
    kubectl(&["apply", "--server-side", "-f", crds]);
    let crd = "crd/sparkapplications.sparkoperator.k8s.io";
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]);
    let name = format!("operator-{}", std::process::id());
    namespace(&client, &name).await.unwrap();
    let more = std::env::var("OPTIONS").unwrap_or_default();
    let mut operator = Command::new(program())
        .args(["operator", "--master", &master, "--port", "0", "--namespace", &name])
        .args(more.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(operator.stdout.take().unwrap()).read_line(&mut ready).unwrap();

    let kind = GroupVersionKind::gvk("sparkoperator.k8s.io", "v1beta2", "SparkApplication");
    let kind = ApiResource::from_gvk_with_plural(&kind, "sparkapplications");
    let apps: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name, &kind);
    let total = usize::try_from(count).unwrap();
    let pods = tokio::spawn(watch_pods(Api::namespaced(client.clone(), &name), total));
    let statuses = tokio::spawn(watch_statuses(apps.clone(), total));
    let began = Instant::now();
    let mut pause =
        (rate > 0).then(|| tokio::time::interval(Duration::from_secs(60) / rate as u32));
    let (mut created, mut under_way) = (Seen::new(), JoinSet::new());
    for number in 0..count {
        match &mut pause {
            Some(pause) => drop(pause.tick().await),
            // As many at once as a patient client has.
            None if under_way.len() >= 50 => drop(under_way.join_next().await),
            None => {}
        }
        let (apps, name) = (apps.clone(), format!("app-{number}"));
        created.insert(name.clone(), Instant::now());
        under_way.spawn(async move {
            apps.create(&PostParams::default(), &application(&name)).await.unwrap();
        });
    }
    under_way.join_all().await;
    let applied = began.elapsed();
    let pods = pods.await.unwrap();
    let (submitted, completed) = statuses.await.unwrap();
    let cpu = std::fs::read_to_string(format!("/proc/{}/stat", operator.id())).unwrap();
    let ticks: Vec<f64> =
        cpu.rsplit(") ").next().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
    // Of user and system, a hundred a second.
    let cpu = (ticks[10] + ticks[11]) / 100.0;
    println!("{count} applications, created within {applied:?} ({rate} a minute; 0: 50 at once):");
    println!("  drivers: {:.0} a minute", per_minute(began, &pods));
    println!("  ends: {:.0} a minute", per_minute(began, &completed));
    show("driver", &created, &pods);
    show("status", &created, &submitted);
    show("COMPLETED (a driver takes 2 s and more)", &created, &completed);
    println!("  CPU time {cpu:.1} s, {:.1} ms an application", cpu * 1000.0 / count as f64);
    println!("  peak memory {:.1} MiB", peak_memory_of(operator.id()) as f64 / f64::from(1 << 20));
    operator.kill().unwrap();
    operator.wait().unwrap();
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
}
