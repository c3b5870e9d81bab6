//! One application: its driver, its executors, and how far it is on the way to its target.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, DriverStatus, ExecutorId, ExecutorStatus,
    ExecutorTarget, ExecutorTemplate, KilledBy, ProfileId, State, Status, Stop,
};
use anymaster_core::reconcile::{AllocationPolicy, Failures};

use crate::amount::{Amount, Cores};
use crate::driver::DriverPlacement;
use crate::executors::Executor;
use crate::model::{Application, Task};
use crate::time::Instant;
use crate::worker_index::WorkerNumber;

/// How long executors have to end after their driver.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How a process ends that nobody knows.
pub(crate) const ORPHAN_STOP: Stop = Stop { by: KilledBy::DriverEnd, grace: LAST_GRACE };
/// How many executors of an application may fail on a worker before it is left out for that application
/// (Spark 3.5, `spark.excludeOnFailure.application.maxFailedExecutorsPerNode`; on Mesos,
/// `MAX_AGENT_FAILURES`).
pub(crate) const MAX_FAILURES: usize = 2;
/// How long such a failure counts (`spark.excludeOnFailure.timeout`).
pub(crate) const FORGIVEN_AFTER: Duration = Duration::from_secs(3600);

/// What an application wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) target: ExecutorTarget,
    /// The target's, shared by all orders.
    pub(crate) template: Arc<ExecutorTemplate>,
}

/// Whether an application gets the executors that it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetProgress {
    /// Nothing stands in the way.
    Open,
    /// Something stood in the way in the last scheduling pass.
    Blocked(Box<str>),
    /// Too many failed: none are started until it declares another target.
    GivenUp(Box<str>),
}

/// What may change that.
#[derive(Debug)]
pub(crate) enum TargetEvent {
    /// It declares a target.
    NewTarget,
    /// A scheduling pass has ended, and this stood in the way.
    Pass(Option<Box<str>>),
    /// Too many executors failed.
    GiveUp(Box<str>),
}

impl TargetProgress {
    /// The one function by which it changes. Whether it has.
    pub(crate) fn apply(&mut self, event: TargetEvent) -> bool {
        let after = match (&*self, event) {
            (_, TargetEvent::NewTarget) => Self::Open,
            (Self::GivenUp(_), TargetEvent::Pass(_) | TargetEvent::GiveUp(_)) => return false,
            (_, TargetEvent::GiveUp(why)) => Self::GivenUp(why),
            (_, TargetEvent::Pass(Some(why))) => Self::Blocked(why),
            (_, TargetEvent::Pass(None)) => Self::Open,
        };
        let before = std::mem::replace(self, after);
        before != *self
    }
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) driver: DriverStatus,
    pub(crate) placement: DriverPlacement,
    pub(crate) shared: Application,
    /// Of the specification, to know it again.
    pub(crate) digest: String,
    /// The same of a registered external driver; empty for one that attached itself.
    pub(crate) registration: String,
    /// How the driver was asked to end.
    pub(crate) asked: Option<Stop>,
    pub(crate) policy: AllocationPolicy,
    /// `spark.cores.max`.
    pub(crate) cores_max: Cores,
    pub(crate) has_cores_each: bool,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) most_wanted: u64,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// How those of them were asked to end that have not yet.
    pub(crate) stops: BTreeMap<ExecutorId, Stop>,
    /// Those that ended, and where they were.
    pub(crate) ended: VecDeque<(ExecutorStatus, Arc<str>)>,
    /// How often its driver was started again, on another agent or on the same.
    pub(crate) attempts: u32,
    /// Not before then is it started again.
    pub(crate) not_before: Option<Instant>,
    /// What its driver takes of a worker.
    pub(crate) driver_need: Amount,
    /// Where its driver is, or was, and as which attempt.
    pub(crate) driver_worker: Option<String>,
    pub(crate) driver_attempt: u32,
    pub(crate) last_id: u64,
    /// It is known to survive the master, where anything does.
    pub(crate) is_written: bool,
    /// Ids up to this one are set aside, and up to the other that is written down.
    pub(crate) reserved: u64,
    pub(crate) written: u64,
    pub(crate) cores: Cores,
    /// Of those that are pending or run: how many, by profile.
    pub(crate) alive: BTreeMap<ProfileId, u32>,
    pub(crate) running: u64,
    pub(crate) pending: u64,
    pub(crate) failures: Failures,
    /// Workers on which executors failed one after the other, and when the last ones did.
    pub(crate) failing_workers: BTreeMap<String, VecDeque<Instant>>,
    /// The engine will forgive the oldest of these failures.
    pub(crate) is_forgiving: bool,
    /// Failures since one ran (Spark's `retryCount`).
    pub(crate) retries: u32,
    pub(crate) progress: TargetProgress,
    pub(crate) allocation: AllocationStatus,
    /// Lost workers that may still have executors of it: those with ids up to this one have ended for everybody.
    pub(crate) lost_workers: BTreeMap<String, u64>,
    /// Workers that may know of it.
    pub(crate) informed_workers: BTreeSet<WorkerNumber>,
}

impl App {
    pub(crate) fn new(
        driver: DriverStatus,
        placement: DriverPlacement,
        shared: Application,
        digest: String,
    ) -> Self {
        let allocation = AllocationStatus::new(driver.app.clone());
        let driver_need = match &placement {
            DriverPlacement::Queued(spec) => Amount::of(&spec.resources),
            DriverPlacement::Assigned(assignment) => assignment.need.clone(),
            DriverPlacement::External { .. } | DriverPlacement::None => Amount::default(),
        };
        Self {
            driver,
            driver_need,
            placement,
            shared,
            digest,
            registration: String::new(),
            asked: None,
            policy: AllocationPolicy::default(),
            cores_max: Cores::ALL,
            has_cores_each: true,
            wanted: None,
            most_wanted: 0,
            executors: BTreeMap::new(),
            stops: BTreeMap::new(),
            ended: VecDeque::new(),
            driver_worker: None,
            driver_attempt: 0,
            last_id: 0,
            is_written: false,
            reserved: 0,
            written: 0,
            cores: Cores::default(),
            attempts: 0,
            not_before: None,
            alive: BTreeMap::new(),
            running: 0,
            pending: 0,
            failures: Failures::default(),
            failing_workers: BTreeMap::new(),
            is_forgiving: false,
            retries: 0,
            progress: TargetProgress::Open,
            allocation,
            lost_workers: BTreeMap::new(),
            informed_workers: BTreeSet::new(),
        }
    }

    pub(crate) fn id(&self) -> &AppId {
        &self.driver.app
    }

    /// Whether its driver was submitted: others come by themselves.
    pub(crate) fn is_submitted(&self) -> bool {
        // Of those there is no specification.
        !self.digest.is_empty()
    }

    /// Whether this attempt of its driver was given to a worker, and nobody asked it to end.
    pub(crate) fn is_given_to(&self, worker: &str, attempt: u32) -> bool {
        let assignment = self.placement.assignment();
        assignment.is_some_and(|is| is.worker == worker)
            && self.driver_attempt == attempt
            && self.asked.is_none()
    }

    /// Where executors reach the driver, once it runs.
    pub(crate) fn driver_address(&self) -> Option<(String, u16)> {
        let at_worker = self.driver.host.as_deref();
        match &self.placement {
            DriverPlacement::Assigned(assignment) => {
                let host = assignment.host.as_deref().or(at_worker)?;
                Some((host.to_owned(), assignment.port?))
            }
            DriverPlacement::External { port, .. } => Some((at_worker?.to_owned(), *port)),
            DriverPlacement::Queued(_) | DriverPlacement::None => None,
        }
    }

    /// Whether more executors are wanted, as far as it depends on the application.
    pub(crate) fn is_wanting(&self) -> bool {
        !matches!(self.progress, TargetProgress::GivenUp(_))
            && self.asked.is_none()
            && self.driver_address().is_some()
            && self.missing().next().is_some()
    }

    /// Whether its executors failed too often on a worker.
    pub(crate) fn is_excluded(&self, worker: &str) -> bool {
        self.failing_workers.get(worker).is_some_and(|failures| failures.len() >= MAX_FAILURES)
    }

    /// Forgets failures of long ago. Whether there were any.
    pub(crate) fn expire_failures(&mut self, now: Instant) -> bool {
        let mut has_forgiven = false;
        self.failing_workers.retain(|_, failures| {
            let before = failures.len();
            failures.retain(|at| now.saturating_duration_since(*at) < FORGIVEN_AFTER);
            has_forgiven |= failures.len() < before;
            !failures.is_empty()
        });
        has_forgiven
    }

    /// Of which profiles there are too few, and how many.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (ProfileId, u32)> {
        let profiles = self.wanted.iter().flat_map(|wanted| &wanted.target.profiles);
        profiles.filter_map(|(id, profile)| {
            let alive = self.alive.get(id).copied().unwrap_or(0);
            let missing = profile.executors.saturating_sub(alive);
            (missing > 0).then_some((*id, missing))
        })
    }

    pub(crate) fn statuses(&self) -> Vec<Status> {
        let living =
            self.executors.iter().map(|(id, executor)| self.executor_status(*id, executor));
        let ended = self.ended.iter().map(|(status, _)| status.clone());
        let executors = ended.chain(living).map(Status::Executor);
        let driver = std::iter::once(Status::Driver(self.driver.clone()));
        let has_target = self.most_wanted > 0;
        let allocation = has_target.then(|| Status::Allocation(self.allocation.clone()));
        driver.chain(executors).chain(allocation).collect()
    }

    pub(crate) fn state_of(&self, id: ExecutorId) -> Option<&State> {
        let ended = || self.ended.iter().find(|(ended, _)| ended.id == id);
        let living = self.executors.get(&id).map(|executor| &executor.state);
        living.or_else(|| ended().map(|(ended, _)| &ended.state))
    }

    /// Where a process is, or was.
    pub(crate) fn worker_of(&self, task: Task) -> Option<&str> {
        match task {
            Task::Driver => self.driver_worker.as_deref(),
            Task::Executor(id) => {
                let ended = || self.ended.iter().find(|(ended, _)| ended.id == id);
                let living = self.executors.get(&id).map(|executor| &*executor.place.worker);
                living.or_else(|| ended().map(|(_, worker)| &**worker))
            }
        }
    }

    /// A new declaration by the application: what was given up is taken up again.
    pub(crate) fn set_target(&mut self, target: ExecutorTarget) {
        self.most_wanted = self.most_wanted.max(target.total());
        self.failures.reset();
        if matches!(self.progress, TargetProgress::GivenUp(_)) {
            self.failing_workers.clear();
        }
        self.retries = 0;
        self.progress.apply(TargetEvent::NewTarget);
        let template = Arc::new(target.template.clone());
        self.wanted = Some(Wanted { target, template });
    }

    pub(crate) fn phase(&self) -> &AllocationPhase {
        &self.allocation.phase
    }

    /// Nothing of it is left but what is known.
    pub(crate) fn is_finished(&self) -> bool {
        self.driver.state.is_ended() && self.executors.is_empty()
    }
}
