//! What must never happen, whatever else does.

use std::collections::{HashMap, HashSet};

use anymaster_core::model::{AppId, Cause, ExecutorId, State, Status};
use anymaster_engine::Task;

#[derive(Debug, Default)]
pub(crate) struct Checks {
    violation: Option<String>,
    processes: u64,
    /// Processes that were started.
    started: HashSet<(AppId, Task)>,
    accepted: HashSet<AppId>,
    /// Drivers and executors whose end was published, and how it was.
    ended_drivers: HashMap<AppId, Cause>,
    ended_executors: HashSet<(AppId, ExecutorId)>,
    /// How processes ended that reported it, and which of these reports were acknowledged before another end was
    /// published.
    ends: HashMap<(AppId, Task), Cause>,
    acknowledged: HashMap<AppId, Cause>,
    supervised: HashSet<AppId>,
    /// Nothing that was started may be lost, but for external drivers, which have seconds to come back.
    pub(crate) nothing_is_lost: bool,
    pub(crate) external: HashSet<AppId>,
}

impl Checks {
    /// The first violation counts.
    pub(crate) fn fail(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    pub(crate) fn next_process(&mut self) -> u64 {
        self.processes += 1;
        self.processes
    }

    /// An application was accepted.
    pub(crate) fn accepted(&mut self, app: &AppId) {
        self.accepted.insert(app.clone());
    }

    /// A process is started on a worker.
    pub(crate) fn started(&mut self, app: &AppId, task: Task, supervise: bool) {
        if supervise {
            self.supervised.insert(app.clone());
        } else if !self.started.insert((app.clone(), task)) {
            self.fail(format!("{app} {task:?} is started a second time"));
        }
    }

    /// A process has ended, and that is reported.
    pub(crate) fn ended(&mut self, app: &AppId, task: Task, cause: Cause) {
        self.ends.insert((app.clone(), task), cause);
    }

    /// A worker forgets how a process ended.
    pub(crate) fn acknowledged(&mut self, app: &AppId, task: Task) {
        let cause = self.ends.get(&(app.clone(), task));
        if let (Task::Driver, Some(cause)) = (task, cause)
            && !self.supervised.contains(app)
            && !self.ended_drivers.contains_key(app)
        {
            self.acknowledged.insert(app.clone(), cause.clone());
        }
    }

    /// Why the end of a driver is not the one that its worker reported, and that was acknowledged.
    pub(crate) fn wrong_end(&self, app: &AppId, state: &State) -> Option<String> {
        let (said, is) = (self.acknowledged.get(app)?, &state.end()?.cause);
        let is_own = matches!(said, Cause::Finished | Cause::Exited { .. });
        (is_own && said != is)
            .then(|| format!("its driver {said}, which was acknowledged; now it {is}"))
    }

    /// A subscriber begins with the state.
    pub(crate) fn observe_state(&mut self, statuses: &[Status]) {
        for app in self.accepted.clone() {
            if !statuses.iter().any(|status| *status.app() == app) {
                self.fail(format!("{app} was accepted, and is not in the state"));
            }
        }
        for status in statuses {
            match status {
                Status::Executor(executor) if executor.state.is_ended() => {
                    self.ended_executors.insert((executor.app.clone(), executor.id));
                }
                status => self.observe(status),
            }
        }
    }

    /// A subscriber sees an event.
    pub(crate) fn observe(&mut self, status: &Status) {
        let (app, state, what) = match status {
            Status::Driver(driver) => (&driver.app, &driver.state, "its driver".to_owned()),
            Status::Executor(executor) => {
                (&executor.app, &executor.state, format!("executor {}", executor.id))
            }
            _ => return,
        };
        if self.nothing_is_lost
            && !self.external.contains(app)
            && let Some(Cause::Lost { why }) = state.end().map(|end| &end.cause)
        {
            self.fail(format!("{app}: {what} is lost, though only masters failed: {why}"));
        }
        match status {
            Status::Driver(driver) => {
                match (self.ended_drivers.get(&driver.app), driver.state.end()) {
                    (Some(before), None) => self.fail(format!(
                        "the driver of {} {before}, and is {} again",
                        driver.app,
                        driver.state.word()
                    )),
                    (Some(before), Some(end)) if *before != end.cause => {
                        self.fail(format!(
                            "the driver of {} {before}, and then {}",
                            driver.app, end.cause
                        ));
                    }
                    (Some(_), Some(_)) | (None, None) => {}
                    (None, Some(end)) => {
                        self.ended_drivers.insert(driver.app.clone(), end.cause.clone());
                        if let Some(why) = self.wrong_end(&driver.app, &driver.state) {
                            self.fail(format!("{}: {why}", driver.app));
                        }
                    }
                }
            }
            Status::Executor(executor) => {
                let id = (executor.app.clone(), executor.id);
                let is_known = self.ended_executors.contains(&id);
                if executor.state.is_ended() {
                    self.ended_executors.insert(id);
                }
                if is_known {
                    self.fail(format!(
                        "executor {} of {} had ended, and is {} after that",
                        executor.id,
                        executor.app,
                        executor.state.word()
                    ));
                }
            }
            _ => {}
        }
    }
}
