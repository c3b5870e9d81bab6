//! A cluster of its own: a master and workers, and what runs on it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::home::{Home, eventually, processes, signal};
use crate::pi::{digits, pi};

/// A daemon that says when it is ready; ended with this.
struct Daemon {
    process: Child,
    /// Where it is.
    ready: String,
}

impl Daemon {
    fn start(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}"));
        Self { ready: ready.to_owned(), process }
    }

    fn signal(&self, name: &str) {
        signal(name, self.process.id());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A master and two workers that share a secret.
struct Cluster {
    home: Home,
    secret: String,
    master: Daemon,
    workers: Vec<Daemon>,
}

impl Cluster {
    fn new() -> Self {
        let home = Home::new();
        let file = home.file("secret", "of all of them\n");
        let secret = format!("spark.anymaster.authenticate.secretFile={}", file.display());
        let master = Self::master(&home, "0", &secret);
        let mut cluster = Self { home, secret, master, workers: Vec::new() };
        for number in 0..2 {
            let worker = cluster.worker(number);
            cluster.workers.push(worker);
        }
        cluster
    }

    fn master(home: &Home, port: &str, secret: &str) -> Daemon {
        let keeping =
            ["spark.deploy.recoveryMode=FILESYSTEM", "spark.deploy.recoveryDirectory=kept"];
        let options = [
            "master", "--port", port, "--conf", secret, "--conf", keeping[0], "--conf", keeping[1],
        ];
        Daemon::start(home.command(&options))
    }

    fn worker(&self, number: usize) -> Daemon {
        let dir = format!("work-{number}");
        let url = self.master.ready.as_str();
        let args = ["worker", url, "--cores", "3", "--memory", "2g", "--work-dir", &dir];
        Daemon::start(self.home.command(&[&args[..], &["--conf", &self.secret]].concat()))
    }

    /// The words of a verb for this cluster.
    fn words<'a>(&'a self, verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&[verb, "--master", &self.master.ready, "--conf", &self.secret][..], more].concat()
    }

    fn until_running(&self, app: &str, many: u64) -> Value {
        let words = self.words("status", &[app, "-o", "json"]);
        eventually(&format!("{many} executors run"), || {
            let said = self.home.call(&words);
            let status: Value = serde_json::from_str(&said.out).ok()?;
            (status["allocation"]["running"] == many).then_some(status)
        })
    }

    fn executors(app: &str) -> Vec<u32> {
        let of_app = processes("ANYMASTER_APPLICATION_ID", app);
        let has_id = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(22).any(|name| name == b"ANYMASTER_EXECUTOR_ID=")
        };
        of_app.into_iter().filter(has_id).collect()
    }
}

#[test]
fn pi_is_worked_out_by_a_driver_on_a_worker() {
    let cluster = Cluster::new();
    let pi = pi().to_str().unwrap();
    let options = ["--deploy-mode", "cluster", "--submission-id", "pi"];
    let sizes = ["--driver-memory", "64m", "--executor-memory", "64m"];
    let more = ["--conf", "spark.executor.instances=3", "--executor-cores", "1", pi, "50"];
    let words = cluster.words("submit", &[&options[..], &sizes[..], &more[..]].concat());
    cluster.home.call(&words).expect(0, &["submission id: pi", "finished"]);
    let out = cluster.home.call(&cluster.words("logs", &["pi"])).out;
    assert!(digits(&out).starts_with("3.14"), "{out}");
    let status = cluster.home.json(&cluster.words("status", &["pi", "-o", "json"]));
    assert_eq!(status["executors"].as_array().map(Vec::len), Some(3), "{status}");
    eventually("nothing of it is left", || {
        processes("ANYMASTER_APPLICATION_ID", "pi").is_empty().then_some(())
    });
}

#[test]
fn executors_of_a_worker_that_is_shot_are_replaced_on_another() {
    let mut cluster = Cluster::new();
    let run = ["--submission-id", "shot", "--executors", "3", "--executor-memory", "16m"];
    let programs = ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = cluster.words("run", &[&run[..], &programs[..]].concat());
    let started = cluster.home.start(&words);
    cluster.until_running("shot", 3);
    // The one without the driver.
    let driver = eventually("the driver is a process", || {
        let executors = Cluster::executors("shot");
        let all = processes("ANYMASTER_APPLICATION_ID", "shot");
        all.into_iter().find(|pid| !executors.contains(pid))
    });
    let parent = |pid: u32| -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let with_driver = parent(driver);
    let other =
        cluster.workers.iter().position(|worker| worker.process.id() != with_driver).unwrap();
    drop(cluster.workers.remove(other));
    let status = eventually("all were lost and two came back", || {
        let status = cluster.until_running("shot", 2);
        let lost =
            status["executors"].as_array()?.iter().filter(|one| one["cause"]["cause"] == "lost");
        (lost.count() > 0).then_some(status)
    });
    assert_eq!(status["allocation"]["failed"], 0, "{status}");
    // There is room for two beside the driver; the third one says what it waits for.
    let explained = cluster.home.call(&cluster.words("explain", &["shot"])).out;
    assert!(explained.contains("needs 1 core"), "{explained}");
    let worker = cluster.worker(7);
    cluster.workers.push(worker);
    cluster.until_running("shot", 3);
    cluster.home.call(&cluster.words("kill", &["shot"])).expect(0, &[]);
    started.wait().expect(143, &[]);
    eventually("nothing of it is left", || {
        processes("ANYMASTER_APPLICATION_ID", "shot").is_empty().then_some(())
    });
}

#[test]
fn strangers_are_refused_and_masters_stop_when_asked() {
    let cluster = Cluster::new();
    let url = cluster.master.ready.as_str();
    let said = cluster.home.call(&["ps", "--master", url]);
    said.expect(1, &["wants to know who is there", "spark.authenticate.secret"]);
    let wrong = ["ps", "--master", url, "--conf", "spark.authenticate.secret=guessed"];
    cluster.home.call(&wrong).expect(1, &["its secret is another one than ours"]);
    let said = cluster.home.call(&["worker", url, "--conf", "spark.authenticate.secret=guessed"]);
    said.expect(1, &["its secret is another one than ours"]);
    let said = cluster.home.call(&["worker", "local[2]"]);
    said.expect(2, &["workers belong to standalone masters"]);
    let Cluster { home, mut master, .. } = cluster;
    master.signal("TERM");
    assert_eq!(master.process.wait().unwrap().code(), Some(0));
    drop(home);
}

#[test]
fn a_master_that_is_shot_and_started_again_disturbs_nothing() {
    let mut cluster = Cluster::new();
    let run = ["--submission-id", "kept", "--executors", "3", "--executor-memory", "16m"];
    let programs = ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = cluster.words("run", &[&run[..], &programs[..]].concat());
    let started = cluster.home.start(&words);
    cluster.until_running("kept", 3);
    let sorted = || {
        let mut all = processes("ANYMASTER_APPLICATION_ID", "kept");
        all.sort_unstable();
        all
    };
    let before = sorted();
    assert_eq!(before.len(), 4);

    let port = cluster.master.ready.rsplit(':').next().unwrap().to_owned();
    cluster.master.process.kill().unwrap();
    cluster.master.process.wait().unwrap();
    cluster.master = Cluster::master(&cluster.home, &port, &cluster.secret);
    let status = cluster.until_running("kept", 3);
    assert_eq!(status["allocation"]["phase"], "reached", "{status}");
    assert_eq!(sorted(), before);

    // It is as good as the one before: what is killed is replaced, under an id that nobody had.
    cluster.home.call(&cluster.words("kill", &["kept", "--executor", "1"])).expect(0, &[]);
    let status = eventually("another one runs", || {
        let status = cluster.until_running("kept", 3);
        (sorted() != before).then_some(status)
    });
    let ids = status["executors"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap());
    assert!(ids.max().unwrap() > 1_000, "{status}");
    cluster.home.call(&cluster.words("kill", &["kept"])).expect(0, &[]);
    started.wait().expect(143, &[]);
    eventually("nothing of it is left", || sorted().is_empty().then_some(()));
}
