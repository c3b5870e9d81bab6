//! What follows an end: another run, or none (`restartPolicy`).

use jiff::{SignedDuration, Timestamp};

use super::{Seen, Step, delete_driver, rerun, set, submit, whole_second};
use crate::notice::Notice;
use crate::v1beta2::{RestartType, State};

/// The interval of retries if the application says none, in seconds.
const INTERVAL: i64 = 5;

/// The driver has ended with success.
pub(super) fn succeeding(seen: &Seen<'_>, step: &mut Step) {
    if policy(seen) != RestartType::Always {
        set(step, State::Completed, "");
        step.notices.push(Notice::Completed);
    } else if !delete_driver(seen, step) {
        rerun(step);
    }
}

/// The driver has failed.
pub(super) fn failing(seen: &Seen<'_>, step: &mut Step) {
    let given = seen.spec.and_then(|spec| spec.restart_policy.as_ref());
    let retries = given.and_then(|policy| policy.on_failure_retries);
    if !is_retried(seen, retries, seen.status.execution_attempts) {
        give_up(seen, step);
        return;
    }
    let interval = given.and_then(|policy| policy.on_failure_retry_interval);
    if let Some(at) = due(seen, interval) {
        step.at = Some(at);
    } else if !delete_driver(seen, step) {
        rerun(step);
    }
}

/// The application could not be submitted.
pub(super) fn submission_failed(seen: &Seen<'_>, step: &mut Step) {
    let given = seen.spec.and_then(|spec| spec.restart_policy.as_ref());
    let retries = given.and_then(|policy| policy.on_submission_failure_retries);
    if !is_retried(seen, retries, seen.status.submission_attempts) {
        step.status.termination_time = Some(whole_second(seen.now));
        give_up(seen, step);
        return;
    }
    let interval = given.and_then(|policy| policy.on_submission_failure_retry_interval);
    match due(seen, interval) {
        Some(at) => step.at = Some(at),
        None => submit(seen, step),
    }
}

fn give_up(seen: &Seen<'_>, step: &mut Step) {
    let why = seen.status.application_state.error_message.clone();
    set(step, State::Failed, &why);
    step.notices.push(Notice::Failed(why));
}

fn policy(seen: &Seen<'_>) -> RestartType {
    let given = seen.spec.and_then(|spec| spec.restart_policy.as_ref());
    given.and_then(|policy| policy.kind).unwrap_or_default()
}

/// Whether another attempt follows this one; the first is no retry.
fn is_retried(seen: &Seen<'_>, retries: Option<i32>, attempts: i32) -> bool {
    match policy(seen) {
        RestartType::Always => true,
        RestartType::OnFailure => retries.is_some_and(|retries| attempts <= retries),
        RestartType::Never => false,
    }
}

/// When the next attempt is due, unless it is now: the interval grows with the attempts, and counts from the last
/// submission on.
fn due(seen: &Seen<'_>, interval: Option<i64>) -> Option<Timestamp> {
    let attempts = i64::from(seen.status.submission_attempts.max(1));
    let wait = interval.unwrap_or(INTERVAL).max(1).saturating_mul(attempts);
    let since = seen.status.last_submission_attempt_time?;
    let at = since.checked_add(SignedDuration::from_secs(wait)).ok()?;
    (at > seen.now).then_some(at)
}
