//! The state of a cluster and how it changes: workers, applications, their drivers and executors.
//!
//! No I/O and no clock: whoever calls says what time it is, and what is to be told to workers goes into
//! the queues of their connections.

mod app;
mod call;
mod pass;
mod recovery;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anymaster_core::model::{AppId, Status};
use tokio::time::Instant;

use self::app::App;
pub(crate) use self::app::Session;
use self::recovery::{Recovery, Unwritten};
pub(crate) use self::worker::Link;
use self::worker::Worker;
use super::news::News;

/// What the administrator has decided.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The master URL, as applications are told it.
    pub(crate) master: String,
    /// Whether executors are spread out over workers (`spark.deploy.spreadOutApps`).
    pub(crate) spread_out: bool,
    /// The cores of an application that does not say how many it wants at most
    /// (`spark.deploy.defaultCores`).
    pub(crate) default_cores: u32,
    /// How many executors may fail in a row, with none running, before an application is given up
    /// (`spark.deploy.maxExecutorRetries`); `None`: any number.
    pub(crate) max_retries: Option<u32>,
    /// How long a worker may be silent (`spark.worker.timeout`).
    pub(crate) worker_timeout: Duration,
    /// How long one whose connection ended has to come back.
    pub(crate) return_time: Duration,
    /// How many applications that ended are remembered (`spark.deploy.retainedApplications`).
    pub(crate) retained: usize,
}

/// Where an application is in the queue: the order of their submission.
pub(crate) type Turn = u64;

/// All that a master knows.
#[derive(Debug)]
pub(crate) struct Cluster {
    policy: Policy,
    began: Instant,
    workers: BTreeMap<String, Worker>,
    apps: BTreeMap<Turn, App>,
    turns: HashMap<AppId, Turn>,
    last_turn: Turn,
    /// Those that may have something to be scheduled for.
    wanting: BTreeSet<Turn>,
    /// Those whose allocation may have changed.
    touched: BTreeSet<Turn>,
    /// From which worker on drivers are placed.
    next_worker: usize,
    /// Something was freed, or is wanted, since the last pass.
    is_due: bool,
    news: News,
    /// What is to be written, if anything is kept.
    unwritten: Option<Unwritten>,
    recovery: Option<Recovery>,
}

impl Cluster {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            began: Instant::now(),
            workers: BTreeMap::new(),
            apps: BTreeMap::new(),
            turns: HashMap::new(),
            last_turn: 0,
            wanting: BTreeSet::new(),
            touched: BTreeSet::new(),
            next_worker: 0,
            is_due: false,
            news: News::new(),
            unwritten: None,
            recovery: None,
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn news(&self) -> &News {
        &self.news
    }

    fn app(&self, id: &AppId) -> Option<&App> {
        self.turns.get(id).and_then(|turn| self.apps.get(turn))
    }

    fn app_mut(&mut self, id: &AppId) -> Option<(Turn, &mut App)> {
        let turn = *self.turns.get(id)?;
        self.apps.get_mut(&turn).map(|app| (turn, app))
    }

    /// All of it, or of one application.
    pub(crate) fn statuses(&self, app: Option<&AppId>) -> Vec<Status> {
        match app {
            Some(app) => self.app(app).into_iter().flat_map(App::statuses).collect(),
            None => self.apps.values().flat_map(App::statuses).collect(),
        }
    }
}
