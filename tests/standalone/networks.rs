//! A cluster whose machines are network namespaces: each has an address of its own, and cables that can be
//! pulled.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::several::ZooKeeper;
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::example::{digits, pi};
use anymaster_test_support::home::{
    Home, Said, eventually, nothing_is_left, processes_of, so_many_processes_of,
};
use anymaster_test_support::standalone::variable;

/// Machines on one switch.
struct Network {
    /// The name of all of it; the switch's own.
    name: String,
    machines: Vec<String>,
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "as root: ip {words:?}: {output:?}");
}

impl Network {
    fn new(machines: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("am{}x{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let mut network = Self { name: name.clone(), machines: Vec::new() };
        let at_switch = ["-n", name.as_str()];
        ip(&[&at_switch[..], &["link", "add", "switch", "type", "bridge"]].concat());
        ip(&[&at_switch[..], &["link", "set", "switch", "up"]].concat());
        for at in 0..machines {
            let machine = format!("{name}m{at}");
            ip(&["netns", "add", &machine]);
            network.machines.push(machine.clone());
            let (cable, address) = (format!("cable{at}"), format!("{}/24", network.address(at)));
            let pair =
                ["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &machine];
            ip(&[&at_switch[..], &pair[..]].concat());
            ip(&[&at_switch[..], &["link", "set", &cable, "master", "switch", "up"]].concat());
            let here = ["-n", machine.as_str()];
            ip(&[&here[..], &["addr", "add", &address, "dev", "eth0"]].concat());
            ip(&[&here[..], &["link", "set", "eth0", "up"]].concat());
            ip(&[&here[..], &["link", "set", "lo", "up"]].concat());
        }
        network
    }

    fn address(&self, machine: usize) -> String {
        format!("10.77.0.{}", machine + 1)
    }

    /// What stands before a command that runs on a machine.
    fn on(&self, machine: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.machines[machine]]
    }

    /// Pulls the cable of a machine, or puts it in again: nobody is told.
    fn plug(&self, machine: usize, state: &str) {
        ip(&["-n", &self.name, "link", "set", &format!("cable{machine}"), state]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().chain([&self.name]) {
            ip(&["netns", "del", name]);
        }
    }
}

/// A master and workers on machines of their own.
struct Cluster {
    daemons: Vec<Daemon>,
    url: String,
    home: Home,
    network: Network,
}

impl Cluster {
    /// `properties` are for all.
    fn new(workers: usize, properties: &str) -> Self {
        let (network, home) = (Network::new(workers + 1), Home::new());
        let secret = home.file("secret", "of the cluster").display().to_string();
        home.file(
            "spark-defaults.conf",
            &format!("spark.anymaster.authenticate.secretFile {secret}\n{properties}"),
        );
        let mut cluster = Self { daemons: Vec::new(), url: String::new(), home, network };
        let address = cluster.network.address(0);
        cluster.daemon(0, &["master", "--host", &address]);
        cluster.url = format!("spark://{address}:7077");
        for worker in 1..=workers {
            let (address, dir) = (cluster.network.address(worker), format!("work-{worker}"));
            let url = cluster.url.clone();
            let words = ["worker", &url, "--host", &address, "--cores", "3", "--memory", "3g"];
            cluster.daemon(worker, &[&words[..], &["--work-dir", &dir]].concat());
        }
        cluster
    }

    fn daemon(&mut self, machine: usize, words: &[&str]) {
        self.daemons.push(Daemon::start(self.command(machine, words)));
    }

    fn command(&self, machine: usize, words: &[&str]) -> Command {
        self.of(machine, env!("CARGO_BIN_EXE_anymaster"), words)
    }

    fn of(&self, machine: usize, program: &str, words: &[&str]) -> Command {
        let before = self.network.on(machine);
        let mut command = Command::new(before[0]);
        let programs = std::path::Path::new(env!("CARGO_BIN_EXE_anymaster")).parent().unwrap();
        let ballista = std::env::var("ANYMASTER_BALLISTA").unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(&before[1..])
            .arg(program)
            .args(words)
            .env("PATH", format!("{}:{ballista}:{path}", programs.display()))
            .env("SPARK_CONF_DIR", self.home.path())
            .env("ANYMASTER_STATE_DIR", self.home.path().join("state"))
            .env_remove("SPARK_HOME")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn call(&self, words: &[&str]) -> Said {
        let output = self.command(0, words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn status(&self, app: &str) -> Option<Value> {
        let said = self.call(&["status", "--master", &self.url, app, "-o", "json"]);
        serde_json::from_str(&said.out).ok()
    }

    fn until(&self, app: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            if let Some(status) = self.status(app).filter(&reached) {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Where executors are that run.
fn hosts(status: &Value) -> Vec<String> {
    let executors = status["executors"].as_array();
    let mut hosts: Vec<String> = executors
        .into_iter()
        .flatten()
        .filter(|executor| executor["state"] == "running")
        .map(|executor| executor["host"].as_str().unwrap_or_default().to_owned())
        .collect();
    hosts.sort();
    hosts
}

#[test]
#[ignore = "needs root"]
fn pi_is_worked_out_by_three_machines() {
    let cluster = Cluster::new(3, "");
    let pi = pi().to_str().unwrap();
    let to = ["submit", "--master", &cluster.url, "--deploy-mode", "cluster"];
    let sizes = ["--driver-memory", "64m", "--executor-memory", "64m", "--executor-cores", "2"];
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    let id = ["--submission-id", "pi", "--conf", "spark.executor.instances=3", pi, "50"];
    cluster.call(&[&to[..], &sizes, &waits, &id].concat()).expect(0, &["finished"]);
    let out = cluster.call(&["logs", "--master", &cluster.url, "pi"]).out;
    assert!(digits(&out).starts_with("3.14"), "{out}");
    let status = cluster.status("pi").unwrap();
    let hosts = status["executors"].as_array().unwrap().iter().map(|one| &one["host"]);
    let mut hosts: Vec<_> = hosts.map(|host| host.as_str().unwrap()).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["10.77.0.2", "10.77.0.3", "10.77.0.4"]);
    nothing_is_left("pi");
}

#[test]
#[ignore = "needs root and Ballista"]
fn ballista_answers_from_three_machines() {
    variable("ANYMASTER_BALLISTA");
    let cluster = Cluster::new(3, "spark.executor.memory 512m\nspark.executor.cores 1\n");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ballista/run");
    let output = cluster.of(0, example, &[&cluster.url]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for row in ["| 0    | 142858 | ", "| 6    | 142857 | "] {
        assert!(out.contains(row), "{out}");
    }
    let all: Value = serde_json::from_str(
        &cluster.call(&["ps", "-a", "--master", &cluster.url, "-o", "json"]).out,
    )
    .unwrap();
    let app = all[0]["id"].as_str().unwrap();
    let mut at: Vec<String> = Vec::new();
    for executor in cluster.status(app).unwrap()["executors"].as_array().unwrap() {
        at.push(executor["host"].as_str().unwrap().to_owned());
        let id = executor["id"].to_string();
        let log = cluster.call(&["logs", "--master", &cluster.url, app, &id]).out;
        assert!(log.contains("Finished task"), "executor {id}: {log}");
    }
    at.sort();
    assert_eq!(at, ["10.77.0.2", "10.77.0.3", "10.77.0.4"]);
    nothing_is_left(app);
}

#[test]
#[ignore = "needs root"]
fn a_worker_that_is_cut_off_is_replaced_and_fenced_and_may_come_back() {
    let properties = "spark.worker.timeout 5s\nspark.anymaster.standalone.fenceAfter 3s\n";
    let cluster = Cluster::new(3, properties);
    let run = ["run", "--master", &cluster.url, "--submission-id", "cut", "--executors", "3"];
    let sizes = ["--executor-memory", "16m", "--driver-memory", "16m", "--executor-cores", "1"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = [&run[..], &sizes[..], &programs[..]].concat();
    let mut running = cluster.command(0, &words).spawn().unwrap();
    let all = ["10.77.0.2", "10.77.0.3", "10.77.0.4"];
    let status = cluster.until("cut", "one on each machine", |status| hosts(status) == all);
    let driver = status["driver"]["host"].as_str().unwrap().to_owned();
    let victim = (1..=3).find(|at| cluster.network.address(*at) != driver).unwrap();
    let address = cluster.network.address(victim);
    let fenced = || {
        let of_app = processes_of("cut");
        let dir = cluster.home.path().join(format!("work-{victim}"));
        let there = of_app.iter().filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(&dir))
        });
        there.count() == 0
    };
    eventually("there is something to be fenced", || (!fenced()).then_some(()));

    cluster.network.plug(victim, "down");
    // The other two take over …
    cluster.until("cut", "three run elsewhere", |status| {
        let hosts = hosts(status);
        hosts.len() == 3 && !hosts.contains(&address)
    });
    // … and what is cut off ends by itself.
    let began = Instant::now();
    while !fenced() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not fenced");
        std::thread::sleep(Duration::from_millis(200));
    }

    // Back on the net it is a worker as any other: there is room for more.
    cluster.network.plug(victim, "up");
    let more = ["run", "--master", &cluster.url, "--submission-id", "more", "--executors", "4"];
    let words = [&more[..], &sizes[..], &programs[..]].concat();
    let mut another = cluster.command(0, &words).spawn().unwrap();
    cluster.until("more", "the worker is back", |status| hosts(status).contains(&address));
    for app in ["cut", "more"] {
        cluster.call(&["kill", "--master", &cluster.url, app]).expect(0, &[]);
        nothing_is_left(app);
    }
    running.wait().unwrap();
    another.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn those_whose_machine_is_gone_without_a_word_free_their_places() {
    let cluster = Cluster::new(1, "");
    let master = format!("/proc/{}/fd", cluster.daemons[0].id());
    let connections = || {
        let descriptors = std::fs::read_dir(&master).unwrap().flatten();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    let with_worker = connections();
    let mut watch = cluster.command(1, &["watch", "--master", &cluster.url]).spawn().unwrap();
    eventually("somebody watches", || (connections() > with_worker).then_some(()));
    cluster.network.plug(1, "down");
    // Neither watches any more, nor works: nothing was said, and nothing is to be said to them.
    let began = Instant::now();
    while connections() >= with_worker {
        assert!(began.elapsed() < Duration::from_secs(60), "{} connections", connections());
        std::thread::sleep(Duration::from_millis(200));
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
#[ignore = "needs root and ZooKeeper"]
fn of_masters_that_are_cut_off_from_each_other_one_leads() {
    variable("SPARK_HOME");
    // The switch connects two masters, a worker, and ZooKeeper.
    let (network, home) = (Network::new(4), Home::new());
    let dir = home.path().join("zookeeper");
    let keeper = network.address(3);
    let zookeeper = ZooKeeper::start(&network.on(3), &keeper, 2181, &dir);
    let secret = home.file("secret", "of the cluster").display().to_string();
    home.file(
        "spark-defaults.conf",
        &format!(
            "spark.anymaster.authenticate.secretFile {secret}\nspark.deploy.recoveryMode ZOOKEEPER\n\
             spark.deploy.zookeeper.url {keeper}:2181\nspark.anymaster.zookeeper.sessionTimeout 6s\n\
             spark.worker.timeout 20s\n"
        ),
    );
    let url = format!("spark://{}:7077,{}:7077", network.address(0), network.address(1));
    let mut cluster = Cluster { daemons: Vec::new(), url, home, network };
    for master in 0..2 {
        let address = cluster.network.address(master);
        cluster.daemon(master, &["master", "--host", &address]);
    }
    let (address, url) = (cluster.network.address(2), cluster.url.clone());
    cluster.daemon(2, &["worker", &url, "--host", &address, "--cores", "3", "--memory", "2g"]);
    let token = cluster.call(&["token"]).out.trim().to_owned();
    let leads = |master: usize| {
        let (user, url) = (
            format!("x:{token}"),
            format!("http://{}:8080/json/", cluster.network.address(master)),
        );
        // From the machine itself: it answers although its cable is pulled.
        let output =
            cluster.of(master, "curl", &["-s", "--max-time", "5", "-u", &user, &url]).output();
        String::from_utf8_lossy(&output.unwrap().stdout).contains("\"status\" : \"ALIVE\"")
    };
    let leader = eventually("a master leads", || (0..2).find(|master| leads(*master)));
    let run = ["run", "--master", &cluster.url, "--submission-id", "split", "--executors", "2"];
    let sizes = ["--executor-memory", "16m", "--driver-memory", "16m"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = [&run[..], &sizes[..], &programs[..]].concat();
    let mut running = cluster.command(2, &words).spawn().unwrap();
    let ask = |words: &[&str]| {
        let output = cluster.command(2, words).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).ok()
    };
    let status = ["status", "--master", &cluster.url, "split", "-o", "json"];
    let reached = |what: &str| {
        eventually(what, || ask(&status).filter(|status| status["allocation"]["running"] == 2))
    };
    reached("two executors run");
    let now = || processes_of("split");
    let before = so_many_processes_of("split", 3);

    cluster.network.plug(leader, "down");
    let other = 1 - leader;
    let began = Instant::now();
    loop {
        // In this order: whoever led before is asked after it ought to have ended.
        let new = leads(other);
        let old = leads(leader);
        assert!(!(old && new), "both lead");
        if new {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nobody leads");
        std::thread::sleep(Duration::from_millis(50));
    }
    reached("the worker has come over");
    assert_eq!(now(), before, "nothing was disturbed");
    cluster.network.plug(leader, "up");
    // It is back, and waits for its turn.
    std::thread::sleep(Duration::from_secs(2));
    assert!(!leads(leader));
    eventually("the other one leads still", || leads(other).then_some(()));
    let killed = cluster.command(2, &["kill", "--master", &cluster.url, "split"]).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
    running.wait().unwrap();
    nothing_is_left("split");
    drop(zookeeper);
}
