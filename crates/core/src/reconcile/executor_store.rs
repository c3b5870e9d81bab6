//! What is known of each executor of one application: a state machine over the events of a watch.
//!
//! States only move forward and each executor ends once, whatever the events repeat or reorder. What
//! ended is forgotten: an id that is not above the highest one seen and not alive has ended, unless it is
//! one of the last that were skipped, so memory is that of the living.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Cause, Event, ExecutorId, ExecutorStatus, ProfileId, State, Status};

/// How many ids are remembered that may still come.
const MAX_TO_COME: usize = 10_000;
/// How many of those that a higher id has skipped: executors that are created at the same time are shown in any order.
const MAX_SKIPPED: u64 = 1_000;

/// The living executors of one application, and how many there are of each profile.
#[derive(Debug, Default)]
pub struct ExecutorStore {
    live: HashMap<ExecutorId, Entry>,
    profiles: BTreeMap<ProfileId, ProfileRoster>,
    highest: u64,
    /// Perhaps still to come: asked for, and given up because the cluster did not show them; or lower than one that was
    /// shown.
    to_come: BTreeSet<ExecutorId>,
    /// Asked to end before the cluster knew them: it may not have heard.
    undelivered_stops: BTreeSet<ExecutorId>,
    snapshot: u32,
    synced: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    profile: ProfileId,
    phase: Phase,
    /// What it was before it was asked to end, should the cluster not hear of that.
    before: Phase,
    /// The snapshot that showed it last; 0 for one that was asked for and never shown.
    shown_in: u32,
}

/// How far a living executor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Asked for or accepted by the cluster.
    Waiting,
    /// Its process runs.
    Running,
    /// Asked to end.
    Ending,
}

/// The executors of one profile, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ProfileRoster {
    pub(crate) waiting: BTreeSet<ExecutorId>,
    pub(crate) running: BTreeSet<ExecutorId>,
    /// What the cluster said last of a waiting one.
    pub(crate) why: Option<Box<str>>,
}

/// An executor ended, and the executors heard of it for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub id: ExecutorId,
    /// Its shape.
    pub profile: ProfileId,
    /// Why.
    pub cause: Cause,
    /// It had been asked to.
    pub asked: bool,
}

impl ExecutorStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one, where ids up to `last` were given before.
    pub fn after(last: ExecutorId) -> Self {
        Self { highest: last.0, ..Self::default() }
    }

    /// Takes in one event; returns the ends that it made known. Only [`Event::Synced`] can make known
    /// more than one: those of executors that a whole snapshot does not show any more.
    pub fn apply(&mut self, event: Event) -> Vec<Ended> {
        match event {
            Event::Restarted => {
                self.snapshot += 1;
                Vec::new()
            }
            Event::Changed(Status::Executor(status)) => self.change(status).into_iter().collect(),
            Event::Changed(_) => Vec::new(),
            Event::Synced(_) => self.synced(),
        }
    }

    fn change(&mut self, status: ExecutorStatus) -> Option<Ended> {
        let ExecutorStatus { id, profile, state, .. } = status;
        let (phase, why) = match state {
            State::Pending { why } => (Phase::Waiting, why),
            State::Running => (Phase::Running, None),
            State::Ending => (Phase::Ending, None),
            State::Ended(end) => {
                self.reach(id);
                self.to_come.remove(&id);
                return self.end(id, end.cause);
            }
        };
        match self.live.get(&id) {
            Some(entry) => {
                let first = entry.shown_in == 0;
                if first && entry.phase == Phase::Ending && phase < Phase::Ending {
                    self.undelivered_stops.insert(id);
                }
                let (profile, known) = (entry.profile, entry.phase);
                if phase > known {
                    self.place(id, profile, known, phase);
                }
                if let Some(entry) = self.live.get_mut(&id) {
                    entry.phase = known.max(phase);
                    entry.before = entry.before.max(phase);
                    entry.shown_in = self.snapshot;
                }
                if why.is_some() {
                    self.profiles.entry(profile).or_default().why = why;
                }
            }
            // After the first snapshot, an id that is neither alive nor new has ended already, unless
            // the cluster only was slow to show it, or showed a higher one first.
            None if self.synced && id.0 <= self.highest && !self.to_come.remove(&id) => {}
            None => {
                self.to_come.remove(&id);
                self.insert(id, profile, phase, self.snapshot);
                self.profiles.entry(profile).or_default().why = why;
            }
        }
        None
    }

    fn end(&mut self, id: ExecutorId, cause: Cause) -> Option<Ended> {
        let entry = self.live.remove(&id)?;
        let executors = self.profiles.entry(entry.profile).or_default();
        match entry.phase {
            Phase::Waiting => executors.waiting.remove(&id),
            Phase::Running => executors.running.remove(&id),
            Phase::Ending => true,
        };
        if executors.waiting.is_empty() {
            executors.why = None;
        }
        let asked = entry.phase == Phase::Ending;
        Some(Ended { id, profile: entry.profile, cause, asked })
    }

    /// Ends what was shown before and is not in the snapshot that is now complete. What was asked for
    /// and never shown stays: it may still come.
    fn synced(&mut self) -> Vec<Ended> {
        self.synced = true;
        let missing: Vec<_> = self
            .live
            .iter()
            .filter(|(_, entry)| entry.shown_in != 0 && entry.shown_in != self.snapshot)
            .map(|(id, _)| *id)
            .collect();
        let lost = |id| {
            let why = "the cluster does not show it any more".into();
            self.end(id, Cause::Lost { why })
        };
        missing.into_iter().filter_map(lost).collect()
    }

    fn insert(&mut self, id: ExecutorId, profile: ProfileId, phase: Phase, shown_in: u32) {
        self.reach(id);
        self.live.insert(id, Entry { profile, phase, before: phase, shown_in });
        self.enter(id, profile, phase);
    }

    /// Notes that there is this id. Those that it skips may still come.
    fn reach(&mut self, id: ExecutorId) {
        let skipped = (self.highest + 1).max(id.0.saturating_sub(MAX_SKIPPED))..id.0;
        self.to_come.extend(skipped.map(ExecutorId));
        self.bound_to_come();
        self.highest = self.highest.max(id.0);
    }

    fn bound_to_come(&mut self) {
        while self.to_come.len() > MAX_TO_COME {
            self.to_come.pop_first();
        }
    }

    fn enter(&mut self, id: ExecutorId, profile: ProfileId, phase: Phase) {
        let executors = self.profiles.entry(profile).or_default();
        match phase {
            Phase::Waiting => executors.waiting.insert(id),
            Phase::Running => executors.running.insert(id),
            Phase::Ending => true,
        };
    }

    fn place(&mut self, id: ExecutorId, profile: ProfileId, from: Phase, to: Phase) {
        let executors = self.profiles.entry(profile).or_default();
        match from {
            Phase::Waiting => executors.waiting.remove(&id),
            Phase::Running => executors.running.remove(&id),
            Phase::Ending => true,
        };
        if executors.waiting.is_empty() {
            executors.why = None;
        }
        self.enter(id, profile, to);
    }

    /// Enters an executor that is about to be asked for, under an id that nobody had.
    pub(crate) fn ask(&mut self, profile: ProfileId) -> ExecutorId {
        let id = ExecutorId(self.highest + 1);
        self.insert(id, profile, Phase::Waiting, 0);
        id
    }

    /// Notes that an executor was asked to end.
    pub(crate) fn ending(&mut self, id: ExecutorId) {
        if let Some(entry) = self.live.get(&id).copied()
            && entry.phase != Phase::Ending
        {
            self.place(id, entry.profile, entry.phase, Phase::Ending);
            self.live.insert(id, Entry { phase: Phase::Ending, before: entry.phase, ..entry });
        }
    }

    /// Takes out those that have to be asked to end once more: no others go in their stead.
    pub(crate) fn take_undelivered_stops(&mut self) -> impl Iterator<Item = ExecutorId> {
        let undelivered_stops = std::mem::take(&mut self.undelivered_stops);
        undelivered_stops
            .into_iter()
            .filter(|id| self.live.get(id).is_some_and(|e| e.phase == Phase::Ending))
    }

    /// Takes back [`ending`](Self::ending) for those that the cluster could not be told about.
    pub(crate) fn not_ending(&mut self, id: ExecutorId) {
        if let Some(entry) = self.live.get(&id).copied()
            && entry.phase == Phase::Ending
        {
            self.live.insert(id, Entry { phase: entry.before, ..entry });
            self.enter(id, entry.profile, entry.before);
        }
    }

    /// Forgets an executor that was asked for and never shown. Its id is not used again.
    pub(crate) fn forget(&mut self, id: ExecutorId) {
        if self.was_shown(id) == Some(false) {
            self.end(id, Cause::Finished);
            self.to_come.insert(id);
            self.bound_to_come();
        }
    }

    /// Whether a living executor was ever seen in the watch.
    pub(crate) fn was_shown(&self, id: ExecutorId) -> Option<bool> {
        self.live.get(&id).map(|entry| entry.shown_in != 0)
    }

    /// Whether it is alive and was not asked to end.
    pub(crate) fn is_wanted(&self, id: ExecutorId) -> bool {
        self.live.get(&id).is_some_and(|entry| entry.phase != Phase::Ending)
    }

    /// The profile of a living executor.
    pub fn profile_of(&self, id: ExecutorId) -> Option<ProfileId> {
        self.live.get(&id).map(|entry| entry.profile)
    }

    pub(crate) fn profiles(&self) -> &BTreeMap<ProfileId, ProfileRoster> {
        &self.profiles
    }

    /// Whether a whole snapshot was seen: before that, missing says nothing.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Living executors, those asked to end among them.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many run, over all profiles.
    pub fn running(&self) -> u64 {
        self.profiles.values().map(|profile| profile.running.len() as u64).sum()
    }

    /// How many were asked for and do not run yet, over all profiles.
    pub fn waiting(&self) -> u64 {
        self.profiles.values().map(|profile| profile.waiting.len() as u64).sum()
    }

    /// The highest id ever seen.
    pub fn highest(&self) -> ExecutorId {
        ExecutorId(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, Cursor};

    fn changed(id: u64, state: State) -> Event {
        let app = AppId::new("app").unwrap();
        let status = ExecutorStatus::new(app, ExecutorId(id), ProfileId(0), state);
        Event::Changed(Status::Executor(status))
    }

    #[test]
    fn executors_are_shown_in_any_order() {
        let mut store = ExecutorStore::new();
        store.apply(Event::Restarted);
        store.apply(Event::Synced(Cursor("0".to_owned())));
        for id in [2, 4, 1, 3] {
            store.apply(changed(id, State::Running));
        }
        assert_eq!((store.len(), store.running()), (4, 4));
        // One that has ended does not come back.
        let ended = State::ended(Cause::Finished, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(store.apply(changed(1, ended)).len(), 1);
        store.apply(changed(1, State::Running));
        assert_eq!(store.len(), 3);
        // Not more is remembered of ids that were skipped than is bounded.
        store.apply(changed(1_000_000, State::Running));
        assert!(store.to_come.len() <= MAX_TO_COME);
    }
}
