//! A cluster without processes: workers are queues, and time is what a test says it is.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AllocationPhase, AppId, ApplicationSpec, Cause, CommandLine, ExecutorId, ExecutorTarget,
    ExecutorTemplate, ProfileId, ResourceProfile, State, Status, Subject, SubmissionId,
};
use jiff::Timestamp;

use crate::{
    Cores, Effect, Engine, ExecutorSpec, Instant, Now, Order, OutputLocation, Progress, Settings,
    Task, TaskReport, WorkerInfo, WorkerMessage,
};

mod crashes;
mod external;
mod offers;
mod sparks;
mod stops;

struct Scene {
    engine: Engine,
    /// The session of each worker, and what it was sent and has not read.
    workers: HashMap<String, (u64, Vec<Order>)>,
    now: Instant,
    sessions: u64,
    /// What was written down.
    store: BTreeMap<String, Vec<u8>>,
}

fn settings() -> Settings {
    Settings { max_retries: Some(3), retained: 2, ..Settings::new("spark://m:7077") }
}

/// That point in time, of a day in 1970.
fn at(now: Instant) -> Now {
    let wall = Timestamp::UNIX_EPOCH + now.since_start();
    Now { at: now, wall }
}

fn engine(settings: Settings, now: Instant) -> Engine {
    Engine::new(settings, [7; 32], at(now))
}

fn spec(name: &str) -> ApplicationSpec {
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
        sparks: Vec::new(),
        resources: BTreeMap::new(),
    }
}

fn app(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

impl Scene {
    fn new(workers: &[(&str, u32)]) -> Self {
        let now = Instant::after_start(Duration::from_secs(1_000_000));
        let engine = engine(settings(), now);
        let (workers_there, store) = (HashMap::new(), BTreeMap::new());
        let mut scene = Self { engine, workers: workers_there, now, sessions: 0, store };
        scene.engine().persist();
        for (id, cores) in workers {
            scene.register(id, *cores, Vec::new());
        }
        scene
    }

    fn at(&self) -> Now {
        at(self.now)
    }

    /// The engine, at this time.
    fn engine(&mut self) -> &mut Engine {
        let now = self.at();
        self.engine.at(now)
    }

    /// Delivers what workers are sent.
    fn deliver(&mut self) {
        for effect in self.engine.take_effects() {
            if let Effect::Send { worker, session, order } = effect
                && let Some((_, orders)) =
                    self.workers.get_mut(&worker).filter(|(known, _)| *known == session)
            {
                orders.push(order);
            }
        }
    }

    /// What a worker was sent since it was last asked.
    fn orders(&mut self, worker: &str) -> Vec<Order> {
        self.deliver();
        std::mem::take(&mut self.workers.get_mut(worker).unwrap().1)
    }

    fn register(&mut self, id: &str, cores: u32, held: Vec<TaskReport>) -> u64 {
        self.meet(info(id, cores), held);
        self.engine().schedule();
        self.write();
        self.sessions
    }

    fn meet(&mut self, info: WorkerInfo, held: Vec<TaskReport>) {
        self.deliver();
        self.sessions += 1;
        let session = self.sessions;
        self.workers.insert(info.id.clone(), (session, Vec::new()));
        self.engine().register(info, held, false, session);
    }

    /// An application whose driver runs.
    fn launch(&mut self, id: &str, properties: &[(&str, &str)]) {
        self.launch_as(id, properties, false);
    }

    fn launch_as(&mut self, id: &str, properties: &[(&str, &str)], supervise: bool) {
        let mut spec = spec(id);
        spec.driver.supervise = supervise;
        spec.conf = properties.iter().copied().collect::<Conf>();
        self.engine().launch(&SubmissionId::new(id).unwrap(), &spec).unwrap();
        self.work();
    }

    fn request(&mut self, id: &str, cores: f64, executors: u32) {
        let template = ExecutorTemplate::new(CommandLine::new("executor"));
        let profile = ResourceProfile::new(cores, 100);
        let target = ExecutorTarget::new(template, profile, executors);
        self.engine().request(&app(id), target).unwrap();
        self.work();
    }

    fn tell(&mut self, worker: &str, id: &str, task: Task, progress: Progress) {
        let held = TaskReport { app: app(id), task, progress, spec: None };
        self.engine().on_worker_message(worker, WorkerMessage::Report(held));
    }

    /// Workers do what they are told, until there is nothing more to do.
    fn work(&mut self) {
        loop {
            self.write();
            self.engine().schedule();
            let is_unwritten = self.write();
            self.deliver();
            let mut orders = Vec::new();
            for (worker, (_, queue)) in &mut self.workers {
                orders.extend(queue.drain(..).map(|order| (worker.clone(), order)));
            }
            if orders.is_empty() && !is_unwritten {
                return;
            }
            for (worker, order) in orders {
                let (id, task, progress) = match order {
                    Order::StartDriver(order) if self.engine.settings().offers.is_none() => {
                        let (app, attempt) = (order.app, order.attempt);
                        let accepted = WorkerMessage::DriverAccepted { app, attempt };
                        self.engine().on_worker_message(&worker, accepted);
                        continue;
                    }
                    Order::StartDriver(order) => (
                        order.app,
                        Task::Driver,
                        Progress::Running { port: Some(4040), host: None },
                    ),
                    Order::ConfirmDriver { app, .. } => {
                        (app, Task::Driver, Progress::Running { port: Some(4040), host: None })
                    }
                    Order::StartExecutor(order) => {
                        assert_eq!(order.driver_port, 4040);
                        (
                            order.app,
                            Task::Executor(order.id),
                            Progress::Running { port: None, host: None },
                        )
                    }
                    Order::Stop { app, task, stop } => {
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
        let Some(flush) = self.engine().begin_flush() else { return false };
        for (name, value) in flush.changes.iter() {
            match value {
                Some(value) => self.store.insert(name.clone(), value.clone()),
                None => self.store.remove(name),
            };
        }
        self.engine().flushed(flush);
        true
    }

    /// Another master takes over.
    fn restart(&mut self) {
        self.engine = engine(self.engine.settings().clone(), self.now);
        self.engine().persist();
        let records = self.store.clone().into_iter().collect();
        self.engine().recover(records).unwrap();
        self.workers.clear();
    }

    /// What a worker would say that it has.
    fn held(&self, worker: &str) -> Vec<TaskReport> {
        let tasks = self.engine.workers[worker].tasks.iter();
        let held = tasks.map(|(seq, task)| {
            let spec = match task {
                Task::Driver => None,
                Task::Executor(_) => Some(Box::new(ExecutorSpec {
                    profile_id: ProfileId(0),
                    profile: ResourceProfile::new(1.0, 100),
                    resources: BTreeMap::new(),
                })),
            };
            let port = (*task == Task::Driver).then_some(4040);
            TaskReport {
                app: self.engine.apps[seq].id().clone(),
                task: *task,
                progress: Progress::Running { port, host: None },
                spec,
            }
        });
        held.collect()
    }

    /// How many executors run, and on which hosts.
    fn running(&self, id: &str) -> BTreeMap<String, u32> {
        let mut hosts = BTreeMap::new();
        for status in self.engine.statuses(Some(&app(id))) {
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
        let statuses = self.engine.statuses(Some(&app(id)));
        let phase = statuses.into_iter().find_map(|status| match status {
            Status::Allocation(allocation) => Some(allocation.phase),
            _ => None,
        });
        phase.unwrap()
    }

    fn driver(&self, id: &str) -> State {
        match &self.engine.statuses(Some(&app(id)))[0] {
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
    scene.engine().on_worker_message("a", WorkerMessage::Heartbeat);
    scene.engine().on_timer();
    scene.work();
    assert_eq!(scene.running("app"), before);
    scene.now += Duration::from_secs(2);
    scene.workers.remove("b");
    scene.engine().on_timer();
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-a", 4)]));
    assert_eq!(scene.phase("app"), AllocationPhase::Reached);
    // Late, it comes back with one of them: that one is none any more.
    let task = Task::Executor(ExecutorId(1));
    let progress = Progress::Running { port: None, host: None };
    let held = TaskReport { app: app("app"), task, progress, spec: None };
    scene.register("b", 8, vec![held]);
    let queue = scene.orders("b");
    let told: Vec<_> = queue.into_iter().collect();
    assert!(
        told.iter().any(|told| matches!(told, Order::Stop { task: which, .. } if *which == task)),
        "{told:?}"
    );
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_what_it_has() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 2);
    scene.engine().worker_disconnected("a", 1);
    scene.now += Duration::from_secs(4);
    scene.engine().on_timer();
    let running = |task| {
        let progress = Progress::Running { port: None, host: None };
        TaskReport { app: app("app"), task, progress, spec: None }
    };
    // One of them has ended in the meantime, and that was not told.
    let ended = Progress::Ended(Cause::Exited { code: 7 }.into());
    let held = vec![
        running(Task::Driver),
        running(Task::Executor(ExecutorId(1))),
        TaskReport {
            app: app("app"),
            task: Task::Executor(ExecutorId(2)),
            progress: ended,
            spec: None,
        },
    ];
    scene.register("a", 8, held);
    scene.work();
    let statuses = scene.engine.statuses(Some(&app("app")));
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
    let unknown = TaskReport { app: app("unknown"), ..held[0].clone() };
    scene.tell("a", "is-over", Task::Driver, Progress::Ended(Cause::Finished.into()));
    scene.work();
    held.push(unknown);
    scene.restart();
    scene.register("a", 8, held);
    let over = |scene: &mut Scene| {
        let queue = scene.orders("a");
        let told = queue.into_iter();
        let over = told.filter_map(|told| match told {
            Order::ForgetApp { app } => Some(app),
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
    for on_driver_restarting in [false, true] {
        let mut scene = Scene::new(&[("a", 4)]);
        scene.launch_as("app", &[], true);
        scene.request("app", 1.0, 1);
        assert_eq!(scene.running("app"), hosts(&[("host-a", 1)]));
        if on_driver_restarting {
            scene.write();
            scene.restart();
        }
        scene.now += Duration::from_secs(100);
        scene.engine().on_timer();
        scene.work();
        let driver = |scene: &Scene| match &scene.engine.statuses(Some(&app("app")))[0] {
            Status::Driver(driver) => (driver.state.clone(), driver.host.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(driver(&scene), (State::Running, None), "it waits");
        let findings = scene.engine.diagnose(&app("app"), scene.at());
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
    scene.engine().on_timer();
    scene.register("a", 4, held);
    let orders = |scene: &mut Scene| {
        scene.write();
        scene.engine().schedule();
        scene.write();
        let queue = scene.orders("a");
        queue.into_iter().collect::<Vec<_>>()
    };
    let has_start =
        |orders: &[Order]| orders.iter().any(|order| matches!(order, Order::StartDriver(_)));
    let before = orders(&mut scene);
    assert!(before.iter().any(|order| matches!(order, Order::Stop { .. })), "{before:?}");
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
    scene.engine().request(&app("bad"), target).unwrap();
    for id in 1..=3 {
        scene.engine().schedule();
        scene.write();
        scene.engine().schedule();
        let ended = Progress::Ended(Cause::Exited { code: 1 }.into());
        scene.tell("a", "bad", Task::Executor(ExecutorId(id)), ended);
    }
    scene.engine().schedule();
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
        scene.engine().on_worker_message(worker, WorkerMessage::Heartbeat);
    }
    scene.engine().on_timer();
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
        scene.engine().kill(&driver, Duration::ZERO).unwrap();
        scene.work();
        assert!(scene.running(&id).is_empty());
        assert!(scene.driver(&id).is_ended());
        assert!(scene.engine.workers["a"].tasks.is_empty());
        assert_eq!(scene.engine.workers["a"].free.cores, Cores::whole(8));
    }
    // The oldest ones are forgotten.
    assert!(scene.engine.statuses(Some(&app("app-0"))).is_empty());
    assert!(!scene.engine.statuses(Some(&app("app-3"))).is_empty());
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
    scene.engine().request(&app("app"), target).unwrap();
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-a", 3)]));
    assert_eq!(scene.engine.workers["a"].free.cores, Cores::whole(8 - 1 - 2 - 3));
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
        scene.engine.workers["a"].free.cores + scene.engine.workers["b"].free.cores,
        Cores::whole(2)
    );
    // New ones have new ids.
    scene.request("app", 1.0, 6);
    let statuses = scene.engine.statuses(Some(&app("app")));
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
    scene.engine().on_worker_message("b", WorkerMessage::Heartbeat);
    scene.engine().on_timer();
    scene.work();
    let State::Ended(end) = scene.driver("gone") else { panic!() };
    assert!(matches!(&end.cause, Cause::Lost { why } if why.contains("worker a")), "{end:?}");
    assert_eq!(scene.phase("waits"), AllocationPhase::Reached);
    assert_eq!(scene.running("waits"), hosts(&[("host-b", 2)]));
}

#[test]
fn a_driver_is_not_ordered_before_it_is_written_down() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.engine().launch(&SubmissionId::new("app").unwrap(), &spec("app")).unwrap();
    let orders = |scene: &mut Scene| {
        scene.engine().schedule();
        if let Some(flush) = scene.engine().begin_flush() {
            scene.engine().flush_undone(flush);
        }
        let queue = scene.orders("a");
        let told = queue.into_iter();
        told.filter(|told| matches!(told, Order::StartDriver(_))).count()
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
    let refused = scene.engine().request(&app("app"), target.clone()).unwrap_err();
    assert!(refused.message().contains("no worker has any gpu"), "{refused}");
    let held = scene.held("a");
    scene.restart();
    scene.engine().request(&app("app"), target).unwrap();
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
    let found = scene.engine.locate(&driver).unwrap();
    assert_eq!(
        found,
        Some((OutputLocation::Worker("host-a:1".to_owned()), app("app"), Task::Driver))
    );
    let view = scene.engine.overview(scene.at()).apps.remove(0).driver.unwrap();
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
    let view = scene.engine.overview(scene.at()).apps.remove(0).driver.unwrap();
    assert_eq!((view.state, view.worker.as_deref()), ("RUNNING", Some("a")));
    assert_eq!(view.cores, Cores::whole(1));
}
