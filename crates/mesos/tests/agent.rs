//! What real masters and agents say of tasks: where they are, what they wrote, why they ended. `tests/all
//! mesos` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-mesos --test agent -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{Cause, KilledBy, StartFailure};
use anymaster_core::{ErrorKind, HostPort, LogOptions, LogSource};
use anymaster_mesos::MesosMaster;
use anymaster_mesos::agent::{Agent, OperatorClient};
use anymaster_mesos::cause::cause;
use anymaster_mesos::model::{
    Accept, Call, Capability, Filters, FrameworkInfo, Id, Kill, Label, Launch, Offer, Operation,
    Range, Resource, TaskState, TaskStatus,
};
use anymaster_mesos::offers::resources::{take, take_port};
use anymaster_mesos::scheduler::{Event, Options, Scheduler};
use anymaster_mesos::task::{Process, Role, task};
use anymaster_test_support::mesos::Cluster;
use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// What a program takes of an offer, if it has these ports.
fn resources(offer: &Offer, ports: &[u16]) -> Option<Vec<Resource>> {
    let mut left = offer.resources.clone();
    let mut taken = take(&mut left, "cpus", 0.25)?;
    taken.extend(take(&mut left, "mem", 32.0)?);
    for port in ports {
        taken.push(take_port(&mut left, *port)?);
    }
    Some(taken)
}

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A framework of tests.
struct Framework {
    scheduler: Scheduler,
    events: mpsc::Receiver<Event>,
    id: Id,
    offers: VecDeque<Offer>,
    heard: HashMap<String, TaskStatus>,
    /// Of tasks that are followed: whether they have ended.
    ends: HashMap<String, watch::Sender<bool>>,
}

impl Framework {
    async fn subscribe(cluster: &Cluster) -> Self {
        let framework = FrameworkInfo {
            user: "root".to_owned(),
            name: "agent".to_owned(),
            failover_timeout: 60.0,
            checkpoint: true,
            roles: vec!["*".to_owned()],
            capabilities: ["MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE"]
                .map(Capability::new)
                .into(),
            ..FrameworkInfo::default()
        };
        let master = MesosMaster::Address(cluster.master(0));
        let (scheduler, mut events) =
            Scheduler::start(Options { master, framework, credentials: None }).unwrap();
        loop {
            match timeout(PATIENCE, events.recv()).await.expect("it subscribes").unwrap() {
                Event::Subscribed { framework: id, .. } => {
                    let (offers, heard, ends) = Default::default();
                    return Self { scheduler, events, id, offers, heard, ends };
                }
                Event::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes in the next event.
    async fn next(&mut self) {
        let event = timeout(PATIENCE, self.events.recv()).await.expect("something happens");
        match event.unwrap() {
            Event::Offers(offers) => self.offers.extend(offers),
            Event::Rescinded(id) => self.offers.retain(|offer| offer.id != id),
            Event::Disconnected { .. } | Event::Subscribed { .. } => self.offers.clear(),
            Event::Update(status) => {
                let _ = self.scheduler.acknowledge(&status).await;
                let id = status.task_id.value.clone();
                if status.state.is_ended()
                    && let Some(ended) = self.ends.get(&id)
                {
                    ended.send_replace(true);
                }
                self.heard.insert(id, status);
            }
            Event::Failure { .. } => {}
            Event::Over(error) => panic!("{error}"),
        }
    }

    async fn until(&mut self, task: &str, is: impl Fn(TaskState) -> bool) -> TaskStatus {
        loop {
            if let Some(status) = self.heard.get(task).filter(|status| is(status.state)) {
                return status.clone();
            }
            self.next().await;
        }
    }

    async fn until_ended(&mut self, task: &str) -> TaskStatus {
        self.until(task, TaskState::is_ended).await
    }

    /// Launches a program, as tasks are made, with these properties and ports. Tells its agent.
    async fn launch(
        &mut self,
        id: &str,
        words: &[&str],
        conf: &[(&str, &str)],
        ports: &[u16],
    ) -> Id {
        let (offer, resources) = loop {
            let Some(offer) = self.offers.pop_front() else {
                self.next().await;
                continue;
            };
            if let Some(resources) = resources(&offer, ports) {
                break (offer, resources);
            }
        };
        let conf: Conf = conf.iter().copied().collect();
        let args: Vec<String> = words[1..].iter().map(|word| (*word).to_owned()).collect();
        let process = Process {
            task: id,
            name: format!("agent {id}"),
            agent: &offer.agent_id,
            resources,
            program: words[0],
            args: &args,
            env: BTreeMap::from([("WHERE".to_owned(), "{{work.dir}}".to_owned())]),
            files: BTreeMap::new(),
            labels: vec![Label { key: "our".to_owned(), value: Some(id.to_owned()) }],
            conf: &conf,
            role: Role::Executor,
            grace: Duration::from_millis(300),
        };
        let launch = Launch { task_infos: vec![task(process).unwrap()] };
        let accept = Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![Operation::Launch { launch }],
            filters: Some(Filters { refuse_seconds: 0.1 }),
        };
        self.scheduler.call(&Call::Accept { accept }).await.unwrap();
        offer.agent_id
    }

    async fn kill(&self, id: &str) {
        let kill = Kill { task_id: Id::new(id), agent_id: None, kill_policy: None };
        self.scheduler.call(&Call::Kill { kill }).await.unwrap();
    }

    fn end_of(&mut self, task: &str) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        self.ends.insert(task.to_owned(), sender);
        receiver
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn tasks_that_run_are_known_with_their_agents() {
    let cluster = Cluster::new(2, 1, &[]);
    let mut framework = Framework::subscribe(&cluster).await;
    let client = OperatorClient::new(None).unwrap();
    let master = cluster.master(0);
    assert!(client.tasks(&master, &framework.id).await.unwrap().is_empty());
    let mut agents = HashMap::new();
    for (id, ports) in [("a", [31_000, 31_001].as_slice()), ("b", [].as_slice())] {
        let conf = [("spark.mesos.task.labels", r"key:a\:b")];
        let agent = framework.launch(id, &["sleep", "600"], &conf, ports).await;
        agents.insert(id.to_owned(), agent);
        framework.until(id, |state| state == TaskState::TaskRunning).await;
    }
    framework.launch("ended", &["true"], &[], &[]).await;
    framework.until_ended("ended").await;

    let known = client.tasks(&master, &framework.id).await.unwrap();
    let (ended, known): (Vec<_>, Vec<_>) =
        known.into_iter().partition(|task| task.state.is_ended());
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].id.value.as_str(), ended[0].state), ("ended", TaskState::TaskFinished));
    let mut ids: Vec<_> = known.iter().map(|task| task.id.value.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b"]);
    for task in &known {
        assert_eq!(task.agent_id, agents[&task.id.value]);
        assert_eq!(task.state, TaskState::TaskRunning);
        assert_eq!(task.name, format!("agent {}", task.id));
        assert_eq!((task.resources.cpus, task.resources.mem), (0.25, 32.0));
        let labels: Vec<_> = task.labels.iter().map(|one| one.value.as_deref().unwrap()).collect();
        assert_eq!(labels, [task.id.value.as_str(), "a:b"]);
        let agent = task.agent.as_ref().unwrap();
        assert_eq!(agent.hostname, "127.0.0.1");
        let found = client.agent(&master, &task.agent_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&**agent));
    }
    let first = known.iter().find(|task| task.id.value == "a").unwrap();
    let ports: u64 = first.resources.ports.iter().map(|Range { begin, end }| end - begin + 1).sum();
    assert_eq!(ports, 2, "{:?}", first.resources.ports);
    assert_eq!(client.agents(&master).await.unwrap().len(), 2);
    assert_eq!(client.agent(&master, &Id::new("none")).await.unwrap(), None);
    assert!(client.tasks(&master, &Id::new("none")).await.unwrap().is_empty());
}

/// What a task wrote, by source.
#[derive(Debug, Default, PartialEq)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    async fn of(mut stream: anymaster_core::LogStream) -> anymaster_core::Result<Self> {
        let mut output = Self::default();
        while let Some(chunk) = timeout(PATIENCE, stream.next()).await.expect("it goes on") {
            let chunk = chunk?;
            match chunk.source {
                LogSource::Stdout => output.stdout.extend(chunk.bytes),
                LogSource::Stderr => output.stderr.extend(chunk.bytes),
            }
        }
        Ok(output)
    }
}

/// Prints numbers and a byte that is no text, until its sandbox has a file `go`; then a last line.
const TALKS: &str = r#"seq 20000; printf '\377\n'; echo begun >&2; echo ready >&2
while ! [ -e "$WHERE/go" ]; do sleep 0.05; done; echo last; exit 3"#;

fn talk() -> Vec<u8> {
    let mut text: Vec<u8> = (1..=20_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    text.extend(b"\xff\nlast\n");
    text
}

async fn agent_of(client: &OperatorClient, cluster: &Cluster, id: &Id) -> Arc<Agent> {
    Arc::new(client.agent(&cluster.master(0), id).await.unwrap().unwrap())
}

/// Kills an agent, and starts it again, until it is registered: before, executors' updates are refused.
async fn restart_agent(cluster: &Cluster, agent: &HostPort) {
    cluster.signal("agent0", "-KILL");
    cluster.up(&["agent", "0"]);
    let url = format!("http://{agent}/metrics/snapshot");
    let registered = async {
        loop {
            let text = match reqwest::get(&url).await {
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if text.contains(r#""slave/registered":1"#) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, registered).await.expect("the agent comes back");
}

fn sandbox(cluster: &Cluster, task: &str) -> PathBuf {
    let output = Command::new("find")
        .arg(&cluster.dir)
        .args(["-path", &format!("*/executors/{task}/runs/*/stdout"), "-not", "-path", "*/meta/*"])
        .args(["-not", "-path", "*/latest/*"])
        .output()
        .unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    Path::new(found.lines().next().unwrap()).parent().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn output_is_followed_to_the_end_and_kept_after_it() {
    let cluster = Cluster::new(1, 1, &[]);
    let mut framework = Framework::subscribe(&cluster).await;
    let client = OperatorClient::new(None).unwrap();
    let id = framework.id.clone();
    let ended = framework.end_of("talks");
    let agent = framework.launch("talks", &["sh", "-c", TALKS], &[], &[]).await;
    let agent = agent_of(&client, &cluster, &agent).await.address.clone();
    let options = LogOptions::default().follow();
    let output = |options: &LogOptions| {
        Output::of(client.output(&agent, &id, "talks", options, ended.clone()))
    };
    // From before it runs; and when much was written already, the last lines and what follows.
    let all = tokio::spawn(output(&options));
    framework.until("talks", |state| state == TaskState::TaskRunning).await;
    loop {
        let now = output(&LogOptions::default().source(LogSource::Stderr));
        if now.await.is_ok_and(|now| now.stderr.ends_with(b"ready\n")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tail = options.tail(2).source(LogSource::Stdout);
    let mut last = client.output(&agent, &id, "talks", &tail, ended.clone());
    let first = timeout(PATIENCE, last.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.bytes, b"20000\n\xff\n".as_slice());
    let last = tokio::spawn(Output::of(last));
    // What was written is there for who does not follow, and does not wait for the end.
    let now = output(&LogOptions::default()).await.unwrap();
    assert_eq!(now.stdout.len(), talk().len() - 5);
    assert!(now.stderr.ends_with(b"begun\nready\n"));
    assert!(!all.is_finished());

    // The agent is started again meanwhile.
    restart_agent(&cluster, &agent).await;
    std::fs::write(sandbox(&cluster, "talks").join("go"), "").unwrap();
    let status = framework.until_ended("talks").await;
    assert_eq!(cause(&status, None), Cause::Exited { code: 3 });
    let all = all.await.unwrap().unwrap();
    assert!(all.stdout == talk(), "{} bytes", all.stdout.len());
    // Its executor writes there too.
    let stderr = String::from_utf8(all.stderr).unwrap();
    assert_eq!(stderr.matches("begun\nready\n").count(), 1, "{stderr}");
    assert_eq!(last.await.unwrap().unwrap().stdout, b"last\n");

    // After its end, and after another start of the agent, which reads it from its disk.
    for _ in 0..2 {
        assert!(output(&options).await.unwrap().stdout == talk());
        for (lines, expected) in [(0, b"".as_slice()), (1, b"last\n"), (3, b"20000\n\xff\nlast\n")]
        {
            let options = LogOptions::default().tail(lines);
            assert_eq!(output(&options).await.unwrap().stdout, expected, "{lines}");
        }
        let most = LogOptions::default().tail(19_000);
        let most = output(&most).await.unwrap().stdout;
        assert!(most.starts_with(b"1003\n1004\n"), "{:?}", &most[..10]);
        restart_agent(&cluster, &agent).await;
    }
    let none = client.output(&agent, &id, "none", &LogOptions::default(), ended.clone());
    let error = Output::of(none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn causes_are_told_apart() {
    let cluster = Cluster::new(
        1,
        1,
        &[("MASTER_FLAGS", "--agent_ping_timeout=2secs --max_agent_ping_timeouts=2")],
    );
    let mut framework = Framework::subscribe(&cluster).await;
    let text = cluster.dir.join("text");
    std::fs::write(&text, "text").unwrap();
    let text = text.display().to_string();
    let fetched = [("spark.mesos.uris", "http://127.0.0.1:1/nothing")];
    let bad = StartFailure::BadCommand;
    for (id, words, conf, expected) in [
        ("ends", &["sh", "-c", "exit 0"][..], &[][..], Ok(Cause::Finished)),
        ("fails", &["sh", "-c", "exit 9"], &[], Ok(Cause::Exited { code: 9 })),
        ("killed", &["sh", "-c", "kill -9 $$"], &[], Ok(Cause::Signaled { signal: 9 })),
        ("crashes", &["sh", "-c", "kill -11 $$"], &[], Ok(Cause::Signaled { signal: 11 })),
        ("leaves", &["sh", "-c", "kill -15 $$"], &[], Ok(Cause::Signaled { signal: 15 })),
        ("missing", &["/no/such program"], &[], Err(bad)),
        ("nowhere", &["no-such-program", "it's"], &[], Err(bad)),
        ("text", &[text.as_str()], &[], Err(bad)),
        ("fetches", &["true"], &fetched, Err(StartFailure::Other)),
    ] {
        framework.launch(id, words, conf, &[]).await;
        let status = framework.until_ended(id).await;
        match (cause(&status, None), expected) {
            (cause, Ok(expected)) => assert_eq!(cause, expected, "{status:?}"),
            (Cause::CouldNotStart { failure, why }, Err(expected)) => {
                assert_eq!(failure, expected, "{status:?}");
                assert!(!why.is_empty());
            }
            (cause, Err(_)) => panic!("{cause}: {status:?}"),
        }
    }
    // It says why, where people look.
    let said = std::fs::read_to_string(sandbox(&cluster, "missing").join("stderr")).unwrap();
    let line = "anymaster: cannot start /no/such program: no such file\n";
    assert!(said.contains(line), "{said}");

    let by = KilledBy::ScaleDown;
    for (id, program) in
        [("waits", "exec sleep 600"), ("stubborn", "trap '' TERM; while :; do sleep 0.1; done")]
    {
        framework.launch(id, &["sh", "-c", program], &[], &[]).await;
        framework.until(id, |state| state == TaskState::TaskRunning).await;
        framework.kill(id).await;
        let status = framework.until_ended(id).await;
        assert_eq!(cause(&status, Some(by)), Cause::Killed { by }, "{status:?}");
    }

    framework.launch("lost", &["sleep", "600"], &[], &[]).await;
    framework.until("lost", |state| state == TaskState::TaskRunning).await;
    cluster.signal("agent0", "-KILL");
    let status = framework.until("lost", |state| state != TaskState::TaskRunning).await;
    assert_eq!(status.state, TaskState::TaskUnreachable);
    let Cause::Lost { why } = cause(&status, Some(by)) else { panic!("{status:?}") };
    assert!(!why.is_empty());
    // It has not ended, and where its agent is is not known.
    let client = OperatorClient::new(None).unwrap();
    let mut known = client.tasks(&cluster.master(0), &framework.id).await.unwrap();
    known.retain(|task| !task.state.is_ended());
    let lost: Vec<_> = known.iter().map(|task| (task.id.value.as_str(), task.state)).collect();
    assert_eq!(lost, [("lost", TaskState::TaskUnreachable)]);
    assert_eq!(known[0].agent, None);
}
