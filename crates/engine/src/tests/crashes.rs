//! Masters that die at any moment: what was acknowledged holds for the next one, and nothing runs twice.
//!
//! Each test is a history: what happened in which order, without processes, disks or time. A master dies
//! by [`Scene::restart`]: the next one knows what was [written](Scene::write).

use super::*;

/// What a worker is told, in order, by the words of this file.
fn told(scene: &mut Scene, worker: &str) -> Vec<String> {
    let queue = scene.orders(worker);
    let told = queue.into_iter();
    let words = told.filter_map(|told| match told {
        Order::StartDriver(order) => Some(format!("start {}", order.app)),
        Order::ConfirmDriver { app, .. } => Some(format!("confirmed {app}")),
        Order::TaskAck { app, .. } => Some(format!("noted {app}")),
        Order::Stop { app, .. } => Some(format!("stop {app}")),
        _ => None,
    });
    words.collect()
}

/// A pass, with what it leaves written down.
fn pass(scene: &mut Scene) {
    scene.write();
    scene.engine().schedule();
    scene.write();
}

fn submit(scene: &mut Scene, id: &str, supervise: bool) {
    let mut spec = spec(id);
    spec.driver.supervise = supervise;
    scene.engine().launch(&SubmissionId::new(id).unwrap(), &spec).unwrap();
    pass(scene);
}

fn accept(scene: &mut Scene, worker: &str, id: &str) {
    let accepted = WorkerMessage::DriverAccepted { app: app(id), attempt: 0 };
    scene.engine().on_worker_message(worker, accepted);
}

fn driver_held(id: &str, progress: Progress) -> TaskReport {
    TaskReport { app: app(id), task: Task::Driver, progress, spec: None }
}

const RUNNING: Progress = Progress::Running { port: Some(4040), host: None };

fn finished() -> Progress {
    Progress::Ended(Cause::Finished.into())
}

fn word(scene: &Scene, id: &str) -> &'static str {
    scene.driver(id).word()
}

/// Time passes; those workers are on_worker_message of.
fn wait(scene: &mut Scene, seconds: u64, heard: &[&str]) {
    scene.now += Duration::from_secs(seconds);
    for worker in heard {
        scene.engine().on_worker_message(worker, WorkerMessage::Heartbeat);
    }
    scene.engine().on_timer();
}

#[test]
fn a_second_crash_soon_after_the_first_gives_up_no_driver_of_a_worker_that_was_not_back_yet() {
    let mut scene = Scene::new(&[("a", 4), ("b", 4)]);
    for id in ["one", "two", "three", "four"] {
        scene.launch(id, &[]);
    }
    let (held_a, held_b) = (scene.held("a"), scene.held("b"));
    assert_eq!((held_a.len(), held_b.len()), (2, 2));
    // The first one dies; only one worker is back before the second one dies as well.
    scene.restart();
    scene.register("a", 4, held_a.clone());
    scene.work();
    scene.restart();
    scene.register("a", 4, held_a);
    scene.work();
    wait(&mut scene, 3, &["a"]);
    scene.register("b", 4, held_b);
    assert!(told(&mut scene, "b").is_empty(), "nothing of what runs there is ended");
    scene.work();
    for id in ["one", "two", "three", "four"] {
        assert_eq!(scene.driver(id), State::Running, "{id}");
    }
}

#[test]
fn a_worker_that_did_not_come_back_is_not_awaited_again_and_again() {
    let mut scene = Scene::new(&[("a", 4), ("b", 4)]);
    scene.launch("one", &[]);
    scene.launch("two", &[]);
    let held_a = scene.held("a");
    scene.restart();
    scene.register("a", 4, held_a.clone());
    wait(&mut scene, 61, &["a"]);
    scene.work();
    scene.restart();
    scene.register("a", 4, held_a);
    submit(&mut scene, "three", false);
    assert_eq!(told(&mut scene, "a"), ["start three"], "it is not waited for the other one");
}

#[test]
fn a_worker_may_forget_how_a_driver_ended_only_when_that_is_written_down() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    told(&mut scene, "a");
    scene.tell("a", "app", Task::Driver, finished());
    scene.engine().schedule();
    assert!(told(&mut scene, "a").is_empty(), "it is not noted yet");
    // The master dies; the worker still has it, and tells the next one.
    scene.restart();
    scene.register("a", 4, vec![driver_held("app", finished())]);
    scene.write();
    assert_eq!(word(&scene, "app"), "Finished");
    assert_eq!(told(&mut scene, "a"), ["noted app"]);
}

#[test]
fn what_becomes_of_a_driver_is_told_to_nobody_before_it_is_written_down() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    let place = scene.engine.events().position();
    let events = |scene: &Scene| scene.engine.events().since(place, None, 100).unwrap().0.len();
    scene.tell("a", "app", Task::Driver, finished());
    scene.engine().schedule();
    assert_eq!(events(&scene), 0);
    scene.write();
    assert_eq!(events(&scene), 1);
}

#[test]
fn a_write_that_failed_says_nothing_and_the_next_one_says_all_of_it_in_order() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    scene.launch("other", &[]);
    told(&mut scene, "a");
    scene.tell("a", "app", Task::Driver, finished());
    let flush = scene.engine().begin_flush().unwrap();
    scene.engine().flush_failed(flush);
    assert!(told(&mut scene, "a").is_empty());
    scene.tell("a", "other", Task::Driver, finished());
    scene.write();
    assert_eq!(told(&mut scene, "a"), ["noted app", "noted other"]);
}

#[test]
fn a_driver_is_started_when_it_is_written_down_where_and_a_master_that_died_before_starts_it_once()
{
    let mut scene = Scene::new(&[("a", 4)]);
    submit(&mut scene, "app", false);
    assert_eq!(told(&mut scene, "a"), ["start app"]);
    accept(&mut scene, "a", "app");
    assert!(told(&mut scene, "a").is_empty(), "it is not confirmed before the write");
    // The master dies before that: the order is void, and it is placed anew.
    scene.restart();
    scene.register("b", 4, Vec::new());
    scene.register("a", 4, Vec::new());
    pass(&mut scene);
    let all = [told(&mut scene, "a"), told(&mut scene, "b")].concat();
    assert_eq!(all, ["start app"]);
    scene.work();
    assert_eq!(scene.driver("app"), State::Pending { why: None });
}

#[test]
fn a_driver_that_was_confirmed_and_did_not_arrive_is_placed_again_when_its_worker_is_back() {
    for master_dies in [false, true] {
        let mut scene = Scene::new(&[("a", 4)]);
        submit(&mut scene, "app", false);
        accept(&mut scene, "a", "app");
        scene.write();
        assert_eq!(told(&mut scene, "a"), ["start app", "confirmed app"]);
        // The connection ended before the worker read that.
        match master_dies {
            true => scene.restart(),
            false => {
                let session = scene.sessions;
                scene.engine().worker_disconnected("a", session);
            }
        }
        scene.register("a", 4, Vec::new());
        scene.work();
        assert_eq!(scene.driver("app"), State::Running, "master dies: {master_dies}");
    }
}

#[test]
fn a_driver_given_to_a_worker_that_does_not_answer_is_placed_again_elsewhere() {
    for supervise in [false, true] {
        let mut scene = Scene::new(&[("a", 1)]);
        submit(&mut scene, "app", supervise);
        assert_eq!(told(&mut scene, "a"), ["start app"]);
        scene.register("b", 1, Vec::new());
        wait(&mut scene, 61, &["b"]);
        pass(&mut scene);
        assert_eq!(told(&mut scene, "b"), ["start app"]);
        // Late, the first one answers: it is too late.
        accept(&mut scene, "a", "app");
        scene.write();
        accept(&mut scene, "b", "app");
        scene.write();
        assert_eq!(told(&mut scene, "b"), ["confirmed app"]);
        // It comes back without it, as nobody confirmed it there.
        scene.register("a", 1, Vec::new());
        scene.write();
        assert!(told(&mut scene, "a").is_empty());
        scene.tell("b", "app", Task::Driver, RUNNING);
        assert_eq!(scene.driver("app"), State::Running);
    }
}

#[test]
fn a_driver_that_may_have_begun_on_a_worker_that_is_gone_is_not_started_twice() {
    let mut scene = Scene::new(&[("a", 1)]);
    submit(&mut scene, "app", false);
    accept(&mut scene, "a", "app");
    scene.write();
    scene.register("b", 1, Vec::new());
    wait(&mut scene, 61, &["b"]);
    pass(&mut scene);
    assert!(told(&mut scene, "b").is_empty());
    assert_eq!(word(&scene, "app"), "Lost");
    // It comes back with it: that copy is ended.
    scene.register("a", 1, vec![driver_held("app", RUNNING)]);
    scene.write();
    assert_eq!(told(&mut scene, "a"), ["stop app"]);
}

#[test]
fn a_driver_that_is_killed_before_its_worker_answers_never_begins() {
    for master_dies in [false, true] {
        let mut scene = Scene::new(&[("a", 1)]);
        submit(&mut scene, "app", false);
        let driver = Subject::Driver(SubmissionId::new("app").unwrap());
        scene.engine().kill(&driver, Duration::ZERO).unwrap();
        scene.write();
        assert_eq!(told(&mut scene, "a"), ["start app", "stop app"]);
        accept(&mut scene, "a", "app");
        scene.write();
        if master_dies {
            scene.restart();
            scene.register("a", 1, Vec::new());
            scene.work();
        } else {
            assert_eq!(told(&mut scene, "a"), ["stop app"], "it is not confirmed");
            wait(&mut scene, 61, &[]);
        }
        assert_eq!(word(&scene, "app"), "Killed", "master dies: {master_dies}");
    }
}

#[test]
fn what_could_not_be_written_down_and_was_killed_meanwhile_is_not_known_either() {
    let mut scene = Scene::new(&[]);
    scene.engine().launch(&SubmissionId::new("app").unwrap(), &spec("app")).unwrap();
    let flush = scene.engine().begin_flush().unwrap();
    let driver = Subject::Driver(SubmissionId::new("app").unwrap());
    scene.engine().kill(&driver, Duration::ZERO).unwrap();
    scene.engine().flush_failed(flush);
    scene.write();
    assert!(scene.engine.statuses(None).is_empty());
    assert!(scene.store.keys().all(|name| !name.starts_with("app/")), "{:?}", scene.store.keys());
}

#[test]
fn ending_many_applications_looks_at_each_of_them_once() {
    const MANY: u64 = 20_000;
    let mut scene = Scene::new(&[("a", 1)]);
    for number in 0..MANY {
        let id = SubmissionId::new(&format!("app-{number}")).unwrap();
        scene.engine().launch(&id, &spec("app")).unwrap();
    }
    pass(&mut scene);
    let began = std::time::Instant::now();
    scene.engine().kill_all();
    pass(&mut scene);
    // Quadratic, it took minutes; a second is what the slowest machine needs.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let left = scene.engine.statuses(None).len() as u64;
    assert!(left <= scene.engine.settings().retained as u64 + 1, "{left}");
    let kept = scene.store.keys().filter(|name| name.starts_with("app/")).count() as u64;
    assert_eq!(kept, left);
}

#[test]
fn executors_that_were_lost_with_their_worker_are_not_taken_over_by_the_next_master() {
    for is_back_before in [false, true] {
        let mut scene = Scene::new(&[("a", 4)]);
        scene.launch("app", &[]);
        scene.register("b", 4, Vec::new());
        scene.request("app", 1.0, 4);
        let held = scene.held("b");
        assert_eq!(held.len(), 2);
        // The worker cannot be reached: everybody is told that its executors are lost.
        wait(&mut scene, 61, &["a"]);
        scene.work();
        if is_back_before {
            scene.register("b", 4, held.clone());
            scene.write();
        }
        scene.restart();
        let held_a = vec![driver_held("app", RUNNING)];
        scene.register("a", 4, held_a);
        scene.register("b", 4, held);
        scene.write();
        assert_eq!(told(&mut scene, "b"), ["stop app", "stop app"], "{is_back_before}");
        assert!(!scene.running("app").contains_key("host-b"));
    }
}

#[test]
fn a_driver_that_is_queued_again_is_not_the_one_that_its_lost_worker_still_has() {
    let mut scene = Scene::new(&[("a", 1)]);
    scene.launch_as("app", &[], true);
    wait(&mut scene, 61, &[]);
    scene.work();
    scene.restart();
    scene.register("a", 1, vec![driver_held("app", RUNNING)]);
    scene.write();
    assert_eq!(told(&mut scene, "a"), ["stop app"]);
}

#[test]
fn a_driver_that_may_have_begun_is_started_again_by_the_next_master_only_if_it_is_supervised() {
    for supervise in [false, true] {
        let mut scene = Scene::new(&[("a", 1)]);
        submit(&mut scene, "app", supervise);
        accept(&mut scene, "a", "app");
        scene.write();
        assert_eq!(told(&mut scene, "a"), ["start app", "confirmed app"]);
        // It runs, and the master dies before it hears of that. The worker does not come back.
        scene.restart();
        scene.register("b", 1, Vec::new());
        wait(&mut scene, 61, &["b"]);
        pass(&mut scene);
        let starts = if supervise { vec!["start app"] } else { Vec::new() };
        assert_eq!(told(&mut scene, "b"), starts);
        assert_eq!(scene.driver("app").is_ended(), !supervise);
    }
}

#[test]
fn what_could_not_be_written_down_was_never_seen() {
    let mut scene = Scene::new(&[]);
    let place = scene.engine.events().position();
    scene.engine().launch(&SubmissionId::new("refused").unwrap(), &spec("refused")).unwrap();
    let flush = scene.engine().begin_flush().unwrap();
    scene.engine().flush_failed(flush);
    submit(&mut scene, "accepted", false);
    let (events, _) = scene.engine.events().since(place, None, 100).unwrap();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| *event.app() == app("accepted")), "{events:?}");
}

#[test]
fn records_carry_a_format_and_those_of_a_newer_one_are_refused_by_name() {
    let mut scene = Scene::new(&[("a", 4)]);
    scene.launch("app", &[]);
    let mut record: serde_json::Value = serde_json::from_slice(&scene.store["app/app"]).unwrap();
    assert_eq!(record["format"], 1);
    let recover = |record: &serde_json::Value| {
        let mut next = engine(settings(), scene.now);
        next.recover(vec![("app/app".to_owned(), serde_json::to_vec(record).unwrap())])
    };
    recover(&record).unwrap();
    // What former releases have written does not say which it has.
    for name in ["format", "program"] {
        record.as_object_mut().unwrap().remove(name).unwrap();
    }
    recover(&record).unwrap();
    // Of a newer one, nothing else is known.
    let newer = serde_json::json!({"format": 2, "program": "9.9.9"});
    let refused = recover(&newer).unwrap_err();
    assert!(refused.message().contains("app/app has format 2, of release 9.9.9"), "{refused}");
}
