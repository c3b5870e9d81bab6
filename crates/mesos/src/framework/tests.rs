//! What a framework makes of updates that come twice, too late, or in another order than they were sent.

use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile,
    State, Status, SubmissionId,
};
use anymaster_core::{ClusterManager, HostPort};
use anymaster_engine::Demand;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::CAUSE_TIMEOUT;
use super::offer_matcher::gpus;
use super::requirements::OfferRequirements;
use super::simulation::Simulated;
use crate::Mesos;
use crate::model::{Id, Offer, Resource, TaskState, TaskStatus};
use crate::scheduler::Event;

fn offer() -> Offer {
    serde_json::from_value(json!({
        "id": {"value": "o"}, "agent_id": {"value": "a"}, "hostname": "host",
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4.0}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 4096.0}},
            {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31001}]}},
        ],
    }))
    .unwrap()
}

fn scalar(name: &str, value: u32) -> Resource {
    serde_json::from_value(json!({"name": name, "type": "SCALAR", "scalar": {"value": value}}))
        .unwrap()
}

/// Updates of one task, in the order in which they arrive.
async fn hear(simulated: &mut Simulated, task: &str, states: &[TaskState], source: &str) {
    for (number, state) in states.iter().enumerate() {
        let status = status(task, *state, source, &format!("{task} {number}"));
        simulated.driver.update(status).await.unwrap();
    }
}

fn status(task: &str, state: TaskState, source: &str, uuid: &str) -> TaskStatus {
    TaskStatus {
        task_id: Id::new(task),
        state,
        message: None,
        source: Some(source.to_owned()),
        reason: None,
        agent_id: Some(Id::new("a")),
        uuid: Some(uuid.to_owned()),
        timestamp: None,
        container_status: None,
    }
}

/// A dispatcher with a driver on an agent: its task, and how to ask about it.
async fn launched(simulated: &mut Simulated) -> (String, Arc<Mesos>) {
    let cluster = Mesos::of_dispatcher(simulated.address(), &Conf::new()).unwrap();
    let app = ApplicationSpec::new("one", CommandLine::new("true"))
        .with_driver_resources(ResourceProfile::new(1.0, 64));
    cluster.launch_driver(&SubmissionId::new("one").unwrap(), &app).await.unwrap();
    simulated.driver.framework = Some(Id::new("f"));
    simulated.offer(vec![offer()]).await;
    let mut tasks = simulated.driver.tasks.keys().cloned();
    (tasks.next().unwrap(), Arc::new(cluster))
}

async fn state(cluster: &Mesos) -> State {
    let listed = cluster.list(&Default::default()).await.unwrap();
    match &listed[..] {
        [Status::Driver(driver)] => driver.state.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_end_is_told_once_whatever_comes_after_it() {
    let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
    let (task, cluster) = launched(&mut simulated).await;
    let running = TaskState::TaskRunning;
    let states = [running, running, TaskState::TaskFinished, TaskState::TaskFinished, running];
    hear(&mut simulated, &task, &states, "SOURCE_EXECUTOR").await;
    let State::Ended(end) = state(&cluster).await else { panic!("it has ended") };
    assert_eq!(end.cause, Cause::Finished);
    assert!(simulated.driver.tasks.is_empty());
    // Each is acknowledged, once.
    let mut acknowledged = Vec::new();
    while let Ok(status) = simulated.acknowledged.try_recv() {
        acknowledged.push(status.uuid.unwrap());
    }
    let all: Vec<String> = (0..states.len()).map(|number| format!("{task} {number}")).collect();
    assert_eq!(acknowledged, all);
}

#[tokio::test]
async fn what_never_reached_its_agent_is_placed_once_more_and_what_ran_is_lost() {
    let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
    let (task, cluster) = launched(&mut simulated).await;
    hear(&mut simulated, &task, &[TaskState::TaskLost], "SOURCE_MASTER").await;
    assert!(matches!(state(&cluster).await, State::Pending { .. }));
    simulated.offer(vec![offer()]).await;
    assert_eq!(simulated.driver.tasks.keys().collect::<Vec<_>>(), [&task]);
    let states = [TaskState::TaskRunning, TaskState::TaskLost];
    hear(&mut simulated, &task, &states, "SOURCE_MASTER").await;
    let State::Ended(end) = state(&cluster).await else { panic!("it has ended") };
    assert!(matches!(end.cause, Cause::Lost { .. }), "{:?}", end.cause);
}

#[tokio::test]
async fn an_end_is_told_as_its_agent_tells_it_if_that_comes() {
    let answer = |task: &str| TaskStatus {
        reason: Some("REASON_RECONCILIATION".to_owned()),
        message: Some("Reconciliation: Latest task state".to_owned()),
        uuid: None,
        ..status(task, TaskState::TaskFailed, "SOURCE_MASTER", "")
    };
    for comes in [true, false] {
        let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
        let (task, cluster) = launched(&mut simulated).await;
        hear(&mut simulated, &task, &[TaskState::TaskRunning], "SOURCE_EXECUTOR").await;
        let driver = &mut simulated.driver;
        for _ in 0..3 {
            driver.update(answer(&task)).await.unwrap();
        }
        assert_eq!(state(&cluster).await, State::Running);
        let live = driver.tasks.get_mut(&task).unwrap();
        assert!(live.needs_reconciliation());
        let update = TaskStatus {
            message: Some("Command exited with status 3".to_owned()),
            ..status(&task, TaskState::TaskFailed, "SOURCE_EXECUTOR", "last")
        };
        if comes {
            driver.update(update).await.unwrap();
        } else {
            live.answered = Instant::now().checked_sub(CAUSE_TIMEOUT);
            driver.update(answer(&task)).await.unwrap();
        }
        let State::Ended(end) = state(&cluster).await else { panic!("it has ended") };
        match comes {
            true => assert_eq!(end.cause, Cause::Exited { code: 3 }),
            false => assert!(matches!(end.cause, Cause::Lost { .. }), "{:?}", end.cause),
        }
    }
}

#[tokio::test]
async fn offers_that_could_not_be_asked_for_are_asked_for_again() {
    let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
    let driver = &mut simulated.driver;
    // The master hears none of it.
    driver.ask(Demand { is_wanted: true, times: 1 }).await;
    assert!(driver.is_revival_due && !driver.is_suppressed);
    driver.ask(Demand { is_wanted: true, times: 1 }).await;
    assert!(driver.is_revival_due);
    driver.ask(Demand { is_wanted: false, times: 1 }).await;
    assert!(!driver.is_revival_due && !driver.is_suppressed);
}

/// A master that has no tasks.
async fn master() -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: 12\r\n\r\n{{\"tasks\":[]}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    HostPort { host: "127.0.0.1".to_owned(), port }
}

#[tokio::test]
async fn until_it_is_known_what_runs_nothing_is_taken_for_a_stray() {
    let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
    let Simulated { driver, orders, acknowledged, .. } = &mut simulated;
    driver.is_restored = false;
    // Nobody listens there.
    let nobody = HostPort { host: "127.0.0.1".to_owned(), port: 1 };
    let subscribed = Event::Subscribed { framework: Id::new("f"), master: nobody };
    driver.on_event(subscribed, orders).await.unwrap();
    assert!(!driver.is_restored);
    let update = |uuid| Event::Update(status("one", TaskState::TaskFailed, "SOURCE_AGENT", uuid));
    driver.on_event(update("early"), orders).await.unwrap();
    driver.on_event(Event::Offers(vec![offer()]), orders).await.unwrap();
    assert!(driver.hosts.is_empty());

    driver.sandboxes.set_master(master().await);
    driver.begin().await.unwrap();
    assert!(driver.is_restored);
    driver.on_event(update("late"), orders).await.unwrap();
    assert_eq!(acknowledged.try_recv().unwrap().uuid.unwrap(), "late");
    assert!(acknowledged.try_recv().is_err());
}

/// A driver outside of the cluster that wants so many executors of two cores.
async fn wanting(simulated: &Simulated, mut conf: Conf, executors: u32) -> Mesos {
    conf.set("spark.submit.deployMode", "client");
    let cluster = Mesos::of_dispatcher(simulated.address(), &conf).unwrap();
    let template = ExecutorTemplate::new(CommandLine::new("true"));
    let target = ExecutorTarget::new(template, ResourceProfile::new(2.0, 64), executors);
    cluster.request_executors(&AppId::new("wants").unwrap(), &target).await.unwrap();
    cluster
}

#[tokio::test]
async fn gpus_of_executors_that_begin_together_are_no_more_than_there_may_be() {
    for (offered, expected) in [(8, [4, 0]), (4, [4, 0]), (3, [3, 0])] {
        let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
        let conf = [("spark.mesos.gpus.max", "4")].into_iter().collect();
        let _cluster = wanting(&simulated, conf, 2).await;
        let mut offer = offer();
        offer.resources.push(scalar("gpus", offered));
        assert_eq!(simulated.offer(vec![offer]).await, 2);
        let mut gpus: Vec<_> = simulated.driver.tasks.values().map(|live| live.gpus).collect();
        gpus.sort_by(|a, b| b.cmp(a));
        assert_eq!(gpus, expected);
    }
}

#[tokio::test]
async fn a_port_that_is_passed_on_to_a_container_is_taken_once() {
    let mut simulated = Simulated::start(&Conf::new()).await.unwrap();
    let mut conf: Conf = [
        ("spark.mesos.executor.docker.image", "i"),
        ("spark.mesos.executor.docker.portmaps", "31001:80"),
        ("spark.mesos.network.name", "n"),
    ]
    .into_iter()
    .collect();
    let _cluster = wanting(&simulated, conf.clone(), 2).await;
    assert_eq!(simulated.offer(vec![offer()]).await, 1);
    // Nobody else passes it on.
    conf.set("spark.mesos.containerizer", "mesos");
    let mut other = Simulated::start(&Conf::new()).await.unwrap();
    let _cluster = wanting(&other, conf, 2).await;
    assert_eq!(other.offer(vec![offer()]).await, 2);
}

#[test]
fn gpus_beyond_those_of_a_profile_are_for_executors_that_ask_for_none() {
    let conf: Conf = [("spark.mesos.gpus.max", "5")].into_iter().collect();
    let rules = OfferRequirements::of(&conf).unwrap();
    let mut offer = offer();
    offer.resources.push(scalar("gpus", 4));
    let plain = ResourceProfile::new(1.0, 64);
    let given = |profile, acquired| gpus(&rules, profile, || acquired, &offer.resources);
    assert_eq!((given(&plain, 0), given(&plain, 3), given(&plain, 9)), (4, 2, 0));
    let mut own = plain.clone();
    own.extra.insert("gpu".to_owned(), 1);
    assert_eq!(given(&own, 0), 0);
}
