//! The executors of one application.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, AllocationStatus, ExecutorId, ExecutorStatus, Outcome, ProfileId, State,
    Status, Stop,
};
use anymaster_core::reconcile::Ended;
use jiff::Timestamp;

use crate::amount::Amount;
use crate::app::{App, TargetEvent, TargetProgress};
use crate::time::Now;
use crate::worker::Place;

/// How many executors of an application that ended are remembered.
const REMEMBERED: usize = 1_000;

/// An executor that has not ended.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) profile: ProfileId,
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    pub(crate) place: Arc<Place>,
    /// Shared by executors that take the same: there may be a million of them.
    pub(crate) need: Arc<Amount>,
    /// The addresses of the resources that it was given, if it was given any.
    pub(crate) given: Option<Arc<BTreeMap<String, Vec<String>>>>,
}

impl Executor {
    /// What is kept of addresses that it was given.
    pub(crate) fn given(
        given: BTreeMap<String, Vec<String>>,
    ) -> Option<Arc<BTreeMap<String, Vec<String>>>> {
        (!given.is_empty()).then(|| Arc::new(given))
    }
}

impl App {
    pub(crate) fn executor_status(&self, id: ExecutorId, executor: &Executor) -> ExecutorStatus {
        ExecutorStatus::new(self.id().clone(), id, executor.profile, executor.state.clone())
            .with_since(executor.since)
            .with_host(Arc::clone(&executor.place.host))
    }

    /// Adds an executor that is on its way to a worker.
    pub(crate) fn add(&mut self, id: ExecutorId, executor: Executor) {
        *self.alive.entry(executor.profile).or_default() += 1;
        self.pending += 1;
        self.cores += executor.need.cores;
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

    /// The one function by which the state of an executor changes: it only goes forward, and what would not is
    /// refused (`None`).
    pub(crate) fn set_state(&mut self, id: ExecutorId, state: State, now: Now) -> Option<Status> {
        let executor = self.executors.get_mut(&id)?;
        if state.rank() <= executor.state.rank() {
            return None;
        }
        let (before, profile) =
            (std::mem::replace(&mut executor.state, state.clone()), executor.profile);
        executor.since = now.wall;
        self.count(&before, profile, -1);
        self.count(&state, profile, 1);
        if state == State::Running {
            self.retries = 0;
        }
        let executor = self.executors.get(&id)?;
        Some(Status::Executor(self.executor_status(id, executor)))
    }

    /// An executor ended: takes it out, with its last status.
    pub(crate) fn end_executor(
        &mut self,
        id: ExecutorId,
        outcome: Outcome,
        now: Now,
    ) -> Option<(Executor, Status)> {
        let state = outcome.into_state();
        let status = self.set_state(id, state, now)?;
        let executor = self.executors.remove(&id)?;
        self.stops.remove(&id);
        self.cores = self.cores - executor.need.cores;
        if let Status::Executor(ended) = &status {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((ended.clone(), Arc::clone(&executor.place.worker)));
        }
        Some((executor, status))
    }

    /// Counts an end as a failure, if it is one, and gives up if there were too many. `now`: since the engine
    /// began.
    pub(crate) fn count_failure(&mut self, ended: &Ended, max_retries: Option<u32>, now: Duration) {
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
        if self.progress.apply(TargetEvent::GiveUp(why.as_str().into())) {
            tracing::warn!(app = %self.id(), "{why}");
        }
    }

    /// Asks an executor to end. The first request is the cause; the shortest grace period counts.
    pub(crate) fn ask_to_end(&mut self, id: ExecutorId, stop: Stop, now: Now) -> Option<Status> {
        let status = self.set_state(id, State::Ending, now);
        let asked = self.stops.entry(id).or_insert(stop);
        asked.grace = asked.grace.min(stop.grace);
        status
    }

    /// Those that are too many now: those that the application gives up, then the youngest, those that do not
    /// run yet before all others.
    pub(crate) fn surplus(&self) -> Vec<ExecutorId> {
        let mut surplus = Vec::new();
        for (profile, alive) in &self.alive {
            let wanted = self.wanted.as_ref().and_then(|w| w.target.profiles.get(profile));
            let target = wanted.map_or(0, |wanted| wanted.executors);
            let unwanted = self.wanted.as_ref().map(|wanted| &wanted.target.unwanted);
            let is_unwanted = |id: &ExecutorId| unwanted.is_some_and(|ids| ids.contains(id));
            if *alive <= target && unwanted.is_none_or(BTreeSet::is_empty) {
                continue;
            }
            let of_profile = |pending: bool| {
                let living = self.executors.iter().rev();
                let of_profile = living.filter(move |(_, executor)| {
                    executor.profile == *profile
                        && match executor.state {
                            State::Pending { .. } => pending,
                            State::Running => !pending,
                            _ => false,
                        }
                });
                of_profile.map(|(id, _)| *id)
            };
            let all = of_profile(true).chain(of_profile(false));
            let (given_up, kept): (Vec<_>, Vec<_>) = all.partition(is_unwanted);
            let many = kept.len().saturating_sub(target as usize);
            surplus.extend(given_up.into_iter().chain(kept.into_iter().take(many)));
        }
        surplus
    }

    /// How far it is, if that is new.
    pub(crate) fn allocation(&mut self) -> Option<Status> {
        let target = self.wanted.as_ref().map_or(0, |wanted| wanted.target.total());
        let settled = self.executors.len() as u64 == self.running;
        let phase = match &self.progress {
            TargetProgress::GivenUp(why) => AllocationPhase::GivenUp { why: why.clone() },
            _ if self.running == target && settled => AllocationPhase::Reached,
            TargetProgress::Blocked(why) if self.missing().next().is_some() => {
                AllocationPhase::Blocked { why: why.clone() }
            }
            TargetProgress::Open | TargetProgress::Blocked(_) => AllocationPhase::Moving,
        };
        let mut allocation = AllocationStatus::new(self.id().clone());
        (allocation.target, allocation.phase) = (target, phase);
        (allocation.running, allocation.pending) = (self.running, self.pending);
        allocation.failed = self.failures.total();
        if allocation == self.allocation {
            return None;
        }
        self.allocation = allocation.clone();
        (self.most_wanted > 0).then_some(Status::Allocation(allocation))
    }
}
