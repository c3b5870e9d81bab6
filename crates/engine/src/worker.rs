//! One worker: what it has, and what runs there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use anymaster_core::model::AppId;

use crate::amount::{Amount, Cores};
use crate::effects::{Effect, Effects};
use crate::engine::SubmissionSeq;
use crate::model::{Order, Task, WorkerInfo};
use crate::time::Instant;
use crate::worker_index::WorkerNumber;

/// Whether a worker can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It is connected.
    Alive,
    /// It takes nothing new, and ends when its drivers have ended.
    Leaving,
    /// Its connection ended then; it may come back.
    Disconnected(Instant),
    /// It is lost, since then; kept for people to see.
    Dead(Instant),
}

/// What may happen to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerEvent {
    /// It registers, for the first time or again.
    Register,
    /// It is being decommissioned.
    Leave,
    /// Its connection ends.
    Disconnect(Instant),
    /// It is given up.
    Lose(Instant),
}

impl Liveness {
    /// What it is after an event. An event that changes nothing is ignored: of two reports of the same, one is late.
    pub(crate) fn after(self, event: WorkerEvent) -> Self {
        match (self, event) {
            (Self::Alive | Self::Leaving | Self::Disconnected(_), WorkerEvent::Register) => {
                Self::Alive
            }
            (Self::Alive, WorkerEvent::Leave) => Self::Leaving,
            (Self::Alive | Self::Leaving, WorkerEvent::Disconnect(at)) => Self::Disconnected(at),
            (Self::Alive | Self::Leaving | Self::Disconnected(_), WorkerEvent::Lose(at)) => {
                Self::Dead(at)
            }
            // One that is dead comes back as another worker.
            (same, _) => same,
        }
    }
}

/// Where executors run.
#[derive(Debug)]
pub(crate) struct Place {
    /// The id of the worker.
    pub(crate) worker: Arc<str>,
    /// Its host.
    pub(crate) host: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) info: WorkerInfo,
    /// Shared by its executors.
    pub(crate) place: Arc<Place>,
    pub(crate) liveness: Liveness,
    pub(crate) free: Amount,
    /// Something was released since the index of workers was told.
    pub(crate) has_released: bool,
    /// Of an agent: it makes offers in this pass.
    pub(crate) is_offering: bool,
    /// What people call it: a worker, or an agent.
    word: &'static str,
    /// Addresses of other resources that are free.
    addresses: BTreeMap<String, Vec<String>>,
    /// Its session, while it is connected.
    pub(crate) connected: Option<u64>,
    /// Its last session.
    pub(crate) session: u64,
    pub(crate) seen: Instant,
    /// When the index of workers looks at it next.
    pub(crate) look_at: Option<Instant>,
    /// Where it is kept.
    pub(crate) number: WorkerNumber,
    /// Applications that it was told of.
    pub(crate) informed_of: BTreeSet<SubmissionSeq>,
    pub(crate) tasks: BTreeSet<(SubmissionSeq, Task)>,
    /// Applications of which a former driver is still being ended there: the next one has to be placed elsewhere.
    pub(crate) orphans: HashSet<AppId>,
}

fn whole(info: &WorkerInfo) -> Amount {
    let extra = info.resources.iter().map(|(name, all)| (name.clone(), all.len() as u64));
    Amount { cores: Cores::whole(info.cores), memory_mib: info.memory_mib, extra: extra.collect() }
}

impl Worker {
    pub(crate) fn new(info: WorkerInfo, word: &'static str, session: u64, now: Instant) -> Self {
        Self {
            free: whole(&info),
            addresses: info.resources.clone(),
            place: Arc::new(Place {
                worker: info.id.as_str().into(),
                host: info.host.as_str().into(),
            }),
            info,
            liveness: Liveness::Alive,
            has_released: false,
            is_offering: false,
            word,
            session,
            connected: Some(session),
            seen: now,
            look_at: None,
            number: 0,
            informed_of: BTreeSet::new(),
            tasks: BTreeSet::new(),
            orphans: HashSet::new(),
        }
    }

    /// What it has when nothing runs there.
    pub(crate) fn whole(&self) -> Amount {
        whole(&self.info)
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.info.host, self.info.port)
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        format!("{} {} ({})", self.word, self.info.id, self.address())
    }

    /// Sends an order as soon as what it follows from is durable.
    pub(crate) fn send(&self, effects: &mut Effects, order: Order) {
        if let Some(session) = self.connected {
            effects.push_durable(Effect::Send { worker: self.info.id.clone(), session, order });
        }
    }

    /// Nothing is left of an application.
    pub(crate) fn forget(&mut self, effects: &mut Effects, seq: SubmissionSeq, app: &AppId) {
        if self.informed_of.remove(&seq) {
            self.send(effects, Order::ForgetApp { app: app.clone() });
        }
    }

    /// Takes what a process needs; the addresses of what it is given.
    pub(crate) fn take(&mut self, need: &Amount) -> BTreeMap<String, Vec<String>> {
        self.free.take(need);
        let given = need.extra.iter().map(|(name, amount)| {
            let all = self.addresses.entry(name.clone()).or_default();
            let at = all.len().saturating_sub(usize::try_from(*amount).unwrap_or(usize::MAX));
            (name.clone(), all.split_off(at))
        });
        given.collect()
    }

    /// Takes what a process has already.
    pub(crate) fn take_these(&mut self, need: &Amount, taken: &BTreeMap<String, Vec<String>>) {
        self.free.take(need);
        for (name, taken) in taken {
            if let Some(addresses) = self.addresses.get_mut(name) {
                addresses.retain(|address| !taken.contains(address));
            }
        }
    }

    /// Releases what a process had.
    pub(crate) fn give_back(&mut self, need: &Amount, given: BTreeMap<String, Vec<String>>) {
        self.free.give_back(need);
        self.has_released = true;
        for (name, addresses) in given {
            self.addresses.entry(name).or_default().extend(addresses);
        }
    }

    /// Whether it is one of the cluster's.
    pub(crate) fn is_present(&self) -> bool {
        !matches!(self.liveness, Liveness::Dead(_))
    }

    /// Whether it takes something new.
    pub(crate) fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }
}
