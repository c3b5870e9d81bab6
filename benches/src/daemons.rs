//! Daemons that are measured: ours, and those beside them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is for benchmarks")]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anymaster_core::model::{
    AppId, CommandLine, Event, ExecutorTarget, ExecutorTemplate, ResourceProfile, State, Status,
};
use anymaster_core::{ClusterManager, WatchOptions};
use futures::StreamExt as _;

use crate::program;

/// For how long submissions are counted.
const SECONDS: u64 = 10;
/// How many submit at once.
const SUBMITTERS: usize = 16;

/// A process that is ended with this.
#[derive(Debug)]
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// What it has resident now, in MiB.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that it has had resident, in MiB.
    pub fn peak_memory(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, what: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        kib.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A daemon of ours: when it was ready, and where.
pub fn ours(dir: &Path, words: &[&str]) -> (Process, Duration, String) {
    let began = Instant::now();
    let mut child = Command::new(program())
        .args(words)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready = line.trim().strip_prefix("ready ").unwrap().to_owned();
    (Process(child), began.elapsed(), ready)
}

/// What a page says.
pub fn get(port: u16, path: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = Command::new("curl").args(["-s", "-f", "--max-time", "5", &url]).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until a page says something.
///
/// # Panics
/// If it does not, for minutes.
pub fn until(port: u16, path: &str, says: &str) {
    let began = Instant::now();
    while !get(port, path).is_some_and(|text| text.contains(says)) {
        assert!(began.elapsed() < Duration::from_secs(180), "{path} does not say {says}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Declares a target of executors that only sleep, each with so many cores and MiB, and waits until so
/// many run: how long that took.
pub async fn executors(
    cluster: &dyn ClusterManager,
    app: &AppId,
    (cores, mebibytes): (f64, u64),
    many: u32,
) -> Duration {
    let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    let target = ExecutorTarget::new(template, ResourceProfile::new(cores, mebibytes), many);
    let began = Instant::now();
    cluster.request_executors(app, &target).await.unwrap();
    let mut events = cluster.watch(&WatchOptions::of(app)).await.unwrap();
    let mut running = HashSet::new();
    while running.len() < many as usize {
        let event = events.next().await.unwrap().unwrap();
        let Event::Changed(Status::Executor(executor)) = event else { continue };
        match executor.state {
            State::Running => {
                running.insert(executor.id);
            }
            State::Ended(end) => panic!("{} of {app} ended: {}", executor.id, end.cause),
            _ => {}
        }
    }
    began.elapsed()
}

/// A submission over Spark's protocol of a driver for which nobody has the memory: it waits.
fn submission(resource: &str, class: &str) -> String {
    serde_json::json!({
        "action": "CreateSubmissionRequest", "appArgs": ["1"], "appResource": resource,
        "clientSparkVersion": "3.5.9", "environmentVariables": {}, "mainClass": class,
        "sparkProperties": {"spark.app.name": "waits", "spark.driver.memory": "500g",
            "spark.submit.deployMode": "cluster", "spark.driver.supervise": "false"},
    })
    .to_string()
}

async fn submit(client: &reqwest::Client, port: u16, body: String) -> String {
    let url = format!("http://127.0.0.1:{port}/v1/submissions/create");
    let request = client.post(&url).header("Content-Type", "application/json");
    request.body(body).send().await.unwrap().text().await.unwrap()
}

/// Submissions a second that are acknowledged.
///
/// # Panics
/// If one is refused.
pub async fn submissions(port: u16, resource: &str, class: &str) -> f64 {
    let (body, client) = (submission(resource, class), reqwest::Client::new());
    let acknowledged = AtomicU64::new(0);
    let began = Instant::now();
    let submitter = || async {
        while began.elapsed() < Duration::from_secs(SECONDS) {
            let answer = submit(&client, port, body.clone()).await;
            assert!(answer.contains("\"success\" : true"), "{answer}");
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    };
    futures::future::join_all((0..SUBMITTERS).map(|_| submitter())).await;
    acknowledged.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// So many submissions, one after the other. Asks until the first one is taken.
///
/// # Panics
/// If none is, for minutes.
pub async fn submit_many(port: u16, resource: &str, class: &str, many: usize) {
    let (body, client) = (submission(resource, class), reqwest::Client::new());
    let (began, mut taken) = (Instant::now(), 0);
    while taken < many {
        let answer = submit(&client, port, body.clone()).await;
        match answer.contains("\"success\" : true") {
            true => taken += 1,
            false => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(began.elapsed() < Duration::from_secs(180), "{answer}");
    }
}
