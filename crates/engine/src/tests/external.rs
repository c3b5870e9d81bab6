//! Drivers outside of the cluster that somebody registers, and tells the end of.

use anymaster_core::ErrorKind;
use anymaster_core::model::ExternalDriver;

use super::*;

fn outside() -> ExternalDriver {
    ExternalDriver::new("outside", "driver", 4040)
}

fn submission(id: &str) -> SubmissionId {
    SubmissionId::new(id).unwrap()
}

/// An application with two executors, whose connection has this number.
fn registered(session: u64) -> Scene {
    let mut scene = Scene::new(&[("a", 8)]);
    let launched = scene.engine().register_application(&submission("app"), &outside(), session);
    assert!(!launched.unwrap().existed);
    scene.work();
    scene.request("app", 1.0, 2);
    assert_eq!(scene.running("app"), hosts(&[("host-a", 2)]));
    scene
}

fn cause(scene: &Scene) -> Cause {
    match scene.driver("app") {
        State::Ended(end) => end.cause.clone(),
        other => panic!("{other:?}"),
    }
}

fn pass_return_time(scene: &mut Scene) {
    scene.now += Duration::from_secs(6);
    scene.engine().on_timer();
    scene.work();
}

#[test]
fn it_ends_as_is_said_and_its_executors_with_it() {
    let mut scene = registered(1);
    for said in [Cause::Exited { code: 3 }, Cause::Finished] {
        scene.engine().unregister_application(&app("app"), &said).unwrap();
        scene.work();
        assert_eq!(cause(&scene), Cause::Exited { code: 3 }, "the first one counts");
    }
    assert!(scene.running("app").is_empty());
    let again = scene.engine().register_application(&submission("app"), &outside(), 2).unwrap();
    assert!(again.existed && again.driver.state.is_ended());
}

#[test]
fn it_is_lost_with_who_registered_it_unless_that_comes_back() {
    let mut scene = registered(1);
    let again = scene.engine().register_application(&submission("app"), &outside(), 2).unwrap();
    assert!(again.existed);
    scene.engine().external_disconnected(&app("app"), 1);
    pass_return_time(&mut scene);
    assert_eq!(scene.driver("app"), State::Running, "another connection counts");
    scene.engine().external_disconnected(&app("app"), 2);
    pass_return_time(&mut scene);
    assert!(matches!(cause(&scene), Cause::Lost { .. }), "{}", cause(&scene));
    assert!(scene.running("app").is_empty());
}

#[test]
fn the_next_master_knows_it_again_and_awaits_who_registered_it() {
    let mut scene = registered(1);
    let held = scene.held("a");
    scene.restart();
    let again = scene.engine().register_application(&submission("app"), &outside(), 1).unwrap();
    assert!(again.existed);
    scene.register("a", 8, held);
    pass_return_time(&mut scene);
    assert_eq!(scene.driver("app"), State::Running);
    // Nobody comes back to the third one.
    let held = scene.held("a");
    scene.restart();
    scene.register("a", 8, held);
    pass_return_time(&mut scene);
    assert!(matches!(cause(&scene), Cause::Lost { .. }));
}

#[test]
fn an_id_is_of_one_driver_and_what_was_not_registered_is_not_unregistered() {
    let mut scene = registered(1);
    let other = ExternalDriver::new("outside", "driver", 4041);
    let refused = scene.engine().register_application(&submission("app"), &other, 2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    scene.launch("submitted", &[]);
    let taken = scene.engine().register_application(&submission("submitted"), &other, 2);
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Conflict);
    let unregister = |scene: &mut Scene, id| {
        let said = scene.engine().unregister_application(&app(id), &Cause::Finished);
        said.unwrap_err().kind()
    };
    assert_eq!(unregister(&mut scene, "submitted"), ErrorKind::Conflict);
    assert_eq!(unregister(&mut scene, "nobody"), ErrorKind::NotFound);
    assert_eq!(scene.driver("submitted"), State::Running);
}
