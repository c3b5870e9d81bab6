//! A scheduling pass over what is free and what is wanted: drivers first, then executors, the oldest application first
//! (Spark 3.5, `Master.schedule`).

use std::collections::HashMap;
use std::sync::Arc;

use anymaster_core::model::{
    ExecutorId, KilledBy, ProfileId, ResourceProfile, State, Status, Stop,
};

use crate::amount::Amount;
use crate::app::{App, TargetEvent, TargetProgress};
use crate::driver::{Assignment, DriverEvent, DriverPlacement};
use crate::effects::{Effect, Effects};
use crate::engine::{Engine, SubmissionSeq};
use crate::executors::Executor;
use crate::model::{DriverOrder, ExecutorOrder, Order, Task};
use crate::placement::{Ask, Grant, place};
use crate::supply::ProcessSpec;
use crate::wait_index::WaitIndex;
use crate::worker::Worker;

/// What a scheduling pass has found out.
#[derive(Debug, Default)]
struct Pass {
    /// What somebody waits for, and some worker has room for.
    open: Vec<Amount>,
    /// Which workers there are has changed: why something waits is said anew.
    is_renewed: bool,
    /// Why what needs this waits.
    reasons: HashMap<Amount, Box<str>>,
}

impl Pass {
    /// No worker has room for this any more.
    fn close(&mut self, need: &Amount) {
        self.open.retain(|open| open != need);
    }
}

impl Engine {
    /// Places what can be placed, if anything has changed since the last pass; then publishes how far applications
    /// are.
    pub fn schedule(&mut self) {
        let is_due = !self.is_recovering() && std::mem::take(&mut self.is_due);
        if is_due && !self.has_supply() {
            self.ask_for_offers();
        } else if is_due {
            self.place_all();
        }
        for seq in std::mem::take(&mut self.touched) {
            if let Some(status) = self.apps.get_mut(&seq).and_then(App::allocation) {
                self.events.push(status);
            }
        }
        if self.dirty.is_none() {
            self.publish(self.events.count());
        }
    }

    fn place_all(&mut self) {
        let is_renewed = self.workers.is_renewed();
        let mut pass = Pass { is_renewed, ..Pass::default() };
        pass.open = self.open(&self.waiting, is_renewed);
        self.place_drivers(&mut pass);
        pass.open = self.open(&self.wanting, is_renewed);
        self.workers.forget_freed();
        if !self.supply.lasts() {
            self.wanting.retry_all();
        }
        let mut from = 0;
        while let Some(seq) = self.wanting.next(from, &pass.open) {
            from = seq + 1;
            let waited_for = self.wanting.rest(seq);
            if self.apps.get(&seq).is_some_and(App::is_wanting) {
                self.place_executors(seq, &waited_for, &mut pass);
            }
            if self.apps.get(&seq).is_none_or(|app| app.missing().next().is_none()) {
                self.wanting.remove(seq);
            }
        }
    }

    /// For which of the things that somebody waits for a worker may have room now.
    fn open(&self, index: &WaitIndex, is_renewed: bool) -> Vec<Amount> {
        let has_room = |need: &Amount| is_renewed || self.workers.have_freed(need);
        index.awaited().filter(|need| has_room(need)).cloned().collect()
    }

    /// Subscribers may see the first `count` events.
    pub(crate) fn publish(&mut self, count: u64) {
        if self.events.publish(count) {
            self.effects.push(Effect::PublishEvents { count });
        }
    }

    /// Whether a driver is queued, and waits for nothing but a worker.
    pub(crate) fn may_start(&self, app: &App) -> bool {
        app.placement.is_queued()
            && self.is_app_durable(app)
            && app.asked.is_none()
            && app.not_before.is_none_or(|at| at <= self.now.at)
    }

    /// The drivers that may start on what is offered, in the order of the queue.
    fn queue(&self) -> Vec<SubmissionSeq> {
        let apps = self.waiting.iter().filter_map(|seq| Some((seq, self.apps.get(&seq)?)));
        let ready = apps.filter(|(_, app)| self.may_start(app));
        let mut queue: Vec<_> =
            ready.map(|(seq, app)| (self.supply.priority(&app.shared.conf), seq)).collect();
        // Stable: equals stay in the order of their submission.
        queue.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        queue.into_iter().map(|(_, seq)| seq).collect()
    }

    /// Whether something may be placed on a worker now, apart from amounts.
    fn is_eligible(&self, app: &App, id: &str, worker: &Worker, is_driver: bool) -> bool {
        worker.is_alive()
            && (self.supply.lasts() || worker.is_offering)
            && self.supply.suits(app.id(), &app.shared.conf, id, is_driver)
    }

    fn place_drivers(&mut self, pass: &mut Pass) {
        if !self.supply.lasts() {
            for seq in self.queue() {
                self.place_driver(seq, pass);
            }
            return;
        }
        let mut from = 0;
        while let Some(seq) = self.waiting.next(from, &pass.open) {
            from = seq + 1;
            self.place_driver(seq, pass);
        }
    }

    /// Drivers go round the workers, so that they do not pile up on one.
    fn place_driver(&mut self, seq: SubmissionSeq, pass: &mut Pass) {
        self.waiting.rest(seq);
        let Some(app) = self.apps.get(&seq).filter(|app| app.placement.is_queued()) else {
            self.waiting.remove(seq);
            return;
        };
        // When it may, a pass looks at it again.
        if !self.may_start(app) {
            return;
        }
        let (need, lasts) = (app.driver_need.clone(), self.supply.lasts());
        let is_full = lasts && self.is_full(&self.waiting, &need, pass);
        let (mut found, mut has_room) = (None, false);
        if !is_full {
            for (id, worker) in self.workers.round(&self.last_worker) {
                if worker.free.holds(&need, 1) && self.is_eligible(app, id, worker, true) {
                    has_room = true;
                    // A former one of it may still be ended there.
                    if !worker.orphans.contains(app.id()) {
                        found = Some(id.to_string());
                        break;
                    }
                }
            }
        }
        if let Some(worker) = found {
            self.give_driver(seq, &worker, need);
            self.last_worker = worker;
            self.waiting.remove(seq);
            return;
        }
        self.report_unmet(app, &need, true);
        let has_reason = matches!(&app.driver.state, State::Pending { why: Some(_) });
        let why = match has_reason && lasts && !pass.is_renewed {
            true => None,
            false => Some(self.reason_of_driver(app, &need, pass)),
        };
        if !lasts || has_room {
            self.waiting.retry(seq);
        } else {
            pass.close(&need);
            self.waiting.wait_for(seq, &need);
        }
        if let Some(why) = why {
            self.driver_waits(seq, why);
        }
    }

    /// Whether it is known without a look at workers that none has room for this.
    fn is_full(&self, index: &WaitIndex, need: &Amount, pass: &Pass) -> bool {
        !self.workers.have_cores(need.cores) || index.is_awaited(need) && !pass.open.contains(need)
    }

    fn reason_of_driver(&self, app: &App, need: &Amount, pass: &mut Pass) -> Box<str> {
        if let Some(why) = pass.reasons.get(need).filter(|_| self.supply.lasts()) {
            return why.clone();
        }
        let why = self.why_all_are_full(need).unwrap_or_else(|| {
            let eligible = self.workers.iter().filter(|(id, w)| self.is_eligible(app, id, w, true));
            let free: Vec<_> = eligible.map(|(_, worker)| &worker.free).collect();
            self.why_waits(app, need, &free)
        });
        let why = why.into_boxed_str();
        pass.reasons.insert(need.clone(), why.clone());
        why
    }

    /// A driver stays queued.
    fn driver_waits(&mut self, seq: SubmissionSeq, why: Box<str>) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        let state = State::Pending { why: Some(why) };
        // One that ran before stays what it was.
        if app.driver.state != state && app.driver.state.rank() == 0 {
            app.driver.state = state;
            self.events.push(Status::Driver(app.driver.clone()));
        }
    }

    /// Gives a queued driver to a worker.
    fn give_driver(&mut self, seq: SubmissionSeq, id: &str, need: Amount) {
        // An agent may start it as soon as its offer is accepted.
        let has_begun = !self.supply.confirms_drivers();
        let (Some(app), Some(mut worker)) = (self.apps.get_mut(&seq), self.workers.get_mut(id))
        else {
            return;
        };
        let DriverPlacement::Queued(spec) = &app.placement else { return };
        let (spec, attempt) = (spec.clone(), app.attempts);
        let assignment = Assignment {
            worker: id.to_owned(),
            given: worker.take(&need),
            need,
            port: None,
            host: None,
            spec: Some(spec.clone()),
            has_begun,
        };
        if app.placement.apply(DriverEvent::Assign(Box::new(assignment))).is_err() {
            return;
        }
        self.assigned_drivers += 1;
        worker.tasks.insert((seq, Task::Driver));
        app.inform(seq, &mut self.effects, &mut worker);
        let order = DriverOrder { app: app.id().clone(), spec: *spec, attempt };
        worker.send(&mut self.effects, Order::StartDriver(Box::new(order)));
        tracing::info!(app = %app.id(), "its driver goes to {}", worker.name());
        app.driver.host = Some(worker.info.host.as_str().into());
        if app.driver.state.rank() == 0 {
            app.driver.state = State::Pending { why: None };
        }
        (app.driver_worker, app.driver_attempt) = (Some(id.to_owned()), attempt);
        self.events.push(Status::Driver(app.driver.clone()));
        drop(worker);
        if has_begun {
            self.mark(seq);
        }
    }

    /// Places executors of an application. `waited_for`: what it waited for until now.
    fn place_executors(&mut self, seq: SubmissionSeq, waited_for: &[Amount], pass: &mut Pass) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        let Some(address) = app.driver_address() else { return };
        app.expire_failures(self.now.at);
        let missing: Vec<_> = app.missing().collect();
        let mut blocked = None;
        for (profile_id, missing) in missing {
            let Some(app) = self.apps.get(&seq) else { return };
            let Some(wanted) = &app.wanted else { return };
            let Some(profile) = wanted.target.profiles.get(&profile_id) else { continue };
            let profile = profile.profile.clone();
            let process = ProcessSpec::Executor(&profile, &wanted.template);
            // It was valid when it was requested.
            let Ok(need) = self.need(&app.shared.conf, process) else { continue };
            let ask = Ask {
                need,
                whole_workers: !app.has_cores_each && missing > u32::MAX / 2,
                executors: missing,
                cores: app.cores_max - app.cores,
            };
            let usable = self.candidates(app, &ask, pass);
            let free: Vec<_> =
                usable.iter().enumerate().map(|(at, (_, free))| (at, *free)).collect();
            let grants = place(&free, &ask, self.settings.spread_out);
            let is_short = (grants.len() as u64) < u64::from(missing);
            let grants: Vec<_> = grants
                .into_iter()
                .map(|Grant { worker, cores }| (usable[worker].0.to_owned(), cores))
                .collect();
            let mut is_interrupted = false;
            let mut shared = Arc::new(ask.need.clone());
            for (worker, cores) in grants {
                // When it may, a pass looks at it again.
                if !self.may_assign_id(seq) {
                    is_interrupted = true;
                    break;
                }
                if shared.cores != cores {
                    shared = Arc::new(Amount { cores, ..ask.need.clone() });
                }
                let need = Arc::clone(&shared);
                self.start_executor(seq, &worker, (profile_id, &profile), need, &address);
            }
            if is_short && !is_interrupted {
                let why = self.runs_short(seq, &ask, waited_for, pass);
                blocked = blocked.or(Some(why));
            }
        }
        if let Some(app) = self.apps.get_mut(&seq) {
            match blocked {
                // What it was told before still holds.
                Some(None) => {}
                Some(why) => drop(app.progress.apply(TargetEvent::Pass(why))),
                None => drop(app.progress.apply(TargetEvent::Pass(None))),
            }
            self.touched.insert(seq);
        }
    }

    /// Workers among which executors are shared out, as far as they can matter, and what they have left.
    fn candidates(&self, app: &App, ask: &Ask, pass: &Pass) -> Vec<(&str, &Amount)> {
        if !self.supply.lasts() || app.is_choosy() {
            return self.usable(app, &ask.need);
        }
        let chunk = ask.chunk();
        if ask.cores < chunk.cores || self.is_full(&self.wanting, &chunk, pass) {
            return Vec::new();
        }
        // Each of them gets at least one executor, the freest first.
        let many = if ask.whole_workers { usize::MAX } else { ask.executors as usize };
        self.workers.freest(&chunk, many)
    }

    /// An application gets fewer executors than it wants: finds out when a pass has to look at it again, and why it
    /// waits; `None`: for what it waited before.
    fn runs_short(
        &mut self,
        seq: SubmissionSeq,
        ask: &Ask,
        waited_for: &[Amount],
        pass: &mut Pass,
    ) -> Option<Box<str>> {
        let app = self.apps.get(&seq)?;
        let (chunk, lasts) = (ask.chunk(), self.supply.lasts());
        let is_at_limit = app.cores_max - app.cores < chunk.cores;
        if !lasts || is_at_limit || app.is_choosy() {
            if app.cores_max - app.cores >= ask.need.cores {
                self.report_unmet(app, &ask.need, false);
            }
            let why = self.obstacle(app, &ask.need);
            // At its limit it waits for an executor of its own to end.
            if lasts && !is_at_limit {
                self.wanting.retry(seq);
            }
            return Some(why.into());
        }
        let is_blocked = matches!(app.progress, TargetProgress::Blocked(_));
        let is_known = is_blocked && !pass.is_renewed && waited_for.first() == Some(&chunk);
        let why = (!is_known).then(|| {
            let reason = || self.obstacle(app, &ask.need).into_boxed_str();
            pass.reasons.entry(chunk.clone()).or_insert_with(reason).clone()
        });
        pass.close(&chunk);
        self.wanting.wait_for(seq, &chunk);
        why
    }

    /// Workers that an application may use, and what they have left: not those on which its executors fail, as long as
    /// another could ever hold one.
    pub(crate) fn usable(&self, app: &App, need: &Amount) -> Vec<(&str, &Amount)> {
        let spark = app.spark();
        let mut alive =
            self.workers.iter().filter(|(_, worker)| worker.is_alive() && worker.has_spark(spark));
        let has_sound = !app.failing_workers.is_empty()
            && alive.any(|(id, worker)| !app.is_excluded(id) && self.could_hold(worker, need));
        self.workers
            .iter()
            .filter(|(id, worker)| {
                (!has_sound || !app.is_excluded(id))
                    && worker.has_spark(spark)
                    && self.is_eligible(app, id, worker, false)
            })
            .map(|(id, worker)| (&**id, &worker.free))
            .collect()
    }

    fn start_executor(
        &mut self,
        seq: SubmissionSeq,
        worker: &str,
        (profile_id, profile): (ProfileId, &ResourceProfile),
        need: Arc<Amount>,
        (driver_host, driver_port): &(String, u16),
    ) {
        let (Some(app), Some(mut worker)) = (self.apps.get_mut(&seq), self.workers.get_mut(worker))
        else {
            return;
        };
        let Some(template) = app.wanted.as_ref().map(|wanted| Arc::clone(&wanted.template)) else {
            return;
        };
        app.last_id += 1;
        let id = ExecutorId(app.last_id);
        let given = worker.take(&need);
        worker.tasks.insert((seq, Task::Executor(id)));
        app.inform(seq, &mut self.effects, &mut worker);
        let mut given_profile = profile.clone();
        given_profile.cores = need.cores.as_f64();
        let order = ExecutorOrder {
            app: app.id().clone(),
            id,
            profile_id,
            profile: given_profile,
            resources: given.clone(),
            template,
            driver_host: driver_host.clone(),
            driver_port: *driver_port,
        };
        worker.send(&mut self.effects, Order::StartExecutor(Box::new(order)));
        let executor = Executor {
            profile: profile_id,
            state: State::Pending { why: None },
            since: self.now.wall,
            place: Arc::clone(&worker.place),
            need,
            given: Executor::given(given),
        };
        let status = Status::Executor(app.executor_status(id, &executor));
        app.add(id, executor);
        self.events.push(status);
    }

    /// Stops what is too much for a target that was lowered.
    pub(crate) fn stop_surplus(&mut self, seq: SubmissionSeq) {
        let Some(app) = self.apps.get(&seq) else { return };
        let (surplus, grace) = (app.surplus(), app.policy.stop_grace);
        self.stop(seq, &surplus, Stop { by: KilledBy::ScaleDown, grace });
    }
}

impl App {
    /// Tells a worker of it, if it has not been told.
    fn inform(&mut self, seq: SubmissionSeq, effects: &mut Effects, worker: &mut Worker) {
        if worker.informed_of.insert(seq) {
            worker.send(effects, Order::Application(Box::new(self.shared.clone())));
            self.informed_workers.insert(worker.number);
        }
    }
}
