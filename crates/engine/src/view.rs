//! The engine as it is shown: what pages, JSON and metrics are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{AllocationPhase, AppId, ExecutorId, State};
use jiff::Timestamp;

use crate::amount::Cores;
use crate::app::App;
use crate::engine::Engine;
use crate::model::Task;
use crate::submissions::QueueState;
use crate::time::Now;
use crate::worker::{Liveness, Worker};

/// A worker.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// Its id.
    pub id: String,
    /// Its machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The URL of its page.
    pub web: String,
    /// Spark's word.
    pub state: &'static str,
    /// All its cores.
    pub cores: Cores,
    /// Those of them that are free.
    pub cores_free: Cores,
    /// All its memory.
    pub memory_mib: u64,
    /// What of it is free.
    pub memory_free_mib: u64,
    /// Other resources: all of each, and how many are free.
    pub resources: BTreeMap<String, (Vec<String>, u64)>,
    /// When it sent something last.
    pub heard: Timestamp,
    /// How many processes it has.
    pub processes: usize,
}

/// An application.
#[derive(Debug, Clone)]
pub struct AppView {
    /// Its id.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// Spark's word.
    pub state: &'static str,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The cores of its executors.
    pub cores: Cores,
    /// Of an executor of its first profile.
    pub memory_mib: u64,
    /// How many executors it wants.
    pub target: u64,
    /// How many it has.
    pub executors: usize,
    /// What it waits for, or why the engine gave up on it.
    pub waits: Option<String>,
    /// Its driver, if that was submitted and is not external.
    pub driver: Option<DriverView>,
}

/// A driver that was submitted.
#[derive(Debug, Clone)]
pub struct DriverView {
    /// Spark's word.
    pub state: &'static str,
    /// Its worker, or the last one.
    pub worker: Option<String>,
    /// Its cores.
    pub cores: Cores,
    /// Its memory.
    pub memory_mib: u64,
    /// How it ended, in words.
    pub cause: Option<String>,
    /// Of one that the engine starts again itself if it fails.
    pub dispatched: Option<Dispatched>,
}

/// How far a driver is in the queue.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// How far.
    pub state: QueueState,
    /// How often it was started again.
    pub retries: u32,
    /// When it is started again.
    pub next: Option<Timestamp>,
    /// Which attempt is, or was, on its worker.
    pub attempt: u32,
}

/// An executor.
#[derive(Debug, Clone)]
pub struct ExecutorView {
    /// Its id.
    pub id: ExecutorId,
    /// Its profile.
    pub profile: u32,
    /// Spark's word.
    pub state: &'static str,
    /// Since when it has this state.
    pub since: Timestamp,
    /// Its worker.
    pub worker: String,
    /// Its cores, while it has not ended.
    pub cores: Option<Cores>,
    /// How it ended, in words.
    pub cause: Option<String>,
}

/// A process on a worker: the driver of an application, or an executor.
pub type ProcessView = (AppId, Option<ExecutorId>);

/// All of it, but for the executors.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Spark's word.
    pub status: &'static str,
    /// The workers.
    pub workers: Vec<WorkerView>,
    /// The applications, in the order of submission.
    pub apps: Vec<AppView>,
}

impl Worker {
    fn view(&self, now: Now) -> WorkerView {
        let whole = self.whole();
        let free = |name: &String| self.free.extra.get(name).copied().unwrap_or(0);
        let ago = jiff::SignedDuration::try_from(now.at - self.seen).unwrap_or_default();
        WorkerView {
            id: self.info.id.clone(),
            host: self.info.host.clone(),
            port: self.info.port,
            web: self.info.web.clone(),
            state: match self.liveness {
                Liveness::Alive => "ALIVE",
                Liveness::Leaving => "DECOMMISSIONED",
                Liveness::Disconnected(_) => "UNKNOWN",
                Liveness::Dead(_) => "DEAD",
            },
            cores: whole.cores,
            cores_free: self.free.cores,
            memory_mib: whole.memory_mib,
            memory_free_mib: self.free.memory_mib,
            resources: self
                .info
                .resources
                .iter()
                .map(|(name, all)| (name.clone(), (all.clone(), free(name))))
                .collect(),
            heard: now.wall - ago,
            processes: self.tasks.len(),
        }
    }
}

impl App {
    /// Spark's word (Spark 3.5, `ApplicationState`).
    fn app_state(&self) -> &'static str {
        match &self.driver.state {
            State::Ended(_) => match self.driver_word() {
                "ERROR" => "FAILED",
                word => word,
            },
            _ if self.executors.is_empty() && self.driver_address().is_none() => "WAITING",
            _ if self.executors.is_empty() && self.missing().next().is_some() => "WAITING",
            _ => "RUNNING",
        }
    }

    fn view(&self) -> AppView {
        let profiles = self.wanted.iter().flat_map(|wanted| wanted.target.profiles.values());
        let memory = profiles.map(|profile| profile.profile.memory_mib).next();
        let cause = self.driver.state.end().map(|end| end.cause.to_string());
        let waits = match (&self.driver.state, self.phase()) {
            (State::Pending { why: Some(why) }, _) => Some(format!("its driver {why}")),
            (_, AllocationPhase::Blocked { why } | AllocationPhase::GivenUp { why }) => {
                Some(why.to_string())
            }
            _ => None,
        };
        let driver = self.is_submitted().then(|| DriverView {
            state: self.driver_word(),
            worker: self.driver_worker.clone(),
            cores: self.driver_need.cores,
            memory_mib: self.driver_need.memory_mib,
            cause: cause.clone(),
            dispatched: None,
        });
        AppView {
            id: self.id().clone(),
            name: self.driver.name.to_string(),
            state: self.app_state(),
            submitted: self.driver.submitted,
            ended: self.driver.state.end().map(|end| end.at),
            cores: self.cores,
            memory_mib: memory.unwrap_or(0),
            target: self.wanted.as_ref().map_or(0, |wanted| wanted.target.total()),
            executors: self.executors.len(),
            waits,
            driver,
        }
    }

    /// Its executors, those that live before those that ended, at most `many` behind `skip`.
    fn executor_views(&self, skip: usize, many: usize) -> Vec<ExecutorView> {
        let living = self.executors.iter().map(|(id, executor)| ExecutorView {
            id: *id,
            profile: executor.profile.0,
            state: word(&executor.state),
            since: executor.since,
            worker: executor.place.worker.to_string(),
            cores: Some(executor.need.cores),
            cause: None,
        });
        let ended = self.ended.iter().rev().map(|(status, worker)| ExecutorView {
            id: status.id,
            profile: status.profile.0,
            state: word(&status.state),
            since: status.since,
            worker: worker.to_string(),
            cores: None,
            cause: status.state.end().map(|end| end.cause.to_string()),
        });
        living.chain(ended).skip(skip).take(many).collect()
    }
}

/// Spark's word for where an executor is (Spark 3.5, `ExecutorState`).
fn word(state: &State) -> &'static str {
    use anymaster_core::model::Cause;
    match state {
        State::Pending { .. } => "LAUNCHING",
        State::Running | State::Ending => "RUNNING",
        State::Ended(end) => match end.cause {
            Cause::Killed { .. } => "KILLED",
            Cause::Lost { .. } => "LOST",
            Cause::Evicted { .. } => "DECOMMISSIONED",
            Cause::Finished => "EXITED",
            _ => "FAILED",
        },
    }
}

impl Engine {
    /// How it is, but for executors.
    pub fn overview(&self, now: Now) -> Overview {
        Overview {
            status: if self.is_recovering() { "RECOVERING" } else { "ALIVE" },
            workers: self.workers.values().map(|worker| worker.view(now)).collect(),
            apps: self.apps.values().map(|app| self.view(app, now)).collect(),
        }
    }

    fn view(&self, app: &App, now: Now) -> AppView {
        let mut view = app.view();
        if let (false, Some(driver)) = (self.supply.restarts_drivers(), &mut view.driver) {
            let wait = app.not_before.and_then(|at| at.checked_duration_since(now.at));
            let wait = wait.filter(|_| app.placement.is_queued());
            let wait = wait.and_then(|wait| jiff::SignedDuration::try_from(wait).ok());
            driver.dispatched = Some(Dispatched {
                state: app.queue_state(),
                retries: app.attempts,
                next: wait.map(|wait| now.wall + wait),
                attempt: app.driver_attempt,
            });
        }
        view
    }

    /// An application and `many` of its executors behind `skip`, and how many of these there are.
    pub fn app_view(
        &self,
        app: &AppId,
        skip: usize,
        many: usize,
        now: Now,
    ) -> Option<(AppView, Vec<ExecutorView>, usize)> {
        let app = self.app(app)?;
        let all = app.executors.len() + app.ended.len();
        Some((self.view(app, now), app.executor_views(skip, many), all))
    }

    /// A worker, and what runs there.
    pub fn worker_view(&self, id: &str, now: Now) -> Option<(WorkerView, Vec<ProcessView>)> {
        let worker = self.workers.get(id)?;
        let tasks = worker.tasks.iter().filter_map(|(seq, task)| {
            let executor = match task {
                Task::Driver => None,
                Task::Executor(id) => Some(*id),
            };
            Some((self.apps.get(seq)?.id().clone(), executor))
        });
        Some((worker.view(now), tasks.collect()))
    }

    /// How long ago it began.
    pub fn age(&self, now: Now) -> Duration {
        now.at - self.began.at
    }
}
