//! Applications, put together from single statuses.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    AllocationStatus, AppId, DriverStatus, Event, ExecutorId, ExecutorStatus, State, Status,
    Unreadable,
};

/// What is known of applications, by id: of a [list](crate::ClusterManager::list), when it is
/// [collected](FromIterator), or of a [watch](crate::ClusterManager::watch), when each event is
/// [observed](Self::observe).
///
/// Of a list, all executors are kept. Of a watch, those alone that have not ended: memory is that of the
/// living, however many there were.
#[derive(Debug, Clone, Default)]
pub struct Applications {
    by_id: BTreeMap<AppId, Application>,
    unreadable: BTreeMap<AppId, Unreadable>,
    keeps_ended: bool,
    is_synced: bool,
}

/// What is known of one application.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Application {
    /// Its id.
    #[serde(rename = "app")]
    pub id: AppId,
    /// Its driver. Unknown only while a list is incomplete.
    pub driver: Option<DriverStatus>,
    /// How far it is on the way to its target, once it has declared one.
    pub allocation: Option<AllocationStatus>,
    /// Its executors.
    #[serde(serialize_with = "as_list")]
    pub executors: BTreeMap<ExecutorId, ExecutorStatus>,
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
    /// Takes in an event of a watch.
    pub fn observe(&mut self, event: Event) {
        match event {
            Event::Restarted => {
                self.by_id.clear();
                self.unreadable.clear();
                self.is_synced = false;
            }
            Event::Changed(status) => self.apply(status),
            Event::Synced(_) => self.is_synced = true,
        }
    }

    /// Takes in one status.
    pub fn apply(&mut self, status: Status) {
        let id = status.app().clone();
        if let Status::Unreadable(status) = status {
            self.unreadable.insert(id, status);
            return;
        }
        self.unreadable.remove(&id);
        let application = self.by_id.entry(id.clone()).or_insert_with(|| Application::new(id));
        application.apply(status, self.keeps_ended);
    }

    /// Whether a whole snapshot was seen: before that, missing says nothing.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// One of them.
    pub fn get(&self, id: &AppId) -> Option<&Application> {
        self.by_id.get(id)
    }

    /// Those that are there and cannot be read, by id.
    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.unreadable.values()
    }

    /// All of them, oldest first.
    pub fn oldest_first(&self) -> Vec<&Application> {
        let mut applications: Vec<_> = self.by_id.values().collect();
        applications.sort_by_key(|application| {
            application.driver.as_ref().map(|driver| (driver.submitted, driver.submission.clone()))
        });
        applications
    }
}

impl FromIterator<Status> for Applications {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        let mut applications = Self { keeps_ended: true, is_synced: true, ..Self::default() };
        for status in statuses {
            applications.apply(status);
        }
        applications
    }
}

impl Application {
    fn new(id: AppId) -> Self {
        Self {
            id,
            driver: None,
            allocation: None,
            executors: BTreeMap::new(),
            running: 0,
            alive: 0,
        }
    }

    fn apply(&mut self, status: Status, keeps_ended: bool) {
        match status {
            Status::Driver(status) => self.driver = Some(status),
            Status::Executor(status) => self.apply_executor(status, keeps_ended),
            Status::Allocation(status) => self.allocation = Some(status),
            Status::Unreadable(_) => {}
        }
    }

    fn apply_executor(&mut self, status: ExecutorStatus, keeps_ended: bool) {
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
    pub fn running(&self) -> u64 {
        self.running
    }

    /// How many executors have not ended.
    pub fn alive(&self) -> u64 {
        self.alive
    }

    /// How many executors it wants, once it said so. An ended application wants none.
    pub fn target(&self) -> Option<u64> {
        let ended = self.driver.as_ref().is_some_and(|driver| driver.state.is_ended());
        self.allocation.as_ref().map(|allocation| if ended { 0 } else { allocation.target })
    }

    /// Whether the driver and all executors have ended.
    pub fn is_over(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.state.is_ended()) && self.alive == 0
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::{AllocationPhase, Cause, Cursor, End, ProfileId, SubmissionId};

    fn ended() -> State {
        let end = End { cause: Cause::Finished, at: Timestamp::UNIX_EPOCH, last_lines: None };
        State::Ended(Box::new(end))
    }

    fn driver(id: &str, state: State, seconds: i64) -> Status {
        let (submission, app) = (SubmissionId::new(id).unwrap(), AppId::new(id).unwrap());
        let submitted = Timestamp::from_second(seconds).unwrap();
        let driver = DriverStatus::new(submission, app, id);
        Status::Driver(driver.with_state(state).with_submitted(submitted))
    }

    fn executor(id: u64, state: State) -> Status {
        Status::Executor(ExecutorStatus {
            app: AppId::new("b").unwrap(),
            id: ExecutorId(id),
            profile: ProfileId(0),
            state,
            since: Timestamp::UNIX_EPOCH,
            host: None,
        })
    }

    fn ids(applications: &Applications) -> Vec<&str> {
        applications.oldest_first().iter().map(|application| application.id.as_str()).collect()
    }

    #[test]
    fn statuses_add_up_to_applications() {
        let app = AppId::new("b").unwrap();
        let mut applications: Applications = [
            driver("b", State::Running, 9),
            driver("a", State::Running, 5),
            Status::Allocation(AllocationStatus {
                app: app.clone(),
                target: 3,
                running: 1,
                pending: 2,
                failed: 0,
                phase: AllocationPhase::Moving,
            }),
            executor(1, State::Running),
            executor(2, State::Pending { why: None }),
        ]
        .into_iter()
        .collect();
        assert_eq!(ids(&applications), ["a", "b"]);
        let b = applications.get(&app).unwrap();
        assert_eq!((b.running(), b.alive(), b.target()), (1, 2, Some(3)));

        applications.apply(driver("b", ended(), 9));
        assert!(!applications.get(&app).unwrap().is_over());
        for id in [1, 2] {
            applications.apply(executor(id, ended()));
        }
        let b = applications.get(&app).unwrap();
        assert!(b.is_over());
        assert_eq!((b.running(), b.target(), b.executors.len()), (0, Some(0), 2));
    }

    #[test]
    fn of_executors_that_come_and_go_only_the_living_are_kept() {
        let mut applications = Applications::default();
        for id in 1..=100 {
            applications.observe(Event::Changed(executor(id, State::Running)));
            if id > 2 {
                applications.observe(Event::Changed(executor(id - 2, ended())));
            }
        }
        // What is told again does no harm.
        applications.apply(executor(98, ended()));
        let application = applications.get(&AppId::new("b").unwrap()).unwrap();
        assert_eq!((application.running(), application.alive()), (2, 2));
        assert_eq!(application.executors.keys().map(|id| id.0).collect::<Vec<_>>(), [99, 100]);
    }

    #[test]
    fn a_snapshot_replaces_what_was_known() {
        let mut applications = Applications::default();
        let synced = || Event::Synced(Cursor(String::new()));
        for event in [Event::Restarted, Event::Changed(driver("a", State::Running, 1)), synced()] {
            assert!(!applications.is_synced());
            applications.observe(event);
        }
        assert!(applications.is_synced());
        applications.observe(Event::Restarted);
        assert!(!applications.is_synced() && ids(&applications).is_empty());
    }
}
