//! One application: its driver, its executors, and how far it is on the way to its target.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, Cause, DriverSpec, DriverStatus, ExecutorId,
    ExecutorStatus, ExecutorTarget, ExecutorTemplate, KilledBy, Outcome, ProfileId, State, Status,
    Stop,
};
use anymaster_core::reconcile::{AllocationPolicy, Ended, Failures};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::pass::need;
use super::{Cluster, Turn};
use crate::master::amount::{Amount, Cores};
use crate::wire::{Application, Task, ToWorker};

/// How long executors have to end after their driver.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How a process ends that nobody knows.
pub(super) const STRAY: Stop = Stop { by: KilledBy::DriverEnd, grace: LAST_GRACE };
/// How many executors of an application may fail on a worker before it is left out for that application
/// (Spark 3.5, `spark.excludeOnFailure.application.maxFailedExecutorsPerNode`; on Mesos,
/// `MAX_AGENT_FAILURES`).
const MAX_FAILURES: usize = 2;
/// How long such a failure counts (`spark.excludeOnFailure.timeout`).
const FORGIVEN_AFTER: Duration = Duration::from_secs(3600);
/// How many executors of an application that ended are remembered.
const REMEMBERED: usize = 1_000;

/// A driver that is not one of our processes.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Which of its connections counts.
    pub(crate) number: u64,
    /// Turns to `true` when the driver is to end.
    pub(crate) over: watch::Sender<bool>,
}

/// Where a driver is.
#[derive(Debug)]
pub(super) enum Place {
    /// It waits for a worker.
    Waiting(Box<DriverSpec>),
    /// On a worker. Its port, once it runs, and its own host, if it is not reached at its worker's.
    On {
        worker: String,
        need: Amount,
        given: BTreeMap<String, Vec<String>>,
        port: Option<u16>,
        host: Option<String>,
        /// With what it is placed once more: of one that is supervised, when it is lost; of any, when it
        /// turns out not to have been started.
        spec: Option<Box<DriverSpec>>,
        /// It may have been started there.
        begun: bool,
    },
    /// It came by itself.
    Outside {
        port: u16,
        session: Session,
    },
    Nowhere,
}

impl Place {
    /// Takes out with what a supervised driver is started again.
    pub(super) fn take_spec(&mut self) -> Option<Box<DriverSpec>> {
        match self {
            Self::On { spec, .. } => spec.take(),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Executor {
    pub(super) profile: ProfileId,
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) worker: String,
    pub(super) host: Arc<str>,
    pub(super) need: Amount,
    pub(super) given: BTreeMap<String, Vec<String>>,
}

/// What an application wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) target: ExecutorTarget,
    /// The target's, shared by all orders.
    pub(super) template: Arc<ExecutorTemplate>,
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) driver: DriverStatus,
    pub(super) place: Place,
    pub(super) shared: Application,
    /// Of the specification, to know it again.
    pub(super) digest: String,
    /// How the driver was asked to end.
    pub(super) asked: Option<Stop>,
    pub(super) policy: AllocationPolicy,
    /// `spark.cores.max`.
    pub(super) cores_max: Cores,
    pub(super) has_cores_each: bool,
    pub(super) wanted: Option<Wanted>,
    pub(super) most_wanted: u64,
    pub(super) executors: BTreeMap<ExecutorId, Executor>,
    /// How those of them were asked to end that have not yet.
    pub(super) stops: BTreeMap<ExecutorId, Stop>,
    /// Those that ended, and where they were.
    pub(super) ended: VecDeque<(ExecutorStatus, String)>,
    /// How often its driver was started again, on another agent or on the same.
    pub(super) attempts: u32,
    /// Not before then is it started again.
    pub(super) not_before: Option<Instant>,
    /// What its driver takes of a worker.
    pub(super) driver_need: Amount,
    /// Where its driver is, or was, and as which attempt.
    pub(super) driver_worker: Option<String>,
    pub(super) driver_attempt: u32,
    pub(super) last_id: u64,
    /// It is known to survive the master, where anything does.
    pub(super) is_written: bool,
    /// Ids up to this one are set aside, and up to the other that is written down.
    pub(super) reserved: u64,
    pub(super) written: u64,
    pub(super) cores: Cores,
    /// Of those that are pending or run: how many, by profile.
    pub(super) alive: BTreeMap<ProfileId, u32>,
    running: u64,
    pending: u64,
    failures: Failures,
    /// Workers on which executors failed one after the other, and when the last ones did.
    pub(super) failing: BTreeMap<String, VecDeque<Instant>>,
    /// Failures since one ran (Spark's `retryCount`).
    retries: u32,
    given_up: Option<Box<str>>,
    /// What stood in the way at the last pass.
    pub(super) blocked: Option<Box<str>>,
    allocation: AllocationStatus,
    /// What each worker that runs something of it is.
    pub(super) workers: BTreeMap<String, u32>,
    /// Workers that may know of it.
    pub(super) introduced: BTreeSet<String>,
}

impl App {
    pub(super) fn new(
        driver: DriverStatus,
        place: Place,
        shared: Application,
        digest: String,
    ) -> Self {
        let allocation = AllocationStatus {
            app: driver.app.clone(),
            target: 0,
            running: 0,
            pending: 0,
            failed: 0,
            phase: AllocationPhase::Reached,
        };
        let driver_need = match &place {
            Place::Waiting(spec) => need(&spec.resources),
            Place::On { need, .. } => need.clone(),
            _ => Amount::default(),
        };
        Self {
            driver,
            driver_need,
            place,
            shared,
            digest,
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
            failing: BTreeMap::new(),
            retries: 0,
            given_up: None,
            blocked: None,
            allocation,
            workers: BTreeMap::new(),
            introduced: BTreeSet::new(),
        }
    }

    pub(super) fn id(&self) -> &AppId {
        &self.driver.app
    }

    /// Whether its driver was submitted: others come by themselves.
    pub(super) fn is_submitted(&self) -> bool {
        // Of those there is no specification.
        !self.digest.is_empty()
    }

    /// Whether this attempt of its driver was given to a worker, and nobody asked it to end.
    pub(super) fn is_given_to(&self, worker: &str, attempt: u32) -> bool {
        let is_there = matches!(&self.place, Place::On { worker: at, .. } if at == worker);
        is_there && self.driver_attempt == attempt && self.asked.is_none()
    }

    /// From now on its driver may have been started. Whether that is new.
    pub(super) fn begin(&mut self) -> bool {
        match &mut self.place {
            Place::On { begun, .. } => !std::mem::replace(begun, true),
            _ => false,
        }
    }

    /// Where executors reach the driver, once it runs.
    pub(super) fn driver_address(&self) -> Option<(String, u16)> {
        let at_worker = self.driver.host.as_deref();
        match &self.place {
            Place::On { port, host, .. } => {
                Some((host.as_deref().or(at_worker)?.to_owned(), (*port)?))
            }
            Place::Outside { port, .. } => Some((at_worker?.to_owned(), *port)),
            _ => None,
        }
    }

    /// Whether more executors are wanted, as far as it depends on the application.
    pub(super) fn is_wanting(&self) -> bool {
        self.given_up.is_none()
            && self.asked.is_none()
            && self.driver_address().is_some()
            && self.missing().next().is_some()
    }

    /// Whether its executors failed too often on a worker.
    pub(super) fn is_left_out(&self, worker: &str) -> bool {
        self.failing.get(worker).is_some_and(|failures| failures.len() >= MAX_FAILURES)
    }

    /// Forgets failures of long ago. Whether there were any.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        let mut has_forgiven = false;
        self.failing.retain(|_, failures| {
            let before = failures.len();
            failures.retain(|at| now.saturating_duration_since(*at) < FORGIVEN_AFTER);
            has_forgiven |= failures.len() < before;
            !failures.is_empty()
        });
        has_forgiven
    }

    /// Of which profiles there are too few, and how many.
    pub(super) fn missing(&self) -> impl Iterator<Item = (ProfileId, u32)> {
        let profiles = self.wanted.iter().flat_map(|wanted| &wanted.target.profiles);
        profiles.filter_map(|(id, profile)| {
            let alive = self.alive.get(id).copied().unwrap_or(0);
            let missing = profile.executors.saturating_sub(alive);
            (missing > 0).then_some((*id, missing))
        })
    }

    pub(super) fn executor_status(&self, id: ExecutorId, executor: &Executor) -> ExecutorStatus {
        ExecutorStatus {
            app: self.id().clone(),
            id,
            profile: executor.profile,
            state: executor.state.clone(),
            since: executor.since,
            host: Some(Arc::clone(&executor.host)),
        }
    }

    pub(super) fn statuses(&self) -> Vec<Status> {
        let living =
            self.executors.iter().map(|(id, executor)| self.executor_status(*id, executor));
        let ended = self.ended.iter().map(|(status, _)| status.clone());
        let executors = ended.chain(living).map(Status::Executor);
        let driver = std::iter::once(Status::Driver(self.driver.clone()));
        let has_target = self.most_wanted > 0;
        let allocation = has_target.then(|| Status::Allocation(self.allocation.clone()));
        driver.chain(executors).chain(allocation).collect()
    }

    pub(super) fn state_of(&self, id: ExecutorId) -> Option<&State> {
        let ended = || self.ended.iter().find(|(ended, _)| ended.id == id);
        let living = self.executors.get(&id).map(|executor| &executor.state);
        living.or_else(|| ended().map(|(ended, _)| &ended.state))
    }

    /// Where a process is, or was.
    pub(super) fn worker_of(&self, task: Task) -> Option<&String> {
        match task {
            Task::Driver => self.driver_worker.as_ref(),
            Task::Executor(id) => {
                let ended = || self.ended.iter().find(|(ended, _)| ended.id == id);
                let living = self.executors.get(&id).map(|executor| &executor.worker);
                living.or_else(|| ended().map(|(_, worker)| worker))
            }
        }
    }

    /// Adds an executor that is on its way to a worker.
    pub(super) fn add(&mut self, id: ExecutorId, executor: Executor) {
        *self.alive.entry(executor.profile).or_default() += 1;
        self.pending += 1;
        self.cores += executor.need.cores;
        *self.workers.entry(executor.worker.clone()).or_default() += 1;
        self.executors.insert(id, executor);
    }

    fn count(&mut self, state: &State, profile: ProfileId, by: i64) {
        let counted = match state {
            State::Pending { .. } => &mut self.pending,
            State::Running => &mut self.running,
            _ => return,
        };
        *counted = counted.saturating_add_signed(by);
        let alive = self.alive.entry(profile).or_default();
        *alive = alive.saturating_add_signed(by as i32);
    }

    /// An executor is in another state.
    pub(super) fn set_state(&mut self, id: ExecutorId, state: State) -> Option<Status> {
        let executor = self.executors.get_mut(&id)?;
        if state.rank() <= executor.state.rank() {
            return None;
        }
        let (before, profile) =
            (std::mem::replace(&mut executor.state, state.clone()), executor.profile);
        executor.since = Timestamp::now();
        self.count(&before, profile, -1);
        self.count(&state, profile, 1);
        if state == State::Running {
            self.retries = 0;
        }
        let executor = self.executors.get(&id)?;
        Some(Status::Executor(self.executor_status(id, executor)))
    }

    /// An executor ended: takes it out, with its last status.
    fn end_executor(&mut self, id: ExecutorId, outcome: Outcome) -> Option<(Executor, Status)> {
        let state = outcome.into_state();
        let status = self.set_state(id, state)?;
        let executor = self.executors.remove(&id)?;
        self.stops.remove(&id);
        self.cores = self.cores - executor.need.cores;
        self.forget_worker(&executor.worker);
        if let Status::Executor(ended) = &status {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((ended.clone(), executor.worker.clone()));
        }
        Some((executor, status))
    }

    pub(super) fn forget_worker(&mut self, worker: &str) -> bool {
        let Some(tasks) = self.workers.get_mut(worker) else { return false };
        *tasks = tasks.saturating_sub(1);
        let is_last = *tasks == 0;
        if is_last {
            self.workers.remove(worker);
        }
        is_last
    }

    /// Counts an end as a failure, if it is one, and gives up if there were too many. `now`: since the
    /// master began.
    fn learn(&mut self, ended: &Ended, max_retries: Option<u32>, now: Duration) {
        let before = self.failures.total();
        self.failures.count(ended, now);
        if self.failures.total() == before {
            return;
        }
        self.retries += 1;
        let limit = self.policy.failure_limit(self.most_wanted);
        self.failures.trim(&self.policy, limit, now);
        if let Some(why) = self.failures.verdict(&self.policy, limit) {
            self.give_up(why);
        } else if max_retries.is_some_and(|most| self.retries >= most) && self.running == 0 {
            let why = format!(
                "{} failed one after the other, none running: as many as \
                 spark.deploy.maxExecutorRetries allows; the last one: executor {} {}",
                anymaster_core::counted(self.retries, "executor"),
                ended.id,
                ended.cause
            );
            self.give_up(why);
        }
    }

    fn give_up(&mut self, why: String) {
        if self.given_up.is_none() {
            tracing::warn!(app = %self.id(), "{why}");
            self.given_up = Some(why.into());
        }
    }

    /// A new declaration by the application: what was given up is taken up again.
    pub(super) fn set_target(&mut self, target: ExecutorTarget) {
        self.most_wanted = self.most_wanted.max(target.total());
        self.failures.reset();
        if self.given_up.is_some() {
            self.failing.clear();
        }
        (self.retries, self.given_up, self.blocked) = (0, None, None);
        let template = Arc::new(target.template.clone());
        self.wanted = Some(Wanted { target, template });
    }

    /// Asks an executor to end. The first one to ask is the cause; who is in more of a hurry is heard
    /// as well.
    fn ask_to_end(&mut self, id: ExecutorId, stop: Stop) -> Option<Status> {
        let status = self.set_state(id, State::Ending);
        let asked = self.stops.entry(id).or_insert(stop);
        asked.grace = asked.grace.min(stop.grace);
        status
    }

    /// Those that are too many now, the youngest first, those that do not run yet before all others.
    pub(super) fn surplus(&self) -> Vec<ExecutorId> {
        let mut surplus = Vec::new();
        for (profile, alive) in &self.alive {
            let wanted = self.wanted.as_ref().and_then(|w| w.target.profiles.get(profile));
            let target = wanted.map_or(0, |wanted| wanted.executors);
            let many = alive.saturating_sub(target) as usize;
            if many == 0 {
                continue;
            }
            let of_profile = |pending: bool| {
                let living = self.executors.iter().rev();
                living.filter(move |(_, executor)| {
                    executor.profile == *profile
                        && match executor.state {
                            State::Pending { .. } => pending,
                            State::Running => !pending,
                            _ => false,
                        }
                })
            };
            let all = of_profile(true).chain(of_profile(false));
            surplus.extend(all.map(|(id, _)| *id).take(many));
        }
        surplus
    }

    /// How far it is, if that is news.
    pub(super) fn allocation(&mut self) -> Option<Status> {
        let target = self.wanted.as_ref().map_or(0, |wanted| wanted.target.total());
        let settled = self.executors.len() as u64 == self.running;
        let phase = match (&self.given_up, &self.blocked) {
            (Some(why), _) => AllocationPhase::GivenUp { why: why.clone() },
            _ if self.running == target && settled => AllocationPhase::Reached,
            (None, Some(why)) if self.missing().next().is_some() => {
                AllocationPhase::Blocked { why: why.clone() }
            }
            _ => AllocationPhase::Moving,
        };
        let allocation = AllocationStatus {
            app: self.id().clone(),
            target,
            running: self.running,
            pending: self.pending,
            failed: self.failures.total(),
            phase,
        };
        if allocation == self.allocation {
            return None;
        }
        self.allocation = allocation.clone();
        (self.most_wanted > 0).then_some(Status::Allocation(allocation))
    }

    pub(super) fn phase(&self) -> &AllocationPhase {
        &self.allocation.phase
    }

    /// Nothing of it is left but what is known.
    pub(super) fn is_over(&self) -> bool {
        self.driver.state.is_ended() && self.executors.is_empty()
    }
}

impl Cluster {
    /// Tells what is new of a driver.
    pub(super) fn set_driver_state(&mut self, turn: Turn, state: State) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        if state.rank() > app.driver.state.rank() {
            app.driver.state = state;
            let status = Status::Driver(app.driver.clone());
            self.news.push(status);
            self.mark(turn);
        }
    }

    /// A process runs.
    pub(super) fn runs(
        &mut self,
        app: &AppId,
        task: Task,
        port: Option<u16>,
        host: Option<String>,
    ) {
        let Some((turn, app)) = self.app_mut(app) else { return };
        match task {
            Task::Driver => {
                if let Place::On { port: known_port, host: known_host, spec, begun, .. } =
                    &mut app.place
                {
                    *known_port = port.or(*known_port);
                    *known_host = host.or(known_host.take());
                    *begun = true;
                    // It is there: it is not placed once more unless it is supervised.
                    *spec = spec.take().filter(|spec| spec.supervise);
                }
                self.set_driver_state(turn, State::Running);
                self.wanting.insert(turn);
                self.is_due = true;
            }
            Task::Executor(id) => {
                let status = app.set_state(id, State::Running);
                self.news_of(turn, status);
            }
        }
    }

    /// Applications that wait may try workers again on which they failed long ago. Says when to look
    /// again.
    pub(super) fn check_failures(&mut self) -> Option<Instant> {
        let mut next = None;
        for turn in &self.wanting {
            let Some(app) = self.apps.get_mut(turn) else { continue };
            self.is_due |= app.forgive(self.now);
            let oldest = app.failing.values().flatten().min().map(|at| *at + FORGIVEN_AFTER);
            next = next.into_iter().chain(oldest).min();
        }
        next
    }

    fn news_of(&mut self, turn: Turn, status: Option<Status>) {
        if let Some(status) = status {
            self.news.push(status);
            self.touched.insert(turn);
        }
    }

    /// A driver failed and is started again: its executors were those of the one before.
    pub(super) fn restarts(&mut self, app: &AppId, outcome: &Outcome) {
        tracing::warn!(%app, "its driver {}, and is started again", outcome.cause);
        if let Some((turn, app)) = self.app_mut(app) {
            app.wanted = None;
            self.stop_all(turn, STRAY);
            self.mark(turn);
        }
    }

    /// A process ended on its worker.
    pub(super) fn ended_at(&mut self, app: &AppId, task: Task, outcome: Outcome, now: Instant) {
        if let Task::Executor(id) = task
            && let (max_retries, since) = (self.policy.max_retries, now - self.began)
            && let Some((turn, app)) = self.app_mut(app)
            && let Some(executor) = app.executors.get(&id)
        {
            let (profile, cause) = (executor.profile, outcome.cause.clone());
            if cause.is_failure() && app.asked.is_none() {
                let failures = app.failing.entry(executor.worker.clone()).or_default();
                failures.push_back(now);
                if failures.len() > MAX_FAILURES {
                    failures.pop_front();
                }
            } else if cause == Cause::Finished {
                app.failing.remove(&executor.worker);
            }
            let ended = Ended { id, profile, cause, asked: app.asked.is_some() };
            app.learn(&ended, max_retries, since);
            self.touched.insert(turn);
        }
        self.ended(app, task, outcome);
    }

    /// A process is no more.
    pub(super) fn ended(&mut self, app: &AppId, task: Task, outcome: Outcome) {
        let is_lent = self.policy.lending.is_some();
        let Some((turn, entry)) = self.app_mut(app) else { return };
        match task {
            Task::Driver => {
                let is_lost = matches!(outcome.cause, Cause::Lost { .. } | Cause::Evicted { .. });
                let never_began = matches!(entry.place, Place::On { begun: false, .. });
                if is_lost && never_began && self.place_again(app) {
                    return;
                }
                let Some((_, entry)) = self.app_mut(app) else { return };
                let place = std::mem::replace(&mut entry.place, Place::Nowhere);
                let outcome = match (entry.asked, &outcome.cause) {
                    // Its worker goes as well; but it was asked to end before.
                    (Some(stop), Cause::Evicted { .. }) => {
                        Outcome { cause: Cause::Killed { by: stop.by }, ..outcome }
                    }
                    _ => outcome,
                };
                let mut again = None;
                if let Place::On { worker, need, given, spec, .. } = place {
                    // A worker sees to its own drivers, as long as it is there; an agent does not.
                    let is_to_go_on = is_lost || is_lent && outcome.cause.is_failure();
                    again =
                        spec.filter(|spec| is_to_go_on && spec.supervise && entry.asked.is_none());
                    entry.forget_worker(&worker);
                    self.release(&worker, app, task, &need, given);
                }
                match again {
                    Some(spec) => self.start_again(turn, spec, &outcome.cause, true),
                    None => self.end_driver(turn, outcome),
                }
            }
            Task::Executor(id) => {
                let Some((executor, status)) = entry.end_executor(id, outcome) else { return };
                self.news.push(status);
                self.touched.insert(turn);
                self.wanting.insert(turn);
                self.release(&executor.worker, app, task, &executor.need, executor.given);
                self.tidy(turn);
            }
        }
    }

    /// It is certain that a driver was not started where it was placed, and not for its own fault: it waits
    /// for a place again. Whether it does; if not, it has run, or there is nothing to start it with.
    pub(super) fn place_again(&mut self, id: &AppId) -> bool {
        let Some((turn, app)) = self.app_mut(id) else { return false };
        if !matches!(&app.place, Place::On { spec: Some(_), port: None, .. }) {
            return false;
        }
        let place = std::mem::replace(&mut app.place, Place::Nowhere);
        let Place::On { worker, need, given, spec: Some(spec), .. } = place else { return false };
        app.forget_worker(&worker);
        (app.driver.host, app.driver_worker) = (None, None);
        app.place = Place::Waiting(spec);
        let (asked, status) = (app.asked, Status::Driver(app.driver.clone()));
        self.release(&worker, id, Task::Driver, &need, given);
        if let Some(stop) = asked {
            self.end_driver(turn, Cause::Killed { by: stop.by }.into());
            return true;
        }
        tracing::info!(app = %id, "its driver was not started on {worker}: it waits for a place again");
        self.news.push(status);
        self.waiting.insert(turn);
        self.mark(turn);
        true
    }

    /// A supervised driver was lost with its worker: it waits for another one (Spark 3.5,
    /// `Master.relaunchDriver`). Its executors were those of the one before. `has_begun`: as far as is
    /// known, the worker got it.
    pub(super) fn start_again(
        &mut self,
        turn: Turn,
        spec: Box<DriverSpec>,
        why: &Cause,
        has_begun: bool,
    ) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        tracing::warn!(app = %app.id(), "its driver: {why}; it is started again");
        app.place = Place::Waiting(spec);
        app.driver.host = None;
        app.wanted = None;
        self.waiting.insert(turn);
        self.news.push(Status::Driver(app.driver.clone()));
        self.stop_all(turn, STRAY);
        self.pause(turn, has_begun);
        self.mark(turn);
        self.is_due = true;
    }

    fn release(
        &mut self,
        worker: &str,
        app: &AppId,
        task: Task,
        need: &Amount,
        given: BTreeMap<String, Vec<String>>,
    ) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.tasks.remove(&(app.clone(), task));
            worker.give_back(need, given);
        }
        self.is_due = true;
    }

    /// A driver ended, in whatever way; so do its executors.
    pub(super) fn end_driver(&mut self, turn: Turn, outcome: Outcome) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        tracing::info!(app = %app.id(), "its driver: {}", outcome.cause);
        if let Place::Outside { session, .. } = &app.place {
            session.over.send_replace(true);
        }
        app.place = Place::Nowhere;
        app.asked.get_or_insert(STRAY);
        app.wanted = None;
        self.set_driver_state(turn, outcome.into_state());
        self.stop_all(turn, STRAY);
        self.wanting.remove(&turn);
        self.tidy(turn);
    }

    /// Ends all executors of an application.
    pub(super) fn stop_all(&mut self, turn: Turn, stop: Stop) {
        let Some(app) = self.apps.get(&turn) else { return };
        let all: Vec<_> = app.executors.keys().copied().collect();
        self.stop(turn, &all, stop);
    }

    /// Ends some executors.
    pub(super) fn stop(&mut self, turn: Turn, ids: &[ExecutorId], stop: Stop) {
        for id in ids {
            let Some(app) = self.apps.get_mut(&turn) else { return };
            let Some(worker) = app.executors.get(id).map(|executor| executor.worker.clone()) else {
                continue;
            };
            let status = app.ask_to_end(*id, stop);
            if let Some(worker) = self.workers.get(&worker) {
                let (app, task) = (app.id().clone(), Task::Executor(*id));
                worker.send(ToWorker::Stop { app, task, stop });
            }
            self.news_of(turn, status);
        }
        self.touched.insert(turn);
    }

    /// A process is with its worker that has come back: that it is to end may not have been heard.
    pub(super) fn remind(&mut self, app: &AppId, task: Task) {
        let Some((turn, entry)) = self.app_mut(app) else { return };
        match (task, entry.asked) {
            (Task::Driver, Some(stop)) => self.stop_driver(turn, stop),
            (Task::Driver, None) => {}
            (Task::Executor(id), asked) => {
                let with_driver = asked.map(|stop| Stop { by: KilledBy::DriverEnd, ..stop });
                if let Some(stop) = entry.stops.get(&id).copied().or(with_driver) {
                    self.stop(turn, &[id], stop);
                }
            }
        }
    }

    /// Ends a driver that is on a worker.
    pub(super) fn stop_driver(&mut self, turn: Turn, stop: Stop) {
        let Some(app) = self.apps.get(&turn) else { return };
        if let Place::On { worker, .. } = &app.place
            && let Some(worker) = self.workers.get(worker)
        {
            worker.send(ToWorker::Stop { app: app.id().clone(), task: Task::Driver, stop });
        }
        self.set_driver_state(turn, State::Ending);
    }

    /// Workers may tidy up behind an application of which nothing is left; the oldest ones are
    /// forgotten.
    fn tidy(&mut self, turn: Turn) {
        let Some(app) = self.apps.get(&turn).filter(|app| app.is_over()) else { return };
        let (id, introduced) = (app.id().clone(), app.introduced.clone());
        for worker in introduced {
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.forget(&id);
            }
        }
        self.over.insert(turn);
        // As Spark does it: a tenth at once.
        if self.over.len() > self.policy.retained {
            for _ in 0..(self.policy.retained / 10).max(1) {
                let Some(oldest) = self.over.first().copied() else { return };
                self.forget(oldest);
            }
        }
    }

    pub(super) fn forget(&mut self, turn: Turn) {
        self.touched.remove(&turn);
        self.over.remove(&turn);
        if let Some(app) = self.apps.remove(&turn) {
            self.mark_gone(&app);
            if let Some(lender) = self.lender() {
                lender.forget(app.id());
            }
            self.turns.remove(app.id());
        }
    }
}
