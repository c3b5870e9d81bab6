//! Workers: how they come, what they have, how they go.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anymaster_core::model::{AppId, Cause};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Cluster;
use crate::master::schedule::Amount;
use crate::wire::{FromWorker, Held, Progress, Task, ToWorker, WorkerInfo};

/// Where messages to a worker go. At most a few for each process that fits on it wait there.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) session: u64,
    pub(crate) messages: mpsc::UnboundedSender<ToWorker>,
}

/// Whether a worker can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Alive,
    /// Its connection ended then; it may come back.
    Away(Instant),
    /// It is gone, since then; kept for people to see.
    Dead(Instant),
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) info: WorkerInfo,
    pub(super) state: WorkerState,
    pub(super) free: Amount,
    /// Addresses of other resources that nobody has.
    addresses: BTreeMap<String, Vec<String>>,
    link: Option<Link>,
    /// Its last connection.
    session: u64,
    pub(super) seen: Instant,
    /// Applications that it was told of.
    told: HashSet<AppId>,
    pub(super) tasks: BTreeSet<(AppId, Task)>,
}

fn whole(info: &WorkerInfo) -> Amount {
    let extra = info.resources.iter().map(|(name, all)| (name.clone(), all.len() as u64));
    Amount { cores: info.cores, memory_mib: info.memory_mib, extra: extra.collect() }
}

impl Worker {
    fn new(info: WorkerInfo, link: Link, now: Instant) -> Self {
        Self {
            free: whole(&info),
            addresses: info.resources.clone(),
            info,
            state: WorkerState::Alive,
            session: link.session,
            link: Some(link),
            seen: now,
            told: HashSet::new(),
            tasks: BTreeSet::new(),
        }
    }

    /// What it has when nothing runs there.
    pub(super) fn whole(&self) -> Amount {
        whole(&self.info)
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.info.host, self.info.port)
    }

    pub(super) fn name(&self) -> String {
        format!("worker {} ({})", self.info.id, self.address())
    }

    pub(super) fn send(&self, message: ToWorker) {
        if let Some(link) = &self.link {
            // An error: its connection has just ended, which is told by itself.
            let _ = link.messages.send(message);
        }
    }

    /// Whether it is to be told of an application first.
    pub(super) fn is_new_to(&mut self, app: &AppId) -> bool {
        self.told.insert(app.clone())
    }

    /// Nothing is left of an application.
    pub(super) fn forget(&mut self, app: &AppId) {
        if self.told.remove(app) {
            self.send(ToWorker::Over { app: app.clone() });
        }
    }

    /// Takes what a process needs; the addresses of what it is given.
    pub(super) fn take(&mut self, need: &Amount) -> BTreeMap<String, Vec<String>> {
        self.free.take(need);
        let given = need.extra.iter().map(|(name, amount)| {
            let all = self.addresses.entry(name.clone()).or_default();
            let at = all.len().saturating_sub(usize::try_from(*amount).unwrap_or(usize::MAX));
            (name.clone(), all.split_off(at))
        });
        given.collect()
    }

    /// Takes what a process has already.
    pub(super) fn take_these(&mut self, need: &Amount, taken: &BTreeMap<String, Vec<String>>) {
        self.free.take(need);
        for (name, taken) in taken {
            if let Some(addresses) = self.addresses.get_mut(name) {
                addresses.retain(|address| !taken.contains(address));
            }
        }
    }

    /// Whether it is one of ours.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.state, WorkerState::Dead(_))
    }

    pub(super) fn give_back(&mut self, need: &Amount, given: BTreeMap<String, Vec<String>>) {
        self.free.give_back(need);
        for (name, addresses) in given {
            self.addresses.entry(name).or_default().extend(addresses);
        }
    }
}

impl Cluster {
    /// A worker comes, or comes back, with what it has.
    pub(crate) fn register(&mut self, info: WorkerInfo, held: Vec<Held>, link: Link, now: Instant) {
        let id = info.id.clone();
        let heartbeat = self.policy.worker_timeout / 4;
        let registered = ToWorker::Registered { master: self.policy.master.clone(), heartbeat };
        // An error: its connection has just ended, which is told by itself.
        let _ = link.messages.send(registered);
        match self.workers.get_mut(&id) {
            Some(known) if !matches!(known.state, WorkerState::Dead(_)) => {
                known.state = WorkerState::Alive;
                (known.session, known.seen) = (link.session, now);
                known.link = Some(link);
                // What it was told before may not have arrived.
                known.told.clear();
            }
            _ => {
                tracing::info!(
                    "worker {id} at {}:{}: {} cores, {} MiB",
                    info.host,
                    info.port,
                    info.cores,
                    info.memory_mib
                );
                self.replace_dead(&info);
                self.workers.insert(id.clone(), Worker::new(info, link, now));
            }
        }
        self.compare(&id, &held);
        for held in held {
            self.changed(&id, held, now);
        }
        self.has_returned(&id, now);
        self.mark_workers();
        self.is_due = true;
    }

    /// A worker that was started anew in the place of another: that one is no more.
    fn replace_dead(&mut self, info: &WorkerInfo) {
        let same = |worker: &Worker| {
            worker.info.host == info.host
                && worker.info.port == info.port
                && worker.info.id != info.id
        };
        let old: Vec<_> =
            self.workers.iter().filter(|(_, w)| same(w)).map(|(id, _)| id.clone()).collect();
        for id in old {
            self.lose(&id, "another was started in its place");
            self.workers.remove(&id);
        }
    }

    /// What we believe a worker to have and it does not have was lost on the way to it.
    fn compare(&mut self, id: &str, held: &[Held]) {
        let has: HashSet<_> = held.iter().map(|held| (held.app.clone(), held.task)).collect();
        let Some(worker) = self.workers.get(id) else { return };
        let lost: Vec<_> =
            worker.tasks.iter().filter(|task| !has.contains(task)).cloned().collect();
        let why = format!("{} was away and came back without it", worker.name());
        for (app, task) in lost {
            self.ended(&app, task, Cause::Lost { why: why.as_str().into() }.into());
        }
    }

    /// A message of a worker.
    pub(crate) fn heard(&mut self, id: &str, message: FromWorker, now: Instant) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.seen = now;
        }
        match message {
            FromWorker::Changed(held) => self.changed(id, held, now),
            FromWorker::Heartbeat | FromWorker::Register { .. } => {}
        }
    }

    /// Something has become of a process.
    fn changed(&mut self, id: &str, held: Held, now: Instant) {
        let Some(worker) = self.workers.get(id) else { return };
        let is_known =
            worker.tasks.contains(&(held.app.clone(), held.task)) || self.adopt(id, &held);
        let Held { app, task, progress, .. } = held;
        let Some(worker) = self.workers.get(id) else { return };
        if !is_known {
            // Not, or no longer, one of ours: of a time when nobody heard of this worker.
            match progress {
                Progress::Ended(_) => worker.send(ToWorker::Noted { app, task }),
                _ => worker.send(ToWorker::Stop { app, task, stop: super::app::STRAY }),
            }
            return;
        }
        match progress {
            Progress::Starting => {}
            Progress::Running { port } => self.runs(&app, task, port),
            Progress::Again(outcome) => self.restarts(&app, &outcome),
            Progress::Ended(outcome) => {
                worker.send(ToWorker::Noted { app: app.clone(), task });
                self.ended_at(&app, task, outcome, now);
            }
        }
    }

    /// A worker's connection ended.
    pub(crate) fn away(&mut self, id: &str, session: u64, now: Instant) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        if worker.link.as_ref().is_some_and(|link| link.session == session) {
            worker.link = None;
            if worker.state == WorkerState::Alive {
                tracing::warn!("{}: its connection ended", worker.name());
                worker.state = WorkerState::Away(now);
            }
        }
    }

    /// A worker whose connection ended is gone for good.
    pub(crate) fn gone(&mut self, id: &str, session: u64, now: Instant) {
        let Some(worker) = self.workers.get(id) else { return };
        if matches!(worker.state, WorkerState::Away(_)) && worker.session == session {
            self.lose(id, "nobody listens there any more");
            if let Some(worker) = self.workers.get_mut(id) {
                worker.state = WorkerState::Dead(now);
            }
        }
    }

    /// Finds workers that were silent for too long. Says when to look again.
    pub(crate) fn check_workers(&mut self, now: Instant) -> Instant {
        let (timeout, return_time) = (self.policy.worker_timeout, self.policy.return_time);
        // Spark keeps those that are dead for 15 more rounds.
        let (mut next, keep) = (now + timeout, timeout * 16);
        let (mut lost, mut old) = (Vec::new(), Vec::new());
        for (id, worker) in &self.workers {
            let (deadline, list) = match worker.state {
                WorkerState::Alive => (worker.seen + timeout, &mut lost),
                WorkerState::Away(since) => (since + return_time, &mut lost),
                WorkerState::Dead(since) => (since + keep, &mut old),
            };
            if deadline <= now {
                list.push(id.clone());
            } else {
                next = next.min(deadline);
            }
        }
        for id in old {
            self.workers.remove(&id);
        }
        for id in lost {
            let why = match self.workers.get(&id).map(|worker| worker.state) {
                Some(WorkerState::Away(_)) => "its connection ended".to_owned(),
                _ => format!("it was silent for {} s", timeout.as_secs()),
            };
            self.lose(&id, &why);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.state = WorkerState::Dead(now);
                next = next.min(now + keep);
            }
        }
        self.check_recovery(now).map_or(next, |recovery| next.min(recovery))
    }

    /// A worker is gone, and so are its processes, for all that is known.
    fn lose(&mut self, id: &str, why: &str) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.link = None;
        let tasks = std::mem::take(&mut worker.tasks);
        if matches!(worker.state, WorkerState::Dead(_)) {
            return;
        }
        let why = format!("{} is gone: {why}", worker.name());
        tracing::warn!("{why}");
        for (app, task) in tasks {
            self.ended(&app, task, Cause::Lost { why: why.as_str().into() }.into());
        }
        self.mark_workers();
        self.is_due = true;
    }
}
