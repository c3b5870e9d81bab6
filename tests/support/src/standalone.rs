//! A master and workers on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::home::{Home, Said, eventually, processes_of};
use crate::ports::free_port;

/// A variable that `tests/all` sets.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/all standalone"))
}

/// What is asked over HTTP.
pub fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--max-time", "120"]).args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What keeps the state of a master in a directory `small`, all of it.
pub const KEEPING: [&str; 3] = [
    "spark.deploy.recoveryMode=FILESYSTEM",
    "spark.deploy.recoveryDirectory=small",
    "spark.deploy.retainedApplications=100000",
];

/// A cluster of its own.
pub struct Cluster {
    pub home: Home,
    /// What all of its processes are told.
    conf: Vec<String>,
    /// Variables of the master.
    variables: Vec<(String, String)>,
    pub rest: u16,
    pub web: u16,
    pub master: Daemon,
    pub workers: Vec<Daemon>,
}

/// The words of `--conf` for each property.
fn options(conf: &[String]) -> Vec<&str> {
    conf.iter().flat_map(|property| ["--conf", property]).collect()
}

impl Cluster {
    /// A master, with these properties.
    pub fn master(home: Home, conf: &[&str]) -> Self {
        Self::master_with_variables(home, conf, &[])
    }

    /// A master, with these properties and these variables.
    pub fn master_with_variables(home: Home, conf: &[&str], variables: &[(&str, &str)]) -> Self {
        let conf: Vec<String> = conf.iter().copied().map(str::to_owned).collect();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let (rest, web) = (free_port(), free_port());
        let master = start_master(&home, 0, rest, web, &conf, &variables);
        Self { home, conf, variables, rest, web, master, workers: Vec::new() }
    }

    /// A master and workers.
    pub fn new(workers: usize, conf: &[&str]) -> Self {
        let mut cluster = Self::master(Home::new(), conf);
        (0..workers).for_each(|_| cluster.add_worker(4, "4g"));
        cluster
    }

    pub fn add_worker(&mut self, cores: u32, memory: &str) {
        let dir = format!("work-{}", self.workers.len());
        let cores = cores.to_string();
        let mut words = vec!["worker", self.master.ready.as_str(), "--webui-port", "0"];
        words.extend(["--cores", &cores, "--memory", memory, "--work-dir", &dir]);
        words.extend(options(&self.conf));
        let mut command = self.home.command(&words);
        for name in ["SPARK_HOME", "JAVA_HOME"] {
            if let Ok(value) = std::env::var(name) {
                command.env(name, value);
            }
        }
        self.workers.push(Daemon::start(command));
    }

    /// Starts the master again, where it was.
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same, with more properties.
    pub fn start_again_with(&mut self, more: &[&str]) {
        let port = self.master.ready.rsplit(':').next().unwrap().parse().unwrap();
        let more = more.iter().copied().map(str::to_owned);
        let conf: Vec<String> = self.conf.iter().cloned().chain(more).collect();
        let (rest, web) = (self.rest, self.web);
        self.master = start_master(&self.home, port, rest, web, &conf, &self.variables);
    }

    /// Submits a driver that waits, and waits until it runs: its processes.
    pub fn submit_one_that_waits(&self, app: &str) -> Vec<u32> {
        let id = ["--deploy-mode", "cluster", "--submission-id", app];
        let more = ["--driver-memory", "16m", "sleep", "3600"];
        self.call("submit", &[&id[..], &more[..]].concat()).expect(0, &[]);
        eventually("the driver runs", || {
            Some(processes_of(app)).filter(|processes| !processes.is_empty())
        })
    }

    /// Puts somebody else in the master's place, who says this to each who comes and closes; and then
    /// the master again. The worker comes several times before that.
    pub fn replace_for_a_while(&mut self, says: &[u8]) {
        self.master.shoot();
        let place = self.master.ready.trim_start_matches("spark://");
        let listener = eventually("the port is free", || TcpListener::bind(place).ok());
        listener.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            let (mut stream, _) = eventually("the worker comes", || listener.accept().ok());
            stream.set_nonblocking(false).unwrap();
            stream.write_all(says).unwrap();
            // Until the other side has had enough.
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        drop(listener);
        self.start_again();
        // The worker is back as soon as something new runs there.
        let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
        let more = ["--deploy-mode", "cluster", "--driver-memory", "16m", "true"];
        self.call("submit", &[&waits[..], &more[..]].concat()).expect(0, &[]);
    }

    /// Calls a verb for this cluster.
    pub fn call(&self, verb: &str, more: &[&str]) -> Said {
        let words = [&[verb, "--master", &self.master.ready][..], &options(&self.conf), more];
        self.home.call(&words.concat())
    }

    /// The same, and does not wait.
    pub fn start(&self, verb: &str, more: &[&str]) -> crate::home::Started {
        let words = [&[verb, "--master", &self.master.ready][..], &options(&self.conf), more];
        self.home.start(&words.concat())
    }

    pub fn status(&self, app: &str) -> Option<Value> {
        serde_json::from_str(&self.call("status", &[app, "-o", "json"]).out).ok()
    }

    pub fn until_running(&self, app: &str, many: u64) -> Value {
        eventually(&format!("{many} executors run"), || {
            self.status(app).filter(|status| status["allocation"]["running"] == many)
        })
    }

    /// Runs a driver and executors that wait.
    pub fn run(&self, app: &str, executors: u32) -> crate::home::Started {
        let executors = executors.to_string();
        let run = ["--submission-id", app, "--executors", &executors, "--executor-memory", "16m"];
        let programs =
            ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
        self.start("run", &[&run[..], &programs[..]].concat())
    }

    /// Where something is on the page.
    pub fn page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.web)
    }
}

fn start_master(
    home: &Home,
    port: u16,
    rest: u16,
    web: u16,
    conf: &[String],
    variables: &[(String, String)],
) -> Daemon {
    let [port, rest, web] = [port, rest, web].map(|port| port.to_string());
    let mut words = vec!["master", "--port", &port, "--rest-port", &rest, "--webui-port", &web];
    words.extend(options(conf));
    let mut command = home.command(&words);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    Daemon::start_quietly(command.stderr(Stdio::inherit()))
}
