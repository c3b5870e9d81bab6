//! A master and workers of ours beside those of Spark: how soon they are there and how much memory they
//! take, how fast executors start and submissions are taken in, and a large cluster.
//!
//!     eval "$(tests/clusters/spark/up)"
//!     deploy/build && cargo bench -p anymaster-benches --bench standalone

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anymaster_benches::daemons::{Process, executors, free_port, get, ours, submissions, until};
use anymaster_benches::median;
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile,
};
use anymaster_core::{ClusterManager, ConnectOptions};
use anymaster_standalone::client::Remote;
use anymaster_standalone::client::masters;
use anymaster_standalone::simulation::Simulated;

const ROUNDS: usize = 5;
/// Executors of ours, and of Spark's: each of the latter is a JVM.
const EXECUTORS: (u32, usize) = (200, 10);
const WORKERS: u32 = 1_000;
const MANY: u32 = 20_000;

fn our_master(dir: &Path, more: &[&str]) -> (Process, Duration, String, u16, u16) {
    let (rest, web) = (free_port(), free_port());
    let [rest_port, web_port] = [rest, web].map(|port| port.to_string());
    let ports = ["master", "--port", "0", "--rest-port", &rest_port, "--webui-port", &web_port];
    let (master, took, url) = ours(dir, &[&ports[..], more].concat());
    (master, took, url, rest, web)
}

struct Spark {
    master: Process,
    worker: Process,
    url: String,
    rest: u16,
    started: [Duration; 2],
}

fn spark(dir: &Path, home: &str, recovery: bool) -> Spark {
    let [port, web, rest, worker_web] = [(); 4].map(|()| free_port());
    let class = |class: &str, words: &[&str], options: (&str, &str)| {
        let mut command = Command::new(format!("{home}/bin/spark-class"));
        command.arg(class).args(words).env(options.0, options.1).env("SPARK_LOCAL_IP", "127.0.0.1");
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    };
    let mut options = format!(
        "-Dspark.master.rest.enabled=true -Dspark.master.rest.host=127.0.0.1 -Dspark.master.rest.port={rest}"
    );
    if recovery {
        let kept = dir.join("spark-kept");
        std::fs::create_dir_all(&kept).unwrap();
        options += &format!(
            " -Dspark.deploy.recoveryMode=FILESYSTEM -Dspark.deploy.recoveryDirectory={}",
            kept.display()
        );
    }
    let began = Instant::now();
    let [port_text, web_text] = [port, web].map(|port| port.to_string());
    let words = ["--host", "127.0.0.1", "--port", &port_text, "--webui-port", &web_text];
    let master =
        class("org.apache.spark.deploy.master.Master", &words, ("SPARK_MASTER_OPTS", &options));
    until(web, "/json/", "ALIVE");
    let with_master = began.elapsed();
    let (url, worker_web) = (format!("spark://127.0.0.1:{port}"), worker_web.to_string());
    let words = ["--webui-port", &worker_web, "--cores", "64", "--memory", "64g", url.as_str()];
    let began = Instant::now();
    let worker = class("org.apache.spark.deploy.worker.Worker", &words, ("SPARK_WORKER_OPTS", ""));
    until(web, "/json/", "\"aliveworkers\" : 1");
    Spark { master, worker, url, rest, started: [with_master, began.elapsed()] }
}

async fn connect(master: &str, conf: &[(&str, &str)]) -> Arc<dyn ClusterManager> {
    let conf: Conf = conf.iter().copied().collect();
    let options = ConnectOptions::new(master.parse().unwrap()).with_conf(conf);
    Arc::new(Remote::connect(&options).unwrap())
}

/// From the first of Spark's executors that is launched to the last that has registered with its driver.
fn sparks_executors(home: &str, spark: &Spark, many: usize) -> Duration {
    let mut command = Command::new(format!("{home}/bin/spark-submit"));
    command.args(["--master", &spark.url, "--class", "org.apache.spark.examples.SparkPi"]);
    for property in [
        "spark.executor.cores=1",
        "spark.executor.memory=512m",
        &format!("spark.cores.max={many}"),
        "spark.scheduler.minRegisteredResourcesRatio=1.0",
        "spark.driver.host=127.0.0.1",
    ] {
        command.args(["--conf", property]);
    }
    let jar = std::env::var("SPARK_PI_JAR").unwrap();
    command.args([&jar, "1000000"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    let (mut began, mut registered) = (None, 0);
    for line in BufReader::new(child.0.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("Executor added:") {
            began.get_or_insert_with(Instant::now);
        }
        if line.contains("Registered executor") {
            registered += 1;
        }
        if registered == many {
            break;
        }
    }
    began.unwrap().elapsed()
}

/// Of a number on `/metrics`.
fn metric(web: u16, name: &str) -> f64 {
    let text = get(web, "/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {name}")).trim().parse().unwrap()
}

async fn large(dir: &Path) {
    let (master, _, url, _, web) = our_master(dir, &[]);
    let masters = masters(&url.parse().unwrap()).unwrap();
    let mut workers =
        Simulated::register(&masters[0], &Conf::new(), WORKERS, MANY / WORKERS + 2).await.unwrap();
    let empty = master.memory();
    let conf = [("spark.submit.deployMode", "client"), ("spark.executor.cores", "1")];
    let cluster = connect(&url, &conf).await;
    let app = AppId::new("large").unwrap();
    let took = executors(&*cluster, &app, (1.0, 64), MANY).await;
    println!(
        "{MANY} executors on {WORKERS} pretended workers: running after {:.2} s; {:.0} MiB, {empty:.0} of \
         them without executors (aim: at most 100)",
        took.as_secs_f64(),
        master.memory(),
    );
    // Passes in which little happens, over all that there is.
    let passes =
        |what: &str| metric(web, &format!("anymaster_master_scheduling_pass_seconds_{what}"));
    let before = [passes("sum"), passes("count")];
    for round in 0..100_u32 {
        let small = connect(&url, &conf).await;
        let app = AppId::new(&format!("small-{round}")).unwrap();
        executors(&*small, &app, (1.0, 64), 1).await;
    }
    let (took, many) = (passes("sum") - before[0], passes("count") - before[1]);
    println!(
        "a scheduling pass over them: {:.2} ms, the mean of {many} (aim: at most 5)",
        1e3 * took / many
    );
    assert_eq!(workers.left(), WORKERS as usize, "workers are lost");
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let home = std::env::var("SPARK_HOME").unwrap_or_else(|_| panic!("SPARK_HOME is not set"));

    // Beginning, and memory of those that wait.
    let (mut starts, mut memory) = ([Vec::new(), Vec::new()], [0.0, 0.0]);
    for _ in 0..ROUNDS {
        let (master, took, url, _, web) = our_master(dir, &[]);
        starts[0].push(took);
        let words = ["worker", &url, "--webui-port", "0", "--cores", "2", "--memory", "2g"];
        let (worker, took, _) = ours(dir, &words);
        starts[1].push(took);
        until(web, "/json/", "\"aliveworkers\" : 1");
        memory = [master.memory(), worker.memory()];
    }
    let theirs = spark(dir, &home, false);
    std::thread::sleep(Duration::from_secs(2));
    let sparks = [theirs.master.memory(), theirs.worker.memory()];
    for (at, (name, aim)) in [("master", 20), ("worker", 20)].into_iter().enumerate() {
        let start = median(starts[at].clone());
        let sparks_start = theirs.started[at];
        println!(
            "{name}: ready after {:.1} ms, Spark's {:.0} ms, {:.0} times as fast (aim: 50); {:.1} MiB, \
             Spark's {:.0} MiB, 1/{:.0} (aim: 1/{aim})",
            1e3 * start.as_secs_f64(),
            1e3 * sparks_start.as_secs_f64(),
            sparks_start.as_secs_f64() / start.as_secs_f64(),
            memory[at],
            sparks[at],
            sparks[at] / memory[at],
        );
    }

    // Executors.
    let (_master, _, url, _, _) = our_master(dir, &[]);
    let words = ["worker", &url, "--webui-port", "0", "--cores", "256", "--memory", "64g"];
    let (_worker, _, _) = ours(dir, &words);
    let conf = [("spark.submit.deployMode", "client"), ("spark.executor.cores", "1")];
    let cluster = connect(&url, &conf).await;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let app = AppId::new(&format!("round-{round}")).unwrap();
        took.push(executors(&*cluster, &app, (1.0, 64), EXECUTORS.0).await);
        let template = ExecutorTemplate::new(CommandLine::new("sleep"));
        let none = ExecutorTarget::new(template, ResourceProfile::new(1.0, 64), 0);
        cluster.request_executors(&app, &none).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let ours_rate = f64::from(EXECUTORS.0) / median(took).as_secs_f64();
    let jvms = sparks_executors(&home, &theirs, EXECUTORS.1);
    let sparks_rate = EXECUTORS.1 as f64 / jvms.as_secs_f64();
    println!(
        "executors: {ours_rate:.0}/s of a trivial program, Spark's {sparks_rate:.2}/s (JVMs), {:.0} times as \
         fast (aim: 20)",
        ours_rate / sparks_rate
    );
    drop((theirs, cluster));

    // Submissions that survive the master.
    let kept = format!("spark.deploy.recoveryDirectory={}", dir.join("kept").display());
    let keeping = ["--conf", "spark.deploy.recoveryMode=FILESYSTEM", "--conf", &kept];
    let (master, _, _, rest, _) = our_master(dir, &keeping);
    let rate = submissions(rest, "sleep", "").await;
    drop(master);
    let theirs = spark(dir, &home, true);
    let jar = std::env::var("SPARK_PI_JAR").unwrap();
    let sparks = submissions(theirs.rest, &format!("file:{jar}"), "org.example.Main").await;
    println!(
        "REST submissions, kept on disk: {rate:.0}/s, Spark's {sparks:.0}/s, {:.1} times as many (aim: 500/s)",
        rate / sparks
    );
    drop(theirs);

    large(dir).await;
}
