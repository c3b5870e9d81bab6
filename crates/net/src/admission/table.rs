//! Who is connected, and who has to go for others.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::bytes::Share;
use super::{Limits, Source, provable};

/// How often it is told at most that there are too many.
const TELLING: Duration = Duration::from_secs(60);

/// Where a connection is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among strangers, in the order in which they were last heard of.
    Stranger(u64),
    Proven,
}

/// The connections of one address.
#[derive(Default)]
struct Entry {
    strangers: BTreeMap<u64, Arc<Notify>>,
    proven: usize,
    share: Arc<Share>,
}

impl Entry {
    fn count(&self) -> usize {
        self.strangers.len() + self.proven
    }
}

pub(super) struct Table {
    limits: Limits,
    /// The next place among strangers.
    next: u64,
    entries: HashMap<Source, Entry>,
    /// Addresses by how many strangers there are of each: the last one has most.
    by_strangers: BTreeSet<(usize, Source)>,
    total: usize,
    proven: usize,
    evicted: u64,
    told: Option<Instant>,
}

impl Table {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            next: 0,
            entries: HashMap::new(),
            by_strangers: BTreeSet::new(),
            total: 0,
            proven: 0,
            evicted: 0,
            told: None,
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Changes an entry, and keeps the order of addresses and the totals.
    fn change<T>(&mut self, source: Source, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut slot = match self.entries.entry(source) {
            Slot::Occupied(slot) => slot,
            Slot::Vacant(slot) => slot.insert_entry(Entry::default()),
        };
        let entry = slot.get_mut();
        let (strangers, proven, count) = (entry.strangers.len(), entry.proven, entry.count());
        let changed = change(entry);
        let now = (entry.strangers.len(), entry.proven, entry.count());
        if now.0 != strangers {
            self.by_strangers.remove(&(strangers, source));
            if now.0 > 0 {
                self.by_strangers.insert((now.0, source));
            }
        }
        self.proven = self.proven + now.1 - proven;
        self.total = self.total + now.2 - count;
        if now.2 == 0 {
            slot.remove();
        }
        changed
    }

    /// Takes somebody in, in somebody else's place if need be; `None`: there is nobody who could go.
    pub(super) fn enter(
        &mut self,
        source: Source,
        evicted: &Arc<Notify>,
    ) -> Option<(Place, Arc<Share>)> {
        let of_source = self.entries.get(&source).map_or(0, Entry::count);
        if of_source >= self.limits.per_address && !self.evict(source) {
            return None;
        }
        if self.total >= self.limits.connections && !self.evict_anybody() {
            return None;
        }
        let number = self.next();
        let share = self.change(source, |entry| {
            entry.strangers.insert(number, Arc::clone(evicted));
            Arc::clone(&entry.share)
        });
        Some((Place::Stranger(number), share))
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn leave(&mut self, source: Source, place: Place) {
        // Whoever was evicted has left already.
        if self.entries.contains_key(&source) {
            self.change(source, |entry| match place {
                Place::Stranger(number) => drop(entry.strangers.remove(&number)),
                Place::Proven => entry.proven = entry.proven.saturating_sub(1),
            });
        }
    }

    pub(super) fn heard(&mut self, source: Source, place: Place) -> Place {
        let Place::Stranger(before) = place else { return place };
        let number = self.next();
        let Some(entry) = self.entries.get_mut(&source) else { return place };
        match entry.strangers.remove(&before) {
            Some(evicted) => {
                entry.strangers.insert(number, evicted);
                Place::Stranger(number)
            }
            None => place,
        }
    }

    /// `None`: there are as many as there may be, or its place was given away.
    pub(super) fn prove(&mut self, source: Source, place: Place) -> Option<Place> {
        let Place::Stranger(number) = place else { return Some(place) };
        let (of_source, all) =
            (provable(self.limits.per_address), provable(self.limits.connections));
        let entry = self.entries.get(&source)?;
        let is_there = entry.strangers.contains_key(&number);
        if !is_there || entry.proven >= of_source || self.proven >= all {
            return None;
        }
        self.change(source, |entry| {
            entry.strangers.remove(&number);
            entry.proven += 1;
        });
        Some(Place::Proven)
    }

    /// Closes the one of an address who was silent for the longest.
    fn evict(&mut self, source: Source) -> bool {
        if self.entries.get(&source).is_none_or(|entry| entry.strangers.is_empty()) {
            return false;
        }
        if let Some((_, evicted)) = self.change(source, |entry| entry.strangers.pop_first()) {
            evicted.notify_one();
        }
        self.evicted += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELLING) {
            self.told = Some(Instant::now());
            tracing::warn!(
                "too many connections, most of them from {source}: {} closed so far, those that were \
                 silent for the longest; there may be {} ({} of one address)",
                self.evicted,
                self.limits.connections,
                self.limits.per_address
            );
        }
        true
    }

    /// The same, of the address that has most strangers.
    pub(super) fn evict_anybody(&mut self) -> bool {
        self.by_strangers.last().copied().is_some_and(|(_, source)| self.evict(source))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::*;

    fn table(connections: usize, per_address: usize) -> Table {
        let limits = Limits { connections, per_address, strangers_bytes: 0, known_bytes: 0 };
        Table::new(&limits)
    }

    fn source(last: u8) -> Source {
        Source(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn enter(table: &mut Table, from: u8) -> Option<(Place, Arc<Notify>)> {
        let evicted = Arc::new(Notify::new());
        table.enter(source(from), &evicted).map(|(place, _)| (place, evicted))
    }

    fn is_evicted(evicted: &Notify) -> bool {
        evicted.notified().now_or_never().is_some()
    }

    #[test]
    fn the_silent_go_for_newcomers_and_those_who_ask_stay() {
        let mut table = table(100, 3);
        let [first, second, third] = [(); 3].map(|()| enter(&mut table, 1).unwrap());
        let heard = table.heard(source(1), first.0);
        let fourth = enter(&mut table, 1).unwrap();
        assert!(is_evicted(&second.1));
        assert!(!is_evicted(&first.1) && !is_evicted(&third.1) && !is_evicted(&fourth.1));
        assert_eq!(table.total(), 3);
        // Whoever was evicted leaves later, and changes nothing.
        table.leave(source(1), second.0);
        assert_eq!(table.total(), 3);
        for place in [heard, third.0, fourth.0] {
            table.leave(source(1), place);
        }
        assert_eq!(table.total(), 0);
        assert!(table.entries.is_empty() && table.by_strangers.is_empty());
    }

    #[test]
    fn whoever_has_most_makes_room_for_others() {
        let mut table = table(10, 8);
        let many: Vec<_> = (0..8).map(|_| enter(&mut table, 1).unwrap()).collect();
        let few: Vec<_> = (2..5).map(|from| enter(&mut table, from).unwrap()).collect();
        assert_eq!(table.total(), 10);
        assert!(is_evicted(&many[0].1));
        assert!(few.iter().all(|(_, evicted)| !is_evicted(evicted)));
    }

    #[test]
    fn those_who_proved_who_they_are_stay_and_leave_room() {
        let mut table = table(100, 8);
        let mut proven = Vec::new();
        for _ in 0..6 {
            let (place, evicted) = enter(&mut table, 1).unwrap();
            proven.push((table.prove(source(1), place).unwrap(), evicted));
        }
        let (place, last) = enter(&mut table, 1).unwrap();
        assert_eq!(table.prove(source(1), place), None, "a quarter stays for strangers");
        for _ in 0..100 {
            enter(&mut table, 1).unwrap();
        }
        assert!(is_evicted(&last));
        assert!(proven.iter().all(|(_, evicted)| !is_evicted(evicted)));
        assert_eq!((table.total(), table.proven), (8, 6));
        table.leave(source(1), proven[0].0);
        assert_eq!((table.total(), table.proven), (7, 5));
    }
}
