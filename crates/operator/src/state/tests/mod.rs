mod changes;

use serde_json::json;

use super::*;
use crate::v1beta2::{RestartPolicy, RestartType};

const UID: &str = "u-1";

/// An application whose driver and time a test sets.
struct App {
    spec: Option<Spec>,
    source: Value,
    status: Status,
    driver: Option<DriverPod>,
    last_driver: Option<DriverPod>,
    executors: BTreeMap<String, ExecutorPod>,
    settings: Settings,
    now: Timestamp,
}

impl App {
    fn new() -> Self {
        Self {
            spec: Some(Spec::default()),
            source: json!({"image": "a"}),
            status: Status::default(),
            driver: None,
            last_driver: None,
            executors: BTreeMap::new(),
            settings: Settings { max_executors: 1000, default_ttl: None },
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    /// One in this state after its first submission.
    fn at(state: State) -> Self {
        let mut app = Self::new();
        let id = app.next_id();
        app.status = submitted(&app.seen(), &id, "spark-1", "app-driver").status;
        app.status.application_state.state = state;
        app
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            spec: self.spec.as_ref(),
            source: &self.source,
            uid: UID,
            status: &self.status,
            driver: self.driver.as_ref(),
            last_driver: self.last_driver.as_ref(),
            executors: &self.executors,
            settings: self.settings,
            now: self.now,
        }
    }

    fn step(&self) -> Step {
        let step = step(&self.seen());
        assert_eq!(step, super::step(&self.seen()), "the same input gives the same step");
        step
    }

    /// Takes a step without an action.
    fn advance(&mut self) -> (State, Vec<Notice>) {
        let step = self.step();
        assert_eq!(step.action, None);
        self.status = step.status;
        (self.status.application_state.state, step.notices)
    }

    fn next_id(&self) -> String {
        match self.step().action {
            Some(Action::Submit { id }) => id,
            other => panic!("{other:?} in {:?}", self.status.application_state.state),
        }
    }

    /// The submission that is due is accepted, and its driver is there.
    fn submit(&mut self) -> String {
        let id = self.next_id();
        self.status = submitted(&self.seen(), &id, "spark-1", "app-driver").status;
        self.driver = Some(driver(&id, Outcome::Running));
        id
    }

    fn wait(&mut self, seconds: i64) {
        self.now = after(self.now, seconds).unwrap();
    }

    fn restarts(mut self, policy: RestartPolicy) -> Self {
        self.spec.as_mut().unwrap().restart_policy = Some(policy);
        self
    }
}

fn driver(id: &str, outcome: Outcome) -> DriverPod {
    DriverPod {
        name: "app-driver".to_owned(),
        uid: format!("pod-of-{id}"),
        owner: UID.to_owned(),
        submission_id: id.to_owned(),
        app_id: "spark-1".to_owned(),
        is_being_deleted: false,
        outcome,
    }
}

fn on_failure(retries: i32) -> RestartPolicy {
    RestartPolicy {
        kind: Some(RestartType::OnFailure),
        on_failure_retries: Some(retries),
        on_failure_retry_interval: Some(7),
        on_submission_failure_retries: Some(retries),
        on_submission_failure_retry_interval: Some(9),
    }
}

fn failed() -> Outcome {
    Outcome::Failed { why: "driver container failed with ExitCode: 1, Reason: Error".to_owned() }
}

fn executor(name: &str, id: &str, state: ExecutorState) -> (String, ExecutorPod) {
    let pod = ExecutorPod { name: name.to_owned(), submission_id: id.to_owned(), state };
    (name.to_owned(), pod)
}

#[test]
fn an_application_completes() {
    let mut app = App::new();
    let id = app.submit();
    assert_eq!(app.status.submission_id, id);
    assert_eq!((app.status.submission_attempts, app.status.execution_attempts), (1, 1));
    assert_eq!(app.status.last_submission_attempt_time, Some(app.now));
    let (state, notices) = app.advance();
    assert_eq!(
        (state, notices),
        (State::Running, vec![Notice::DriverRunning("app-driver".into())])
    );
    assert_eq!(app.step(), Step { status: app.status.clone(), ..Step::default() }, "it rests");
    app.wait(3);
    app.driver = Some(driver(&id, Outcome::Completed));
    assert_eq!(app.advance().0, State::Succeeding);
    assert_eq!(app.advance(), (State::Completed, vec![Notice::Completed]));
    assert_eq!(app.status.termination_time, Some(app.now));
    assert_eq!(app.step(), Step { status: app.status.clone(), ..Step::default() });
}

/// What a driver's pod means for an application that was submitted, and for one that runs.
#[test]
fn the_state_follows_the_driver() {
    let pending = |why: Option<&str>| Outcome::Pending { why: why.map(str::to_owned) };
    for (outcome, of_submitted, of_running) in [
        (pending(None), State::Submitted, State::Running),
        (pending(Some("ErrImagePull")), State::Submitted, State::Running),
        (Outcome::Running, State::Running, State::Running),
        (Outcome::Completed, State::Succeeding, State::Succeeding),
        (failed(), State::Failing, State::Failing),
    ] {
        for (state, want) in [
            (State::Submitted, of_submitted),
            (State::Running, of_running),
            (
                State::Unknown,
                if outcome == pending(None) || outcome == pending(Some("ErrImagePull")) {
                    State::Unknown
                } else {
                    of_running
                },
            ),
        ] {
            let mut app = App::at(state);
            app.driver = Some(driver(&app.status.submission_id, outcome.clone()));
            assert_eq!(app.advance().0, want, "{state:?}, {outcome:?}");
        }
    }
}

#[test]
fn why_a_driver_does_not_start_is_told_once_and_may_pass() {
    let mut app = App::at(State::Submitted);
    let id = app.status.submission_id.clone();
    app.driver = Some(driver(&id, Outcome::Pending { why: Some("Unschedulable: no node".into()) }));
    let told = vec![Notice::DriverPending("app-driver".into(), "Unschedulable: no node".into())];
    assert_eq!(app.advance(), (State::Submitted, told));
    assert_eq!(app.status.application_state.error_message, "Unschedulable: no node");
    assert_eq!(app.advance(), (State::Submitted, vec![]));
    app.driver = Some(driver(&id, Outcome::Running));
    app.advance();
    assert_eq!(app.status.application_state.error_message, "");
}

#[test]
fn a_driver_may_be_missing_for_a_while_after_its_submission_only() {
    let mut app = App::at(State::Submitted);
    assert_eq!(app.step().at, after(app.now, CREATION_GRACE));
    app.wait(CREATION_GRACE);
    let (state, notices) = app.advance();
    assert_eq!(
        (state, notices),
        (State::Failing, vec![Notice::DriverMissing("app-driver".into())])
    );
    assert_eq!(app.status.application_state.error_message, "driver pod not found");
    let mut running = App::at(State::Running);
    assert_eq!(running.advance().0, State::Failing);
    // That it was deleted is known at once.
    let mut deleted = App::at(State::Submitted);
    deleted.last_driver = Some(driver(&deleted.status.submission_id, Outcome::Running));
    assert_eq!(deleted.advance().0, State::Failing);
}

#[test]
fn a_driver_that_was_deleted_after_its_end_ended_as_it_did() {
    let mut app = App::at(State::Running);
    app.last_driver = Some(driver(&app.status.submission_id, Outcome::Completed));
    assert_eq!(app.advance().0, State::Succeeding);
    // One of an earlier submission says nothing.
    let mut other = App::at(State::Running);
    other.last_driver = Some(driver("another", Outcome::Completed));
    assert_eq!(other.advance().0, State::Failing);
}

/// `retries + 1` runs, each after its interval.
#[test]
fn failures_are_retried_as_often_as_the_policy_says() {
    let mut app = App::new().restarts(on_failure(2));
    let mut ids = Vec::new();
    for run in 1..=3 {
        let id = app.submit();
        assert_eq!(app.status.execution_attempts, run);
        app.driver = Some(driver(&id, failed()));
        assert_eq!(app.advance().0, State::Failing);
        ids.push(id.clone());
        if run == 3 {
            break;
        }
        let due = after(app.now, 7 * i64::from(run));
        assert_eq!((app.step().at, app.step().action), (due, None));
        app.wait(7 * i64::from(run));
        let delete =
            Action::DeleteDriver { name: "app-driver".into(), uid: format!("pod-of-{id}") };
        assert_eq!(app.step().action, Some(delete));
        app.driver.as_mut().unwrap().is_being_deleted = true;
        let waiting = app.step();
        assert_eq!((waiting.action, waiting.at), (None, after(app.now, RECHECK)));
        app.last_driver = app.driver.take();
        assert_eq!(app.advance(), (State::PendingRerun, vec![Notice::PendingRerun]));
    }
    assert_eq!(app.advance().0, State::Failed);
    assert!(app.status.application_state.error_message.contains("ExitCode: 1"));
    ids.dedup();
    assert_eq!(ids.len(), 3, "each run is another submission");
}

#[test]
fn policies_say_what_follows_an_end() {
    let policy = |kind| RestartPolicy { kind: Some(kind), ..RestartPolicy::default() };
    for (kind, of_success, of_failure) in [
        (RestartType::Never, State::Completed, State::Failed),
        // Without retries there are none.
        (RestartType::OnFailure, State::Completed, State::Failed),
        (RestartType::Always, State::PendingRerun, State::PendingRerun),
    ] {
        for (state, want) in [(State::Succeeding, of_success), (State::Failing, of_failure)] {
            let mut app = App::at(state).restarts(policy(kind));
            app.wait(INTERVAL_OF_NONE);
            assert_eq!(app.advance().0, want, "{kind:?} {state:?}");
        }
    }
}

/// The interval of a policy that says none.
const INTERVAL_OF_NONE: i64 = 5;

#[test]
fn failed_submissions_are_retried_and_told() {
    let mut app = App::new().restarts(on_failure(1));
    let first = app.next_id();
    let step = not_submitted(&app.seen(), &first, "no such account");
    let why = "failed to submit: no such account".to_owned();
    assert_eq!(step.notices, [Notice::Added, Notice::SubmissionFailed(why.clone())]);
    app.status = step.status;
    assert_eq!(app.status.application_state.error_message, why);
    assert_eq!((app.status.submission_attempts, app.status.execution_attempts), (1, 0));
    assert_eq!(app.step().at, after(app.now, 9));
    app.wait(9);
    let second = app.next_id();
    assert_ne!(first, second);
    app.status = not_submitted(&app.seen(), &second, "no such account").status;
    assert_eq!(app.advance(), (State::Failed, vec![Notice::Failed(why)]));
    assert_eq!(app.status.termination_time, Some(app.now));
}

#[test]
fn what_cannot_be_read_fails_and_runs_when_it_is_mended() {
    let mut app = App::new();
    app.spec = None;
    let id = app.next_id();
    app.status = not_submitted(&app.seen(), &id, "spec.driver: missing").status;
    assert_eq!(app.advance().0, State::Failed);
    app.spec = Some(Spec::default());
    assert_eq!(app.advance().0, State::Failed, "the same specification");
    app.source = json!({"image": "b"});
    assert_eq!(app.advance(), (State::Invalidating, vec![Notice::SpecChanged]));
    assert_eq!(app.advance(), (State::PendingRerun, vec![Notice::PendingRerun]));
    assert_eq!(app.status.submission_attempts, 0);
    app.submit();
}

#[test]
fn an_operator_that_ended_after_a_submission_finds_its_driver() {
    let mut app = App::new();
    let id = app.next_id();
    // The driver is there; the status does not say so.
    app.driver = Some(driver(&id, Outcome::Running));
    assert_eq!(app.next_id(), id);
    // The same of a retry.
    let mut retry = App::at(State::PendingRerun);
    let id = retry.next_id();
    retry.driver = Some(driver(&id, Outcome::Running));
    assert_eq!(retry.next_id(), id);
}

#[test]
fn a_driver_of_another_operator_is_taken_over() {
    let mut app = App::new();
    app.driver = Some(driver("0a1b2c3d-0000-4000-8000-000000000000", Outcome::Running));
    let step = app.step();
    assert_eq!((step.action, step.status.application_state.state), (None, State::Submitted));
    assert_eq!(step.status.submission_id, "0a1b2c3d-0000-4000-8000-000000000000");
    app.status = step.status;
    assert_eq!(app.advance().0, State::Running);
}

#[test]
fn an_earlier_driver_is_gone_before_the_next_is_submitted() {
    let mut app = App::at(State::PendingRerun);
    let old = app.status.submission_id.clone();
    app.driver = Some(driver(&old, failed()));
    assert!(matches!(app.step().action, Some(Action::DeleteDriver { .. })));
    app.driver.as_mut().unwrap().is_being_deleted = true;
    assert_eq!(app.step().action, None);
    app.driver = None;
    assert_ne!(app.next_id(), old);
}
