//! Specifications that change, suspension, time to live, and executors.

use super::*;

#[test]
fn another_specification_replaces_the_driver_in_every_state_that_has_one() {
    for state in [
        State::Submitted,
        State::Running,
        State::Succeeding,
        State::Failing,
        State::SubmissionFailed,
        State::Completed,
        State::Failed,
    ] {
        let mut app = App::at(state);
        let before = app.status.submission_id.clone();
        app.driver = Some(driver(&before, Outcome::Running));
        app.source = json!({"image": "b"});
        assert_eq!(app.advance(), (State::Invalidating, vec![Notice::SpecChanged]), "{state:?}");
        assert!(matches!(app.step().action, Some(Action::DeleteDriver { .. })), "{state:?}");
        app.driver = None;
        assert_eq!(app.advance().0, State::PendingRerun);
        // The first specification comes back: its id does not.
        app.source = json!({"image": "a"});
        assert_ne!(app.submit(), before);
        assert_eq!((app.status.submission_attempts, app.status.execution_attempts), (1, 1));
    }
    for state in [State::New, State::PendingRerun] {
        let mut app = App::at(state);
        app.source = json!({"image": "b"});
        app.next_id();
    }
}

#[test]
fn suspend_and_time_to_live_are_no_other_specification() {
    let mut app = App::at(State::Running);
    app.driver = Some(driver(&app.status.submission_id, Outcome::Running));
    app.source = json!({"image": "a", "suspend": false, "timeToLiveSeconds": 3});
    assert_eq!(app.advance().0, State::Running);
}

#[test]
fn suspending_ends_the_driver_and_resuming_starts_another() {
    let mut app = App::new();
    let first = app.submit();
    app.advance();
    app.spec.as_mut().unwrap().suspend = Some(true);
    assert_eq!(app.advance(), (State::Suspending, vec![Notice::Suspending]));
    assert!(matches!(app.step().action, Some(Action::DeleteDriver { .. })));
    app.last_driver = app.driver.take();
    assert_eq!(app.advance(), (State::Suspended, vec![Notice::Suspended]));
    assert_eq!(app.step(), Step { status: app.status.clone(), ..Step::default() });
    app.spec.as_mut().unwrap().suspend = Some(false);
    assert_eq!(app.advance(), (State::Resuming, vec![Notice::Resuming]));
    assert_ne!(app.submit(), first);
    assert_eq!(app.status.submission_attempts, 2, "counters are kept");
}

#[test]
fn an_application_that_begins_suspended_is_not_submitted() {
    let mut app = App::new();
    app.spec.as_mut().unwrap().suspend = Some(true);
    assert_eq!(app.advance().0, State::Suspending);
    assert_eq!(app.advance().0, State::Suspended);
    assert_eq!(app.status.submission_attempts, 0);
}

#[test]
fn an_ended_application_is_not_suspended() {
    for state in [State::Completed, State::Failed] {
        let mut app = App::at(state);
        app.spec.as_mut().unwrap().suspend = Some(true);
        assert_eq!(app.advance().0, state);
    }
}

#[test]
fn an_application_is_deleted_when_its_time_to_live_is_over() {
    for (given, default, want) in [
        (Some(30), None, Some(30)),
        (Some(0), None, Some(0)),
        (Some(-5), None, Some(0)),
        (None, Some(60), Some(60)),
        (Some(30), Some(60), Some(30)),
        (None, None, None),
        (Some(i64::MAX), None, None),
    ] {
        let mut app = App::at(State::Completed);
        app.status.termination_time = Some(app.now);
        app.spec.as_mut().unwrap().time_to_live_seconds = given;
        app.settings.default_ttl = default;
        match want {
            Some(0) => assert_eq!(app.step().action, Some(Action::DeleteApplication)),
            Some(seconds) => {
                assert_eq!(app.step().at, after(app.now, seconds));
                app.wait(seconds);
                assert_eq!(app.step().action, Some(Action::DeleteApplication));
            }
            None => assert_eq!(app.step(), Step { status: app.status.clone(), ..Step::default() }),
        }
    }
}

#[test]
fn executors_are_in_the_status_and_end_with_their_application() {
    let mut app = App::at(State::Running);
    let id = app.status.submission_id.clone();
    app.driver = Some(driver(&id, Outcome::Running));
    app.executors = BTreeMap::from([
        executor("e-1", &id, ExecutorState::Running),
        executor("e-2", &id, ExecutorState::Running),
        executor("old-1", "another", ExecutorState::Running),
    ]);
    let notice =
        Notice::Executors { state: ExecutorState::Running, number: 2, example: "e-1".into() };
    assert_eq!(app.advance(), (State::Running, vec![notice]));
    assert_eq!(app.status.executor_state.keys().collect::<Vec<_>>(), ["e-1", "e-2"]);
    app.executors.remove("e-1");
    app.advance();
    assert_eq!(app.status.executor_state["e-1"], ExecutorState::Unknown);
    app.driver = Some(driver(&id, Outcome::Completed));
    app.advance();
    assert!(app.status.executor_state.values().all(|state| *state == ExecutorState::Completed));
}

#[test]
fn of_too_many_executors_those_that_ended_first_are_left_out() {
    let mut app = App::at(State::Running);
    let id = app.status.submission_id.clone();
    app.settings.max_executors = 3;
    app.driver = Some(driver(&id, Outcome::Running));
    app.executors = BTreeMap::from([
        executor("e-1", &id, ExecutorState::Running),
        executor("e-2", &id, ExecutorState::Failed),
        executor("e-9", &id, ExecutorState::Completed),
        executor("e-10", &id, ExecutorState::Completed),
        executor("e-11", &id, ExecutorState::Pending),
    ]);
    app.advance();
    assert_eq!(app.status.executor_state.keys().collect::<Vec<_>>(), ["e-1", "e-10", "e-11"]);
}
