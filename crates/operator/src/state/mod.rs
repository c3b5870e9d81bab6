//! The state machine of an application, without I/O and without a clock: what is seen of it, and the time, give what
//! is to be done, and its next status.
//!
//! The states are those of kubeflow/spark-operator. A step that is made again with the same input does the same, so
//! that an operator may end between any two of its requests.

mod executors;
mod restart;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::identity::{self, Attempt};
use crate::notice::Notice;
use crate::pods::{DriverPod, ExecutorPod, Outcome};
use crate::v1beta2::{DriverInfo, ExecutorState, Spec, State, Status};

/// How long a driver that was submitted may be missing, in seconds: the watch of pods may be behind.
const CREATION_GRACE: i64 = 10;
/// How long an awaited deletion is not looked at, in seconds, if no event tells of it.
const RECHECK: i64 = 5;

/// What applications do not say themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How many executors the status has at most.
    pub(crate) max_executors: usize,
    /// The time to live of applications that say none, in seconds.
    pub(crate) default_ttl: Option<i64>,
}

/// What is seen of an application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// `None`: it cannot be read, and so it is not submitted.
    pub(crate) spec: Option<&'a Spec>,
    /// The specification as it is written.
    pub(crate) source: &'a Value,
    pub(crate) uid: &'a str,
    pub(crate) status: &'a Status,
    /// A driver's pod whose controller this application is, of several that of the submission in the status.
    pub(crate) driver: Option<&'a DriverPod>,
    /// The last that was seen of a driver's pod that was deleted.
    pub(crate) last_driver: Option<&'a DriverPod>,
    /// By the names of their pods.
    pub(crate) executors: &'a BTreeMap<String, ExecutorPod>,
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
}

/// What is to be done first; the [status](Step::status) is written when it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Submit with this id. [`submitted`] or [`not_submitted`] gives the status.
    Submit { id: String },
    /// Delete the driver's pod of this name and uid.
    DeleteDriver { name: String, uid: String },
    /// Delete the application: its time to live is over.
    DeleteApplication,
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) action: Option<Action>,
    pub(crate) status: Status,
    pub(crate) notices: Vec<Notice>,
    /// When to look again, if nothing happens before.
    pub(crate) at: Option<Timestamp>,
}

/// The next step of an application.
pub(crate) fn step(seen: &Seen<'_>) -> Step {
    let mut step = Step { status: seen.status.clone(), ..Step::default() };
    let state = seen.status.application_state.state;
    let is_suspended = seen.spec.and_then(|spec| spec.suspend) == Some(true);
    if is_suspended
        && !matches!(state, State::Completed | State::Failed | State::Suspended | State::Suspending)
    {
        set(&mut step, State::Suspending, "");
        step.notices.push(Notice::Suspending);
        return step;
    }
    if is_changed(seen) {
        set(&mut step, State::Invalidating, "");
        step.notices.push(Notice::SpecChanged);
        return step;
    }
    match state {
        State::New | State::PendingRerun | State::Resuming => submit(seen, &mut step),
        State::Submitted | State::Running | State::Unknown => running(seen, &mut step),
        State::Succeeding => restart::succeeding(seen, &mut step),
        State::Failing => restart::failing(seen, &mut step),
        State::SubmissionFailed => restart::submission_failed(seen, &mut step),
        State::Invalidating => {
            if !delete_driver(seen, &mut step) {
                step.status.execution_attempts = 0;
                step.status.submission_attempts = 0;
                step.status.termination_time = None;
                end_executors(&mut step);
                rerun(&mut step);
            }
        }
        State::Suspending => {
            if !delete_driver(seen, &mut step) {
                set(&mut step, State::Suspended, "");
                end_executors(&mut step);
                step.notices.push(Notice::Suspended);
            }
        }
        State::Suspended if is_suspended => {}
        State::Suspended => {
            set(&mut step, State::Resuming, "");
            step.notices.push(Notice::Resuming);
        }
        State::Completed | State::Failed => ended(seen, &mut step),
    }
    step
}

/// What follows a submission that was accepted. `pod` is the driver's, `spark_id` Spark's id of the application.
pub(crate) fn submitted(seen: &Seen<'_>, id: &str, spark_id: &str, pod: &str) -> Step {
    let mut step = attempted(seen, id);
    set(&mut step, State::Submitted, "");
    step.status.execution_attempts = step.status.execution_attempts.saturating_add(1);
    spark_id.clone_into(&mut step.status.spark_application_id);
    step.status.driver_info = DriverInfo { pod_name: pod.to_owned(), ..DriverInfo::default() };
    step.notices.push(Notice::Submitted);
    step
}

/// What follows a submission that failed, for this reason.
pub(crate) fn not_submitted(seen: &Seen<'_>, id: &str, why: &str) -> Step {
    let mut step = attempted(seen, id);
    step.status.driver_info = DriverInfo::default();
    step.status.spark_application_id = String::new();
    let why = format!("failed to submit: {why}");
    set(&mut step, State::SubmissionFailed, &why);
    step.notices.push(Notice::SubmissionFailed(why));
    step
}

fn attempted(seen: &Seen<'_>, id: &str) -> Step {
    let mut step = Step { status: seen.status.clone(), ..Step::default() };
    if seen.status.submission_id.is_empty() {
        step.notices.push(Notice::Added);
    }
    id.clone_into(&mut step.status.submission_id);
    step.status.submission_attempts = step.status.submission_attempts.saturating_add(1);
    step.status.last_submission_attempt_time = Some(whole_second(seen.now));
    step.status.termination_time = None;
    step.status.executor_state.clear();
    step
}

/// Kubernetes' times have no fractions of a second.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn after(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn set(step: &mut Step, state: State, why: &str) {
    step.status.application_state.state = state;
    why.clone_into(&mut step.status.application_state.error_message);
}

/// Whether the specification is another one than was submitted. Where the next submission uses the new one anyway,
/// that needs no step of its own.
fn is_changed(seen: &Seen<'_>) -> bool {
    let is_used_anyway = matches!(
        seen.status.application_state.state,
        State::New
            | State::PendingRerun
            | State::Invalidating
            | State::Suspending
            | State::Suspended
            | State::Resuming
    );
    !is_used_anyway && identity::is_of_another(&seen.status.submission_id, seen.source)
}

/// Submits as soon as the earlier driver is gone.
fn submit(seen: &Seen<'_>, step: &mut Step) {
    let id = identity::submission_id(Attempt {
        uid: seen.uid,
        spec: seen.source,
        before: &seen.status.submission_id,
        number: seen.status.submission_attempts.saturating_add(1),
    });
    match seen.driver {
        // An operator that ended before it wrote the status has started it.
        Some(driver) if driver.submission_id == id && !driver.is_being_deleted => {
            step.action = Some(Action::Submit { id });
        }
        // Another operator has.
        Some(driver)
            if seen.status.application_state.state == State::New && !driver.is_being_deleted =>
        {
            *step = submitted(seen, &driver.submission_id, &driver.app_id, &driver.name);
        }
        Some(_) => {
            delete_driver(seen, step);
        }
        None => step.action = Some(Action::Submit { id }),
    }
}

fn running(seen: &Seen<'_>, step: &mut Step) {
    let Some(outcome) = driver_outcome(seen, step) else { return };
    let was = seen.status.application_state.state;
    step.status.executor_state = executors::executor_states(seen);
    for (state, number, example) in
        executors::changes(&seen.status.executor_state, &step.status.executor_state)
    {
        step.notices.push(Notice::Executors { state, number, example });
    }
    let name = step.status.driver_info.pod_name.clone();
    match outcome {
        Outcome::Pending { why } => {
            // What keeps a driver from starting is told, and may pass.
            let why = why.unwrap_or_default();
            if was == State::Submitted && step.status.application_state.error_message != why {
                step.status.application_state.error_message = why.clone();
                if !why.is_empty() {
                    step.notices.push(Notice::DriverPending(name, why));
                }
            }
        }
        Outcome::Running => {
            if was != State::Running {
                set(step, State::Running, "");
                step.notices.push(Notice::DriverRunning(name));
            }
        }
        Outcome::Completed => {
            set(step, State::Succeeding, "");
            end(seen, step);
            step.notices.push(Notice::DriverCompleted(name));
        }
        Outcome::Failed { why } => {
            set(step, State::Failing, &why);
            end(seen, step);
            step.notices.push(Notice::DriverFailed(name, why));
        }
        Outcome::Missing => {
            set(step, State::Failing, "driver pod not found");
            end(seen, step);
            step.notices.push(Notice::DriverMissing(name));
        }
    }
}

/// What has become of the driver of the submission in the status; `None` while the watch may be behind.
fn driver_outcome(seen: &Seen<'_>, step: &mut Step) -> Option<Outcome> {
    let id = &seen.status.submission_id;
    let own = |pod: &&DriverPod| pod.submission_id == *id || id.is_empty();
    let deleted = seen.last_driver.filter(own);
    if let Some(driver) = seen.driver.filter(own) {
        return Some(driver.outcome.clone());
    }
    // It had ended before it was deleted.
    if let Some(last) = deleted.filter(|last| last.outcome.is_ended()) {
        return Some(last.outcome.clone());
    }
    let is_new = seen.status.application_state.state == State::Submitted && deleted.is_none();
    let since = seen.status.last_submission_attempt_time.filter(|_| is_new);
    match since.and_then(|at| after(at, CREATION_GRACE)).filter(|until| *until > seen.now) {
        Some(until) => {
            step.at = Some(until);
            None
        }
        None => Some(Outcome::Missing),
    }
}

fn end(seen: &Seen<'_>, step: &mut Step) {
    step.status.termination_time = Some(whole_second(seen.now));
    end_executors(step);
}

/// Executors end with their driver, whether their ends were seen or not.
fn end_executors(step: &mut Step) {
    let end = match step.status.application_state.state {
        State::Succeeding => ExecutorState::Completed,
        _ => ExecutorState::Failed,
    };
    for state in step.status.executor_state.values_mut().filter(|state| !state.is_ended()) {
        *state = end;
    }
}

/// Deletes the driver's pod. Returns whether there is one, which may be on its way out.
fn delete_driver(seen: &Seen<'_>, step: &mut Step) -> bool {
    let Some(driver) = seen.driver else { return false };
    if driver.is_being_deleted {
        step.at = after(seen.now, RECHECK);
    } else {
        let (name, uid) = (driver.name.clone(), driver.uid.clone());
        step.action = Some(Action::DeleteDriver { name, uid });
    }
    true
}

fn rerun(step: &mut Step) {
    set(step, State::PendingRerun, "");
    step.notices.push(Notice::PendingRerun);
}

fn ended(seen: &Seen<'_>, step: &mut Step) {
    let given = seen.spec.and_then(|spec| spec.time_to_live_seconds);
    let (Some(ttl), Some(ended)) =
        (given.or(seen.settings.default_ttl), seen.status.termination_time)
    else {
        return;
    };
    match after(ended, ttl.max(0)) {
        Some(until) if until <= seen.now => step.action = Some(Action::DeleteApplication),
        // A time that no calendar has does not come.
        until => step.at = until,
    }
}
