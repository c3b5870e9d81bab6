//! A cluster that schedules on offers.

use std::sync::Arc;

use anymaster_core::model::{Outcome, Status};
use anymaster_core::{Error, ErrorKind, Result};

use super::*;
use crate::{Amount, Killed, OfferPolicy, OfferSettings, ProcessSpec, QueueState, RemainingOffer};

/// Takes what bears no `role` but this one, if there is one.
#[derive(Debug, Default)]
struct Free {
    role: Option<&'static str>,
}

impl OfferPolicy for Free {
    fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
        if let Some(role) = self.role.filter(|role| conf.get("role").is_some_and(|is| is != *role))
        {
            return Err(Error::unsupported(format!("the role is {role}")));
        }
        Ok(Amount::of(process.profile()))
    }

    fn suits(&self, _: &AppId, _: &Conf, _: &str, _: bool) -> bool {
        true
    }

    fn unmet(&self, _: (&AppId, &Conf), _: &Amount, _: bool, _: &[RemainingOffer<'_>], _: Instant) {
    }

    fn why(&self, _: &AppId, _: &Amount, _: Instant) -> String {
        "too little is offered".to_owned()
    }

    fn priority(&self, conf: &Conf) -> f64 {
        conf.get("priority").map_or(0.0, |text| text.parse().unwrap())
    }

    fn forget(&self, _: &AppId) {}
}

/// Seconds.
const LAST_PAUSE: u64 = 4;

fn with_offers(max_drivers: usize) -> Scene {
    let mut scene = Scene::new(&[]);
    scene.engine = engine(offer_settings(max_drivers, Free::default()), scene.now);
    meet(&mut scene, "a", Vec::new());
    scene
}

fn offer_settings(max_drivers: usize, policy: Free) -> Settings {
    let max_retry_pause = Duration::from_secs(LAST_PAUSE);
    let policy = Arc::new(policy);
    let offers = OfferSettings { policy, max_drivers, max_retry_pause, retained: 10 };
    Settings { offers: Some(offers), ..settings() }
}

/// An agent is registered.
fn meet(scene: &mut Scene, id: &str, held: Vec<TaskReport>) {
    scene.meet(WorkerInfo { memory_mib: 0, ..info(id, 0) }, held);
}

/// How far the driver of an application is, by Spark's word.
fn queue_state(scene: &Scene, id: &str) -> &'static str {
    scene.engine.submission(id).unwrap().queue.word()
}

/// An agent offers that many cores; what it is to start.
fn offer(scene: &mut Scene, cores: u32) -> Vec<Order> {
    let amount = Amount { cores: Cores::whole(cores), memory_mib: 10_000, ..Amount::default() };
    scene.engine().offer(vec![("a".to_owned(), amount)]);
    scene.write();
    scene
        .orders("a")
        .into_iter()
        .filter(|order| matches!(order, Order::StartDriver(_) | Order::StartExecutor(_)))
        .collect()
}

/// The only driver that is to be started: which attempt it is.
fn attempt(orders: &[Order]) -> u32 {
    let [Order::StartDriver(order)] = orders else { panic!("{orders:?}") };
    order.attempt
}

fn runs(scene: &mut Scene, id: &str) {
    scene.tell("a", id, Task::Driver, Progress::Running { port: Some(4040), host: None });
    scene.work();
}

fn executors(orders: &[Order]) -> Vec<ExecutorId> {
    let id = |order: &Order| match order {
        Order::StartExecutor(order) => order.id,
        other => panic!("{other:?}"),
    };
    orders.iter().map(id).collect()
}

fn failures(scene: &Scene, id: &str) -> u64 {
    let of = |status| match status {
        Status::Allocation(allocation) => Some(allocation.failed),
        _ => None,
    };
    scene.engine.statuses(Some(&app(id))).into_iter().find_map(of).unwrap()
}

#[test]
fn offers_are_gone_after_the_pass_they_are_made_for() {
    let mut scene = with_offers(10);
    scene.launch("app", &[]);
    assert!(scene.engine.demand().is_wanted);
    assert_eq!(attempt(&offer(&mut scene, 8)), 0);
    assert_eq!(scene.engine.workers["a"].free, Amount::default());
    runs(&mut scene, "app");
    assert!(!scene.engine.demand().is_wanted);

    // What was left of that offer is not there any more.
    scene.request("app", 1.0, 3);
    assert!(scene.running("app").is_empty());
    assert!(scene.engine.demand().is_wanted);
    assert_eq!(executors(&offer(&mut scene, 2)), [ExecutorId(1), ExecutorId(2)]);
    assert!(scene.engine.demand().is_wanted, "there is one to come");
    let AllocationPhase::Blocked { why } = scene.phase("app") else { panic!("it waits") };
    assert_eq!(&*why, "too little is offered");
    assert_eq!(executors(&offer(&mut scene, 2)), [ExecutorId(3)]);
    assert_eq!(scene.engine.workers["a"].free, Amount::default());
    assert!(!scene.engine.demand().is_wanted);
    assert!(offer(&mut scene, 8).is_empty());
}

#[test]
fn an_application_that_has_as_many_cores_as_it_may_wants_no_offers() {
    let mut scene = with_offers(10);
    scene.launch("app", &[("spark.cores.max", "5")]);
    offer(&mut scene, 8);
    runs(&mut scene, "app");
    scene.request("app", 2.0, 4);
    assert!(scene.engine.demand().is_wanted);
    assert_eq!(executors(&offer(&mut scene, 8)).len(), 2, "the fifth core is not enough");
    assert!(!scene.engine.demand().is_wanted);
    let times = scene.engine.demand().times;
    scene.work();
    assert_eq!(scene.engine.demand().times, times);
    // Another may want some.
    scene.launch("other", &[]);
    assert!(scene.engine.demand().is_wanted);
    offer(&mut scene, 8);
    assert!(!scene.engine.demand().is_wanted);
    let ended = Progress::Ended(Cause::Exited { code: 1 }.into());
    scene.tell("a", "app", Task::Executor(ExecutorId(1)), ended);
    scene.work();
    assert!(scene.engine.demand().is_wanted, "there is room for one");
}

#[test]
fn what_an_agent_never_got_is_placed_once_more_and_is_no_failure() {
    let mut scene = with_offers(10);
    scene.launch("app", &[]);
    for _ in 0..3 {
        assert_eq!(attempt(&offer(&mut scene, 8)), 0);
        scene.tell("a", "app", Task::Driver, Progress::Refused("its offer is gone".into()));
        scene.work();
        assert_eq!(queue_state(&scene, "app"), "QUEUED");
        assert!(scene.engine.demand().is_wanted);
        assert!(scene.engine.workers["a"].tasks.is_empty());
    }
    assert_eq!(attempt(&offer(&mut scene, 8)), 0);
    runs(&mut scene, "app");
    scene.request("app", 1.0, 1);
    for id in 1..=5 {
        assert_eq!(executors(&offer(&mut scene, 8)), [ExecutorId(id)]);
        let refused = Progress::Refused("its offer is gone".into());
        scene.tell("a", "app", Task::Executor(ExecutorId(id)), refused);
        scene.work();
    }
    assert_eq!(failures(&scene, "app"), 0);
    // One that is refused, and was to end before, has ended.
    scene.launch("killed", &[]);
    let orders = offer(&mut scene, 8);
    assert_eq!(orders.len(), 2, "{orders:?}");
    let driver = Subject::Driver(SubmissionId::new("killed").unwrap());
    scene.engine().kill(&driver, Duration::ZERO).unwrap();
    scene.tell("a", "killed", Task::Driver, Progress::Refused("its offer is gone".into()));
    assert!(scene.driver("killed").is_ended());
}

#[test]
fn a_driver_that_fails_pauses_twice_as_long_each_time_up_to_the_longest() {
    let mut scene = with_offers(10);
    scene.launch_as("app", &[], true);
    for (number, pause) in [1, 2, 4, LAST_PAUSE, LAST_PAUSE].into_iter().enumerate() {
        assert_eq!(attempt(&offer(&mut scene, 8)), number as u32);
        runs(&mut scene, "app");
        assert_eq!(queue_state(&scene, "app"), "RUNNING");
        let ended = Progress::Ended(Cause::Exited { code: 1 }.into());
        scene.tell("a", "app", Task::Driver, ended);
        assert_eq!(queue_state(&scene, "app"), "RETRYING");
        // What it left is where it was.
        let driver = Subject::Driver(SubmissionId::new("app").unwrap());
        let (found, ..) = scene.engine.locate(&driver).unwrap().unwrap();
        let attempt = number as u32;
        assert_eq!(found, OutputLocation::Agent { agent: "a".to_owned(), attempt });
        let view = scene.engine.overview(scene.at()).apps.remove(0).driver.unwrap();
        assert_eq!(
            (view.worker, view.dispatched.unwrap().attempt),
            (Some("a".to_owned()), number as u32)
        );
        assert!(offer(&mut scene, 8).is_empty());
        assert!(!scene.engine.demand().is_wanted, "not yet");
        let findings = scene.engine.diagnose(&app("app"), scene.at());
        let times = if number == 0 { "once".to_owned() } else { format!("{} times", number + 1) };
        assert_eq!(findings[0].0, format!("Its driver failed {times}."));
        assert!(findings[1].0.starts_with("It is started again in "), "{findings:?}");
        scene.now += Duration::from_secs(pause) - Duration::from_millis(1);
        assert!(offer(&mut scene, 8).is_empty());
        scene.now += Duration::from_millis(1);
        scene.engine().on_timer();
        scene.work();
        assert!(scene.engine.demand().is_wanted, "now");
        let findings = scene.engine.diagnose(&app("app"), scene.at());
        assert_eq!(findings[1].0, "Its driver waits for offers: too little is offered.");
    }
    // One that waits is killed at once, and stays so.
    let killed = scene.engine().kill_submission("app");
    assert_eq!(killed, Killed::Was(QueueState::Retrying));
    assert!(offer(&mut scene, 8).is_empty());

    // One that can never start is not started again.
    scene.launch_as("never", &[], true);
    offer(&mut scene, 8);
    let error = Error::invalid("there is no Spark");
    let outcome = Outcome::could_not_start(&error);
    scene.engine().cannot_start("a", &app("never"), Task::Driver, outcome);
    assert!(scene.driver("never").is_ended());
}

/// Spark's dispatcher counts the drivers that it has launched: its queue has no bound but memory.
#[test]
fn no_driver_is_accepted_while_as_many_are_launched_as_there_may_be() {
    let mut scene = with_offers(2);
    ["one", "two", "three"].iter().for_each(|id| scene.launch(id, &[]));
    // Offers are enough for all, so there are more than that.
    assert_eq!(offer(&mut scene, 8).len(), 3);
    let spec = spec("four");
    let id = SubmissionId::new("four").unwrap();
    let refused = scene.engine().launch(&id, &spec).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Quota);
    assert!(refused.message().starts_with("Already reached maximum submission size"), "{refused}");
    for driver in ["one", "two"] {
        scene.tell("a", driver, Task::Driver, Progress::Running { port: None, host: None });
        assert!(scene.engine().launch(&id, &spec).is_err(), "those that run count as well");
        scene.tell("a", driver, Task::Driver, Progress::Ended(Cause::Finished.into()));
    }
    scene.engine().launch(&id, &spec).unwrap();
}

#[test]
fn a_driver_that_was_placed_and_not_written_down_is_adopted() {
    let mut scene = with_offers(10);
    scene.engine().persist();
    scene.launch_as("app", &[], true);
    scene.launch("waits", &[]);
    scene.write();
    let written = scene.store.clone();
    assert_eq!(attempt(&offer(&mut scene, 1)), 0);
    let held = scene.held("a");
    assert_eq!(held.len(), 1);
    scene.store = written;
    scene.restart();
    assert_eq!(queue_state(&scene, "app"), "QUEUED");
    // Nothing is started before it is known what runs.
    meet(&mut scene, "a", held);
    assert!(offer(&mut scene, 8).is_empty());
    scene.engine().agents_recovered();
    scene.work();
    assert_eq!(queue_state(&scene, "app"), "RUNNING");
    let orders = offer(&mut scene, 8);
    let [Order::StartDriver(order)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(order.app, app("waits"));
    // It is as supervised as it was.
    scene.tell("a", "app", Task::Driver, Progress::Ended(Cause::Exited { code: 1 }.into()));
    assert_eq!(queue_state(&scene, "app"), "RETRYING");
}

#[test]
fn a_driver_that_was_killed_is_ended_by_the_next_dispatcher_too() {
    let mut scene = with_offers(10);
    scene.engine().persist();
    scene.launch_as("app", &[], true);
    scene.launch_as("gone", &[], true);
    scene.write();
    assert_eq!(offer(&mut scene, 8).len(), 2);
    runs(&mut scene, "app");
    let mut held = scene.held("a");
    held.retain(|held| held.app == app("app"));
    scene.engine().kill_submission("app");
    scene.engine().kill_submission("gone");
    scene.write();
    scene.restart();
    meet(&mut scene, "a", held);
    scene.engine().agents_recovered();
    scene.write();
    let told: Vec<_> = scene.orders("a").into_iter().collect();
    let is_stop = |told: &Order| matches!(told, Order::Stop { task: Task::Driver, .. });
    assert!(told.iter().any(is_stop), "{told:?}");
    assert!(scene.driver("gone").is_ended(), "it is not started again");
}

#[test]
fn a_driver_that_can_never_be_had_any_more_is_nobody_elses_obstacle() {
    let mut scene = with_offers(10);
    scene.engine().persist();
    scene.launch("old", &[("role", "old")]);
    scene.launch("new", &[("role", "new")]);
    scene.write();
    scene.engine = engine(offer_settings(10, Free { role: Some("new") }), scene.now);
    scene.restart();
    scene.engine().agents_recovered();
    let State::Ended(end) = scene.driver("old") else { panic!("it waits") };
    assert!(end.cause.to_string().contains("the role is new"), "{}", end.cause);
    meet(&mut scene, "a", Vec::new());
    let orders = offer(&mut scene, 8);
    let [Order::StartDriver(order)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(order.app, app("new"));
}

#[test]
fn a_driver_that_was_written_down_and_never_launched_waits_for_nothing_but_a_place() {
    for has_run in [false, true] {
        let mut scene = with_offers(10);
        scene.engine().persist();
        scene.launch_as("app", &[], true);
        assert_eq!(attempt(&offer(&mut scene, 8)), 0);
        if has_run {
            runs(&mut scene, "app");
        }
        scene.write();
        scene.restart();
        scene.engine().agents_recovered();
        let next = scene.engine().on_timer();
        scene.work();
        // As another attempt: should the former one seq up, it is known by its name.
        let first = Duration::from_secs(1);
        assert_eq!(scene.engine.attempts(&app("app")), Some(1));
        assert_eq!(next == scene.now + first, has_run);
        assert_eq!(scene.engine.demand().is_wanted, !has_run);
    }
}

fn driver_address(scene: &Scene) -> Option<(String, u16)> {
    scene.engine.app(&app("app")).unwrap().driver_address()
}

#[test]
fn a_drivers_own_address_is_known_until_it_is_started_again() {
    let mut scene = with_offers(10);
    scene.engine().persist();
    scene.launch_as("app", &[], true);
    offer(&mut scene, 8);
    let own = Some(("10.1.2.3".to_owned(), 4040));
    let host = Some("10.1.2.3".to_owned());
    scene.tell("a", "app", Task::Driver, Progress::Running { port: Some(4040), host });
    assert_eq!(driver_address(&scene), own);
    // Not every update repeats it.
    scene.tell("a", "app", Task::Driver, Progress::Running { port: None, host: None });
    assert_eq!(driver_address(&scene), own);
    // Another dispatcher knows it, too.
    scene.write();
    let held = scene.held("a");
    scene.restart();
    assert_eq!(driver_address(&scene), own);
    meet(&mut scene, "a", held);
    scene.engine().agents_recovered();
    scene.work();
    assert_eq!(driver_address(&scene), own);
    // The next attempt may be anywhere.
    scene.tell("a", "app", Task::Driver, Progress::Ended(Cause::Exited { code: 1 }.into()));
    assert_eq!(driver_address(&scene), None);
    scene.now += Duration::from_secs(LAST_PAUSE);
    scene.engine().on_timer();
    offer(&mut scene, 8);
    runs(&mut scene, "app");
    assert_eq!(driver_address(&scene), Some(("host-a".to_owned(), 4040)));
}
