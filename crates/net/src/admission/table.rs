//! The table of connections: counts them per address, and selects the ones to close.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::bytes::Share;
use super::{Limits, Source, max_authenticated};

/// The shortest interval between two warnings about too many connections.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a connection in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Not authenticated; numbered in the order of their last activity.
    Unauthenticated(u64),
    Authenticated,
}

/// The connections of one address.
#[derive(Default)]
struct Entry {
    unauthenticated: BTreeMap<u64, Arc<Notify>>,
    authenticated: usize,
    share: Arc<Share>,
}

impl Entry {
    fn count(&self) -> usize {
        self.unauthenticated.len() + self.authenticated
    }
}

pub(super) struct Table {
    limits: Limits,
    /// The last number given to an unauthenticated connection.
    next: u64,
    entries: HashMap<Source, Entry>,
    /// Addresses ordered by their number of unauthenticated connections.
    by_unauthenticated: BTreeSet<(usize, Source)>,
    total: usize,
    authenticated: usize,
    evicted: u64,
    logged: Option<Instant>,
}

impl Table {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            next: 0,
            entries: HashMap::new(),
            by_unauthenticated: BTreeSet::new(),
            total: 0,
            authenticated: 0,
            evicted: 0,
            logged: None,
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Changes an entry, and updates the order of addresses and the totals.
    fn change<T>(&mut self, source: Source, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut slot = match self.entries.entry(source) {
            MapEntry::Occupied(slot) => slot,
            MapEntry::Vacant(slot) => slot.insert_entry(Entry::default()),
        };
        let entry = slot.get_mut();
        let (unauthenticated, authenticated, count) =
            (entry.unauthenticated.len(), entry.authenticated, entry.count());
        let changed = change(entry);
        let now = (entry.unauthenticated.len(), entry.authenticated, entry.count());
        if now.0 != unauthenticated {
            self.by_unauthenticated.remove(&(unauthenticated, source));
            if now.0 > 0 {
                self.by_unauthenticated.insert((now.0, source));
            }
        }
        self.authenticated = self.authenticated + now.1 - authenticated;
        self.total = self.total + now.2 - count;
        if now.2 == 0 {
            slot.remove();
        }
        changed
    }

    /// Adds a connection, closing another one at a limit; `None` if there is none to close.
    pub(super) fn enter(
        &mut self,
        source: Source,
        evicted: &Arc<Notify>,
    ) -> Option<(Slot, Arc<Share>)> {
        let of_source = self.entries.get(&source).map_or(0, Entry::count);
        if of_source >= self.limits.per_address && !self.evict(source) {
            return None;
        }
        if self.total >= self.limits.connections && !self.evict_any() {
            return None;
        }
        let number = self.next();
        let share = self.change(source, |entry| {
            entry.unauthenticated.insert(number, Arc::clone(evicted));
            Arc::clone(&entry.share)
        });
        Some((Slot::Unauthenticated(number), share))
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn leave(&mut self, source: Source, place: Slot) {
        // An evicted connection was removed already.
        if self.entries.contains_key(&source) {
            self.change(source, |entry| match place {
                Slot::Unauthenticated(number) => drop(entry.unauthenticated.remove(&number)),
                Slot::Authenticated => entry.authenticated = entry.authenticated.saturating_sub(1),
            });
        }
    }

    pub(super) fn touch(&mut self, source: Source, place: Slot) -> Slot {
        let Slot::Unauthenticated(before) = place else { return place };
        let number = self.next();
        let Some(entry) = self.entries.get_mut(&source) else { return place };
        match entry.unauthenticated.remove(&before) {
            Some(evicted) => {
                entry.unauthenticated.insert(number, evicted);
                Slot::Unauthenticated(number)
            }
            None => place,
        }
    }

    /// `None` if the limit is reached or the connection was evicted.
    pub(super) fn set_authenticated(&mut self, source: Source, place: Slot) -> Option<Slot> {
        let Slot::Unauthenticated(number) = place else { return Some(place) };
        let (of_source, all) = (
            max_authenticated(self.limits.per_address),
            max_authenticated(self.limits.connections),
        );
        let entry = self.entries.get(&source)?;
        let is_there = entry.unauthenticated.contains_key(&number);
        if !is_there || entry.authenticated >= of_source || self.authenticated >= all {
            return None;
        }
        self.change(source, |entry| {
            entry.unauthenticated.remove(&number);
            entry.authenticated += 1;
        });
        Some(Slot::Authenticated)
    }

    /// Closes the unauthenticated connection of an address that was idle for the longest.
    fn evict(&mut self, source: Source) -> bool {
        if self.entries.get(&source).is_none_or(|entry| entry.unauthenticated.is_empty()) {
            return false;
        }
        if let Some((_, evicted)) = self.change(source, |entry| entry.unauthenticated.pop_first()) {
            evicted.notify_one();
        }
        self.evicted += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!(
                "too many connections, most of them from {source}: closed {} idle ones so far; the limit \
                 is {} ({} per address)",
                self.evicted,
                self.limits.connections,
                self.limits.per_address
            );
        }
        true
    }

    /// The same, for the address with most unauthenticated connections.
    pub(super) fn evict_any(&mut self) -> bool {
        self.by_unauthenticated.last().copied().is_some_and(|(_, source)| self.evict(source))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::*;

    fn table(connections: usize, per_address: usize) -> Table {
        let limits =
            Limits { connections, per_address, unauthenticated_bytes: 0, authenticated_bytes: 0 };
        Table::new(&limits)
    }

    fn source(last: u8) -> Source {
        Source(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn enter(table: &mut Table, from: u8) -> Option<(Slot, Arc<Notify>)> {
        let evicted = Arc::new(Notify::new());
        table.enter(source(from), &evicted).map(|(place, _)| (place, evicted))
    }

    fn is_evicted(evicted: &Notify) -> bool {
        evicted.notified().now_or_never().is_some()
    }

    #[test]
    fn idle_connections_are_closed_and_active_ones_stay() {
        let mut table = table(100, 3);
        let [first, second, third] = [(); 3].map(|()| enter(&mut table, 1).unwrap());
        let heard = table.touch(source(1), first.0);
        let fourth = enter(&mut table, 1).unwrap();
        assert!(is_evicted(&second.1));
        assert!(!is_evicted(&first.1) && !is_evicted(&third.1) && !is_evicted(&fourth.1));
        assert_eq!(table.total(), 3);
        // An evicted connection is dropped later, which changes nothing.
        table.leave(source(1), second.0);
        assert_eq!(table.total(), 3);
        for place in [heard, third.0, fourth.0] {
            table.leave(source(1), place);
        }
        assert_eq!(table.total(), 0);
        assert!(table.entries.is_empty() && table.by_unauthenticated.is_empty());
    }

    #[test]
    fn connections_of_the_busiest_address_are_closed_first() {
        let mut table = table(10, 8);
        let many: Vec<_> = (0..8).map(|_| enter(&mut table, 1).unwrap()).collect();
        let few: Vec<_> = (2..5).map(|from| enter(&mut table, from).unwrap()).collect();
        assert_eq!(table.total(), 10);
        assert!(is_evicted(&many[0].1));
        assert!(few.iter().all(|(_, evicted)| !is_evicted(evicted)));
    }

    #[test]
    fn authenticated_connections_stay_and_leave_room_for_others() {
        let mut table = table(100, 8);
        let mut authenticated = Vec::new();
        for _ in 0..6 {
            let (place, evicted) = enter(&mut table, 1).unwrap();
            authenticated.push((table.set_authenticated(source(1), place).unwrap(), evicted));
        }
        let (place, last) = enter(&mut table, 1).unwrap();
        assert_eq!(
            table.set_authenticated(source(1), place),
            None,
            "a quarter is reserved for unauthenticated connections"
        );
        for _ in 0..100 {
            enter(&mut table, 1).unwrap();
        }
        assert!(is_evicted(&last));
        assert!(authenticated.iter().all(|(_, evicted)| !is_evicted(evicted)));
        assert_eq!((table.total(), table.authenticated), (8, 6));
        table.leave(source(1), authenticated[0].0);
        assert_eq!((table.total(), table.authenticated), (7, 5));
    }
}
