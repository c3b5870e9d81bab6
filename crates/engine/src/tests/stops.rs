//! What was acknowledged to end does, whoever was away meanwhile.

use super::*;

/// Which processes a worker has been told to end since it was last asked.
fn stops(scene: &mut Scene, worker: &str) -> Vec<(String, Task)> {
    let queue = scene.orders(worker);
    let told = queue.into_iter();
    let stops = told.filter_map(|told| match told {
        Order::Stop { app, task, .. } => Some((app.to_string(), task)),
        _ => None,
    });
    stops.collect()
}

fn executor(id: u64) -> Task {
    Task::Executor(ExecutorId(id))
}

fn kill(scene: &mut Scene, id: &str) {
    let driver = Subject::Driver(SubmissionId::new(id).unwrap());
    scene.engine().kill(&driver, Duration::ZERO).unwrap();
}

/// The connection of a worker ends, something happens, and the worker comes back with what it had.
fn while_away(scene: &mut Scene, worker: &str, happens: impl FnOnce(&mut Scene)) {
    let held = scene.held(worker);
    let session = scene.sessions;
    scene.engine().worker_disconnected(worker, session);
    happens(scene);
    scene.register(worker, 8, held);
}

#[test]
fn a_driver_that_was_killed_while_its_worker_was_away_is_ended_when_that_returns() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 1);
    while_away(&mut scene, "a", |scene| kill(scene, "app"));
    assert_eq!(scene.driver("app"), State::Ending);
    let told = stops(&mut scene, "a");
    assert!(told.contains(&("app".to_owned(), Task::Driver)), "{told:?}");
    assert!(told.contains(&("app".to_owned(), executor(1))), "{told:?}");
}

#[test]
fn executors_whose_driver_ended_while_their_worker_was_away_are_ended_when_that_returns() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.register("b", 8, Vec::new());
    scene.request("app", 1.0, 4);
    assert_eq!(scene.running("app")["host-b"], 2);
    while_away(&mut scene, "b", |scene| {
        scene.tell("a", "app", Task::Driver, Progress::Ended(Cause::Finished.into()));
    });
    assert_eq!(stops(&mut scene, "b").len(), 2);
}

#[test]
fn executors_that_are_given_up_end_and_no_others() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 4);
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    let mut target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), 2);
    target.unwanted = [1, 2, 99].map(ExecutorId).into();
    scene.engine().request(&app("app"), target.clone()).unwrap();
    scene.write();
    let stopped = stops(&mut scene, "a");
    assert_eq!(stopped, [2, 1].map(|id| ("app".to_owned(), executor(id))));
    // Asked for again, nothing more is stopped.
    scene.engine().request(&app("app"), target).unwrap();
    scene.write();
    assert_eq!(stops(&mut scene, "a"), []);
}

#[test]
fn executors_too_many_for_a_target_lowered_while_their_worker_was_away_are_ended() {
    let mut scene = Scene::new(&[("a", 8)]);
    scene.launch("app", &[]);
    scene.request("app", 1.0, 4);
    while_away(&mut scene, "a", |scene| scene.request("app", 1.0, 3));
    assert_eq!(stops(&mut scene, "a"), [("app".to_owned(), executor(4))]);
}

#[test]
fn what_was_asked_to_end_is_ended_by_the_next_master_too() {
    let mut scene = Scene::new(&[("a", 8)]);
    for id in ["killed", "lowered", "less"] {
        scene.launch(id, &[]);
        scene.request(id, 1.0, 1);
    }
    scene.request("lowered", 1.0, 2);
    let held = scene.held("a");
    kill(&mut scene, "killed");
    let one = Subject::Executor(app("less"), ExecutorId(1));
    scene.engine().kill(&one, Duration::ZERO).unwrap();
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), 1);
    scene.engine().request(&app("lowered"), target).unwrap();
    scene.write();
    scene.restart();
    scene.register("a", 8, held);
    let told = stops(&mut scene, "a");
    for (id, task) in [
        ("killed", Task::Driver),
        ("killed", executor(1)),
        ("lowered", executor(2)),
        ("less", executor(1)),
    ] {
        assert!(told.contains(&(id.to_owned(), task)), "{id} {task:?}: {told:?}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
}
