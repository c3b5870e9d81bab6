//! A state in words.

use anymaster_core::model::State;

/// Why a state is as it is, in words; empty when there is nothing to add to its name.
pub(crate) fn reason(state: &State) -> String {
    match state {
        State::Pending { why: Some(why) } => why.to_string(),
        State::Ended(end) => end.cause.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Statuses for the tests of what is printed.

    use anymaster_core::model::{
        AllocationPhase, AllocationStatus, AppId, Cause, DriverStatus, End, ExecutorId,
        ExecutorStatus, ProfileId, State, Status, SubmissionId,
    };
    use jiff::Timestamp;

    pub(crate) const NOW: i64 = 1_800_000_000;

    pub(crate) fn at(seconds_ago: i64) -> Timestamp {
        Timestamp::from_second(NOW - seconds_ago).unwrap()
    }

    pub(crate) fn ended(cause: Cause, seconds_ago: i64, last_lines: Option<&str>) -> State {
        let mut end = End::new(cause, at(seconds_ago));
        end.last_lines = last_lines.map(Into::into);
        end.into()
    }

    pub(crate) fn driver(id: &str, name: &str, state: State, seconds_ago: i64) -> Status {
        let (submission, app) = (SubmissionId::new(id).unwrap(), AppId::new(id).unwrap());
        let driver = DriverStatus::new(submission, app, name).with_state(state);
        let mut driver = driver.with_submitted(at(seconds_ago));
        driver.host = Some("host-1".into());
        Status::Driver(driver)
    }

    pub(crate) fn executor(app: &str, id: u64, state: State, seconds_ago: i64) -> Status {
        let app = AppId::new(app).unwrap();
        let executor = ExecutorStatus::new(app, ExecutorId(id), ProfileId(0), state);
        Status::Executor(executor.with_since(at(seconds_ago)).with_host("host-1"))
    }

    pub(crate) fn allocation(app: &str, numbers: [u64; 4], phase: AllocationPhase) -> Status {
        let [target, running, pending, failed] = numbers;
        let mut allocation = AllocationStatus::new(AppId::new(app).unwrap());
        (allocation.target, allocation.running) = (target, running);
        (allocation.pending, allocation.failed) = (pending, failed);
        allocation.phase = phase;
        Status::Allocation(allocation)
    }
}
