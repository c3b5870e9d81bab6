//! The engine: all that a master knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Status};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::amount::{Amount, Cores};
use crate::app::App;
use crate::effects::{Effect, Effects};
use crate::event_log::EventLog;
use crate::flush::DirtySet;
use crate::recovery::Recovery;
use crate::supply::{Demand, OfferSettings, ProcessSpec, Standing, Supply, Transient};
use crate::time::Now;
use crate::wait_index::WaitIndex;
use crate::worker_index::{Patience, Workers};

/// What the administrator has decided.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The master URL, as applications are told it.
    pub master: String,
    /// Whether executors are spread out over workers (`spark.deploy.spreadOutApps`).
    pub spread_out: bool,
    /// The cores of an application that does not say how many it wants at most (`spark.deploy.defaultCores`).
    pub default_cores: Cores,
    /// How many executors may fail in a row, with none running, before the engine gives up on an application
    /// (`spark.deploy.maxExecutorRetries`); `None`: any number.
    pub max_retries: Option<u32>,
    /// How long a worker may be silent (`spark.worker.timeout`).
    pub worker_timeout: Duration,
    /// How long a worker, or an external driver, whose connection ended has to come back.
    pub return_time: Duration,
    /// How many applications that ended are remembered (`spark.deploy.retainedApplications`).
    pub retained: usize,
    /// The largest record that can be stored, in bytes.
    pub max_record: usize,
    /// Properties that are kept from applications.
    pub hidden_properties: &'static [&'static str],
    /// How it schedules on offers, if it has no workers.
    pub offers: Option<OfferSettings>,
}

impl Settings {
    /// Those of a cluster of workers where no property says anything, for any number of failures.
    pub fn new(master: impl Into<String>) -> Self {
        Self {
            master: master.into(),
            spread_out: true,
            default_cores: Cores::ALL,
            max_retries: None,
            worker_timeout: Duration::from_secs(60),
            return_time: Duration::from_secs(5),
            retained: 200,
            max_record: usize::MAX,
            hidden_properties: &[],
            offers: None,
        }
    }
}

/// How many time-outs a dead worker is shown: Spark keeps it for 15 more rounds.
const SHOWN_TIMEOUTS: u32 = 16;

/// The position of an application in the order of submission.
pub type SubmissionSeq = u64;

/// The scheduling engine. Callers say [what time it is](Self::at) before they change it, and carry out its
/// [effects](Self::take_effects) afterwards.
#[derive(Debug)]
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) supply: Box<dyn Supply>,
    pub(crate) began: Now,
    pub(crate) now: Now,
    pub(crate) rng: StdRng,
    pub(crate) workers: Workers,
    /// Applications that lost executors with a worker which may come back, by that worker.
    pub(crate) losses: HashMap<String, BTreeSet<SubmissionSeq>>,
    pub(crate) apps: BTreeMap<SubmissionSeq, App>,
    pub(crate) seqs: HashMap<AppId, SubmissionSeq>,
    pub(crate) last_seq: SubmissionSeq,
    /// How many were given an id of Spark's form.
    pub(crate) submitted: u64,
    /// Applications that may have executors to be placed.
    pub(crate) wanting: WaitIndex,
    /// Applications whose drivers may be queued.
    pub(crate) waiting: WaitIndex,
    /// Applications that have ended, with all their executors.
    pub(crate) finished: BTreeSet<SubmissionSeq>,
    /// How many drivers were given to a worker and have not ended.
    pub(crate) assigned_drivers: usize,
    /// Applications with executors that failed, and when some of that is forgiven.
    pub(crate) forgiving: BTreeSet<(crate::time::Instant, SubmissionSeq)>,
    /// Applications whose allocation may have changed.
    pub(crate) touched: BTreeSet<SubmissionSeq>,
    /// The worker on which a driver was placed last.
    pub(crate) last_worker: String,
    /// Something was released, or is wanted, since the last scheduling pass.
    pub(crate) is_due: bool,
    /// Agents with offers in this pass.
    pub(crate) offered: Vec<String>,
    pub(crate) demand: Demand,
    /// Queued drivers whose pause ends then.
    pub(crate) retries: BTreeSet<(crate::time::Instant, SubmissionSeq)>,
    /// External drivers whose connection has ended, and until when they may come back.
    pub(crate) detached: BTreeSet<(crate::time::Instant, AppId, u64)>,
    pub(crate) events: EventLog,
    pub(crate) effects: Effects,
    /// What is to be written, if the engine is persistent.
    pub(crate) dirty: Option<DirtySet>,
    pub(crate) recovery: Option<Recovery>,
    /// Records of other parts of the daemon, by name.
    pub(crate) extensions: BTreeMap<String, Vec<u8>>,
}

impl Engine {
    /// An engine that knows nothing yet. `seed`: for the secrets of applications, so it has to be unpredictable in
    /// production.
    pub fn new(settings: Settings, seed: [u8; 32], now: Now) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let events = EventLog::new(rand::RngExt::random(&mut rng));
        let supply: Box<dyn Supply> = match settings.offers.clone() {
            Some(offers) => Box::new(Transient(offers)),
            None => Box::new(Standing),
        };
        let patience = Patience {
            silent: settings.worker_timeout,
            away: settings.return_time,
            shown: settings.worker_timeout * SHOWN_TIMEOUTS,
        };
        Self {
            settings,
            supply,
            began: now,
            now,
            rng,
            workers: Workers::new(patience),
            apps: BTreeMap::new(),
            seqs: HashMap::new(),
            last_seq: 0,
            submitted: 0,
            wanting: WaitIndex::default(),
            waiting: WaitIndex::default(),
            finished: BTreeSet::new(),
            assigned_drivers: 0,
            forgiving: BTreeSet::new(),
            losses: HashMap::new(),
            touched: BTreeSet::new(),
            last_worker: String::new(),
            is_due: false,
            offered: Vec::new(),
            demand: Demand::default(),
            retries: BTreeSet::new(),
            detached: BTreeSet::new(),
            events,
            effects: Effects::default(),
            dirty: None,
            recovery: None,
            extensions: BTreeMap::new(),
        }
    }

    /// Says what time it is. Every change takes place at the time that was said last; the monotonic clock does not
    /// go back.
    pub fn at(&mut self, now: Now) -> &mut Self {
        self.now = Now { at: self.now.at.max(now.at), wall: now.wall };
        self
    }

    /// Takes what has to be done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.effects.take()
    }

    /// What the administrator has decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What has happened lately.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What a process takes.
    pub(crate) fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
        self.supply.need(conf, process)
    }

    pub(crate) fn app(&self, id: &AppId) -> Option<&App> {
        self.seqs.get(id).and_then(|seq| self.apps.get(seq))
    }

    pub(crate) fn app_mut(&mut self, id: &AppId) -> Option<(SubmissionSeq, &mut App)> {
        let seq = *self.seqs.get(id)?;
        self.apps.get_mut(&seq).map(|app| (seq, app))
    }

    /// The state of everything, or of one application.
    pub fn statuses(&self, app: Option<&AppId>) -> Vec<Status> {
        match app {
            Some(app) => self.app(app).into_iter().flat_map(App::statuses).collect(),
            None => self.apps.values().flat_map(App::statuses).collect(),
        }
    }
}
