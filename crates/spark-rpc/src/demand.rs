//! What a driver wants, as a target for the cluster. No I/O.
//!
//! A driver declares totals per profile, and names the executors that are to end; a lower total alone ends
//! none of those that run (Spark 3.5, `Master.handleRequestExecutors`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::model::{
    ExecutorId, ExecutorTarget, ExecutorTemplate, ProfileId, ResourceProfile,
};

/// What a driver wants, and what it has.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    profiles: BTreeMap<ProfileId, (ResourceProfile, u32)>,
    /// `spark.cores.max`, or what the gateway has instead.
    max_cores: Option<u32>,
    running: BTreeMap<ExecutorId, ProfileId>,
    unwanted: BTreeSet<ExecutorId>,
}

impl Demand {
    /// Wants nothing so far.
    pub(crate) fn new(max_cores: Option<u32>) -> Self {
        let (profiles, running, unwanted) = Default::default();
        Self { profiles, max_cores, running, unwanted }
    }

    /// So many executors of each profile in total; none of those that are not named. Whether that changes
    /// anything. The shape of a profile that is known does not change.
    pub(crate) fn request(&mut self, totals: Vec<(ProfileId, ResourceProfile, u32)>) -> bool {
        let before = self.profiles.clone();
        for (_, total) in self.profiles.values_mut() {
            *total = 0;
        }
        for (id, profile, total) in totals {
            self.profiles.entry(id).or_insert((profile, 0)).1 = total;
        }
        self.profiles != before
    }

    /// These are to end. Those that do not run are left alone: their ids may be of the future.
    pub(crate) fn give_up(&mut self, executors: impl IntoIterator<Item = ExecutorId>) -> bool {
        let before = self.unwanted.len();
        let running = &self.running;
        self.unwanted.extend(executors.into_iter().filter(|id| running.contains_key(id)));
        self.unwanted.len() > before
    }

    /// The executors that were given up, and have not ended.
    pub(crate) fn given_up(&self) -> &BTreeSet<ExecutorId> {
        &self.unwanted
    }

    /// These were given up before anything was known of executors.
    pub(crate) fn restore_given_up(&mut self, executors: BTreeSet<ExecutorId>) {
        self.unwanted = executors;
    }

    /// It runs. Returns whether that is new.
    pub(crate) fn started(&mut self, id: ExecutorId, profile: ProfileId) -> bool {
        self.running.insert(id, profile).is_none()
    }

    /// Returns whether the driver had given it up.
    pub(crate) fn ended(&mut self, id: ExecutorId) -> bool {
        self.running.remove(&id);
        self.unwanted.remove(&id)
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// The shape of a profile that was asked for.
    pub(crate) fn profile(&self, id: ProfileId) -> Option<&ResourceProfile> {
        self.profiles.get(&id).map(|(profile, _)| profile)
    }

    /// The target of the cluster: what runs and was not given up, and more up to the totals and to the
    /// limit of cores.
    pub(crate) fn target(&self, template: &ExecutorTemplate) -> ExecutorTarget {
        let mut kept: BTreeMap<ProfileId, u32> = BTreeMap::new();
        for (id, profile) in &self.running {
            if !self.unwanted.contains(id) {
                *kept.entry(*profile).or_default() += 1;
            }
        }
        let cores = |id: &ProfileId| self.profile(*id).map_or(1.0, |profile| profile.cores);
        let in_use: f64 = kept.iter().map(|(id, count)| cores(id) * f64::from(*count)).sum();
        let mut free = self.max_cores.map(|max| (f64::from(max) - in_use).max(0.0));
        let mut target = ExecutorTarget::new(template.clone(), ResourceProfile::default(), 0);
        target.profiles.clear();
        for (id, (profile, total)) in &self.profiles {
            let kept = kept.get(id).copied().unwrap_or(0);
            let mut more = total.saturating_sub(kept);
            if let Some(free) = &mut free {
                // `as` cuts at the ends of the range.
                more = more.min((*free / profile.cores) as u32);
                *free -= f64::from(more) * profile.cores;
            }
            let executors = kept.saturating_add(more);
            target = target.with_profile(*id, profile.clone(), executors);
        }
        target.unwanted.clone_from(&self.unwanted);
        target
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::CommandLine;

    use super::*;

    fn shape(cores: f64) -> ResourceProfile {
        ResourceProfile::new(cores, 1024)
    }

    fn executors(demand: &Demand) -> Vec<(u32, u32)> {
        let target = demand.target(&ExecutorTemplate::new(CommandLine::new("java")));
        target.profiles.iter().map(|(id, profile)| (id.0, profile.executors)).collect()
    }

    fn ids(ids: &[u64]) -> Vec<ExecutorId> {
        ids.iter().copied().map(ExecutorId).collect()
    }

    #[test]
    fn repeats_change_nothing() {
        let mut demand = Demand::new(None);
        let totals = || vec![(ProfileId(0), shape(1.0), 2), (ProfileId(1), shape(2.0), 1)];
        assert!(demand.request(totals()));
        assert!(!demand.request(totals()));
        assert_eq!(executors(&demand), [(0, 2), (1, 1)]);
        // A profile that is not named any more has the total 0.
        assert!(demand.request(vec![(ProfileId(0), shape(1.0), 2)]));
        assert_eq!(executors(&demand), [(0, 2), (1, 0)]);
    }

    #[test]
    fn a_lower_total_ends_none_that_runs_and_kills_end_exactly_those() {
        let mut demand = Demand::new(None);
        demand.request(vec![(ProfileId(0), shape(1.0), 5)]);
        for id in 1..=3 {
            demand.started(ExecutorId(id), ProfileId(0));
        }
        demand.request(vec![(ProfileId(0), shape(1.0), 0)]);
        assert_eq!(executors(&demand), [(0, 3)], "two that did not run yet are not wanted");
        assert!(demand.give_up(ids(&[2, 77])));
        assert!(!demand.give_up(ids(&[2])));
        assert_eq!(executors(&demand), [(0, 2)]);
        let target = demand.target(&ExecutorTemplate::new(CommandLine::new("java")));
        assert_eq!(target.unwanted, BTreeSet::from([ExecutorId(2)]));
        assert!(demand.ended(ExecutorId(2)), "the driver had given it up");
        assert!(!demand.ended(ExecutorId(1)), "this one died");
        assert_eq!(executors(&demand), [(0, 1)], "and nobody takes its place");
    }

    #[test]
    fn all_profiles_together_stay_within_the_limit_of_cores() {
        let mut demand = Demand::new(Some(7));
        demand.request(vec![
            (ProfileId(0), shape(2.0), u32::MAX),
            (ProfileId(1), shape(1.0), u32::MAX),
        ]);
        assert_eq!(executors(&demand), [(0, 3), (1, 1)]);
        demand.started(ExecutorId(1), ProfileId(1));
        demand.started(ExecutorId(2), ProfileId(1));
        assert_eq!(executors(&demand), [(0, 2), (1, 3)]);
    }
}
