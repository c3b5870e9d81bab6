//! The state of a cluster and how it changes: workers, applications, their drivers and executors.
//!
//! No I/O and no clock: whoever calls says what time it is, and what is to be told to workers goes into
//! the queues of their connections.

mod app;
mod borrow;
mod call;
mod outbox;
mod pass;
mod recovery;
mod sizes;
mod submissions;
#[cfg(test)]
pub(in crate::master) mod tests;
mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use self::app::App;
pub(crate) use self::app::Session;
use self::outbox::Outbox;
pub(crate) use self::recovery::Writing;
use self::recovery::{Recovery, Unwritten};
pub(crate) use self::view::{
    AppView, Dispatched, DriverView, ExecutorView, Overview, ProcessView, WorkerView,
};
use self::worker::Worker;
pub(crate) use self::worker::{Link, Messages};
use super::amount::{Amount, Cores};
use super::lender::{Demand, Lender, Lending, What};
use super::news::News;

/// What the administrator has decided.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The master URL, as applications are told it.
    pub(crate) master: String,
    /// Where the daemon listens: `HOST:PORT`.
    pub(crate) address: String,
    /// Where Spark's submission protocol is spoken.
    pub(crate) rest: Option<String>,
    /// Where the page is.
    pub(crate) web: String,
    /// Whether executors are spread out over workers (`spark.deploy.spreadOutApps`).
    pub(crate) spread_out: bool,
    /// The cores of an application that does not say how many it wants at most
    /// (`spark.deploy.defaultCores`).
    pub(crate) default_cores: Cores,
    /// How many executors may fail in a row, with none running, before an application is given up
    /// (`spark.deploy.maxExecutorRetries`); `None`: any number.
    pub(crate) max_retries: Option<u32>,
    /// How long a worker may be silent (`spark.worker.timeout`).
    pub(crate) worker_timeout: Duration,
    /// How long one whose connection ended has to come back.
    pub(crate) return_time: Duration,
    /// How many applications that ended are remembered (`spark.deploy.retainedApplications`).
    pub(crate) retained: usize,
    /// How long a record of what survives may be, in bytes.
    pub(crate) max_record: usize,
    /// How it lives of what others offer, if it has no workers of its own.
    pub(crate) lending: Option<Lending>,
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
    /// How many were given an id of Spark's form.
    submitted: u64,
    /// Those that may have something to be scheduled for.
    wanting: BTreeSet<Turn>,
    /// Those whose drivers may wait for a place.
    waiting: BTreeSet<Turn>,
    /// Those of which nothing is left.
    over: BTreeSet<Turn>,
    /// Those whose allocation may have changed.
    touched: BTreeSet<Turn>,
    /// From which worker on drivers are placed.
    next_worker: usize,
    /// Something was freed, or is wanted, since the last pass.
    is_due: bool,
    /// The time, as it was last told.
    now: Instant,
    /// Agents whose offers this pass is about.
    offered: Vec<String>,
    demand: watch::Sender<Demand>,
    /// Drivers that are started again then.
    retries: BTreeSet<(Instant, Turn)>,
    news: News,
    /// What is to be written, if anything is kept.
    unwritten: Option<Unwritten>,
    /// What is to be said when it has been written, if anything is kept.
    outbox: Option<Outbox>,
    recovery: Option<Recovery>,
    /// What other parts of the daemon keep here, by name.
    beside: BTreeMap<String, Vec<u8>>,
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
            submitted: 0,
            wanting: BTreeSet::new(),
            waiting: BTreeSet::new(),
            over: BTreeSet::new(),
            touched: BTreeSet::new(),
            next_worker: 0,
            is_due: false,
            now: Instant::now(),
            offered: Vec::new(),
            demand: watch::Sender::default(),
            retries: BTreeSet::new(),
            news: News::new(),
            unwritten: None,
            outbox: None,
            recovery: None,
            beside: BTreeMap::new(),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who borrows for it, if it lives of offers.
    fn lender(&self) -> Option<&dyn Lender> {
        self.policy.lending.as_ref().map(|lending| &*lending.lender)
    }

    /// What a process takes.
    fn need(&self, conf: &Conf, what: What<'_>) -> Result<Amount> {
        match (self.lender(), what) {
            (Some(lender), _) => lender.need(conf, what),
            (None, What::Driver(spec)) => Ok(pass::need(&spec.resources)),
            (None, What::Executor(profile, _)) => Ok(pass::need(profile)),
        }
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
