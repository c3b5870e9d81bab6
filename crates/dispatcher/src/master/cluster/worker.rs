//! Workers: how they come, what they have, how they go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use anymaster_core::model::{AppId, Cause};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::app::App;
use super::{Cluster, Policy, outbox};
use crate::master::amount::{Amount, Cores};
use crate::wire::{FromWorker, Held, Progress, Task, ToWorker, WorkerInfo};

/// Where messages to a worker go. At most a few for each process that fits on it wait there.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) session: u64,
    pub(crate) messages: Messages,
}

/// A queue of messages.
#[derive(Debug, Clone)]
pub(crate) enum Messages {
    /// Of one worker.
    Own(mpsc::UnboundedSender<ToWorker>),
    /// Of all agents: with the name of the one that is meant.
    Shared(Arc<str>, mpsc::UnboundedSender<(Arc<str>, ToWorker)>),
}

impl Messages {
    pub(super) fn send(&self, message: ToWorker) {
        // An error: the connection has just ended, which is told by itself.
        let _ = match self {
            Self::Own(queue) => queue.send(message).is_ok(),
            Self::Shared(agent, queue) => queue.send((Arc::clone(agent), message)).is_ok(),
        };
    }
}

/// Whether a worker can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Alive,
    /// It takes nothing new, and goes when its drivers have ended.
    Leaving,
    /// Its connection ended then; it may come back.
    Away(Instant),
    /// It is gone, since then; kept for people to see.
    Dead(Instant),
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) info: WorkerInfo,
    pub(super) state: WorkerState,
    pub(super) free: Amount,
    /// Of an agent: this pass is about what it offers.
    pub(super) is_offering: bool,
    /// Addresses of other resources that nobody has.
    addresses: BTreeMap<String, Vec<String>>,
    link: Option<Link>,
    /// Where messages wait until they may be sent, if anything is kept.
    outbox: Option<outbox::Sender>,
    /// Its last connection.
    session: u64,
    pub(super) seen: Instant,
    /// Applications that it was told of.
    told: HashSet<AppId>,
    pub(super) tasks: BTreeSet<(AppId, Task)>,
    /// Applications whose former driver is still being ended there: another one has to go elsewhere.
    pub(super) strays: HashSet<AppId>,
}

fn whole(info: &WorkerInfo) -> Amount {
    let extra = info.resources.iter().map(|(name, all)| (name.clone(), all.len() as u64));
    Amount { cores: Cores::whole(info.cores), memory_mib: info.memory_mib, extra: extra.collect() }
}

impl Worker {
    fn new(info: WorkerInfo, link: Link, outbox: Option<outbox::Sender>, now: Instant) -> Self {
        Self {
            free: whole(&info),
            addresses: info.resources.clone(),
            info,
            state: WorkerState::Alive,
            is_offering: false,
            session: link.session,
            link: Some(link),
            outbox,
            seen: now,
            told: HashSet::new(),
            tasks: BTreeSet::new(),
            strays: HashSet::new(),
        }
    }

    /// What it has when nothing runs there.
    pub(super) fn whole(&self) -> Amount {
        whole(&self.info)
    }

    /// Whether it could ever hold this, as far as is known.
    pub(super) fn could_hold(&self, need: &Amount) -> bool {
        self.info.is_lent || self.whole().holds(need, 1)
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.info.host, self.info.port)
    }

    pub(super) fn name(&self) -> String {
        let what = if self.info.is_lent { "agent" } else { "worker" };
        format!("{what} {} ({})", self.info.id, self.address())
    }

    /// Says something as soon as what it follows from is durable.
    pub(super) fn send(&self, message: ToWorker) {
        let Some(Link { messages, .. }) = &self.link else { return };
        match &self.outbox {
            // The receiver is in the cluster: there is no error to be had.
            Some(outbox) => drop(outbox.send((messages.clone(), message))),
            None => messages.send(message),
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
        if self.info.is_lent {
            // It is offered again.
            return;
        }
        self.free.give_back(need);
        for (name, addresses) in given {
            self.addresses.entry(name).or_default().extend(addresses);
        }
    }
}

impl Cluster {
    /// A worker comes, or comes back, with what it has.
    pub(crate) fn register(
        &mut self,
        info: WorkerInfo,
        held: Vec<Held>,
        leaving: bool,
        link: Link,
        now: Instant,
    ) {
        let id = info.id.clone();
        let heartbeat = self.policy.worker_timeout / 4;
        let Policy { master, web, .. } = &self.policy;
        let (master, web) = (master.clone(), web.clone());
        let registered = ToWorker::Registered { master, web, heartbeat };
        link.messages.send(registered);
        match self.workers.get_mut(&id) {
            Some(known) if !matches!(known.state, WorkerState::Dead(_)) => {
                known.state = WorkerState::Alive;
                (known.session, known.seen) = (link.session, now);
                known.link = Some(link);
                // What it was told before may not have arrived.
                known.told.clear();
                // What it holds says which are left.
                known.strays.clear();
            }
            _ => {
                if !info.is_lent {
                    let WorkerInfo { host, port, cores, memory_mib, .. } = &info;
                    tracing::info!("worker {id} at {host}:{port}: {cores} cores, {memory_mib} MiB");
                }
                if !info.is_lent {
                    self.replace_dead(&info);
                }
                let outbox = self.outbox.as_ref().map(outbox::Outbox::sender);
                self.workers.insert(id.clone(), Worker::new(info, link, outbox, now));
            }
        }
        if leaving {
            self.leaves(&id);
        }
        self.compare(&id, &held);
        for held in held {
            let process = (held.app.clone(), held.task);
            self.knows(&id, &held.app);
            self.changed(&id, held, now);
            if self.workers.get(&id).is_some_and(|worker| worker.tasks.contains(&process)) {
                self.remind(&process.0, process.1);
            }
        }
        self.has_returned(&id, now);
        self.mark_workers();
        self.is_due = true;
    }

    /// A worker has something of an application: it knows it, and is told when nothing more of that is
    /// to come.
    fn knows(&mut self, id: &str, app: &AppId) {
        let is_over = self.app(app).is_none_or(App::is_over);
        // Who brings offers knows applications by what they were told.
        let Some(worker) = self.workers.get_mut(id).filter(|worker| !worker.info.is_lent) else {
            return;
        };
        worker.told.insert(app.clone());
        if is_over {
            worker.forget(app);
        } else if let Some((_, app)) = self.app_mut(app) {
            app.introduced.insert(id.to_owned());
        }
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
            // It keeps those that ended until it is told that this is known: this one never began.
            if task != Task::Driver || !self.place_again(&app) {
                self.ended(&app, task, Cause::Lost { why: why.as_str().into() }.into());
            }
        }
    }

    /// A message of a worker.
    pub(crate) fn heard(&mut self, id: &str, message: FromWorker, now: Instant) {
        self.now = now;
        if let Some(worker) = self.workers.get_mut(id) {
            worker.seen = now;
        }
        match message {
            FromWorker::Changed(held) => self.changed(id, held, now),
            FromWorker::Accepted { app, attempt } => self.accepted(id, &app, attempt),
            FromWorker::Leaving => self.leaves(id),
            FromWorker::Heartbeat | FromWorker::Register { .. } => {}
        }
    }

    /// A worker takes nothing new: it is to be shut down.
    fn leaves(&mut self, id: &str) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        if worker.state == WorkerState::Alive {
            tracing::info!("{} is decommissioned", worker.name());
            worker.state = WorkerState::Leaving;
        }
    }

    /// A worker has got the order of a driver: it may start it, once it is written down where that is.
    fn accepted(&mut self, id: &str, app: &AppId, attempt: u32) {
        let Some(worker) = self.workers.get(id) else { return };
        let entry = self.turns.get(app).and_then(|turn| self.apps.get_mut(turn));
        let Some(entry) = entry.filter(|entry| entry.is_given_to(id, attempt)) else {
            // It has gone elsewhere, or has been ended.
            worker.send(ToWorker::Stop {
                app: app.clone(),
                task: Task::Driver,
                stop: super::app::STRAY,
            });
            return;
        };
        if entry.begin() {
            worker.send(ToWorker::Confirmed { app: app.clone(), attempt });
            if let Some(turn) = self.turns.get(app).copied() {
                self.mark(turn);
            }
        }
    }

    /// Something has become of a process.
    fn changed(&mut self, id: &str, held: Held, now: Instant) {
        let Some(worker) = self.workers.get(id) else { return };
        let is_known =
            worker.tasks.contains(&(held.app.clone(), held.task)) || self.adopt(id, &held);
        let Held { app, task, progress, .. } = held;
        let Some(worker) = self.workers.get_mut(id) else { return };
        if !is_known {
            // Not, or no longer, one of ours: of a time when nobody heard of this worker.
            if matches!(progress, Progress::Ended(_)) {
                if task == Task::Driver && worker.strays.remove(&app) {
                    self.is_due = true;
                }
                worker.send(ToWorker::Noted { app, task });
            } else {
                if task == Task::Driver {
                    worker.strays.insert(app.clone());
                }
                worker.send(ToWorker::Stop { app, task, stop: super::app::STRAY });
            }
            return;
        }
        match progress {
            Progress::Starting => {}
            Progress::Running { port, host } => self.runs(&app, task, port, host),
            Progress::Again(outcome) => self.restarts(&app, &outcome),
            Progress::Refused(why) => self.refused(&app, task, &why),
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
            if matches!(worker.state, WorkerState::Alive | WorkerState::Leaving) {
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
        self.now = now;
        let (timeout, return_time) = (self.policy.worker_timeout, self.policy.return_time);
        // Spark keeps those that are dead for 15 more rounds.
        let (mut next, keep) = (now + timeout, timeout * 16);
        let (mut lost, mut old) = (Vec::new(), Vec::new());
        for (id, worker) in &self.workers {
            let (deadline, list) = match worker.state {
                WorkerState::Alive | WorkerState::Leaving => (worker.seen + timeout, &mut lost),
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
        // It may bring retries.
        let recovery = self.check_recovery(now);
        [recovery, self.check_retries(), self.check_failures()]
            .into_iter()
            .flatten()
            .fold(next, Instant::min)
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
