//! What the ResourceManager is asked for: so many containers of a shape, by the names of nodes, of their racks, and
//! of any node. No I/O.
//!
//! An ask is absolute, and the ResourceManager counts it down as it allocates: one is sent again only when there is
//! more or less to ask for than it counts itself. Names of nodes make it fast: of any node, a scheduler gives one
//! container for each of a node's heartbeats, of a node that was named as many as fit there
//! (`yarn.scheduler.capacity.per-node-heartbeat.maximum-container-assignments`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::seq::IndexedRandom as _;

/// Any node.
const ANY: &str = "*";
/// How many nodes are named at most.
const MAX_NAMES: usize = 500;

/// Which shape of containers: its priority is one more, and so is the id of its requests.
pub(super) type Slot = usize;

/// A node of the cluster, as reports name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) rack: String,
}

/// So many containers of a shape, here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) slot: Slot,
    pub(super) name: String,
    pub(super) count: u32,
}

/// What was asked for, as far as the ResourceManager has not allocated it.
#[derive(Debug, Default)]
pub(super) struct Asks {
    nodes: Vec<Node>,
    outstanding: BTreeMap<Slot, BTreeMap<String, u32>>,
    /// Shapes of a request that was refused, and that have not been asked for in a request of their own since.
    suspects: VecDeque<Slot>,
}

impl Asks {
    /// The nodes that run now.
    pub(super) fn set_nodes(&mut self, mut nodes: Vec<Node>) {
        if nodes.len() > MAX_NAMES {
            nodes = nodes.sample(&mut rand::rng(), MAX_NAMES).cloned().collect();
        }
        self.nodes = nodes;
    }

    /// What is to be sent so that so many of each shape are asked for. It counts as sent.
    pub(super) fn due(&mut self, wanted: &BTreeMap<Slot, u32>) -> Vec<Ask> {
        let mut due = Vec::new();
        self.suspects.pop_front();
        for (slot, count) in wanted.iter().filter(|(slot, _)| !self.suspects.contains(slot)) {
            let known = self.outstanding.get(slot).and_then(|names| names.get(ANY)).copied();
            if known.unwrap_or_default() == *count {
                continue;
            }
            let mut names = self.names(*count);
            // What was named before, and is no longer meant.
            for name in self.outstanding.get(slot).into_iter().flat_map(BTreeMap::keys) {
                names.entry(name.clone()).or_insert(0);
            }
            let ask = |(name, count): (&String, &u32)| Ask {
                slot: *slot,
                name: name.clone(),
                count: *count,
            };
            due.extend(names.iter().map(ask));
            self.outstanding.insert(*slot, names);
        }
        let done: Vec<_> =
            self.outstanding.keys().filter(|slot| !wanted.contains_key(slot)).copied().collect();
        for slot in done {
            let names = self.outstanding.remove(&slot).unwrap_or_default();
            due.extend(names.into_keys().map(|name| Ask { slot, name, count: 0 }));
        }
        due
    }

    fn names(&self, count: u32) -> BTreeMap<String, u32> {
        let mut names = BTreeMap::from([(ANY.to_owned(), count)]);
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if count > 0 && nodes > 0 {
            let each = count.div_ceil(nodes);
            for node in &self.nodes {
                names.insert(node.host.clone(), each);
                *names.entry(node.rack.clone()).or_insert(0) += each;
            }
        }
        names
    }

    /// A container was allocated on a node: the ResourceManager counts it there, in its rack, and for any.
    pub(super) fn allocated(&mut self, slot: Slot, host: &str) {
        let rack = self.nodes.iter().find(|node| node.host == host).map(|node| node.rack.as_str());
        let Some(names) = self.outstanding.get_mut(&slot) else { return };
        for name in [Some(host), rack, Some(ANY)].into_iter().flatten() {
            if let Some(count) = names.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// A request for these shapes was refused: the ResourceManager takes nothing of a request with something impossible
    /// in it. Returns the shape that is impossible; of several, each is asked for alone first.
    pub(super) fn refused(&mut self, slots: BTreeSet<Slot>) -> Option<Slot> {
        self.forget();
        if slots.len() == 1 {
            return slots.into_iter().next();
        }
        self.suspects.retain(|slot| !slots.contains(slot));
        self.suspects.extend(slots);
        None
    }

    /// The ResourceManager knows nothing of what it was asked for: all of it is due again.
    pub(super) fn forget(&mut self) {
        self.outstanding.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(nodes: &[(&str, &str)]) -> Asks {
        let node =
            |(host, rack): &(&str, &str)| Node { host: (*host).into(), rack: (*rack).into() };
        let mut asks = Asks::default();
        asks.set_nodes(nodes.iter().map(node).collect());
        asks
    }

    fn due(asks: &mut Asks, wanted: &[(Slot, u32)]) -> Vec<(Slot, String, u32)> {
        let due = asks.due(&wanted.iter().copied().collect());
        due.into_iter().map(|ask| (ask.slot, ask.name, ask.count)).collect()
    }

    fn list(of: &[(Slot, &str, u32)]) -> Vec<(Slot, String, u32)> {
        of.iter().map(|(slot, name, count)| (*slot, (*name).to_owned(), *count)).collect()
    }

    #[test]
    fn nodes_are_named_and_nothing_is_sent_twice() {
        let mut asks = asks(&[("a", "/r"), ("b", "/r")]);
        let first = list(&[(0, "*", 3), (0, "/r", 4), (0, "a", 2), (0, "b", 2)]);
        assert_eq!(due(&mut asks, &[(0, 3)]), first);
        assert_eq!(due(&mut asks, &[(0, 3)]), []);
        // What is allocated, the ResourceManager counts itself.
        asks.allocated(0, "a");
        assert_eq!(due(&mut asks, &[(0, 2)]), []);
        let more = list(&[(0, "*", 5), (0, "/r", 6), (0, "a", 3), (0, "b", 3)]);
        assert_eq!(due(&mut asks, &[(0, 5)]), more);
    }

    #[test]
    fn what_is_no_longer_wanted_is_taken_back_everywhere() {
        let mut asks = asks(&[("a", "/r")]);
        due(&mut asks, &[(0, 2), (1, 1)]);
        // The node is gone, and one shape is not wanted any more.
        asks.set_nodes(Vec::new());
        let back =
            list(&[(0, "*", 1), (0, "/r", 0), (0, "a", 0), (1, "*", 0), (1, "/r", 0), (1, "a", 0)]);
        assert_eq!(due(&mut asks, &[(0, 1)]), back);
        // More than was wanted came: it is taken back once.
        asks.allocated(0, "a");
        assert_eq!(due(&mut asks, &[]).len(), 3);
        assert_eq!(due(&mut asks, &[]), []);
    }

    #[test]
    fn after_a_restart_everything_is_asked_for_again() {
        let mut asks = asks(&[]);
        assert_eq!(due(&mut asks, &[(0, 2)]), list(&[(0, "*", 2)]));
        asks.forget();
        assert_eq!(due(&mut asks, &[(0, 2)]), list(&[(0, "*", 2)]));
    }

    #[test]
    fn one_impossible_shape_does_not_make_others_impossible() {
        let mut asks = asks(&[]);
        let wanted = [(0, 1), (1, 2), (2, 3)];
        assert_eq!(due(&mut asks, &wanted).len(), 3);
        assert_eq!(asks.refused([0, 1, 2].into()), None);
        assert_eq!(due(&mut asks, &wanted), list(&[(0, "*", 1)]));
        assert_eq!(due(&mut asks, &wanted), list(&[(1, "*", 2)]));
        assert_eq!(asks.refused([1].into()), Some(1));
        // The first one is asked for again with the last: what was allowed alone may have been forgotten.
        let rest = list(&[(0, "*", 1), (2, "*", 3)]);
        assert_eq!(due(&mut asks, &[(0, 1), (2, 3)]), rest);
        assert_eq!(due(&mut asks, &[(0, 1), (2, 3)]), []);
    }

    #[test]
    fn of_many_nodes_some_are_named() {
        let mut asks = Asks::default();
        let node = |number| Node { host: format!("n{number}"), rack: "/r".to_owned() };
        asks.set_nodes((0..2000).map(node).collect());
        assert_eq!(due(&mut asks, &[(0, 10_000)]).len(), MAX_NAMES + 2);
    }
}
