//! A pass over what is free and what is wanted: drivers first, then executors, the oldest application
//! first (Spark 3.5, `Master.schedule`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anymaster_core::model::{
    ExecutorId, KilledBy, ProfileId, ResourceProfile, State, Status, Stop,
};
use jiff::Timestamp;

use super::app::{App, Executor, Place};
use super::worker::{Worker, WorkerState};
use super::{Cluster, Turn};
use crate::master::amount::{Amount, Cores};
use crate::master::lender::What;
use crate::master::schedule::{Ask, Grant, place};
use crate::wire::{DriverOrder, ExecutorOrder, Task, ToWorker};

/// What a process of this shape takes of a worker: as Spark's master counts, without the overhead.
pub(super) fn need(profile: &ResourceProfile) -> Amount {
    Amount {
        cores: profile.cores.into(),
        memory_mib: profile.memory_mib,
        extra: profile.extra.clone(),
    }
}

impl Cluster {
    /// Places what can be placed, if anything has changed since the last pass; then tells how far
    /// applications are.
    pub(crate) fn schedule(&mut self) {
        let is_due = !self.is_recovering() && std::mem::take(&mut self.is_due);
        if is_due && self.policy.lending.is_some() && self.offered.is_empty() {
            self.ask_for_offers();
        } else if is_due {
            self.place_drivers();
            let wanting: Vec<Turn> = self.wanting.iter().copied().collect();
            for turn in wanting {
                let Some(app) = self.apps.get(&turn) else {
                    self.wanting.remove(&turn);
                    continue;
                };
                if app.is_wanting() {
                    self.place_executors(turn);
                }
                if self.apps.get(&turn).is_none_or(|app| app.missing().next().is_none()) {
                    self.wanting.remove(&turn);
                }
            }
        }
        for turn in std::mem::take(&mut self.touched) {
            if let Some(status) = self.apps.get_mut(&turn).and_then(|app| app.allocation()) {
                self.news.push(status);
            }
        }
        if self.unwritten.is_none() {
            self.news.announce(self.news.count());
        }
    }

    /// Drivers go round the workers, so that they do not pile up on one.
    fn place_drivers(&mut self) {
        let Self { waiting, apps, .. } = self;
        let waits = |app: &App| matches!(app.place, Place::Waiting(_));
        waiting.retain(|turn| apps.get(turn).is_some_and(waits));
        let may_start = |turn: &Turn| self.apps.get(turn).is_some_and(|app| self.may_start(app));
        let waiting = self.in_order(self.waiting.iter().copied().filter(may_start).collect());
        // What none had room for in this pass, and why: it only becomes less.
        let mut unmet: HashMap<Amount, Box<str>> = HashMap::new();
        for turn in waiting {
            let Some(app) = self.apps.get(&turn) else { continue };
            let need = app.driver_need.clone();
            if let Some(why) = unmet.get(&need) {
                self.driver_waits(turn, why.clone());
                continue;
            }
            let usable = |(id, worker): &(&String, &Worker)| {
                worker.state == WorkerState::Alive && self.is_usable(app, id, worker, true)
            };
            let alive: Vec<_> = self.workers.iter().filter(usable).collect();
            let (many, from) = (alive.len(), self.next_worker);
            let has_room = |worker: &Worker| worker.free.holds(&need, 1);
            let can_have = |worker: &Worker| has_room(worker) && !worker.strays.contains(app.id());
            let found = (0..many).map(|at| (from + at) % many).find(|at| can_have(alive[*at].1));
            let Some(at) = found else {
                let why = self.wait(turn, &need, || alive.iter().map(|(_, w)| &w.free).collect());
                let why = why.into_boxed_str();
                let is_for_all = self.policy.lending.is_none();
                if is_for_all && !alive.iter().any(|(_, worker)| has_room(worker)) {
                    unmet.insert(need, why.clone());
                }
                self.driver_waits(turn, why);
                continue;
            };
            let worker = alive[at].0.clone();
            self.next_worker = at + 1;
            self.give_driver(turn, &worker, need);
        }
    }

    /// A driver has no place yet.
    fn driver_waits(&mut self, turn: Turn, why: Box<str>) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        let state = State::Pending { why: Some(why) };
        // One that ran before stays what it was.
        if app.driver.state != state && app.driver.state.rank() == 0 {
            app.driver.state = state;
            self.news.push(Status::Driver(app.driver.clone()));
        }
    }

    /// Gives a driver that waits to a worker.
    fn give_driver(&mut self, turn: Turn, id: &str, need: Amount) {
        let is_lent = self.policy.lending.is_some();
        let (Some(app), Some(worker)) = (self.apps.get_mut(&turn), self.workers.get_mut(id)) else {
            return;
        };
        let Place::Waiting(spec) = &app.place else { return };
        let (spec, attempt) = (spec.clone(), app.attempts);
        let given = worker.take(&need);
        worker.tasks.insert((app.id().clone(), Task::Driver));
        app.introduce(worker);
        let order = DriverOrder { app: app.id().clone(), spec: (*spec).clone(), attempt };
        worker.send(ToWorker::StartDriver(Box::new(order)));
        tracing::info!(app = %app.id(), "its driver goes to {}", worker.name());
        app.driver.host = Some(worker.info.host.as_str().into());
        if app.driver.state.rank() == 0 {
            app.driver.state = State::Pending { why: None };
        }
        *app.workers.entry(id.to_owned()).or_default() += 1;
        app.driver_worker = Some(id.to_owned());
        app.driver_attempt = attempt;
        let (worker, spec) = (id.to_owned(), Some(spec));
        // An agent may start it as soon as its offer is accepted.
        app.place = Place::On { worker, need, given, port: None, host: None, spec, begun: is_lent };
        self.news.push(Status::Driver(app.driver.clone()));
        if is_lent {
            self.mark(turn);
        }
    }

    fn place_executors(&mut self, turn: Turn) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        let Some(address) = app.driver_address() else { return };
        app.forgive(self.now);
        let missing: Vec<_> = app.missing().collect();
        let mut blocked = None;
        for (profile_id, missing) in missing {
            let Some(app) = self.apps.get(&turn) else { return };
            let Some(wanted) = &app.wanted else { return };
            let Some(profile) = wanted.target.profiles.get(&profile_id) else { continue };
            let profile = profile.profile.clone();
            let what = What::Executor(&profile, &wanted.template);
            // It was when it was asked for.
            let Ok(need) = self.need(&app.shared.conf, what) else { continue };
            let ask = Ask {
                need,
                whole_workers: !app.has_cores_each && missing > u32::MAX / 2,
                executors: missing,
                cores: app.cores_max - app.cores,
            };
            let alive = self.usable(app, &ask.need);
            let free: Vec<_> =
                alive.iter().enumerate().map(|(at, (_, free))| (at, *free)).collect();
            let grants = place(&free, &ask, self.policy.spread_out);
            let is_short = (grants.len() as u64) < u64::from(missing);
            let grants: Vec<_> = grants
                .into_iter()
                .map(|Grant { worker, cores }| (alive[worker].0.clone(), cores))
                .collect();
            for (worker, cores) in grants {
                // When it may, another pass is due.
                if !self.may_number(turn) {
                    break;
                }
                let need = Amount { cores, ..ask.need.clone() };
                self.start(turn, &worker, profile_id, &profile, need, &address);
            }
            if is_short {
                blocked.get_or_insert_with(|| self.obstacle(turn, &ask.need));
            }
        }
        if let Some(app) = self.apps.get_mut(&turn) {
            app.blocked = blocked.map(String::into_boxed_str);
            self.touched.insert(turn);
        }
    }

    /// Workers that an application may use, and what they have left: not those on which its executors
    /// fail, as long as another could ever hold one.
    fn usable(&self, app: &App, need: &Amount) -> Vec<(&String, &Amount)> {
        let alive = || self.workers.iter().filter(|(_, worker)| worker.state == WorkerState::Alive);
        let is_sound = |id: &String| !app.is_left_out(id);
        let has_sound = alive().any(|(id, worker)| is_sound(id) && worker.could_hold(need));
        alive()
            .filter(|(id, worker)| {
                (!has_sound || is_sound(id)) && self.is_usable(app, id, worker, false)
            })
            .map(|(id, worker)| (id, &worker.free))
            .collect()
    }

    /// Why something that needs this has to wait: workers that have this left are too small.
    fn wait<'a>(
        &self,
        turn: Turn,
        need: &Amount,
        free: impl FnOnce() -> Vec<&'a Amount>,
    ) -> String {
        let (Some(lender), Some(app)) = (self.lender(), self.apps.get(&turn)) else {
            return self.shortage(need, &free());
        };
        self.tell_unmet(turn, need, matches!(app.place, Place::Waiting(_)));
        lender.why(app.id(), need)
    }

    /// Why a driver that waits has no place.
    pub(super) fn why_driver_waits(&self, app: &App) -> String {
        if let Some(lender) = self.lender() {
            return lender.why(app.id(), &app.driver_need);
        }
        let alive = self.workers.values().filter(|worker| worker.state == WorkerState::Alive);
        self.shortage(&app.driver_need, &alive.map(|worker| &worker.free).collect::<Vec<_>>())
    }

    /// Why something that needs this has to wait for workers that have this left.
    fn shortage(&self, need: &Amount, free: &[&Amount]) -> String {
        let mut why = waits(need, free);
        let mut there = self.workers.values().filter(|worker| worker.is_there());
        if !free.is_empty() && !there.any(|worker| worker.could_hold(need)) {
            why.push_str("; none could hold it if it were empty");
        }
        why
    }

    /// Why an application gets no more executors of this shape.
    fn obstacle(&self, turn: Turn, need: &Amount) -> String {
        let Some(app) = self.apps.get(&turn) else { return String::new() };
        if app.cores_max - app.cores < need.cores {
            let (has, most) = (app.cores, app.cores_max);
            return format!(
                "it has {}, and spark.cores.max is {most}",
                anymaster_core::counted(has, "core")
            );
        }
        let usable = || self.usable(app, need);
        let mut why =
            self.wait(turn, need, || usable().into_iter().map(|(_, free)| free).collect());
        if app.failing.is_empty() {
            return why;
        }
        let usable = usable();
        let is_usable = |id: &&str| usable.iter().any(|(usable, _)| usable == id);
        let failing = app.failing.keys().map(String::as_str);
        let left_out: Vec<&str> = failing.filter(|id| !is_usable(id)).collect();
        if !left_out.is_empty() {
            why.push_str(&format!("; its executors fail on {}", left_out.join(", ")));
        }
        why
    }

    fn start(
        &mut self,
        turn: Turn,
        worker: &str,
        profile_id: ProfileId,
        profile: &ResourceProfile,
        need: Amount,
        (driver_host, driver_port): &(String, u16),
    ) {
        let (Some(app), Some(entry)) = (self.apps.get_mut(&turn), self.workers.get_mut(worker))
        else {
            return;
        };
        let Some(template) = app.wanted.as_ref().map(|wanted| Arc::clone(&wanted.template)) else {
            return;
        };
        app.last_id += 1;
        let id = ExecutorId(app.last_id);
        let given = entry.take(&need);
        entry.tasks.insert((app.id().clone(), Task::Executor(id)));
        app.introduce(entry);
        entry.send(ToWorker::StartExecutor(Box::new(ExecutorOrder {
            app: app.id().clone(),
            id,
            profile_id,
            profile: ResourceProfile { cores: need.cores.as_f64(), ..profile.clone() },
            resources: given.clone(),
            template,
            driver_host: driver_host.clone(),
            driver_port: *driver_port,
        })));
        let executor = Executor {
            profile: profile_id,
            state: State::Pending { why: None },
            since: Timestamp::now(),
            worker: worker.to_owned(),
            host: entry.info.host.as_str().into(),
            need,
            given,
        };
        let status = Status::Executor(app.executor_status(id, &executor));
        app.add(id, executor);
        self.news.push(status);
    }

    /// Stops what is too much for a target that was lowered.
    pub(super) fn stop_surplus(&mut self, turn: Turn) {
        let Some(app) = self.apps.get(&turn) else { return };
        let (surplus, grace) = (app.surplus(), app.policy.stop_grace);
        self.stop(turn, &surplus, Stop { by: KilledBy::ScaleDown, grace });
    }
}

impl App {
    /// Tells a worker of it, if it has not been told.
    fn introduce(&mut self, worker: &mut Worker) {
        if worker.is_new_to(self.id()) {
            worker.send(ToWorker::Application(Box::new(self.shared.clone())));
            self.introduced.insert(worker.info.id.clone());
        }
    }
}

/// Why something that needs this has to wait.
fn waits(need: &Amount, free: &[&Amount]) -> String {
    if free.is_empty() {
        return "no worker has registered".to_owned();
    }
    let (cores, memory) = (need.cores, need.memory_mib);
    let plural = if cores == Cores::whole(1) { "core" } else { "cores" };
    let most = free.iter().max_by_key(|free| (free.cores, free.memory_mib));
    let (most_cores, most_memory) =
        most.map_or((Cores::default(), 0), |most| (most.cores, most.memory_mib));
    let whose = match free.len() {
        1 => "the only worker".to_owned(),
        many => format!("of {many} workers, the freest"),
    };
    let mut why = format!(
        "needs {cores} {plural} and {memory} MiB; {whose} has {most_cores} and {most_memory} MiB left"
    );
    let lacking: BTreeMap<_, _> = need
        .extra
        .iter()
        .filter(|(name, amount)| {
            !free.iter().any(|free| free.extra.get(*name).is_some_and(|left| left >= amount))
        })
        .collect();
    for (name, amount) in lacking {
        why.push_str(&format!("; no worker has {amount} {name} left"));
    }
    why
}
