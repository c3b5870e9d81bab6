//! Executors on Kubernetes: ours, a bare loop of requests, and Spark's own allocator, on nodes that only
//! pretend; the memory of a driver with 10,000 of them; and how many requests each of them costs.
//!
//!     NODE=0 NODES=12 AUDIT=1 tests/clusters/kube/up; eval "$(tests/clusters/kube/up)"
//!     eval "$(tests/clusters/spark/up)"
//!     KUBECONFIG=$ANYMASTER_KUBE_STATE/kubeconfig-token cargo bench -p anymaster-benches --bench kube_executors
//!
//! All show the same token: Spark's client cannot read EC keys.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anymaster_benches::{median, peak_memory_of};
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, CommandLine, Event, ExecutorTarget, ExecutorTemplate, ResourceProfile, State, Status,
};
use anymaster_core::{ClusterManager, ConnectOptions, WatchOptions};
use anymaster_k8s::Kubernetes;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const EXECUTORS: u32 = 1_000;
const MANY: u32 = 10_000;
const IN_FLIGHT: usize = 50;
const ROUNDS: usize = 6;
const SPARK_ROUNDS: usize = 3;
/// Where an executor may go: nodes that pretend are tainted.
const TEMPLATE: &str = "spec: {nodeSelector: {type: kwok}, tolerations: [{operator: Exists}], \
                        containers: [{name: executor}]}\n";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn conf(namespace: &str, template: &Path) -> Conf {
    [
        ("spark.submit.deployMode", "client"),
        ("spark.kubernetes.namespace", namespace),
        ("spark.kubernetes.container.image", "registry.test/busybox:1"),
        ("spark.kubernetes.executor.podTemplateFile", template.to_str().unwrap()),
        ("spark.kubernetes.executor.request.cores", "10m"),
    ]
    .into_iter()
    .collect()
}

async fn connect(conf: Conf) -> Arc<dyn ClusterManager> {
    let options =
        ConnectOptions::new(variable("ANYMASTER_KUBE_MASTER").parse().unwrap()).with_conf(conf);
    Arc::new(Kubernetes::connect(&options).await.unwrap())
}

/// When all were created, on a node, and running.
struct Stages {
    created: Duration,
    placed: Duration,
    running: Duration,
}

async fn request(cluster: &dyn ClusterManager, app: &str, executors: u32) {
    let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 64), executors);
    cluster.request_executors(&AppId::new(app).unwrap(), &target).await.unwrap();
}

async fn ours(cluster: &dyn ClusterManager, app: &str, executors: u32) -> Stages {
    let began = Instant::now();
    request(cluster, app, executors).await;
    let mut events = cluster.watch(&WatchOptions::of(&AppId::new(app).unwrap())).await.unwrap();
    let (mut created, mut placed, mut running) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut stages =
        Stages { created: began.elapsed(), placed: began.elapsed(), running: began.elapsed() };
    while running.len() < executors as usize {
        let event = events.next().await.unwrap().unwrap();
        let Event::Changed(Status::Executor(executor)) = event else { continue };
        if created.insert(executor.id) {
            stages.created = began.elapsed();
        }
        if executor.host.is_some() && placed.insert(executor.id) {
            stages.placed = began.elapsed();
        }
        if executor.state == State::Running && running.insert(executor.id) {
            stages.running = began.elapsed();
        }
    }
    assert_eq!(created.len(), executors as usize);
    stages
}

async fn bare(pods: &Api<Pod>, body: &Pod, executors: u32) -> Duration {
    let parameters = PostParams::default();
    let began = Instant::now();
    let creations = (0..executors).map(|number| {
        let (pods, parameters, mut body) = (pods, &parameters, body.clone());
        body.metadata.name = Some(format!("bare-exec-{number}"));
        async move { pods.create(parameters, &body).await.unwrap() }
    });
    stream::iter(creations).buffer_unordered(IN_FLIGHT).for_each(|_| async {}).await;
    began.elapsed()
}

/// Nothing is left of a round.
async fn clear(pods: &Api<Pod>) {
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&now, &ListParams::default()).await.unwrap();
    while !pods.list_metadata(&ListParams::default().limit(1)).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The scheduler and the nodes have it all to do, too.
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// From Spark's first executor to its last one.
async fn sparks(
    pods: &Api<Pod>,
    namespace: &str,
    template: &Path,
    executors: u32,
    more: &[String],
) -> Duration {
    let place = pods.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    let place = place.metadata.resource_version.unwrap_or_default();
    let mut spark = spark(namespace, template, executors, more);
    let mut seen = HashSet::new();
    let mut began = None;
    let parameters = WatchParams::default().labels("spark-role=executor");
    let mut events = Box::pin(pods.watch(&parameters, &place).await.unwrap());
    while seen.len() < executors as usize {
        let event = events.next().await.unwrap().unwrap();
        if let WatchEvent::Added(pod) = event {
            seen.insert(pod.metadata.name);
            began.get_or_insert_with(Instant::now);
        }
    }
    let took = began.unwrap().elapsed();
    end(&mut spark);
    took
}

fn spark(namespace: &str, template: &Path, executors: u32, more: &[String]) -> Child {
    let mut command = Command::new(Path::new(&variable("SPARK_HOME")).join("bin/spark-submit"));
    command.args(["--master", &variable("ANYMASTER_KUBE_MASTER"), "--deploy-mode", "client"]);
    command.args(["--class", "org.apache.spark.examples.SparkPi"]);
    let mut conf = conf(namespace, template);
    conf.set("spark.executor.instances", executors.to_string());
    conf.set("spark.driver.host", "127.0.0.1");
    for (key, value) in conf.iter().filter(|(key, _)| *key != "spark.submit.deployMode") {
        command.args(["--conf", &format!("{key}={value}")]);
    }
    command.args(more).arg(variable("SPARK_PI_JAR"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets Spark remove its executors.
fn end(spark: &mut Child) {
    let ended = Command::new("kill").arg(spark.id().to_string()).status().unwrap();
    assert!(ended.success());
    spark.wait().unwrap();
}

/// Requests by clients of this name, where the API server writes them down.
fn requests(client: &str) -> Option<usize> {
    let log = Path::new(&variable("ANYMASTER_KUBE_STATE")).join("log/audit.log");
    let text = std::fs::read_to_string(log).ok()?;
    let count = text.lines().filter(|line| {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        entry["stage"] == "ResponseComplete"
            && entry["userAgent"].as_str().is_some_and(|agent| agent.contains(client))
    });
    Some(count.count())
}

/// A driver with many executors, in a process of its own: prints when they run, and waits.
async fn driver(namespace: &str, template: &Path) {
    let cluster = connect(conf(namespace, template)).await;
    let stages = ours(&*cluster, "many", MANY).await;
    println!(
        "{}",
        json!({"created": stages.created.as_secs_f64(), "running": stages.running.as_secs_f64()})
    );
    // Until it is ended.
    std::future::pending::<()>().await;
}

async fn memory(namespace: &str, template: &Path) -> (Value, u64) {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .env("ANYMASTER_BENCH_DRIVER", namespace)
        .env("ANYMASTER_BENCH_TEMPLATE", template)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let peak = peak_memory_of(child.id().unwrap());
    child.kill().await.unwrap();
    (serde_json::from_str(&line).unwrap(), peak)
}

#[tokio::main]
async fn main() {
    if let Ok(namespace) = std::env::var("ANYMASTER_BENCH_DRIVER") {
        return driver(&namespace, &PathBuf::from(variable("ANYMASTER_BENCH_TEMPLATE"))).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("template.yaml");
    std::fs::write(&template, TEMPLATE).unwrap();
    let client = Client::try_default().await.unwrap();
    let namespace = format!("executors-{}", std::process::id());
    anymaster_benches::namespace(&client, &namespace).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);

    // What a bare loop creates is what we create.
    let cluster = connect(conf(&namespace, &template)).await;
    ours(&*cluster, "first", 10).await;
    let selector = ListParams::default().labels("spark-exec-id=1");
    let mut body = pods.list(&selector).await.unwrap().items.remove(0);
    body.status = None;
    let spec = body.spec.as_mut().unwrap();
    spec.node_name = None;
    let (labels, spec) = (body.metadata.labels.take(), body.spec.take());
    let body = Pod {
        metadata: kube::core::ObjectMeta { labels, ..Default::default() },
        spec,
        status: None,
    };
    request(&*cluster, "first", 0).await;
    clear(&pods).await;

    let (mut bares, mut created) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turns: what comes second has a server with more to tidy up behind it.
        if round % 2 == 0 {
            bares.push(bare(&pods, &body, EXECUTORS).await);
            clear(&pods).await;
        }
        let before = requests("anymaster");
        let app = format!("round-{round}");
        let stages = ours(&*cluster, &app, EXECUTORS).await;
        println!(
            "ours: {EXECUTORS} created after {:.2} s, all on nodes after {:.2} s, all running after {:.2} s",
            stages.created.as_secs_f64(),
            stages.placed.as_secs_f64(),
            stages.running.as_secs_f64()
        );
        created.push(stages.created);
        request(&*cluster, &app, 0).await;
        clear(&pods).await;
        if let (Some(before), Some(after)) = (before, requests("anymaster")) {
            let each = (after - before) as f64 / f64::from(EXECUTORS);
            println!("ours: {each:.2} requests for each executor, from its request to its removal");
        }
        if round % 2 == 1 {
            bares.push(bare(&pods, &body, EXECUTORS).await);
            clear(&pods).await;
        }
    }
    let rate = |took: Duration| f64::from(EXECUTORS) / took.as_secs_f64();
    let (bare, ours) = (median(bares), median(created));
    println!(
        "bare loop, {IN_FLIGHT} in flight: {:.0}/s; ours: {:.0}/s, {:.2} of it (aim: 0.80)",
        rate(bare),
        rate(ours),
        rate(ours) / rate(bare)
    );

    let before = requests("fabric8");
    let best: Vec<String> =
        ["--conf", "spark.kubernetes.allocation.batch.size=1000"].map(str::to_owned).into();
    let mut raised = Vec::new();
    for _ in 0..SPARK_ROUNDS {
        raised.push(sparks(&pods, &namespace, &template, EXECUTORS, &best).await);
        clear(&pods).await;
    }
    println!("Spark's with a batch size of 1000: {raised:.1?}");
    let raised = median(raised);
    if let (Some(before), Some(after)) = (before, requests("fabric8")) {
        let each = (after - before) as f64 / SPARK_ROUNDS as f64 / f64::from(EXECUTORS);
        println!("Spark's: {each:.2} requests for each executor");
    }
    let default = sparks(&pods, &namespace, &template, EXECUTORS, &[]).await;
    clear(&pods).await;
    for (what, spark, aim) in [("its defaults", default, 50), ("a batch size of 1000", raised, 10)]
    {
        println!(
            "Spark's with {what}: {:.1} s, {:.1}/s; ours is {:.0} times as fast (aim: {aim})",
            spark.as_secs_f64(),
            rate(spark),
            spark.as_secs_f64() / ours.as_secs_f64()
        );
    }

    let (many, peak) = memory(&namespace, &template).await;
    println!(
        "{MANY} executors of one driver: created after {} s, running after {} s, {:.0} MiB at most (aim: 60)",
        many["created"],
        many["running"],
        peak as f64 / f64::from(1 << 20)
    );
    clear(&pods).await;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
}
