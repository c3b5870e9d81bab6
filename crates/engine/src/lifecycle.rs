//! How drivers and executors begin and end.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use anymaster_core::model::{AppId, Cause, ExecutorId, KilledBy, Outcome, State, Status, Stop};
use anymaster_core::reconcile::Ended;

use crate::amount::Amount;
use crate::app::{FORGIVEN_AFTER, MAX_FAILURES, ORPHAN_STOP};
use crate::driver::{DriverEvent, DriverPlacement};
use crate::effects::Effect;
use crate::engine::{Engine, SubmissionSeq};
use crate::model::{Order, Task};
use crate::time::Instant;

impl Engine {
    /// The one function by which the state of a driver changes, as others see it: it only goes forward, and what would
    /// not is ignored.
    pub(crate) fn set_driver_state(&mut self, seq: SubmissionSeq, state: State) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        if state.rank() > app.driver.state.rank() {
            app.driver.state = state;
            self.events.push(Status::Driver(app.driver.clone()));
            self.mark(seq);
        }
    }

    /// A process runs.
    pub(crate) fn on_running(
        &mut self,
        app: &AppId,
        task: Task,
        port: Option<u16>,
        host: Option<String>,
    ) {
        let now = self.now;
        let Some((seq, app)) = self.app_mut(app) else { return };
        match task {
            Task::Driver => {
                // An error: it has none, for example since it was taken for lost.
                let _ = app.placement.apply(DriverEvent::Running { port, host });
                self.set_driver_state(seq, State::Running);
                self.wanting.insert(seq);
                self.is_due = true;
            }
            Task::Executor(id) => {
                let status = app.set_state(id, State::Running, now);
                self.publish_executor(seq, status);
            }
        }
    }

    /// Applications that wait may use workers again on which their executors failed long ago. Says when to call it
    /// again.
    pub(crate) fn check_failures(&mut self) -> Option<Instant> {
        while let Some((at, seq)) =
            self.forgiving.first().copied().filter(|(at, _)| *at <= self.now.at)
        {
            self.forgiving.remove(&(at, seq));
            let Some(app) = self.apps.get_mut(&seq) else { continue };
            // A pass looks at those that want executors.
            self.is_due |= app.expire_failures(self.now.at);
            app.is_forgiving = false;
            self.note_failures(seq);
        }
        self.forgiving.first().map(|(at, _)| *at)
    }

    /// Has the failures of an application forgiven when the first of them is old enough.
    fn note_failures(&mut self, seq: SubmissionSeq) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        if app.is_forgiving {
            return;
        }
        if let Some(oldest) = app.failing_workers.values().flatten().min() {
            app.is_forgiving = true;
            self.forgiving.insert((*oldest + FORGIVEN_AFTER, seq));
        }
    }

    fn publish_executor(&mut self, seq: SubmissionSeq, status: Option<Status>) {
        if let Some(status) = status {
            self.events.push(status);
            self.touched.insert(seq);
        }
    }

    /// A driver failed, and its worker starts it again: its executors belonged to the one before.
    pub(crate) fn on_driver_restarting(&mut self, app: &AppId, outcome: &Outcome) {
        tracing::warn!(%app, "its driver {}, and is started again", outcome.cause);
        if let Some((seq, app)) = self.app_mut(app) {
            app.wanted = None;
            self.stop_all(seq, ORPHAN_STOP);
            self.mark(seq);
        }
    }

    /// A process ended, by itself or on request.
    pub(crate) fn on_ended(&mut self, app: &AppId, task: Task, outcome: Outcome) {
        let now = self.now.at;
        if let Task::Executor(id) = task
            && let (max_retries, since) = (self.settings.max_retries, now - self.began.at)
            && let Some((seq, app)) = self.app_mut(app)
            && let Some(executor) = app.executors.get(&id)
        {
            let (profile, cause) = (executor.profile, outcome.cause.clone());
            if cause.is_failure() && app.asked.is_none() {
                let worker = executor.place.worker.to_string();
                let failures = app.failing_workers.entry(worker).or_default();
                failures.push_back(now);
                if failures.len() > MAX_FAILURES {
                    failures.pop_front();
                }
            } else if cause == Cause::Finished {
                app.failing_workers.remove(&*executor.place.worker);
            }
            let ended = Ended { id, profile, cause, asked: app.asked.is_some() };
            app.count_failure(&ended, max_retries, since);
            self.touched.insert(seq);
            self.note_failures(seq);
        }
        self.end_process(app, task, outcome);
    }

    /// A process is no more, for whatever reason.
    pub(crate) fn end_process(&mut self, app: &AppId, task: Task, outcome: Outcome) {
        match task {
            Task::Driver => self.driver_ended(app, outcome),
            Task::Executor(id) => self.executor_ended(app, id, outcome),
        }
    }

    fn executor_ended(&mut self, id: &AppId, executor: ExecutorId, outcome: Outcome) {
        let now = self.now;
        let Some((seq, app)) = self.app_mut(id) else { return };
        let Some((ended, status)) = app.end_executor(executor, outcome, now) else { return };
        self.events.push(status);
        self.touched.insert(seq);
        self.wanting.insert(seq);
        let task = Task::Executor(executor);
        self.release(
            &ended.place.worker,
            id,
            task,
            &ended.need,
            ended.given.map(Arc::unwrap_or_clone).unwrap_or_default(),
        );
        self.evict_finished(seq);
    }

    fn driver_ended(&mut self, id: &AppId, outcome: Outcome) {
        let restarts_on_workers = self.supply.restarts_drivers();
        let is_lost = matches!(outcome.cause, Cause::Lost { .. } | Cause::Evicted { .. });
        let Some((seq, app)) = self.app_mut(id) else { return };
        let assignment = app.placement.assignment();
        let never_began = assignment.is_some_and(|is| !is.has_begun);
        let is_supervised =
            assignment.and_then(|is| is.spec.as_ref()).is_some_and(|spec| spec.supervise);
        let asked = app.asked;
        if is_lost && never_began && self.requeue_driver(id) {
            return;
        }
        let outcome = match (asked, &outcome.cause) {
            // Its worker is evicted as well; but it was asked to end before.
            (Some(stop), Cause::Evicted { .. }) => {
                Outcome { cause: Cause::Killed { by: stop.by }, ..outcome }
            }
            _ => outcome,
        };
        let is_retryable = is_lost || !restarts_on_workers && outcome.cause.is_failure();
        if is_retryable && is_supervised && asked.is_none() {
            self.retry_driver(seq, &outcome.cause, true);
        } else {
            self.end_driver(seq, outcome);
        }
    }

    /// It is certain that a driver was not started where it was placed, and that is not its own fault: it is queued
    /// again. `false`: it has run, or there is nothing to start it with.
    pub(crate) fn requeue_driver(&mut self, id: &AppId) -> bool {
        let Some((seq, app)) = self.app_mut(id) else { return false };
        if app.placement.assignment().is_none_or(|is| is.port.is_some()) {
            return false;
        }
        let Ok(Some(was)) = app.placement.apply(DriverEvent::Requeue) else { return false };
        (app.driver.host, app.driver_worker) = (None, None);
        let (asked, status) = (app.asked, Status::Driver(app.driver.clone()));
        self.assigned_drivers -= 1;
        self.release(&was.worker, id, Task::Driver, &was.need, was.given);
        if let Some(stop) = asked {
            self.end_driver(seq, Cause::Killed { by: stop.by }.into());
            return true;
        }
        tracing::info!(app = %id, "its driver was not started on {}: it is queued again", was.worker);
        self.events.push(status);
        self.waiting.insert(seq);
        self.mark(seq);
        true
    }

    /// A supervised driver was lost with its worker, or failed where workers do not start it again: it is queued again
    /// (Spark 3.5, `Master.relaunchDriver`). Its executors belonged to the one before. `has_begun`: as far as is known.
    pub(crate) fn retry_driver(&mut self, seq: SubmissionSeq, why: &Cause, has_begun: bool) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        let Ok(was) = app.placement.apply(DriverEvent::Requeue) else { return };
        tracing::warn!(app = %app.id(), "its driver: {why}; it is started again");
        app.driver.host = None;
        app.wanted = None;
        let (id, status) = (app.id().clone(), Status::Driver(app.driver.clone()));
        if let Some(was) = was {
            self.assigned_drivers -= 1;
            self.release(&was.worker, &id, Task::Driver, &was.need, was.given);
        }
        self.waiting.insert(seq);
        self.events.push(status);
        self.stop_all(seq, ORPHAN_STOP);
        self.pause(seq, has_begun);
        self.mark(seq);
        self.is_due = true;
    }

    /// What a process had is free again.
    fn release(
        &mut self,
        worker: &str,
        app: &AppId,
        task: Task,
        need: &Amount,
        given: BTreeMap<String, Vec<String>>,
    ) {
        if let Some(seq) = self.seqs.get(app).copied()
            && let Some(mut worker) = self.workers.get_mut(worker)
            && worker.tasks.remove(&(seq, task))
            && self.supply.lasts()
        {
            worker.give_back(need, given);
        }
        self.is_due = true;
    }

    /// A driver ended, in whatever way; so do its executors.
    pub(crate) fn end_driver(&mut self, seq: SubmissionSeq, outcome: Outcome) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        let external = match &app.placement {
            DriverPlacement::External { session, .. } => Some(*session),
            _ => None,
        };
        // An error: it has ended before.
        let Ok(was) = app.placement.apply(DriverEvent::End) else { return };
        tracing::info!(app = %app.id(), "its driver: {}", outcome.cause);
        app.asked.get_or_insert(ORPHAN_STOP);
        app.wanted = None;
        let id = app.id().clone();
        if let Some(session) = external {
            self.effects.push_durable(Effect::EndExternalDriver { session });
        }
        if let Some(was) = was {
            self.assigned_drivers -= 1;
            self.release(&was.worker, &id, Task::Driver, &was.need, was.given);
        }
        self.set_driver_state(seq, outcome.into_state());
        self.stop_all(seq, ORPHAN_STOP);
        self.wanting.remove(seq);
        self.waiting.remove(seq);
        self.evict_finished(seq);
    }

    /// Ends all executors of an application.
    pub(crate) fn stop_all(&mut self, seq: SubmissionSeq, stop: Stop) {
        let Some(app) = self.apps.get(&seq) else { return };
        let all: Vec<_> = app.executors.keys().copied().collect();
        self.stop(seq, &all, stop);
    }

    /// Ends some executors.
    pub(crate) fn stop(&mut self, seq: SubmissionSeq, ids: &[ExecutorId], stop: Stop) {
        for id in ids {
            let Some(app) = self.apps.get_mut(&seq) else { return };
            let Some(executor) = app.executors.get(id) else { continue };
            if let Some(worker) = self.workers.get(&executor.place.worker) {
                let (app, task) = (app.id().clone(), Task::Executor(*id));
                worker.send(&mut self.effects, Order::Stop { app, task, stop });
            }
            let status = app.ask_to_end(*id, stop, self.now);
            self.publish_executor(seq, status);
        }
        self.touched.insert(seq);
    }

    /// A process is on a worker that has come back: an order to end it may not have arrived.
    pub(crate) fn repeat_stop(&mut self, app: &AppId, task: Task) {
        let Some((seq, entry)) = self.app_mut(app) else { return };
        match (task, entry.asked) {
            (Task::Driver, Some(stop)) => self.stop_driver(seq, stop),
            (Task::Driver, None) => {}
            (Task::Executor(id), asked) => {
                let with_driver = asked.map(|stop| Stop { by: KilledBy::DriverEnd, ..stop });
                if let Some(stop) = entry.stops.get(&id).copied().or(with_driver) {
                    self.stop(seq, &[id], stop);
                }
            }
        }
    }

    /// Ends a driver that is on a worker.
    pub(crate) fn stop_driver(&mut self, seq: SubmissionSeq, stop: Stop) {
        let Some(app) = self.apps.get(&seq) else { return };
        if let Some(assignment) = app.placement.assignment()
            && let Some(worker) = self.workers.get(&assignment.worker)
        {
            let order = Order::Stop { app: app.id().clone(), task: Task::Driver, stop };
            worker.send(&mut self.effects, order);
        }
        self.set_driver_state(seq, State::Ending);
    }

    /// Of an application that has ended with all its executors: workers may delete its files, and the oldest ones are
    /// forgotten.
    fn evict_finished(&mut self, seq: SubmissionSeq) {
        let Some(app) = self.apps.get_mut(&seq).filter(|app| app.is_finished()) else { return };
        let id = app.id().clone();
        for worker in std::mem::take(&mut app.informed_workers) {
            if let Some(mut worker) = self.workers.change(worker) {
                worker.forget(&mut self.effects, seq, &id);
            }
        }
        self.finished.insert(seq);
        // As Spark does it: a tenth at once.
        if self.finished.len() > self.settings.retained {
            for _ in 0..(self.settings.retained / 10).max(1) {
                let Some(oldest) = self.finished.first().copied() else { return };
                self.forget(oldest);
            }
        }
    }

    /// Forgets an application.
    pub(crate) fn forget(&mut self, seq: SubmissionSeq) {
        self.touched.remove(&seq);
        self.finished.remove(&seq);
        self.wanting.remove(seq);
        self.waiting.remove(seq);
        if let Some(app) = self.apps.remove(&seq) {
            for worker in app.lost_workers.keys() {
                if let Entry::Occupied(mut lost) = self.losses.entry(worker.clone()) {
                    lost.get_mut().remove(&seq);
                    if lost.get().is_empty() {
                        lost.remove();
                    }
                }
            }
            self.mark_forgotten(&app);
            self.supply.forget(app.id());
            self.events.forget(app.id());
            self.seqs.remove(app.id());
        }
    }
}
