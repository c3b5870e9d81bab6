//! Submissions through `anymaster serve`, beside the bare rate at which the API server creates the same
//! three objects.
//!
//!     NODE=0 NODES=0 tests/clusters/kube/up; eval "$(tests/clusters/kube/up)"
//!     deploy/build && SECONDS_LONG=300 cargo bench -p anymaster-benches --bench kube_serve

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::io::BufRead as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anymaster_benches::{namespace, peak_memory_of, percentile, program};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const IN_FLIGHT: usize = 50;
/// 3,000 a minute.
const ASKED_PER_SECOND: u64 = 50;

fn line(master: &str, namespace: &str, name: &str) -> Vec<String> {
    let mut line: Vec<String> =
        ["--master", master, "--deploy-mode", "cluster", "--name", name, "--class", "Main"]
            .map(str::to_owned)
            .to_vec();
    for conf in [
        "spark.kubernetes.container.image=registry.test/driver:1",
        "spark.kubernetes.driver.scheduler.name=nobody",
        &format!("spark.kubernetes.namespace={namespace}"),
    ] {
        line.extend(["--conf".to_owned(), conf.to_owned()]);
    }
    line.extend(["local:///app.jar".to_owned(), "true".to_owned()]);
    line
}

/// Does something again and again, so many at once, for a time. Returns how long each took.
async fn drive<F, W>(seconds: u64, work: W) -> (f64, Vec<Duration>)
where
    F: Future<Output = ()>,
    W: Fn(u64) -> F,
{
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let worker = || async {
        let mut took = Vec::new();
        while began.elapsed().as_secs() < seconds {
            let start = Instant::now();
            work(next.fetch_add(1, Ordering::Relaxed)).await;
            took.push(start.elapsed());
        }
        took
    };
    let took: Vec<Duration> = join_all((0..IN_FLIGHT).map(|_| worker())).await.concat();
    (took.len() as f64 / began.elapsed().as_secs_f64(), took)
}

/// Does something so many times a second, for a time, however long each takes. Returns how long that was.
async fn pace<F, W>(rate: u64, seconds: u64, work: W) -> Vec<Duration>
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(u64) -> F,
{
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
    let mut under_way = JoinSet::new();
    for number in 0..rate * seconds {
        ticks.tick().await;
        let work = work(number);
        under_way.spawn(async move {
            let start = Instant::now();
            work.await;
            start.elapsed()
        });
    }
    under_way.join_all().await
}

/// The three objects, as ours makes them.
fn objects(master: &str, namespace: &str) -> (ConfigMap, Pod, Service) {
    let output = Command::new(program())
        .args(["submit", "--dry-run", "-o", "json"])
        .args(line(master, namespace, "bare"))
        .output()
        .unwrap();
    let mut objects: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut take = |list: &str| {
        let mut object = objects[list][0].take();
        object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        object
    };
    let (map, pod, service) = (take("configmaps"), take("pods"), take("services"));
    (
        serde_json::from_value(map).unwrap(),
        serde_json::from_value(pod).unwrap(),
        serde_json::from_value(service).unwrap(),
    )
}

async fn bare(client: &Client, master: &str, namespace: &str, seconds: u64) -> f64 {
    let (map, pod, service) = objects(master, namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let parameters = PostParams::default();
    let create = |number: u64| {
        let (mut map, mut pod, mut service) = (map.clone(), pod.clone(), service.clone());
        map.metadata.name = Some(format!("bare-{number}"));
        pod.metadata.name = Some(format!("bare-{number}"));
        service.metadata.name = Some(format!("bare-{number}"));
        let (maps, pods, services, parameters) = (&maps, &pods, &services, &parameters);
        async move {
            maps.create(parameters, &map).await.unwrap();
            pods.create(parameters, &pod).await.unwrap();
            services.create(parameters, &service).await.unwrap();
        }
    };
    drive(seconds, create).await.0
}

#[tokio::main]
async fn main() {
    let master = std::env::var("ANYMASTER_KUBE_MASTER")
        .unwrap_or_else(|_| panic!("ANYMASTER_KUBE_MASTER: tests/clusters/kube/up sets it"));
    let seconds: u64 = std::env::var("SECONDS_LONG").map_or(30, |text| text.parse().unwrap());
    let client = Client::try_default().await.unwrap();
    let id = std::process::id();
    let (of_bare, of_serve) = (format!("bare-{id}"), format!("serve-{id}"));
    namespace(&client, &of_bare).await.unwrap();
    namespace(&client, &of_serve).await.unwrap();

    let mut service = Command::new(program())
        .args(["serve", "--master", &master, "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(service.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let url = format!("{}/api/v1/spark-submit", ready.trim().strip_prefix("ready ").unwrap());
    let http = reqwest::Client::new();
    let failures = Arc::new(AtomicU64::new(0));
    let post = |number: u64| {
        let body = json!({
            "submission_id": format!("s-{number}"),
            "spark_submit_args": line(&master, &of_serve, &format!("app-{number}")),
        });
        let (request, failures) = (http.post(&url).json(&body), Arc::clone(&failures));
        async move {
            let status = request.send().await.map(|answer| answer.status().as_u16());
            if !matches!(status, Ok(201)) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let steady = pace(ASKED_PER_SECOND, seconds, post).await;
    let first_of_second_half = ASKED_PER_SECOND * seconds;
    let short = seconds.min(60);
    let (rate, _) = drive(short, |number| post(first_of_second_half + number)).await;
    let memory = peak_memory_of(service.id());
    service.kill().unwrap();
    service.wait().unwrap();
    let bare = bare(&client, &master, &of_bare, short).await;

    println!("anymaster serve, {} submissions a minute for {seconds} s:", ASKED_PER_SECOND * 60);
    println!(
        "  p50 {:?}, p99 {:?} (aim: at most 1 s)",
        percentile(steady.clone(), 50),
        percentile(steady, 99)
    );
    println!("as many as it takes, {IN_FLIGHT} at once, {short} s: {:.0} a minute", rate * 60.0);
    println!("bare creation of the same three objects: {:.0} a minute", bare * 60.0);
    println!("  ratio {:.2} (aim: at least 0.70)", rate / bare);
    println!("not created: {} (aim: none)", failures.load(Ordering::Relaxed));
    println!("peak memory {:.1} MiB (aim: at most 100)", memory as f64 / f64::from(1 << 20));
    for namespace in [&of_bare, &of_serve] {
        Api::<Namespace>::all(client.clone())
            .delete(namespace, &DeleteParams::background())
            .await
            .unwrap();
    }
}
