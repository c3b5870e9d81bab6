//! What is known of applications, put together from single statuses.

use std::collections::BTreeMap;

use anymaster_core::model::{
    AllocationStatus, AppId, DriverStatus, ExecutorId, ExecutorStatus, State, Status, Unreadable,
};
use serde::Serialize;

/// All applications that were heard of, by id. Put together from a list, with all their executors;
/// from what is told as it happens, with those alone that have not ended: nobody knows how many there
/// will have been.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    by_id: BTreeMap<AppId, Application>,
    unreadable: BTreeMap<AppId, Unreadable>,
    keeps_ended: bool,
}

/// What is known of one application.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Application {
    /// Its id.
    #[serde(rename = "app")]
    pub(crate) id: AppId,
    /// Its driver. Unknown only while a list is incomplete.
    pub(crate) driver: Option<DriverStatus>,
    /// How far it is on the way to its target, once it has declared one.
    pub(crate) allocation: Option<AllocationStatus>,
    /// Its executors.
    #[serde(serialize_with = "as_list")]
    pub(crate) executors: BTreeMap<ExecutorId, ExecutorStatus>,
    /// How many of these run, and how many have not ended: asked for at every event.
    #[serde(skip)]
    running: u64,
    #[serde(skip)]
    alive: u64,
}

fn as_list<S: serde::Serializer>(
    executors: &BTreeMap<ExecutorId, ExecutorStatus>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(executors.values())
}

impl Applications {
    /// Takes one status in.
    pub(crate) fn apply(&mut self, status: Status) {
        let id = status.app().clone();
        if let Status::Unreadable(status) = status {
            self.unreadable.insert(id, status);
            return;
        }
        self.unreadable.remove(&id);
        let application = self.by_id.entry(id.clone()).or_insert_with(|| Application {
            id,
            driver: None,
            allocation: None,
            executors: BTreeMap::new(),
            running: 0,
            alive: 0,
        });
        match status {
            Status::Driver(status) => application.driver = Some(status),
            Status::Executor(status) => application.see(status, self.keeps_ended),
            Status::Allocation(status) => application.allocation = Some(status),
            // A kind of status that later versions of the library know: nothing to show.
            _ => {}
        }
    }

    /// Forgets all, because a snapshot follows.
    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
        self.unreadable.clear();
    }

    /// One of them.
    pub(crate) fn get(&self, id: &AppId) -> Option<&Application> {
        self.by_id.get(id)
    }

    /// Those that are there and cannot be read, by id.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.unreadable.values()
    }

    /// All of them, oldest first, so that the newest is next to the prompt.
    pub(crate) fn oldest_first(&self) -> Vec<&Application> {
        let mut applications: Vec<_> = self.by_id.values().collect();
        applications.sort_by_key(|application| {
            application.driver.as_ref().map(|driver| (driver.submitted, driver.submission.clone()))
        });
        applications
    }
}

impl FromIterator<Status> for Applications {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        let mut applications = Self { keeps_ended: true, ..Self::default() };
        for status in statuses {
            applications.apply(status);
        }
        applications
    }
}

impl Application {
    /// The id by which people name it: the submission's.
    pub(crate) fn shown_id(&self) -> &str {
        self.driver.as_ref().map_or(self.id.as_str(), |driver| driver.submission.as_str())
    }

    fn see(&mut self, status: ExecutorStatus, keeps_ended: bool) {
        let counts =
            |state: &State| (u64::from(*state == State::Running), u64::from(!state.is_ended()));
        let (runs, lives) = counts(&status.state);
        let before = match lives == 1 || keeps_ended {
            true => self.executors.insert(status.id, status),
            false => self.executors.remove(&status.id),
        };
        let (ran, lived) = before.map_or((0, 0), |before| counts(&before.state));
        self.running = self.running + runs - ran;
        self.alive = self.alive + lives - lived;
    }

    /// How many executors run.
    pub(crate) fn running(&self) -> u64 {
        self.running
    }

    /// How many executors have not ended.
    pub(crate) fn alive(&self) -> u64 {
        self.alive
    }

    /// How many executors it wants, once it said so. An ended application wants none.
    pub(crate) fn target(&self) -> Option<u64> {
        let ended = self.driver.as_ref().is_some_and(|driver| driver.state.is_ended());
        self.allocation.as_ref().map(|allocation| if ended { 0 } else { allocation.target })
    }

    /// `running/target`; without a target there is nothing to say.
    pub(crate) fn executors_word(&self) -> String {
        match (self.running(), self.target()) {
            (0, None) => "-".to_owned(),
            (running, None) => running.to_string(),
            (running, Some(target)) => format!("{running}/{target}"),
        }
    }

    /// Whether the driver and all executors have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.state.is_ended()) && self.alive == 0
    }
}

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
        State::Ended(Box::new(End {
            cause,
            at: at(seconds_ago),
            last_lines: last_lines.map(Into::into),
        }))
    }

    pub(crate) fn driver(id: &str, name: &str, state: State, seconds_ago: i64) -> Status {
        Status::Driver(DriverStatus {
            submission: SubmissionId::new(id).unwrap(),
            app: AppId::new(id).unwrap(),
            name: name.into(),
            state,
            submitted: at(seconds_ago),
            host: Some("host-1".into()),
            chosen: None,
            report: None,
        })
    }

    pub(crate) fn executor(app: &str, id: u64, state: State, seconds_ago: i64) -> Status {
        Status::Executor(ExecutorStatus {
            app: AppId::new(app).unwrap(),
            id: ExecutorId(id),
            profile: ProfileId(0),
            state,
            since: at(seconds_ago),
            host: Some("host-1".into()),
        })
    }

    pub(crate) fn allocation(app: &str, numbers: [u64; 4], phase: AllocationPhase) -> Status {
        let [target, running, pending, failed] = numbers;
        let app = AppId::new(app).unwrap();
        Status::Allocation(AllocationStatus { app, target, running, pending, failed, phase })
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AllocationPhase, Cause};

    use super::samples::{allocation, driver, ended, executor};
    use super::*;

    #[test]
    fn statuses_add_up_to_applications() {
        let mut applications: Applications = [
            driver("b", "second", State::Running, 5),
            driver("a", "first", State::Running, 50),
            allocation("b", [3, 1, 2, 0], AllocationPhase::Moving),
            executor("b", 1, State::Running, 4),
            executor("b", 2, State::Pending { why: None }, 4),
        ]
        .into_iter()
        .collect();
        let names = |applications: &Applications| -> Vec<String> {
            applications.oldest_first().iter().map(|a| a.shown_id().to_owned()).collect()
        };
        assert_eq!(names(&applications), ["a", "b"]);
        let b = AppId::new("b").unwrap();
        assert_eq!(applications.get(&b).unwrap().executors_word(), "1/3");
        assert_eq!(applications.oldest_first()[0].executors_word(), "-");

        applications.apply(driver("b", "second", ended(Cause::Finished, 1, None), 5));
        assert!(!applications.get(&b).unwrap().is_over());
        for id in [1, 2] {
            applications.apply(executor("b", id, ended(Cause::Finished, 1, None), 4));
        }
        let application = applications.get(&b).unwrap();
        assert!(application.is_over());
        assert_eq!(application.executors_word(), "0/0");
        assert_eq!(application.executors.len(), 2);
    }

    #[test]
    fn of_executors_that_come_and_go_only_the_living_are_kept() {
        let mut applications = Applications::default();
        for id in 1..=100 {
            applications.apply(executor("a", id, State::Running, 5));
            if id > 2 {
                applications.apply(executor("a", id - 2, ended(Cause::Finished, 1, None), 4));
            }
        }
        // What is told again does no harm.
        applications.apply(executor("a", 98, ended(Cause::Finished, 1, None), 4));
        let application = applications.get(&AppId::new("a").unwrap()).unwrap();
        assert_eq!((application.running(), application.alive()), (2, 2));
        assert_eq!(application.executors.keys().map(|id| id.0).collect::<Vec<_>>(), [99, 100]);
    }
}
