//! 10,000 applications watched by one process: its memory, and how long an event takes to it.
//!
//!     NODE=0 NODES=0 tests/clusters/kube/up; eval "$(tests/clusters/kube/up)"
//!     deploy/build && cargo bench -p anymaster-benches --bench kube_watch

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anymaster_benches::{peak_memory_of, percentile, program};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const APPLICATIONS: usize = 10_000;
/// Events a second, and for how long.
const RATE: u64 = 50;
const SECONDS: u64 = 60;

fn pod(number: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("app-{number}-driver"),
            "labels": {"spark-role": "driver", "spark-app-selector": format!("spark-{number:032x}"), "spark-app-name": format!("app-{number}")},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "spark-kubernetes-driver", "image": "spark", "args": ["driver"]}],
        },
    }))
    .unwrap()
}

#[tokio::main]
async fn main() {
    let master = std::env::var("ANYMASTER_KUBE_MASTER")
        .unwrap_or_else(|_| panic!("ANYMASTER_KUBE_MASTER: tests/clusters/kube/up sets it"));
    let client = Client::try_default().await.unwrap();
    let name = format!("watch-{}", std::process::id());
    anymaster_benches::namespace(&client, &name).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    let began = Instant::now();
    let parameters = PostParams::default();
    let creations = (0..APPLICATIONS).map(|number| {
        let (pods, parameters) = (&pods, &parameters);
        async move { pods.create(parameters, &pod(number)).await.unwrap() }
    });
    stream::iter(creations).buffer_unordered(50).for_each(|_| async {}).await;
    println!("{APPLICATIONS} drivers created in {:.0} s", began.elapsed().as_secs_f64());

    let mut watching = tokio::process::Command::new(program())
        .args(["watch", "--master", &master, "--namespace", &name, "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let began = Instant::now();
    let mut known = 0;
    while let Some(line) = lines.next_line().await.unwrap() {
        let item: Value = serde_json::from_str(&line).unwrap();
        known += usize::from(item["event"] == "changed");
        if item["event"] == "synced" {
            break;
        }
    }
    println!("{known} known after {:.1} s", began.elapsed().as_secs_f64());

    let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let sender = tokio::spawn({
        let (pods, sent) = (pods.clone(), Arc::clone(&sent));
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(1000 / RATE));
            for number in 0..usize::try_from(RATE * SECONDS).unwrap() {
                ticks.tick().await;
                let (pods, sent) = (pods.clone(), Arc::clone(&sent));
                tokio::spawn(async move {
                    let name = format!("app-{number}-driver");
                    let status = json!({"status": {"phase": "Running", "startTime": jiff::Timestamp::now()}});
                    // The event leaves the API server before its answer does: this is the earliest that is known.
                    let before = Instant::now();
                    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
                        .await
                        .unwrap();
                    sent.lock().unwrap().entry(format!("app-{number}")).or_insert(before);
                });
            }
        }
    });
    let mut seen: HashMap<String, Instant> = HashMap::new();
    let wanted = usize::try_from(RATE * SECONDS).unwrap();
    while seen.len() < wanted {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let item: Value = serde_json::from_str(&line).unwrap();
        if item["state"] == "running" {
            seen.insert(item["name"].as_str().unwrap().to_owned(), Instant::now());
        }
    }
    sender.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late: Vec<Duration> = {
        let sent = sent.lock().unwrap();
        seen.iter().map(|(name, at)| at.saturating_duration_since(sent[name])).collect()
    };
    println!("{RATE} events/s for {SECONDS} s, from the request that causes one to our consumer:");
    println!(
        "  p50 {:?}, p99 {:?} (aim: at most 100 ms)",
        percentile(late.clone(), 50),
        percentile(late, 99)
    );
    let memory = peak_memory_of(watching.id().unwrap());
    println!("  peak memory {:.1} MiB (aim: at most 150)", memory as f64 / f64::from(1 << 20));
    watching.kill().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
}
