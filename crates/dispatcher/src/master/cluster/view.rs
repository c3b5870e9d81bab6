//! The cluster as it is shown: what pages, JSON and metrics are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{AllocationPhase, AppId, ExecutorId, State};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Cluster;
use super::app::{App, Place};
use super::worker::{Worker, WorkerState};
use crate::master::amount::Cores;
use crate::wire::Task;

/// A worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerView {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) web: String,
    /// Spark's word.
    pub(crate) state: &'static str,
    pub(crate) cores: Cores,
    pub(crate) cores_free: Cores,
    pub(crate) memory_mib: u64,
    pub(crate) memory_free_mib: u64,
    /// Other resources: all of each, and how many are free.
    pub(crate) resources: BTreeMap<String, (Vec<String>, u64)>,
    pub(crate) heard: Timestamp,
    pub(crate) processes: usize,
}

/// An application.
#[derive(Debug, Clone)]
pub(crate) struct AppView {
    pub(crate) id: AppId,
    pub(crate) name: String,
    /// Spark's word.
    pub(crate) state: &'static str,
    pub(crate) submitted: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) cores: Cores,
    /// Of an executor of its first profile.
    pub(crate) memory_mib: u64,
    pub(crate) target: u64,
    pub(crate) executors: usize,
    /// What it waits for, or why it was given up.
    pub(crate) waits: Option<String>,
    /// Of one that was submitted; others came by themselves.
    pub(crate) driver: Option<DriverView>,
}

/// A driver that was submitted.
#[derive(Debug, Clone)]
pub(crate) struct DriverView {
    /// Spark's word.
    pub(crate) state: &'static str,
    pub(crate) worker: Option<String>,
    pub(crate) cores: Cores,
    pub(crate) memory_mib: u64,
    /// How it ended, in words.
    pub(crate) cause: Option<String>,
    /// Of one that a dispatcher has started, or will.
    pub(crate) dispatched: Option<Dispatched>,
}

/// What a dispatcher knows of a driver.
#[derive(Debug, Clone)]
pub(crate) struct Dispatched {
    /// Spark's word.
    pub(crate) state: &'static str,
    pub(crate) retries: u32,
    /// When it is started again.
    pub(crate) next: Option<Timestamp>,
    /// Links.
    pub(crate) sandbox: Option<String>,
    pub(crate) history: Option<String>,
}

/// An executor.
#[derive(Debug, Clone)]
pub(crate) struct ExecutorView {
    pub(crate) id: ExecutorId,
    pub(crate) profile: u32,
    pub(crate) state: &'static str,
    pub(crate) since: Timestamp,
    pub(crate) worker: String,
    pub(crate) cores: Option<Cores>,
    pub(crate) cause: Option<String>,
    /// A link to what it left on its agent.
    pub(crate) sandbox: Option<String>,
}

/// A process on a worker: the driver of an application, or an executor.
pub(crate) type ProcessView = (AppId, Option<ExecutorId>);

/// All of it, but for the executors.
#[derive(Debug, Clone)]
pub(crate) struct Overview {
    /// Spark's word.
    pub(crate) status: &'static str,
    pub(crate) workers: Vec<WorkerView>,
    pub(crate) apps: Vec<AppView>,
}

impl Worker {
    fn view(&self, now: Instant) -> WorkerView {
        let whole = self.whole();
        let free = |name: &String| self.free.extra.get(name).copied().unwrap_or(0);
        let ago = jiff::SignedDuration::try_from(now - self.seen).unwrap_or_default();
        WorkerView {
            id: self.info.id.clone(),
            host: self.info.host.clone(),
            port: self.info.port,
            web: self.info.web.clone(),
            state: match self.state {
                WorkerState::Alive => "ALIVE",
                WorkerState::Leaving => "DECOMMISSIONED",
                WorkerState::Away(_) => "UNKNOWN",
                WorkerState::Dead(_) => "DEAD",
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
            heard: Timestamp::now() - ago,
            processes: self.tasks.len(),
        }
    }
}

impl App {
    /// Spark's word (Spark 3.5, `ApplicationState`).
    fn app_state(&self) -> &'static str {
        match &self.driver.state {
            State::Ended(_) => match self.driver_state() {
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
            state: self.driver_state(),
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
            worker: executor.worker.clone(),
            cores: Some(executor.need.cores),
            cause: None,
            sandbox: None,
        });
        let ended = self.ended.iter().rev().map(|(status, worker)| ExecutorView {
            id: status.id,
            profile: status.profile.0,
            state: word(&status.state),
            since: status.since,
            worker: worker.clone(),
            cores: None,
            cause: status.state.end().map(|end| end.cause.to_string()),
            sandbox: None,
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

impl Cluster {
    /// How it is, but for executors.
    pub(crate) fn overview(&self, now: Instant) -> Overview {
        Overview {
            status: if self.is_recovering() { "RECOVERING" } else { "ALIVE" },
            workers: self.workers.values().map(|worker| worker.view(now)).collect(),
            apps: self.apps.values().map(|app| self.view(app, now)).collect(),
        }
    }

    fn view(&self, app: &App, now: Instant) -> AppView {
        let mut view = app.view();
        let (Some(lender), Some(driver)) = (self.lender(), &mut view.driver) else { return view };
        let wait = app.not_before.and_then(|at| at.checked_duration_since(now));
        let wait = wait.filter(|_| matches!(app.place, Place::Waiting(_)));
        let wait = wait.and_then(|wait| jiff::SignedDuration::try_from(wait).ok());
        let agent = driver.worker.as_deref();
        driver.dispatched = Some(Dispatched {
            state: app.dispatched_state(),
            retries: app.attempts,
            next: wait.map(|wait| Timestamp::now() + wait),
            sandbox: agent.and_then(|agent| {
                lender.sandbox(agent, app.id(), Task::Driver, app.driver_attempt)
            }),
            history: agent.and_then(|_| lender.history(app.id(), app.driver_attempt)),
        });
        view
    }

    /// An application and its executors, and how many of these there are.
    pub(crate) fn app_view(
        &self,
        app: &AppId,
        skip: usize,
        many: usize,
    ) -> Option<(AppView, Vec<ExecutorView>, usize)> {
        let app = self.app(app)?;
        let all = app.executors.len() + app.ended.len();
        let mut executors = app.executor_views(skip, many);
        if let Some(lender) = self.lender() {
            for executor in &mut executors {
                let task = Task::Executor(executor.id);
                executor.sandbox = lender.sandbox(&executor.worker, app.id(), task, app.attempts);
            }
        }
        Some((self.view(app, Instant::now()), executors, all))
    }

    /// A worker, and what runs there.
    pub(crate) fn worker_view(
        &self,
        id: &str,
        now: Instant,
    ) -> Option<(WorkerView, Vec<ProcessView>)> {
        let worker = self.workers.get(id)?;
        let tasks = worker.tasks.iter().map(|(app, task)| match task {
            Task::Driver => (app.clone(), None),
            Task::Executor(id) => (app.clone(), Some(*id)),
        });
        Some((worker.view(now), tasks.collect()))
    }

    /// How long ago it began.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now - self.began
    }
}
