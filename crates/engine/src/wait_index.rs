//! What waits for resources, by what it needs: a scheduling pass looks at what is new, and at what waits for as much
//! as a worker has room for now, and at nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::amount::Amount;
use crate::engine::SubmissionSeq;

/// Applications that wait: for a driver, or for executors.
#[derive(Debug, Default)]
pub(crate) struct WaitIndex {
    all: BTreeSet<SubmissionSeq>,
    /// The next pass looks at these.
    fresh: BTreeSet<SubmissionSeq>,
    /// No worker has room for this, unless something was released since the last pass; and those who wait for it.
    by_need: BTreeMap<Amount, BTreeSet<SubmissionSeq>>,
    /// For what each of these waits.
    needs: BTreeMap<SubmissionSeq, Vec<Amount>>,
}

impl WaitIndex {
    /// It begins to wait, or waits for something else: the next pass looks at it.
    pub(crate) fn insert(&mut self, seq: SubmissionSeq) {
        self.all.insert(seq);
        self.fresh.insert(seq);
    }

    /// It does not wait any more.
    pub(crate) fn remove(&mut self, seq: SubmissionSeq) {
        self.all.remove(&seq);
        self.rest(seq);
    }

    /// The next pass looks at it, if it waits.
    pub(crate) fn retry(&mut self, seq: SubmissionSeq) {
        if self.all.contains(&seq) {
            self.fresh.insert(seq);
        }
    }

    /// The next pass looks at all of them.
    pub(crate) fn retry_all(&mut self) {
        self.fresh.clone_from(&self.all);
    }

    /// It was looked at, and will be again when it is inserted or retried. For what it waited until now.
    pub(crate) fn rest(&mut self, seq: SubmissionSeq) -> Vec<Amount> {
        self.fresh.remove(&seq);
        let needs = self.needs.remove(&seq).unwrap_or_default();
        for need in &needs {
            if let Some(group) = self.by_need.get_mut(need) {
                group.remove(&seq);
                if group.is_empty() {
                    self.by_need.remove(need);
                }
            }
        }
        needs
    }

    /// It waits for as much as this, for which no worker has room.
    pub(crate) fn wait_for(&mut self, seq: SubmissionSeq, need: &Amount) {
        match self.by_need.get_mut(need) {
            Some(group) => drop(group.insert(seq)),
            None => drop(self.by_need.insert(need.clone(), [seq].into())),
        }
        let needs = self.needs.entry(seq).or_default();
        if !needs.contains(need) {
            needs.push(need.clone());
        }
    }

    /// Whether somebody waits for as much as this.
    pub(crate) fn is_awaited(&self, need: &Amount) -> bool {
        self.by_need.contains_key(need)
    }

    /// What somebody waits for.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &Amount> {
        self.by_need.keys()
    }

    /// The first one from `from` on that a pass has to look at: those that are new, and those that wait for one of
    /// these.
    pub(crate) fn next(&self, from: SubmissionSeq, open: &[Amount]) -> Option<SubmissionSeq> {
        let groups = open.iter().filter_map(|need| self.by_need.get(need));
        let sets = groups.chain([&self.fresh]);
        sets.filter_map(|set| set.range(from..).next().copied()).min()
    }

    /// All that wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SubmissionSeq> {
        self.all.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Cores;

    #[test]
    fn a_pass_looks_at_what_is_new_and_at_what_may_be_placed() {
        let need = |cores| Amount { cores: Cores::whole(cores), ..Amount::default() };
        let mut index = WaitIndex::default();
        (1..=6).for_each(|seq| index.insert(seq));
        let looked_at = |index: &WaitIndex, open: &[Amount]| {
            let next = |seq: &u64| index.next(seq + 1, open);
            std::iter::successors(index.next(0, open), next).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(&index, &[]), [1, 2, 3, 4, 5, 6]);
        for (seq, cores) in [(1, 4), (2, 2), (3, 4), (5, 2), (5, 4)] {
            index.fresh.remove(&seq);
            index.wait_for(seq, &need(cores));
        }
        assert_eq!(looked_at(&index, &[]), [4, 6]);
        assert_eq!(looked_at(&index, &[need(2)]), [2, 4, 5, 6]);
        assert_eq!(looked_at(&index, &[need(2), need(4)]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(index.rest(5), [need(2), need(4)]);
        index.remove(2);
        assert!(!index.is_awaited(&need(2)), "nobody waits for that any more");
        index.retry(2);
        index.retry(3);
        assert_eq!(looked_at(&index, &[]), [3, 4, 6]);
        assert_eq!(index.iter().collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    }
}
