//! The workers, and an index of them: where there is room, which one is at an address, and which one something is
//! due for are found without looking at all of them.

use std::cmp::Reverse;
use std::collections::hash_map;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::amount::{Amount, Cores};
use crate::time::Instant;
use crate::worker::{Liveness, Worker};

/// How long a worker is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// While it is connected, and silent.
    pub(crate) silent: Duration,
    /// When its connection ended.
    pub(crate) away: Duration,
    /// How long it is shown when it is lost.
    pub(crate) shown: Duration,
}

impl Patience {
    fn deadline(&self, worker: &Worker) -> Instant {
        match worker.liveness {
            Liveness::Alive | Liveness::Leaving => worker.seen + self.silent,
            Liveness::Disconnected(since) => since + self.away,
            Liveness::Dead(since) => since + self.shown,
        }
    }
}

/// The workers. Each change is made through [`get_mut`](Self::get_mut), which keeps the index right.
#[derive(Debug)]
pub(crate) struct Workers {
    all: Slab<Worker>,
    numbers: HashMap<Arc<str>, WorkerNumber>,
    /// By id.
    in_order: BTreeMap<Arc<str>, WorkerNumber>,
    by_address: HashMap<(String, u16), BTreeSet<Arc<str>>>,
    index: Index,
}

/// Free cores and MiB of memory.
pub(crate) type Room = (Cores, u64);

/// Where a worker is kept. Those of workers that were removed are used again.
pub(crate) type WorkerNumber = u32;

#[derive(Debug)]
struct Index {
    patience: Patience,
    /// When each worker is looked at next ([`Worker::look_at`]): not later than something is due for it, and as a
    /// worker that is heard of is due later, often earlier.
    due: BTreeSet<(Instant, WorkerNumber)>,
    /// Those that take something new, with the most room first.
    by_room: BTreeSet<(Reverse<Room>, WorkerNumber)>,
    /// Those that have had something released, or have begun to take something new, since they were asked for.
    freed: BTreeSet<WorkerNumber>,
    /// Some have begun or ceased to take something new since that was asked for.
    has_changed: bool,
}

impl Index {
    /// Has a worker looked at when something is due for it.
    fn watch(&mut self, worker: &mut Worker) {
        let deadline = self.patience.deadline(worker);
        match worker.look_at {
            Some(at) if at <= deadline => return,
            Some(at) => {
                self.due.remove(&(at, worker.number));
            }
            None => {}
        }
        self.due.insert((deadline, worker.number));
        worker.look_at = Some(deadline);
    }

    fn update(&mut self, number: WorkerNumber, before: Option<Room>, after: Option<Room>) {
        if before != after {
            if let Some(room) = before {
                self.by_room.remove(&(Reverse(room), number));
            }
            if let Some(room) = after {
                self.by_room.insert((Reverse(room), number));
            }
        }
        self.has_changed |= before.is_some() != after.is_some();
        if before.is_none() && after.is_some() {
            self.freed.insert(number);
        }
    }
}

/// What is free on a worker that takes something new.
fn available(worker: &Worker) -> Option<Room> {
    worker.is_alive().then_some((worker.free.cores, worker.free.memory_mib))
}

fn address(worker: &Worker) -> (String, u16) {
    (worker.info.host.clone(), worker.info.port)
}

impl Workers {
    pub(crate) fn new(patience: Patience) -> Self {
        let (due, by_room, freed) = Default::default();
        let index = Index { patience, due, by_room, freed, has_changed: false };
        let (numbers, in_order, by_address) = Default::default();
        Self { all: Slab::new(), numbers, in_order, by_address, index }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Worker> {
        self.numbers.get(id).and_then(|number| self.at_number(*number))
    }

    fn at_number(&self, number: WorkerNumber) -> Option<&Worker> {
        self.all.get(number as usize)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<WorkerMut<'_>> {
        self.numbers.get(id).copied().and_then(|number| self.change(number))
    }

    /// The one that has this number now.
    pub(crate) fn change(&mut self, number: WorkerNumber) -> Option<WorkerMut<'_>> {
        let worker = self.all.get_mut(number as usize)?;
        let before = available(worker);
        Some(WorkerMut { worker, index: &mut self.index, before })
    }

    pub(crate) fn insert(&mut self, mut worker: Worker) {
        self.remove(&worker.info.id);
        let place = self.all.vacant_entry();
        // There are never so many.
        worker.number = u32::try_from(place.key()).unwrap_or(u32::MAX);
        self.index.update(worker.number, None, available(&worker));
        self.index.watch(&mut worker);
        self.by_address
            .entry(address(&worker))
            .or_default()
            .insert(Arc::clone(&worker.place.worker));
        self.numbers.insert(Arc::clone(&worker.place.worker), worker.number);
        self.in_order.insert(Arc::clone(&worker.place.worker), worker.number);
        place.insert(worker);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(number) = self.numbers.remove(id) else { return };
        self.in_order.remove(id);
        let Some(worker) = self.all.try_remove(number as usize) else { return };
        self.index.update(number, available(&worker), None);
        self.index.freed.remove(&number);
        if let Some(at) = worker.look_at {
            self.index.due.remove(&(at, number));
        }
        if let hash_map::Entry::Occupied(mut there) = self.by_address.entry(address(&worker)) {
            there.get_mut().remove(id);
            if there.get().is_empty() {
                there.remove();
            }
        }
    }

    /// Those that are or were at an address.
    pub(crate) fn at(&self, host: &str, port: u16) -> impl Iterator<Item = &Arc<str>> {
        self.by_address.get(&(host.to_owned(), port)).into_iter().flatten()
    }

    /// Those for which something is due by now, each once. What it is has to be done: they are looked at again when
    /// they have changed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        while self.next_due().is_some_and(|at| at <= now) {
            let Some((_, number)) = self.index.due.pop_first() else { break };
            let Some(worker) = self.all.get_mut(number as usize) else { continue };
            worker.look_at = None;
            if self.index.patience.deadline(worker) <= now {
                due.push(Arc::clone(&worker.place.worker));
            } else {
                self.index.watch(worker);
            }
        }
        due
    }

    /// When something may be due for one of them.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.index.due.first().map(|(at, _)| *at)
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Worker)> {
        self.named(self.in_order.iter())
    }

    /// All of them, by id.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Worker> {
        self.iter().map(|(_, worker)| worker)
    }

    /// All of them, from the one behind `last` on, and round to that one.
    pub(crate) fn round(&self, last: &str) -> impl Iterator<Item = (&Arc<str>, &Worker)> {
        let behind = (Bound::Excluded(last), Bound::Unbounded);
        let up_to = (Bound::Unbounded, Bound::Included(last));
        let (behind, up_to) =
            (self.in_order.range::<str, _>(behind), self.in_order.range::<str, _>(up_to));
        self.named(behind.chain(up_to))
    }

    fn named<'a>(
        &'a self,
        some: impl Iterator<Item = (&'a Arc<str>, &'a WorkerNumber)>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Worker)> {
        some.filter_map(|(id, number)| Some((id, self.at_number(*number)?)))
    }

    /// Whether one of those that take something new may have so many free cores.
    pub(crate) fn have_cores(&self, cores: Cores) -> bool {
        self.most_room().is_some_and(|(most, _)| most >= cores)
    }

    /// How many take something new.
    pub(crate) fn alive(&self) -> usize {
        self.index.by_room.len()
    }

    /// What is free on the one with the most room of those that take something new.
    pub(crate) fn most_room(&self) -> Option<Room> {
        self.index.by_room.first().map(|(Reverse(room), _)| *room)
    }

    /// Those that take something new and hold this, with the most free cores and then memory first, and those that
    /// came first; at most `many`.
    pub(crate) fn freest(&self, need: &Amount, many: usize) -> Vec<(&str, &Amount)> {
        let some = self.index.by_room.iter().take_while(|(Reverse(free), _)| free.0 >= need.cores);
        let workers = some.filter_map(|(_, number)| self.at_number(*number));
        let room = workers.filter(|worker| worker.free.holds(need, 1));
        room.map(|worker| (&*worker.place.worker, &worker.free)).take(many).collect()
    }

    /// Whether one of those that have had something released, or have begun to take something new, since that was
    /// forgotten, has room for this.
    pub(crate) fn have_freed(&self, need: &Amount) -> bool {
        let freed = self.index.freed.iter().filter_map(|number| self.at_number(*number));
        freed.filter(|worker| worker.is_alive()).any(|worker| worker.free.holds(need, 1))
    }

    /// Whether which workers take something new has changed since that was forgotten.
    pub(crate) fn is_renewed(&self) -> bool {
        self.index.has_changed
    }

    /// Forgets what was released, and who has begun or ceased to take something new.
    pub(crate) fn forget_freed(&mut self) {
        self.index.freed.clear();
        self.index.has_changed = false;
    }

    /// What is wrong with the index.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn audit(&self) -> Option<String> {
        let alive = self.all.iter().filter_map(|(_, worker)| {
            let free = available(worker)?;
            Some((Reverse(free), worker.number))
        });
        let addresses = self.by_address.values().map(BTreeSet::len).sum::<usize>();
        let is_indexed = |(number, worker): (usize, &Worker)| {
            worker.number as usize == number
                && self.numbers.get(&worker.place.worker) == Some(&worker.number)
                && self.in_order.get(&worker.place.worker) == Some(&worker.number)
                && worker.look_at.is_some_and(|at| {
                    at <= self.index.patience.deadline(worker)
                        && self.index.due.contains(&(at, worker.number))
                })
        };
        let sizes = [self.numbers.len(), self.in_order.len(), self.index.due.len(), addresses];
        let is_right = alive.collect::<BTreeSet<_>>() == self.index.by_room
            && sizes.iter().all(|size| *size == self.all.len())
            && self.all.iter().all(is_indexed);
        (!is_right).then(|| "the index of workers is wrong".to_owned())
    }
}

#[cfg(test)]
impl std::ops::Index<&str> for Workers {
    type Output = Worker;

    fn index(&self, id: &str) -> &Worker {
        self.get(id).unwrap()
    }
}

/// A worker that may be changed: the index follows when this goes.
#[derive(Debug)]
pub(crate) struct WorkerMut<'a> {
    worker: &'a mut Worker,
    index: &'a mut Index,
    before: Option<Room>,
}

impl Deref for WorkerMut<'_> {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker
    }
}

impl DerefMut for WorkerMut<'_> {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker
    }
}

impl Drop for WorkerMut<'_> {
    fn drop(&mut self) {
        let Self { worker, index, before } = self;
        index.update(worker.number, *before, available(worker));
        index.watch(worker);
        if std::mem::take(&mut worker.has_released) {
            index.freed.insert(worker.number);
        }
    }
}
