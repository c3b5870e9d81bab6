//! A cluster without processes: workers are queues, and time is what a test says it is.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AllocationPhase, AppId, ApplicationSpec, Cause, CommandLine, DriverSpec, ExecutorId,
    ExecutorTarget, ExecutorTemplate, ProfileId, ResourceProfile, State, Status, Subject,
    SubmissionId,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Cluster, Link, Messages, Policy};
use crate::master::amount::Cores;
use crate::wire::{FromWorker, Held, Progress, Task, Terms, ToWorker, WorkerInfo};

mod crashes;
mod ends;
mod lent;

struct Scene {
    cluster: Cluster,
    workers: HashMap<String, mpsc::UnboundedReceiver<ToWorker>>,
    now: Instant,
    sessions: u64,
    /// What was written down.
    store: BTreeMap<String, Vec<u8>>,
}

pub(in crate::master) fn policy() -> Policy {
    Policy {
        master: "spark://m:7077".to_owned(),
        rest: None,
        web: "http://m:8080".to_owned(),
        spread_out: true,
        default_cores: Cores::ALL,
        max_retries: Some(3),
        worker_timeout: Duration::from_secs(60),
        return_time: Duration::from_secs(5),
        retained: 2,
        max_record: usize::MAX,
        lending: None,
        address: "m:7077".to_owned(),
    }
}

pub(in crate::master) fn spec(name: &str) -> ApplicationSpec {
    let mut resources = ResourceProfile::new(1.0, 100);
    resources.overhead_mib = 10;
    ApplicationSpec::new(name, CommandLine::new("driver")).with_driver_resources(resources)
}

fn info(id: &str, cores: u32) -> WorkerInfo {
    WorkerInfo {
        id: id.to_owned(),
        host: format!("host-{id}"),
        port: 1,
        web: String::new(),
        cores,
        memory_mib: 10_000,
        resources: BTreeMap::new(),
        is_lent: false,
    }
}

fn app(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

impl Scene {
    fn new(workers: &[(&str, u32)]) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(policy());
        let (workers_there, store) = (HashMap::new(), BTreeMap::new());
        let mut scene = Self { cluster, workers: workers_there, now, sessions: 0, store };
        scene.cluster.keep();
        for (id, cores) in workers {
            scene.register(id, *cores, Vec::new());
        }
        scene
    }

    fn register(&mut self, id: &str, cores: u32, held: Vec<Held>) -> u64 {
        self.sessions += 1;
        let (messages, queue) = mpsc::unbounded_channel();
        let link = Link { session: self.sessions, messages: Messages::Own(messages) };
        self.cluster.register(info(id, cores), held, false, link, self.now);
        self.cluster.schedule();
        self.write();
        self.workers.insert(id.to_owned(), queue);
        self.sessions
    }

    /// An application whose driver runs.
    fn launch(&mut self, id: &str, properties: &[(&str, &str)]) {
        self.launch_as(id, properties, false);
    }

    fn launch_as(&mut self, id: &str, properties: &[(&str, &str)], supervise: bool) {
        let mut spec = spec(id);
        spec.driver.supervise = supervise;
        spec.conf = properties.iter().copied().collect::<Conf>();
        self.cluster.launch(&SubmissionId::new(id).unwrap(), &spec).unwrap();
        self.work();
    }

    fn request(&mut self, id: &str, cores: f64, executors: u32) {
        let template = ExecutorTemplate::new(CommandLine::new("executor"));
        let profile = ResourceProfile::new(cores, 100);
        let target = ExecutorTarget::new(template, profile, executors);
        self.cluster.request(&app(id), target).unwrap();
        self.work();
    }

    fn tell(&mut self, worker: &str, id: &str, task: Task, progress: Progress) {
        let held = Held { app: app(id), task, progress, terms: None };
        self.cluster.heard(worker, FromWorker::Changed(held), self.now);
    }

    /// Workers do what they are told, until there is nothing more to do.
    fn work(&mut self) {
        loop {
            self.write();
            self.cluster.schedule();
            let is_unwritten = self.write();
            let mut orders = Vec::new();
            for (worker, queue) in &mut self.workers {
                while let Ok(message) = queue.try_recv() {
                    orders.push((worker.clone(), message));
                }
            }
            if orders.is_empty() && !is_unwritten {
                return;
            }
            for (worker, order) in orders {
                let (id, task, progress) = match order {
                    ToWorker::StartDriver(order) if self.cluster.policy().lending.is_none() => {
                        let (app, attempt) = (order.app, order.attempt);
                        let accepted = FromWorker::Accepted { app, attempt };
                        self.cluster.heard(&worker, accepted, self.now);
                        continue;
                    }
                    ToWorker::StartDriver(order) => (
                        order.app,
                        Task::Driver,
                        Progress::Running { port: Some(4040), host: None },
                    ),
                    ToWorker::Confirmed { app, .. } => {
                        (app, Task::Driver, Progress::Running { port: Some(4040), host: None })
                    }
                    ToWorker::StartExecutor(order) => {
                        assert_eq!(order.driver_port, 4040);
                        (
                            order.app,
                            Task::Executor(order.id),
                            Progress::Running { port: None, host: None },
                        )
                    }
                    ToWorker::Stop { app, task, stop } => {
                        let outcome = Cause::Killed { by: stop.by }.into();
                        (app, task, Progress::Ended(outcome))
                    }
                    _ => continue,
                };
                self.tell(&worker, id.as_str(), task, progress);
            }
        }
    }

    /// Writes what is to be written. Whether there was anything.
    fn write(&mut self) -> bool {
        let Some(writing) = self.cluster.take_unwritten() else { return false };
        for (name, value) in writing.changes.iter() {
            match value {
                Some(value) => self.store.insert(name.clone(), value.clone()),
                None => self.store.remove(name),
            };
        }
        self.cluster.written(writing);
        true
    }

    /// Another master takes over.
    fn restart(&mut self) {
        let mut cluster = Cluster::new(self.cluster.policy().clone());
        cluster.keep();
        cluster.recover(self.store.clone().into_iter().collect(), self.now).unwrap();
        self.cluster = cluster;
        self.workers.clear();
    }

    /// What a worker would say that it has.
    fn held(&self, worker: &str) -> Vec<Held> {
        let tasks = self.cluster.workers[worker].tasks.iter();
        let held = tasks.map(|(app, task)| {
            let terms = match task {
                Task::Driver => None,
                Task::Executor(_) => Some(Box::new(Terms {
                    profile_id: ProfileId(0),
                    profile: ResourceProfile::new(1.0, 100),
                    resources: BTreeMap::new(),
                })),
            };
            let port = (*task == Task::Driver).then_some(4040);
            Held {
                app: app.clone(),
                task: *task,
                progress: Progress::Running { port, host: None },
                terms,
            }
        });
        held.collect()
    }

    /// How many executors run, and on which hosts.
    fn running(&self, id: &str) -> BTreeMap<String, u32> {
        let mut hosts = BTreeMap::new();
        for status in self.cluster.statuses(Some(&app(id))) {
            if let Status::Executor(executor) = status
                && executor.state == State::Running
            {
                let host = executor.host.as_deref().unwrap_or_default().to_owned();
                *hosts.entry(host).or_default() += 1;
            }
        }
        hosts
    }

    fn phase(&self, id: &str) -> AllocationPhase {
        let statuses = self.cluster.statuses(Some(&app(id)));
        let phase = statuses.into_iter().find_map(|status| match status {
            Status::Allocation(allocation) => Some(allocation.phase),
            _ => None,
        });
        phase.unwrap()
    }

    fn driver(&self, id: &str) -> State {
        match &self.cluster.statuses(Some(&app(id)))[0] {
            Status::Driver(driver) => driver.state.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn hosts(hosts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    hosts.iter().map(|(host, many)| ((*host).to_owned(), *many)).collect()
}

#[test]
fn applications_get_what_there_is_in_the_order_of_their_coming() {
    let mut scene = Scene::new(&[("a", 4), ("b", 4)]);
    scene.launch("first", &[]);
    scene.launch("second", &[]);
    scene.request("first", 1.0, 5);
    assert_eq!(scene.running("first"), hosts(&[("host-a", 3), ("host-b", 2)]));
    scene.request("second", 1.0, 2);
    assert_eq!(scene.running("second").values().sum::<u32>(), 1);
    let AllocationPhase::Blocked { why } = scene.phase("second") else { panic!() };
    assert!(why.contains("needs 1 core and 100 MiB; of 2 workers"), "{why}");
    // What the first one gives back is for the second one.
    scene.request("first", 1.0, 2);
    assert_eq!(scene.running("second").values().sum::<u32>(), 2);
    assert_eq!(scene.phase("second"), AllocationPhase::Reached);
    assert_eq!(scene.running("first").values().sum::<u32>(), 2);
}

#[test]
fn an_application_has_no_more_cores_than_it_wants() {
    let mut scene = Scene::new(&[("a", 16)]);
    scene.launch("few", &[("spark.cores.max", "4"), ("spark.executor.cores", "2")]);
    scene.request("few", 2.0, 5);
    assert_eq!(scene.running("few"), hosts(&[("host-a", 2)]));
    let AllocationPhase::Blocked { why } = scene.phase("few") else { panic!() };
    assert_eq!(&*why, "it has 4 cores, and spark.cores.max is 4");
}

#[test]
fn drivers_wait_for_a_worker_and_say_so() {
    let mut scene = Scene::new(&[]);
    scene.launch("early", &[]);
    let why = State::Pending { why: Some("no worker has registered".into()) };
    assert_eq!(scene.driver("early"), why);
    scene.register("a", 1, Vec::new());
    scene.work();
    assert_eq!(scene.driver("early"), State::Running);
    // Drivers come before executors, and there is no room for both.
    scene.request("early", 1.0, 1);
    assert!(scene.running("early").is_empty());
}

#[test]
fn a_worker_that_is_silent_is_given_up_and_its_executors_replaced() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.register("b", 8, Vec::new());
    scene.request("app", 1.0, 4);
    let before = scene.running("app");
    assert!(before["host-b"] > 0, "{before:?}");
    scene.now += Duration::from_secs(59);
    scene.cluster.heard("a", FromWorker::Heartbeat, scene.now);
    scene.cluster.check_workers(scene.now);
    scene.work();
    assert_eq!(scene.running("app"), before);
    scene.now += Duration::from_secs(2);
    scene.workers.remove("b");
    scene.cluster.check_workers(scene.now);
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-a", 4)]));
    assert_eq!(scene.phase("app"), AllocationPhase::Reached);
    // Late, it comes back with one of them: that one is none any more.
    let task = Task::Executor(ExecutorId(1));
    let progress = Progress::Running { port: None, host: None };
    let held = Held { app: app("app"), task, progress, terms: None };
    scene.register("b", 8, vec![held]);
    let queue = scene.workers.get_mut("b").unwrap();
    let told: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
    assert!(
        told.iter()
            .any(|told| matches!(told, ToWorker::Stop { task: which, .. } if *which == task)),
        "{told:?}"
    );
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_what_it_has() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 2);
    scene.cluster.away("a", 1, scene.now);
    scene.now += Duration::from_secs(4);
    scene.cluster.check_workers(scene.now);
    let running = |task| {
        let progress = Progress::Running { port: None, host: None };
        Held { app: app("app"), task, progress, terms: None }
    };
    // One of them has ended in the meantime, and that was not told.
    let ended = Progress::Ended(Cause::Exited { code: 7 }.into());
    let held = vec![
        running(Task::Driver),
        running(Task::Executor(ExecutorId(1))),
        Held { app: app("app"), task: Task::Executor(ExecutorId(2)), progress: ended, terms: None },
    ];
    scene.register("a", 8, held);
    scene.work();
    let statuses = scene.cluster.statuses(Some(&app("app")));
    let ids: Vec<_> = statuses
        .iter()
        .filter_map(|status| match status {
            Status::Executor(executor) => Some((executor.id.0, executor.state.word())),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [(2, "Failed"), (1, "Running"), (3, "Running")]);
}

#[test]
fn workers_that_come_back_are_told_when_an_application_is_over() {
    let mut scene = Scene::new(&[("a", 8)]);
    for id in ["goes-on", "is-over"] {
        scene.launch(id, &[]);
    }
    let mut held = scene.held("a");
    held[0].progress = Progress::Running { port: Some(4040), host: None };
    let unknown = Held { app: app("unknown"), ..held[0].clone() };
    scene.tell("a", "is-over", Task::Driver, Progress::Ended(Cause::Finished.into()));
    scene.work();
    held.push(unknown);
    scene.restart();
    scene.register("a", 8, held);
    let over = |scene: &mut Scene| {
        let queue = scene.workers.get_mut("a").unwrap();
        let told = std::iter::from_fn(|| queue.try_recv().ok());
        let over = told.filter_map(|told| match told {
            ToWorker::Over { app } => Some(app),
            _ => None,
        });
        over.collect::<Vec<_>>()
    };
    assert_eq!(over(&mut scene), [app("is-over"), app("unknown")]);
    scene.tell("a", "goes-on", Task::Driver, Progress::Ended(Cause::Finished.into()));
    scene.write();
    assert_eq!(over(&mut scene), [app("goes-on")]);
}

#[test]
fn a_supervised_driver_that_is_lost_with_its_worker_is_started_elsewhere() {
    for restarts in [false, true] {
        let mut scene = Scene::new(&[("a", 4)]);
        scene.launch_as("app", &[], true);
        scene.request("app", 1.0, 1);
        assert_eq!(scene.running("app"), hosts(&[("host-a", 1)]));
        if restarts {
            scene.write();
            scene.restart();
        }
        scene.now += Duration::from_secs(100);
        scene.cluster.check_workers(scene.now);
        scene.work();
        let driver = |scene: &Scene| match &scene.cluster.statuses(Some(&app("app")))[0] {
            Status::Driver(driver) => (driver.state.clone(), driver.host.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(driver(&scene), (State::Running, None), "it waits");
        let findings = scene.cluster.diagnose(&app("app"), scene.now);
        assert_eq!(findings[0].0, "Its driver was lost with its worker.");
        assert_eq!(findings[1].0, "Its driver waits for a worker: no worker has registered.");
        scene.register("b", 4, Vec::new());
        scene.work();
        assert_eq!(driver(&scene), (State::Running, Some("host-b".into())));
        // It declares anew what it wants.
        scene.request("app", 1.0, 2);
        assert_eq!(scene.running("app"), hosts(&[("host-b", 2)]));
    }
}

#[test]
fn a_driver_is_not_started_where_the_one_before_is_still_being_ended() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch_as("app", &[], true);
    let held = scene.held("a");
    scene.now += Duration::from_secs(100);
    scene.cluster.check_workers(scene.now);
    scene.register("a", 4, held);
    let orders = |scene: &mut Scene| {
        scene.write();
        scene.cluster.schedule();
        scene.write();
        let queue = scene.workers.get_mut("a").unwrap();
        std::iter::from_fn(|| queue.try_recv().ok()).collect::<Vec<_>>()
    };
    let has_start =
        |orders: &[ToWorker]| orders.iter().any(|order| matches!(order, ToWorker::StartDriver(_)));
    let before = orders(&mut scene);
    assert!(before.iter().any(|order| matches!(order, ToWorker::Stop { .. })), "{before:?}");
    assert!(!has_start(&before), "{before:?}");
    scene.tell("a", "app", Task::Driver, Progress::Ended(Cause::Finished.into()));
    assert!(has_start(&orders(&mut scene)));
}

#[test]
fn failures_one_after_the_other_end_the_attempt() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("bad", &[("spark.executor.maxNumFailures", "100")]);
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), 1);
    scene.cluster.request(&app("bad"), target).unwrap();
    for id in 1..=3 {
        scene.cluster.schedule();
        scene.write();
        scene.cluster.schedule();
        let ended = Progress::Ended(Cause::Exited { code: 1 }.into());
        scene.tell("a", "bad", Task::Executor(ExecutorId(id)), ended);
    }
    scene.cluster.schedule();
    let AllocationPhase::GivenUp { why } = scene.phase("bad") else { panic!() };
    assert!(why.contains("spark.deploy.maxExecutorRetries"), "{why}");
}

#[test]
fn a_worker_on_which_executors_fail_is_left_out_while_another_can_hold_them() {
    let mut scene = Scene::new(&[("bad", 8), ("good", 2)]);
    scene.launch("a", &[]);
    scene.request("a", 1.0, 1);
    let fail = |scene: &mut Scene, id| {
        let ended = Progress::Ended(Cause::Exited { code: 1 }.into());
        scene.tell("bad", "a", Task::Executor(ExecutorId(id)), ended);
        scene.work();
    };
    for id in 1..=2 {
        assert_eq!(scene.running("a"), hosts(&[("host-bad", 1)]));
        fail(&mut scene, id);
    }
    assert_eq!(scene.running("a"), hosts(&[("host-good", 1)]));
    // What is more has to wait, and is told why.
    scene.request("a", 1.0, 4);
    let AllocationPhase::Blocked { why } = scene.phase("a") else { panic!("it waits") };
    assert!(why.contains("its executors fail on bad"), "{why}");
    // In an hour that worker may be sound again.
    scene.now += Duration::from_secs(3600);
    for worker in ["bad", "good"] {
        scene.cluster.heard(worker, FromWorker::Heartbeat, scene.now);
    }
    scene.cluster.check_workers(scene.now);
    scene.work();
    assert_eq!(scene.running("a"), hosts(&[("host-bad", 2), ("host-good", 2)]));
}

#[test]
fn what_ends_with_a_driver_and_what_is_remembered() {
    let mut scene = Scene::new(&[("a", 8)]);
    for number in 0..4 {
        let id = format!("app-{number}");
        scene.launch(&id, &[]);
        scene.request(&id, 1.0, 2);
        let driver = Subject::Driver(SubmissionId::new(&id).unwrap());
        scene.cluster.kill(&driver, Duration::ZERO).unwrap();
        scene.work();
        assert!(scene.running(&id).is_empty());
        assert!(scene.driver(&id).is_ended());
        assert!(scene.cluster.workers["a"].tasks.is_empty());
        assert_eq!(scene.cluster.workers["a"].free.cores, Cores::whole(8));
    }
    // The oldest ones are forgotten.
    assert!(scene.cluster.statuses(Some(&app("app-0"))).is_empty());
    assert!(!scene.cluster.statuses(Some(&app("app-3"))).is_empty());
}

#[test]
fn several_profiles_are_served_beside_each_other() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), 2).with_profile(
        ProfileId(1),
        ResourceProfile::new(3.0, 200),
        1,
    );
    scene.cluster.request(&app("app"), target).unwrap();
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-a", 3)]));
    assert_eq!(scene.cluster.workers["a"].free.cores, Cores::whole(8 - 1 - 2 - 3));
}

#[test]
fn another_master_goes_on_where_one_was_and_disturbs_nothing() {
    let mut scene = Scene::new(&[("a", 4), ("b", 4)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 5);
    let before = scene.running("app");
    let (held_a, held_b) = (scene.held("a"), scene.held("b"));
    scene.restart();
    assert_eq!(scene.driver("app"), State::Running);
    scene.register("a", 4, held_a);
    scene.work();
    // Nothing is started before all are back.
    assert!(scene.running("app").values().sum::<u32>() < 5);
    scene.register("b", 4, held_b);
    scene.work();
    assert_eq!(scene.running("app"), before);
    assert_eq!(scene.phase("app"), AllocationPhase::Reached);
    assert_eq!(
        scene.cluster.workers["a"].free.cores + scene.cluster.workers["b"].free.cores,
        Cores::whole(2)
    );
    // New ones have new ids.
    scene.request("app", 1.0, 6);
    let statuses = scene.cluster.statuses(Some(&app("app")));
    let ids: Vec<_> = statuses
        .iter()
        .filter_map(|status| match status {
            Status::Executor(executor) => Some(executor.id.0),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 6);
    assert!(ids[5] > 1_000, "{ids:?}");
}

#[test]
fn what_does_not_come_back_after_another_master_took_over_is_lost() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("gone", &[]);
    scene.register("b", 4, Vec::new());
    scene.launch("waits", &[]);
    scene.request("waits", 1.0, 2);
    let held = scene.held("b");
    scene.restart();
    scene.register("b", 4, held);
    scene.work();
    assert_eq!(scene.driver("gone"), State::Running);
    scene.now += Duration::from_secs(61);
    scene.cluster.heard("b", FromWorker::Heartbeat, scene.now);
    scene.cluster.check_workers(scene.now);
    scene.work();
    let State::Ended(end) = scene.driver("gone") else { panic!() };
    assert!(matches!(&end.cause, Cause::Lost { why } if why.contains("worker a")), "{end:?}");
    assert_eq!(scene.phase("waits"), AllocationPhase::Reached);
    assert_eq!(scene.running("waits"), hosts(&[("host-b", 2)]));
}

#[test]
fn a_driver_is_not_ordered_before_it_is_written_down() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.cluster.launch(&SubmissionId::new("app").unwrap(), &spec("app")).unwrap();
    let orders = |scene: &mut Scene| {
        scene.cluster.schedule();
        if let Some(writing) = scene.cluster.take_unwritten() {
            scene.cluster.put_back(writing);
        }
        let queue = scene.workers.get_mut("a").unwrap();
        let told = std::iter::from_fn(|| queue.try_recv().ok());
        told.filter(|told| matches!(told, ToWorker::StartDriver(_))).count()
    };
    assert_eq!(orders(&mut scene), 0);
    scene.write();
    assert_eq!(orders(&mut scene), 1);
}

#[test]
fn what_is_larger_than_any_worker_waits_for_a_larger_one() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    scene.request("app", 6.0, 1);
    let AllocationPhase::Blocked { why } = scene.phase("app") else { panic!("it waits") };
    assert!(why.ends_with("none could hold it if it were empty"), "{why}");
    scene.register("b", 8, Vec::new());
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-b", 1)]));
}

#[test]
fn what_no_worker_has_is_refused_once_it_is_known_who_is_there() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    scene.write();
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    let mut profile = ResourceProfile::new(1.0, 100);
    profile.extra.insert("gpu".to_owned(), 1);
    let target = ExecutorTarget::new(template, profile, 1);
    let refused = scene.cluster.request(&app("app"), target.clone()).unwrap_err();
    assert!(refused.message().contains("no worker has any gpu"), "{refused}");
    let held = scene.held("a");
    scene.restart();
    scene.cluster.request(&app("app"), target).unwrap();
    scene.register("a", 4, held);
    scene.work();
    let AllocationPhase::Blocked { why } = scene.phase("app") else { panic!("it waits") };
    assert!(why.contains("no worker has 1 gpu left"), "{why}");
}

#[test]
fn another_master_knows_where_the_output_of_a_driver_is_that_has_ended() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    scene.tell("a", "app", Task::Driver, Progress::Ended(Cause::Finished.into()));
    scene.work();
    scene.restart();
    scene.register("a", 4, Vec::new());
    let driver = Subject::Driver(SubmissionId::new("app").unwrap());
    let found = scene.cluster.locate(&driver).unwrap();
    assert_eq!(found, Some(("host-a:1".to_owned(), app("app"), Task::Driver)));
    let view = scene.cluster.overview(scene.now).apps.remove(0).driver.unwrap();
    assert_eq!((view.state, view.worker.as_deref()), ("FINISHED", Some("a")));
    assert_eq!((view.cores, view.memory_mib), (Cores::whole(1), 100));
}

#[test]
fn what_a_former_release_has_written_is_read() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    let held = scene.held("a");
    let record = scene.store.get_mut("app/app").unwrap();
    let mut kept: serde_json::Value = serde_json::from_slice(record).unwrap();
    for name in ["attempts", "stops", "driver_worker", "driver_attempt", "driver_need"] {
        kept.as_object_mut().unwrap().remove(name).unwrap();
    }
    *record = serde_json::to_vec(&kept).unwrap();
    scene.restart();
    scene.register("a", 4, held);
    let view = scene.cluster.overview(scene.now).apps.remove(0).driver.unwrap();
    assert_eq!((view.state, view.worker.as_deref()), ("RUNNING", Some("a")));
    assert_eq!(view.cores, Cores::whole(1));
}
