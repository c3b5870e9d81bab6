//! How workers come, report and go.

use std::collections::HashSet;

use anymaster_core::model::{AppId, Cause};

use crate::app::ORPHAN_STOP;
use crate::driver::DriverEvent;
use crate::effects::Effect;
use crate::engine::{Engine, SubmissionSeq};
use crate::model::{Order, Progress, Task, TaskReport, WorkerInfo, WorkerMessage};
use crate::time::Instant;
use crate::worker::{Liveness, Worker, WorkerEvent};

impl Engine {
    /// A worker registers, for the first time or again, with the processes that it has. `session`: the connection by
    /// which it is reached; each has a number of its own.
    pub fn register(
        &mut self,
        info: WorkerInfo,
        reports: Vec<TaskReport>,
        is_leaving: bool,
        session: u64,
    ) {
        let id = info.id.clone();
        let heartbeat = self.settings.worker_timeout / 4;
        let order = Order::Registered { heartbeat };
        self.effects.push(Effect::Send { worker: id.clone(), session, order });
        let now = self.now.at;
        if let Some(mut known) = self.workers.get_mut(&id).filter(|known| known.is_present()) {
            known.liveness = known.liveness.after(WorkerEvent::Register);
            (known.session, known.connected, known.seen) = (session, Some(session), now);
            // What it was told before may not have arrived.
            known.informed_of.clear();
            // Its reports say which are left.
            known.orphans.clear();
        } else {
            self.add_worker(info, session);
        }
        if is_leaving {
            self.on_leaving(&id);
        }
        self.requeue_unreported(&id, &reports);
        for report in reports {
            let (app, task) = (report.app.clone(), report.task);
            self.note_informed(&id, &app);
            self.on_report(&id, report);
            if self.has(&id, &app, task) {
                self.repeat_stop(&app, task);
            }
        }
        self.worker_recovered(&id);
        self.mark_workers();
        self.is_due = true;
    }

    /// Whether a process is on a worker.
    pub(crate) fn has(&self, worker: &str, app: &AppId, task: Task) -> bool {
        let seq = self.seqs.get(app);
        seq.zip(self.workers.get(worker)).is_some_and(|(seq, at)| at.tasks.contains(&(*seq, task)))
    }

    fn add_worker(&mut self, info: WorkerInfo, session: u64) {
        if self.supply.reports_by_worker() {
            let WorkerInfo { id, host, port, cores, memory_mib, .. } = &info;
            tracing::info!("worker {id} at {host}:{port}: {cores} cores, {memory_mib} MiB");
            self.replace_restarted(&info);
        }
        let worker = Worker::new(info, self.supply.words().worker, session, self.now.at);
        self.workers.insert(worker);
    }

    /// A worker reports something of an application: it knows it, and has to be told when that is finished.
    fn note_informed(&mut self, id: &str, app: &AppId) {
        if !self.supply.reports_by_worker() {
            return;
        }
        let Some(mut worker) = self.workers.get_mut(id) else { return };
        match self.seqs.get(app).and_then(|seq| Some((*seq, self.apps.get_mut(seq)?))) {
            Some((seq, app)) if !app.is_finished() => {
                worker.informed_of.insert(seq);
                app.informed_workers.insert(worker.number);
            }
            known => {
                if let Some((seq, _)) = known {
                    worker.informed_of.remove(&seq);
                }
                worker.send(&mut self.effects, Order::ForgetApp { app: app.clone() });
            }
        }
    }

    /// A worker was started again in the place of another, which is lost.
    fn replace_restarted(&mut self, info: &WorkerInfo) {
        let there = self.workers.at(&info.host, info.port);
        let old: Vec<_> = there.filter(|id| ***id != *info.id).cloned().collect();
        for id in old {
            self.mark_lost(&id, "another was started in its place");
            self.workers.remove(&id);
            // It does not come back.
            for seq in self.losses.remove(&*id).unwrap_or_default() {
                if let Some(app) = self.apps.get_mut(&seq) {
                    app.lost_workers.remove(&*id);
                }
            }
        }
    }

    /// Processes that were ordered and that a worker does not report were lost on the way to it.
    fn requeue_unreported(&mut self, id: &str, reports: &[TaskReport]) {
        let has: HashSet<_> = reports.iter().map(|report| (&report.app, report.task)).collect();
        let Some(worker) = self.workers.get(id) else { return };
        let tasks = worker.tasks.iter();
        let named = tasks.filter_map(|(seq, task)| Some((self.apps.get(seq)?.id(), *task)));
        let lost = named.filter(|process| !has.contains(process));
        let lost: Vec<_> = lost.map(|(app, task)| (app.clone(), task)).collect();
        let why = format!("{} was away and came back without it", worker.name());
        for (app, task) in lost {
            // A worker keeps those that ended until that is acknowledged: this one never began.
            if task != Task::Driver || !self.requeue_driver(&app) {
                self.end_process(&app, task, Cause::Lost { why: why.as_str().into() }.into());
            }
        }
    }

    /// A message of a worker.
    pub fn on_worker_message(&mut self, id: &str, message: WorkerMessage) {
        if let Some(mut worker) = self.workers.get_mut(id) {
            worker.seen = self.now.at;
        }
        match message {
            WorkerMessage::Report(report) => self.on_report(id, report),
            WorkerMessage::DriverAccepted { app, attempt } => {
                self.on_driver_accepted(id, &app, attempt);
            }
            WorkerMessage::Leaving => self.on_leaving(id),
            WorkerMessage::Heartbeat => {}
        }
    }

    /// A worker takes nothing new: it is to be shut down.
    fn on_leaving(&mut self, id: &str) {
        let Some(mut worker) = self.workers.get_mut(id) else { return };
        let after = worker.liveness.after(WorkerEvent::Leave);
        if worker.liveness != after {
            tracing::info!("{} is decommissioned", worker.name());
            worker.liveness = after;
        }
    }

    /// A worker has got the order of a driver: it may start it, once it is recorded where that is.
    fn on_driver_accepted(&mut self, id: &str, app: &AppId, attempt: u32) {
        let Self { workers, seqs, apps, effects, .. } = self;
        let Some(worker) = workers.get(id) else { return };
        let seq = seqs.get(app).copied();
        let entry = seq.and_then(|seq| Some((seq, apps.get_mut(&seq)?)));
        let Some((seq, entry)) = entry.filter(|(_, entry)| entry.is_given_to(id, attempt)) else {
            // It is placed elsewhere, or was ended.
            let (app, task, stop) = (app.clone(), Task::Driver, ORPHAN_STOP);
            worker.send(effects, Order::Stop { app, task, stop });
            return;
        };
        // An error: it was confirmed before.
        if entry.placement.apply(DriverEvent::Confirm).is_ok() {
            worker.send(effects, Order::ConfirmDriver { app: app.clone(), attempt });
            self.mark(seq);
        }
    }

    /// The state of a process has changed.
    pub(crate) fn on_report(&mut self, id: &str, report: TaskReport) {
        let is_known = self.has(id, &report.app, report.task) || self.adopt(id, &report);
        let TaskReport { app, task, progress, .. } = report;
        let Some(mut worker) = self.workers.get_mut(id) else { return };
        if !is_known {
            // It is no process of ours, or not any more: of a time when the worker was taken for lost.
            if matches!(progress, Progress::Ended(_)) {
                if task == Task::Driver && worker.orphans.remove(&app) {
                    self.is_due = true;
                }
                worker.send(&mut self.effects, Order::TaskAck { app, task });
            } else {
                if task == Task::Driver {
                    worker.orphans.insert(app.clone());
                }
                worker.send(&mut self.effects, Order::Stop { app, task, stop: ORPHAN_STOP });
            }
            return;
        }
        if matches!(progress, Progress::Ended(_)) {
            worker.send(&mut self.effects, Order::TaskAck { app: app.clone(), task });
        }
        drop(worker);
        match progress {
            Progress::Starting => {}
            Progress::Running { port, host } => self.on_running(&app, task, port, host),
            Progress::Restarting(outcome) => self.on_driver_restarting(&app, &outcome),
            Progress::Refused(why) => self.on_refused(&app, task, &why),
            Progress::Ended(outcome) => self.on_ended(&app, task, outcome),
        }
    }

    /// A worker's connection ended.
    pub fn worker_disconnected(&mut self, id: &str, session: u64) {
        let Some(mut worker) = self.workers.get_mut(id) else { return };
        if worker.connected == Some(session) {
            worker.connected = None;
            let after = worker.liveness.after(WorkerEvent::Disconnect(self.now.at));
            if worker.liveness != after {
                tracing::warn!("{}: its connection ended", worker.name());
                worker.liveness = after;
            }
        }
    }

    /// A worker whose connection ended is known to be gone.
    pub fn worker_dead(&mut self, id: &str, session: u64) {
        let Some(worker) = self.workers.get(id) else { return };
        if matches!(worker.liveness, Liveness::Disconnected(_)) && worker.session == session {
            self.mark_lost(id, "nobody listens there any more");
        }
    }

    /// Does what is due by time: workers that were silent for too long are lost, external drivers that have not come
    /// back have ended, pauses end. Says when to call it again.
    pub fn on_timer(&mut self) -> Instant {
        let now = self.now.at;
        let next = self.check_workers(now);
        // Recovery may bring retries.
        let recovery = self.check_recovery();
        [recovery, self.check_detached(), self.check_retries(), self.check_failures()]
            .into_iter()
            .flatten()
            .fold(next, Instant::min)
    }

    /// Workers that were away for too long are lost, and those that were lost long ago are not shown any more. Says
    /// when to call it again.
    fn check_workers(&mut self, now: Instant) -> Instant {
        let timeout = self.settings.worker_timeout;
        for id in self.workers.take_due(now) {
            let why = match self.workers.get(&id).map(|worker| worker.liveness) {
                Some(Liveness::Alive | Liveness::Leaving) => {
                    format!("it was silent for {} s", timeout.as_secs())
                }
                Some(Liveness::Disconnected(_)) => "its connection ended".to_owned(),
                Some(Liveness::Dead(_)) | None => {
                    self.workers.remove(&id);
                    continue;
                }
            };
            self.mark_lost(&id, &why);
        }
        self.workers.next_due().map_or(now + timeout, |due| due.min(now + timeout))
    }

    /// Executors of an application on a lost worker have ended, though they may still run: the next master, to which the
    /// worker may come back, has to know that.
    fn remember_loss(&mut self, worker: &str, seq: SubmissionSeq) -> Option<AppId> {
        let app = self.apps.get_mut(&seq)?;
        app.lost_workers.insert(worker.to_owned(), app.last_id);
        self.losses.entry(worker.to_owned()).or_default().insert(seq);
        let id = app.id().clone();
        self.mark(seq);
        Some(id)
    }

    /// A worker is lost, and so are its processes, as far as is known.
    fn mark_lost(&mut self, id: &str, why: &str) {
        let Some(mut worker) = self.workers.get_mut(id) else { return };
        let after = worker.liveness.after(WorkerEvent::Lose(self.now.at));
        if worker.liveness == after {
            return;
        }
        worker.liveness = after;
        if let Some(session) = worker.connected.take() {
            self.effects.push(Effect::Disconnect { worker: id.to_owned(), session });
        }
        let tasks = std::mem::take(&mut worker.tasks);
        let why = format!("{} is gone: {why}", worker.name());
        drop(worker);
        tracing::warn!("{why}");
        for (seq, task) in tasks {
            let Some(app) = self.remember_loss(id, seq) else { continue };
            self.end_process(&app, task, Cause::Lost { why: why.as_str().into() }.into());
        }
        self.mark_workers();
        self.is_due = true;
    }
}
