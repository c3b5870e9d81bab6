//! Dynamic allocation: how many executors an application needs for its work, and which are removed.
//!
//! The rules are Spark's (Spark 3.5, `ExecutorAllocationManager`, `ExecutorMonitor`), for any engine: it says
//! how many tasks wait and run, and what its executors do. [`DynamicAllocation`] has no clock and does no I/O:
//! times are durations since any moment that stays the same.
//!
//! - Executors are added when tasks have waited for the backlog timeout: 1, then 2, 4, 8 … at each further
//!   one, up to as many as the tasks need.
//! - A target that is higher than what is needed is lowered at once, but no executor is stopped by that.
//! - An executor that has been idle for the idle timeout is removed, down to the target.

mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use policy::DynamicAllocationPolicy;

use crate::model::{ExecutorId, ProfileId};

/// The work for the executors of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workload {
    /// Tasks that wait for an executor.
    pub pending: u64,
    /// Copies of slow tasks that wait for an executor (Spark's speculative tasks).
    pub pending_speculative: u64,
    /// Tasks that run.
    pub running: u64,
    /// Sets of tasks for which no executor of today will do, as each is excluded for them.
    pub unschedulable: u64,
    /// How many tasks an executor runs at a time; at least 1.
    pub tasks_per_executor: u32,
}

impl Workload {
    /// So many tasks wait, so many run, and an executor runs one at a time.
    pub fn new(pending: u64, running: u64) -> Self {
        let (pending_speculative, unschedulable) = (0, 0);
        Self { pending, pending_speculative, running, unschedulable, tasks_per_executor: 1 }
    }

    /// With executors that run so many tasks at a time.
    #[must_use]
    pub fn with_tasks_per_executor(mut self, tasks: u32) -> Self {
        self.tasks_per_executor = tasks.max(1);
        self
    }

    /// How many tasks wait or run.
    pub fn tasks(&self) -> u64 {
        self.pending + self.pending_speculative + self.running
    }

    fn waits(&self) -> bool {
        self.pending + self.pending_speculative + self.unschedulable > 0
    }
}

/// What an executor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It runs tasks, or others read from it: it is kept.
    Busy,
    /// It does nothing.
    Idle {
        /// It holds cached data.
        cached: bool,
        /// It holds what other executors may still read.
        shuffle: bool,
    },
}

impl Activity {
    /// It does nothing, and holds nothing.
    pub const IDLE: Self = Self::Idle { cached: false, shuffle: false };
}

/// What is to be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// How many executors of each profile are needed, as Spark requests them.
    pub targets: BTreeMap<ProfileId, u32>,
    /// How many executors of each profile are to be started or kept: the targets, and those beyond them that
    /// are not removed yet.
    pub executors: BTreeMap<ProfileId, u32>,
    /// Executors to remove: they have been idle, and do not count in [`executors`](Self::executors).
    pub remove: Vec<ExecutorId>,
    /// When to ask again, if nothing happens before.
    pub again_at: Option<Duration>,
}

/// The state of dynamic allocation of one application.
#[derive(Debug)]
pub struct DynamicAllocation {
    policy: DynamicAllocationPolicy,
    profiles: BTreeMap<ProfileId, Profile>,
    executors: BTreeMap<ExecutorId, Executor>,
    /// Targets stay what they are until there is work, or an executor was idle for too long.
    is_initializing: bool,
    /// When executors are added; unset while nothing waits.
    add_at: Option<Duration>,
}

#[derive(Debug)]
struct Profile {
    workload: Workload,
    target: u32,
    /// How many are added next.
    step: u32,
    /// How many are alive and not being removed.
    live: u32,
}

#[derive(Debug)]
struct Executor {
    profile: ProfileId,
    activity: Activity,
    idle_since: Duration,
    is_being_removed: bool,
}

impl DynamicAllocation {
    /// An application that begins with executors of the default profile (id 0).
    pub fn new(policy: DynamicAllocationPolicy) -> Self {
        let default = Profile::new(policy.initial);
        Self {
            profiles: BTreeMap::from([(ProfileId(0), default)]),
            executors: BTreeMap::new(),
            is_initializing: true,
            add_at: None,
            policy,
        }
    }

    /// Sets the work for the executors of a profile. What was set before no longer counts.
    pub fn set_workload(&mut self, profile: ProfileId, workload: Workload, now: Duration) {
        let min = self.policy.min;
        let known = self.profiles.entry(profile).or_insert_with(|| Profile::new(min));
        known.workload = workload;
        if workload.waits() || workload.running > 0 {
            self.is_initializing = false;
        }
        if !self.profiles.values().any(|profile| profile.workload.waits()) {
            self.add_at = None;
            self.profiles.values_mut().for_each(|profile| profile.step = 1);
        } else if self.add_at.is_none() {
            self.add_at = Some(now + self.policy.backlog_timeout);
        }
    }

    /// An executor is there. It is idle until something else is said.
    pub fn executor_added(&mut self, id: ExecutorId, profile: ProfileId, now: Duration) {
        if self.executors.contains_key(&id) {
            return;
        }
        let (activity, idle_since, is_being_removed) = (Activity::IDLE, now, false);
        self.executors.insert(id, Executor { profile, activity, idle_since, is_being_removed });
        let min = self.policy.min;
        self.profiles.entry(profile).or_insert_with(|| Profile::new(min)).live += 1;
    }

    /// An executor has ended.
    pub fn executor_removed(&mut self, id: ExecutorId) {
        if let Some(executor) = self.executors.remove(&id)
            && !executor.is_being_removed
            && let Some(profile) = self.profiles.get_mut(&executor.profile)
        {
            profile.live -= 1;
        }
    }

    /// Sets what an executor does. One that is idle and was idle before is so since then.
    pub fn set_activity(&mut self, id: ExecutorId, activity: Activity, now: Duration) {
        if let Some(executor) = self.executors.get_mut(&id) {
            if executor.activity == Activity::Busy {
                executor.idle_since = now;
            }
            executor.activity = activity;
        }
    }

    /// The executors that are there, and their profiles.
    pub fn executors(&self) -> impl Iterator<Item = (ExecutorId, ProfileId)> {
        self.executors.iter().map(|(id, executor)| (*id, executor.profile))
    }

    /// Those of them that are being removed.
    pub fn removing(&self) -> impl Iterator<Item = ExecutorId> {
        self.executors.iter().filter(|(_, it)| it.is_being_removed).map(|(id, _)| *id)
    }

    /// Decides what is to be done now. What is in [`Decision::remove`] is taken as being removed from now on.
    pub fn decide(&mut self, now: Duration) -> Decision {
        let idle = self.idle_for_too_long(now);
        if !idle.is_empty() {
            self.is_initializing = false;
        }
        if !self.is_initializing {
            self.update_targets(now);
        }
        let remove: Vec<_> = idle.into_iter().filter(|id| self.remove(*id)).collect();
        let targets = self.profiles.iter().map(|(id, profile)| (*id, profile.target)).collect();
        let executors = self.profiles.iter();
        let executors = executors.map(|(id, profile)| (*id, profile.target.max(profile.live)));
        let executors = executors.collect();
        Decision { targets, executors, remove, again_at: self.next(now) }
    }

    /// In Spark's order: by the ids as texts.
    fn idle_for_too_long(&self, now: Duration) -> Vec<ExecutorId> {
        let idle = self.executors.iter().filter(|(_, executor)| {
            self.policy.idle_until(executor).is_some_and(|deadline| deadline <= now)
        });
        let mut idle: Vec<_> = idle.map(|(id, _)| *id).collect();
        idle.sort_by_cached_key(|id| id.0.to_string());
        idle
    }

    fn update_targets(&mut self, now: Duration) {
        let is_due = self.add_at.is_some_and(|at| at <= now);
        let mut has_added = false;
        for profile in self.profiles.values_mut() {
            let needed = profile.needed(self.policy.ratio);
            if needed < profile.target {
                (profile.target, profile.step) = (needed.max(self.policy.min), 1);
            } else if is_due {
                has_added |= profile.add(needed, &self.policy);
            }
        }
        if has_added {
            self.add_at = Some(now + self.policy.sustained_backlog_timeout);
        }
    }

    /// Whether an idle executor is removed: not if fewer than the target, or the least number, would be left.
    fn remove(&mut self, id: ExecutorId) -> bool {
        let Some(executor) = self.executors.get_mut(&id) else { return false };
        let Some(profile) = self.profiles.get_mut(&executor.profile) else { return false };
        if profile.live <= self.policy.min.max(profile.target) {
            return false;
        }
        profile.live -= 1;
        executor.is_being_removed = true;
        true
    }

    /// When a decision may be another one though nothing has happened.
    fn next(&self, now: Duration) -> Option<Duration> {
        let can_add = |profile: &Profile| {
            profile.target < profile.needed(self.policy.ratio).min(self.policy.max)
        };
        let add = self.add_at.filter(|_| self.profiles.values().any(can_add));
        let removable = |executor: &&Executor| {
            self.profiles
                .get(&executor.profile)
                .is_some_and(|profile| profile.live > self.policy.min.max(profile.target))
        };
        let idle = self.executors.values().filter(removable);
        let idle = idle.filter_map(|executor| self.policy.idle_until(executor)).min();
        add.into_iter().chain(idle).min().map(|at| at.max(now))
    }
}

impl Profile {
    fn new(target: u32) -> Self {
        Self { workload: Workload::new(0, 0), target, step: 1, live: 0 }
    }

    /// How many executors would do all the work at once, times the ratio.
    fn needed(&self, ratio: f64) -> u32 {
        let Workload { pending, pending_speculative, running, unschedulable, tasks_per_executor } =
            self.workload;
        let slots = f64::from(tasks_per_executor.max(1));
        // `as` cuts at the ends of the range.
        let executors = |tasks: u64| (tasks as f64 * ratio / slots).ceil() as u32;
        let needed = executors(pending + pending_speculative + running);
        // A copy of a task is to run on another executor than the task.
        let copies = tasks_per_executor > 1 && needed == 1 && pending_speculative > 0;
        let needed = needed.saturating_add(u32::from(copies));
        if unschedulable == 0 {
            return needed;
        }
        needed.max(self.live.saturating_add(executors(unschedulable)))
    }

    /// Raises the target by a step; whether it is higher now.
    fn add(&mut self, needed: u32, policy: &DynamicAllocationPolicy) -> bool {
        if self.target >= policy.max {
            self.step = 1;
            return false;
        }
        let raised = self.target.max(self.live).saturating_add(self.step).min(needed);
        let before = self.target;
        self.target = raised.min(policy.max).max(policy.min);
        let delta = self.target.saturating_sub(before);
        self.step = if delta == self.step { self.step.saturating_mul(2) } else { 1 };
        delta > 0
    }
}

impl DynamicAllocationPolicy {
    /// Until when an executor may be idle.
    fn idle_until(&self, executor: &Executor) -> Option<Duration> {
        let Activity::Idle { cached, shuffle } = executor.activity else { return None };
        if executor.is_being_removed {
            return None;
        }
        let mut timeout = self.idle_timeout;
        for (holds, of_these) in
            [(cached, self.cached_idle_timeout), (shuffle, self.shuffle_timeout)]
        {
            if holds {
                timeout = timeout.max(of_these?);
            }
        }
        executor.idle_since.checked_add(timeout)
    }
}
