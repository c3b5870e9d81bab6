//! A Mesos of its own, and a dispatcher.

use std::process::Command;

use serde_json::{Value, json};

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, Said, Started, eventually, processes, processes_of};
use anymaster_test_support::mesos::Cluster;
use anymaster_test_support::ports::free_port;

/// A variable that `tests/all` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/all mesos"))
}

/// What is asked over HTTP.
pub(crate) fn curl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("curl").args(["-sSL", "--max-time", "20"]).args(arguments).output();
    let output = output.unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(format!("{arguments:?}: {output:?}")),
    }
}

/// A dispatcher on a Mesos; all of it is gone with this.
pub(crate) struct Scene {
    pub(crate) dispatcher: Daemon,
    pub(crate) port: u16,
    pub(crate) web: u16,
    pub(crate) conf: Vec<String>,
    /// Of the dispatcher's environment.
    env: Vec<(String, String)>,
    pub(crate) mesos: Cluster,
    pub(crate) home: Home,
}

/// The words of `--conf` for each property.
pub(crate) fn options(conf: &[String]) -> Vec<&str> {
    conf.iter().flat_map(|property| ["--conf", property]).collect()
}

impl Scene {
    pub(crate) fn new(agents: u32, conf: &[&str]) -> Self {
        Self::on(Cluster::new(agents, 1, &[]), Home::new(), conf, &[])
    }

    /// On a Mesos that there is; `env`: more of the dispatcher's environment.
    pub(crate) fn on(mesos: Cluster, home: Home, conf: &[&str], env: &[(&str, &str)]) -> Self {
        let conf: Vec<String> = conf.iter().copied().map(str::to_owned).collect();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let env: Vec<_> = env.iter().map(owned).collect();
        let (port, web) = (free_port(), free_port());
        let command = command(&home, &mesos, (port, web), &conf, &env);
        let dispatcher = Daemon::start(command);
        Self { dispatcher, port, web, conf, env, mesos, home }
    }

    /// Starts the dispatcher again, where it was.
    pub(crate) fn start_again(&mut self) {
        self.dispatcher = Daemon::start(self.command());
    }

    /// What starts the dispatcher.
    pub(crate) fn command(&self) -> Command {
        let ports = (self.port, self.web);
        command(&self.home, &self.mesos, ports, &self.conf, &self.env)
    }

    pub(crate) fn url(&self) -> String {
        format!("mesos://{}:{}", self.mesos.own_host(), self.port)
    }

    /// Calls a verb.
    pub(crate) fn call(&self, verb: &str, more: &[&str]) -> Said {
        self.home.call(&[&[verb, "--master", &self.url()][..], more].concat())
    }

    /// The same, and does not wait.
    pub(crate) fn start(&self, verb: &str, more: &[&str]) -> Started {
        self.home.start(&[&[verb, "--master", &self.url()][..], more].concat())
    }

    /// Submits a native program that needs little.
    pub(crate) fn submit(&self, id: &str, more: &[&str], program: &[&str]) -> Said {
        self.call("submit", &words(id, more, program))
    }

    /// The same, and does not wait for its end.
    pub(crate) fn start_driver(&self, id: &str, more: &[&str], program: &[&str]) -> Started {
        self.start("submit", &words(id, more, program))
    }

    /// Runs a driver and executors that wait.
    pub(crate) fn run(&self, app: &str, executors: u32, more: &[&str]) -> Started {
        let executors = executors.to_string();
        let run = ["--submission-id", app, "--executors", &executors, "--executor-memory", "16m"];
        let programs =
            ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
        self.start("run", &[&run[..], more, &programs].concat())
    }

    pub(crate) fn status(&self, app: &str) -> Option<Value> {
        serde_json::from_str(&self.call("status", &[app, "-o", "json"]).out).ok()
    }

    pub(crate) fn until(&self, app: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{app}: {what}"), || self.status(app).filter(|status| reached(status)))
    }

    pub(crate) fn until_running(&self, app: &str, many: u64) -> Value {
        let reached = |status: &Value| status["allocation"]["running"] == many;
        self.until(app, &format!("{many} executors run"), reached)
    }

    /// Asks at the port for Spark's submission protocol.
    pub(crate) fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let said = rest(self.port, method, path, body).unwrap();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Submits over REST: what was answered.
    pub(crate) fn create(&self, resource: &str, args: &[&str], more: &[(&str, &str)]) -> Value {
        self.rest("POST", "create", Some(&create(resource, args, more)))
    }

    /// What is told of a driver over REST.
    pub(crate) fn asked(&self, id: &str) -> Value {
        self.rest("GET", &format!("status/{id}"), None)
    }

    pub(crate) fn until_state(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), || {
            Some(self.asked(id)).filter(|answer| answer["driverState"] == state)
        })
    }

    /// A document of the Mesos master's.
    pub(crate) fn master(&self, path: &str) -> Option<Value> {
        master(&self.mesos, path)
    }

    /// What the master tells of the dispatcher's tasks: those that have not ended, and those that have.
    fn tasks(&self) -> Vec<Value> {
        let own = self.frameworks();
        let mut all = self.master("tasks?limit=1000").unwrap_or_default();
        let mut all = all["tasks"].as_array_mut().map(std::mem::take).unwrap_or_default();
        all.retain(|task| own.iter().any(|framework| task["framework_id"] == **framework));
        all
    }

    /// One of them.
    pub(crate) fn task(&self, id: &str) -> Option<Value> {
        self.tasks().into_iter().find(|task| task["id"] == id)
    }

    /// Those that run.
    pub(crate) fn running_tasks(&self) -> Vec<Value> {
        self.tasks().into_iter().filter(|task| task["state"] == "TASK_RUNNING").collect()
    }

    /// The framework of the dispatcher.
    pub(crate) fn framework(&self) -> String {
        eventually("the dispatcher is subscribed", || self.frameworks().into_iter().next())
    }

    /// All of them that Mesos knows: those before a restart, too.
    fn frameworks(&self) -> Vec<String> {
        let all = self.master("frameworks").unwrap_or_default();
        let page = format!(":{}", self.web);
        let is_own =
            |one: &&Value| one["webui_url"].as_str().is_some_and(|url| url.contains(&page));
        let own = all["frameworks"].as_array().into_iter().flatten().filter(is_own);
        own.filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect()
    }

    /// What a task wrote, as its agent has it.
    pub(crate) fn sandbox(&self, task: &str, file: &str) -> Option<String> {
        if self.mesos.is_foreign() {
            return self.sandbox_of_agent(task, file);
        }
        let framework = self.framework();
        let agents = std::fs::read_dir(&self.mesos.dir).unwrap();
        agents.filter_map(|entry| Some(entry.ok()?.path().join("slaves"))).find_map(|slaves| {
            std::fs::read_dir(slaves).ok()?.find_map(|agent| {
                let runs = format!("frameworks/{framework}/executors/{task}/runs/latest/{file}");
                std::fs::read_to_string(agent.ok()?.path().join(runs)).ok()
            })
        })
    }
}

impl Scene {
    /// The same, as its agent tells it to everybody.
    fn sandbox_of_agent(&self, task: &str, file: &str) -> Option<String> {
        let agent = self.task(task)?["slave_id"].clone();
        let all = self.master("slaves")?;
        let agent = all["slaves"].as_array()?.iter().find(|one| one["id"] == agent)?;
        let (_, address) = agent["pid"].as_str()?.rsplit_once('@')?;
        let state: Value =
            serde_json::from_str(&curl(&[&format!("http://{address}/state")]).ok()?).ok()?;
        let frameworks = ["frameworks", "completed_frameworks"].map(|list| state[list].clone());
        let frameworks = frameworks.iter().filter_map(Value::as_array).flatten();
        let executors = frameworks.flat_map(|framework| {
            ["executors", "completed_executors"].map(|list| framework[list].clone())
        });
        let executors: Vec<Value> =
            executors.filter_map(|list| list.as_array().cloned()).flatten().collect();
        let directory =
            executors.iter().find(|one| one["id"] == task)?["directory"].as_str()?.to_owned();
        let path = format!("path={directory}/{file}");
        let read = format!("http://{address}/files/read");
        let said = curl(&[
            "-G",
            "--fail",
            "--data-urlencode",
            &path,
            "-d",
            "offset=0",
            "-d",
            "length=65536",
            &read,
        ]);
        let read: Value = serde_json::from_str(&said.ok()?).ok()?;
        Some(read["data"].as_str()?.to_owned())
    }
}

impl Drop for Scene {
    /// Somebody else's Mesos would keep what runs for as long as the dispatcher may be away.
    fn drop(&mut self) {
        if !self.mesos.is_foreign() {
            return;
        }
        let frameworks = self.frameworks();
        self.dispatcher.end();
        for framework in frameworks {
            let url = format!("http://{}/teardown", self.mesos.master(0));
            let ended = curl(&["--fail", "-d", &format!("frameworkId={framework}"), &url]);
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Asks at a port for Spark's submission protocol; it may not answer just then.
pub(crate) fn rest(
    port: u16,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<String, String> {
    let url = format!("http://127.0.0.1:{port}/v1/submissions/{path}");
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut words = vec!["-X", method, &url];
    if !body.is_empty() {
        words.extend(["-H", "Content-Type: application/json;charset=UTF-8", "--data-binary"]);
        words.push(&body);
    }
    curl(&words)
}

/// A request of Spark's submission protocol.
pub(crate) fn create(resource: &str, args: &[&str], more: &[(&str, &str)]) -> Value {
    let mut properties = json!({
        "spark.app.name": "an application", "spark.driver.memory": "16m",
        "spark.driver.cores": "1", "spark.driver.memoryOverhead": "16",
    });
    for (name, value) in more {
        properties[name] = json!(value);
    }
    json!({
        "action": "CreateSubmissionRequest", "appArgs": args, "appResource": resource,
        "clientSparkVersion": "3.5.5", "environmentVariables": {}, "mainClass": "",
        "sparkProperties": properties,
    })
}

pub(crate) fn master(mesos: &Cluster, path: &str) -> Option<Value> {
    let said = curl(&[&format!("http://{}/{path}", mesos.master(0))]).ok()?;
    serde_json::from_str(&said).ok()
}

fn words<'a>(id: &'a str, more: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    let own = ["--deploy-mode", "cluster", "--submission-id", id, "--driver-memory", "16m"];
    let small = ["--conf", "spark.driver.memoryOverhead=16"];
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    [&own[..], &small, &waits, more, program].concat()
}

fn command(
    home: &Home,
    mesos: &Cluster,
    (port, web): (u16, u16),
    conf: &[String],
    env: &[(String, String)],
) -> Command {
    let host = mesos.own_host();
    let (mesos, port, web) = (format!("mesos://{}", mesos.url), port.to_string(), web.to_string());
    let own = ["dispatcher", "--master", &mesos, "--host", &host, "--port", &port];
    let own = [&own[..], &["--webui-port", &web]].concat();
    let mut command = home.command(&[&own[..], &options(conf)].concat());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    if let Ok(java) = std::env::var("JAVA_HOME") {
        command.env("JAVA_HOME", java);
    }
    command
}

/// The live programs of an application: without the executors of Mesos', which have their environment, and
/// the shells that become programs.
pub(crate) fn programs_of(app: &str) -> Vec<u32> {
    let is_program = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_executor = || String::from_utf8_lossy(&line).contains("mesos-executor");
        // It may be gone by now. What a shell runs before it becomes the program is no program of it.
        let is_early = line.starts_with(b"/bin/sh\0-c\0") || line.starts_with(b"rm\0-f\0");
        !(line.is_empty() || is_early || is_executor())
    };
    processes_of(app).into_iter().filter(is_program).collect()
}

/// The same, once there are so many: a task is said to run before its shell has become its program.
pub(crate) fn so_many_programs_of(app: &str, count: usize) -> Vec<u32> {
    eventually("its programs run", || Some(programs_of(app)).filter(|all| all.len() == count))
}

/// The same, of one executor.
pub(crate) fn programs_of_executor(app: &str, id: u64) -> Vec<u32> {
    let of_id = processes("ANYMASTER_EXECUTOR_ID", &id.to_string());
    programs_of(app).into_iter().filter(|pid| of_id.contains(pid)).collect()
}
