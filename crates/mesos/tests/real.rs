//! The scheduler client against real Mesos masters and agents: `tests/all mesos` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-mesos --test real -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use anymaster_test_support::mesos::Cluster;

use anymaster_core::{ErrorKind, HostPort};
use anymaster_mesos::MesosMaster;
use anymaster_mesos::credentials::Credentials;
use anymaster_mesos::model::{
    Accept, Call, Capability, CommandInfo, Decline, DurationInfo, Filters, FrameworkInfo, Id, Kill,
    KillPolicy, Launch, Offer, Operation, TaskInfo, TaskState, TaskStatus,
};
use anymaster_mesos::offers::resources::take;
use anymaster_mesos::scheduler::{Event, Options, Scheduler};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

fn framework(name: &str) -> FrameworkInfo {
    FrameworkInfo {
        user: "root".to_owned(),
        name: name.to_owned(),
        failover_timeout: 60.0,
        checkpoint: true,
        roles: vec!["*".to_owned()],
        capabilities: ["MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE"]
            .map(Capability::new)
            .into(),
        ..FrameworkInfo::default()
    }
}

/// A framework under test.
struct Framework {
    scheduler: Scheduler,
    events: mpsc::Receiver<Event>,
    id: Id,
    master: HostPort,
    offers: VecDeque<Offer>,
    /// All that was heard of each task.
    heard: HashMap<String, Vec<TaskStatus>>,
}

fn options(master: MesosMaster, framework: FrameworkInfo) -> Options {
    Options { master, framework, credentials: None }
}

impl Framework {
    async fn subscribe(options: Options) -> Self {
        let (scheduler, mut events) = Scheduler::start(options).unwrap();
        loop {
            match timeout(PATIENCE, events.recv()).await.expect("it subscribes").unwrap() {
                Event::Subscribed { framework: id, master } => {
                    let (offers, heard) = Default::default();
                    return Self { scheduler, events, id, master, offers, heard };
                }
                Event::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes in the next event; updates are acknowledged.
    async fn next(&mut self) -> Event {
        let event =
            timeout(PATIENCE, self.events.recv()).await.expect("something happens").unwrap();
        match &event {
            Event::Offers(offers) => self.offers.extend(offers.clone()),
            Event::Rescinded(id) => self.offers.retain(|offer| offer.id != *id),
            Event::Disconnected { .. } => self.offers.clear(),
            Event::Subscribed { master, .. } => {
                self.offers.clear();
                self.master = master.clone();
            }
            Event::Update(status) => {
                self.heard.entry(status.task_id.value.clone()).or_default().push(status.clone());
                // It may be told again, should the connection be gone.
                let _ = self.scheduler.acknowledge(status).await;
            }
            Event::Failure { .. } | Event::Over(_) => {}
        }
        event
    }

    async fn until(&mut self, task: &str, state: TaskState) -> TaskStatus {
        loop {
            let last = self.heard.get(task).and_then(|heard| heard.last());
            if let Some(status) = last.filter(|status| status.state == state) {
                return status.clone();
            }
            if let Event::Over(error) = self.next().await {
                panic!("{task} is to be {state:?}, and {error}; heard: {:?}", self.heard.get(task));
            }
        }
    }

    async fn offer(&mut self) -> Offer {
        loop {
            if let Some(offer) = self.offers.pop_front() {
                return offer;
            }
            self.next().await;
        }
    }

    async fn launch(&mut self, id: &str, command: &str) -> Offer {
        let offer = self.offer().await;
        let mut left = offer.resources.clone();
        let mut resources = take(&mut left, "cpus", 0.1).unwrap();
        resources.extend(take(&mut left, "mem", 32.0).unwrap());
        let task = TaskInfo {
            name: id.to_owned(),
            task_id: Id::new(id),
            agent_id: offer.agent_id.clone(),
            resources,
            command: Some(CommandInfo {
                shell: true,
                value: Some(command.to_owned()),
                ..CommandInfo::default()
            }),
            ..TaskInfo::default()
        };
        self.accept(&offer, task).await;
        offer
    }

    async fn accept(&self, offer: &Offer, task: TaskInfo) {
        let accept = Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![Operation::Launch { launch: Launch { task_infos: vec![task] } }],
            filters: Some(Filters { refuse_seconds: 0.1 }),
        };
        self.scheduler.call(&Call::Accept { accept }).await.unwrap();
    }

    async fn kill(&self, id: &str) {
        let grace = Duration::from_millis(500).as_nanos() as i64;
        let kill_policy = Some(KillPolicy { grace_period: DurationInfo { nanoseconds: grace } });
        let kill = Kill { task_id: Id::new(id), agent_id: None, kill_policy };
        self.scheduler.call(&Call::Kill { kill }).await.unwrap();
    }

    /// Kills a task whose agent may not have come back yet: the master knows nothing of it until then.
    async fn kill_until_killed(&mut self, id: &str) {
        loop {
            self.kill(id).await;
            let killed = timeout(Duration::from_secs(1), self.until(id, TaskState::TaskKilled));
            if killed.await.is_ok() {
                return;
            }
        }
    }

    fn states(&self, task: &str) -> Vec<TaskState> {
        self.heard[task].iter().map(|status| status.state).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn tasks_are_launched_killed_and_each_update_acknowledged_once() {
    let cluster = Cluster::new(3, 1, &[]);
    let mut framework =
        Framework::subscribe(options(cluster.url.clone(), framework("tasks"))).await;
    framework.launch("waits", "sleep 600").await;
    framework.launch("fails", "exit 3").await;
    framework.launch("stubborn", "trap '' TERM; while :; do sleep 0.1; done").await;
    for id in ["waits", "stubborn"] {
        framework.until(id, TaskState::TaskRunning).await;
        framework.kill(id).await;
        framework.until(id, TaskState::TaskKilled).await;
    }
    let failed = framework.until("fails", TaskState::TaskFailed).await;
    assert!(failed.message.unwrap().contains("exited with status 3"));
    assert_eq!(
        framework.states("waits"),
        [
            TaskState::TaskStarting,
            TaskState::TaskRunning,
            TaskState::TaskKilling,
            TaskState::TaskKilled
        ]
    );
    // What was acknowledged is not told again.
    let told: Vec<_> =
        framework.heard.values().flatten().filter_map(|status| status.uuid.clone()).collect();
    assert_eq!(told.iter().collect::<HashSet<_>>().len(), told.len());

    // What cannot be launched ends, and says why.
    let offer = framework.offer().await;
    let mut task = TaskInfo {
        name: "much".to_owned(),
        task_id: Id::new("much"),
        agent_id: offer.agent_id.clone(),
        resources: offer.resources.iter().filter(|one| one.name == "cpus").cloned().collect(),
        command: Some(CommandInfo {
            shell: true,
            value: Some("true".to_owned()),
            ..CommandInfo::default()
        }),
        ..TaskInfo::default()
    };
    task.resources[0].scalar.as_mut().unwrap().value = 1_000.0;
    framework.accept(&offer, task.clone()).await;
    framework.until("much", TaskState::TaskError).await;
    task.task_id = Id::new("gone");
    framework.accept(&offer, task).await;
    framework.until("gone", TaskState::TaskDropped).await;

    // Declined offers stay away until they are wanted again.
    let offer = framework.offer().await;
    let decline =
        Decline { offer_ids: vec![offer.id], filters: Some(Filters { refuse_seconds: 3600.0 }) };
    framework.scheduler.call(&Call::Decline { decline }).await.unwrap();
    framework.scheduler.call(&Call::Suppress).await.unwrap();
    framework.scheduler.call(&Call::Revive).await.unwrap();
    framework.offers.clear();
    framework.offer().await;
    framework.scheduler.call(&Call::Teardown).await.unwrap();
    loop {
        match framework.next().await {
            Event::Over(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
                break;
            }
            Event::Disconnected { .. } | Event::Offers(_) | Event::Rescinded(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn another_scheduler_takes_over_with_the_id_of_the_framework() {
    let cluster = Cluster::new(1, 1, &[]);
    let mut first = Framework::subscribe(options(cluster.url.clone(), framework("old"))).await;
    first.launch("kept", "sleep 600").await;
    first.until("kept", TaskState::TaskRunning).await;
    let info = FrameworkInfo { id: Some(first.id.clone()), ..framework("new") };
    let mut second = Framework::subscribe(options(cluster.url.clone(), info)).await;
    assert_eq!(second.id, first.id);
    // It asks what there is without being told to, and the one before hears that it is over.
    let status = second.until("kept", TaskState::TaskRunning).await;
    assert_eq!(status.reason.as_deref(), Some("REASON_RECONCILIATION"));
    loop {
        if let Event::Over(error) = first.next().await {
            assert!(error.message().contains("failed over"), "{error}");
            break;
        }
    }
    second.kill("kept").await;
    second.until("kept", TaskState::TaskKilled).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn a_master_that_is_killed_and_started_again_finds_its_framework_and_tasks() {
    let flags = [("AGENT_FLAGS", ""), ("MASTER_FLAGS", "--agent_ping_timeout=1secs")];
    let cluster = Cluster::new(2, 1, &flags);
    let mut framework =
        Framework::subscribe(options(cluster.url.clone(), framework("survives"))).await;
    framework.launch("kept", "sleep 600").await;
    framework.until("kept", TaskState::TaskRunning).await;
    cluster.signal("master0", "-KILL");
    loop {
        if let Event::Disconnected { why } = framework.next().await {
            assert!(
                why.contains("Mesos master 127.0.0.1") || why.contains("was interrupted"),
                "{why}"
            );
            break;
        }
    }
    assert_eq!(
        framework.scheduler.call(&Call::Revive).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    framework.heard.clear();
    cluster.up(&["master", "0"]);
    loop {
        if let Event::Subscribed { framework: id, .. } = framework.next().await {
            assert_eq!(id, framework.id);
            break;
        }
    }
    framework.kill_until_killed("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos and ZooKeeper"]
async fn the_next_leader_is_found_through_zookeeper_or_from_one_that_follows() {
    let cluster = Cluster::new(2, 3, &[]);
    let mut framework_ =
        Framework::subscribe(options(cluster.url.clone(), framework("moves"))).await;
    framework_.launch("kept", "sleep 600").await;
    framework_.until("kept", TaskState::TaskRunning).await;
    // Any of the masters will do: it sends us on.
    let follower =
        (0..3).map(|at| cluster.master(at)).find(|master| *master != framework_.master).unwrap();
    let other =
        Framework::subscribe(options(MesosMaster::Address(follower), framework("guest"))).await;
    assert_eq!(other.master, framework_.master);

    let leader = (0..3).find(|at| cluster.master(*at) == framework_.master).unwrap();
    let before = framework_.master.clone();
    cluster.signal(&format!("master{leader}"), "-KILL");
    loop {
        if let Event::Subscribed { framework: id, master } = framework_.next().await {
            assert_eq!(id, framework_.id);
            assert_ne!(master, before);
            break;
        }
    }
    framework_.kill_until_killed("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Mesos"]
async fn strangers_are_told_so_and_nothing_is_tried_again() {
    let credentials =
        std::env::temp_dir().join(format!("mesos-credentials-{}", std::process::id()));
    std::fs::write(&credentials, r#"{"credentials": [{"principal": "me", "secret": "sesame"}]}"#)
        .unwrap();
    let flags = format!(
        "--authenticate_http_frameworks --http_framework_authenticators=basic --credentials={}",
        credentials.display()
    );
    let cluster = Cluster::new(1, 1, &[("MASTER_FLAGS", &flags)]);
    let with = |secret: Option<&str>| {
        let credentials = secret.map(|secret| Credentials {
            principal: "me".to_owned(),
            secret: Some(secret.to_owned()),
        });
        let principal = credentials.as_ref().map(|one| one.principal.clone());
        let framework = FrameworkInfo { principal, ..framework("known") };
        Options { credentials, ..options(cluster.url.clone(), framework) }
    };
    for secret in [None, Some("open")] {
        let (_scheduler, mut events) = Scheduler::start(with(secret)).unwrap();
        let Some(Event::Over(error)) = events.recv().await else { panic!("{secret:?}") };
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(!format!("{error:?}").contains("open"));
        assert!(events.recv().await.is_none());
    }
    let mut framework = Framework::subscribe(with(Some("sesame"))).await;
    framework.launch("runs", "true").await;
    framework.until("runs", TaskState::TaskFinished).await;
    std::fs::remove_file(credentials).unwrap();
}
