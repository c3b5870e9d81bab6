//! A pass over what is free and what is wanted: drivers first, then executors, the oldest application
//! first (Spark 3.5, `Master.schedule`).

use std::collections::BTreeMap;
use std::sync::Arc;

use anymaster_core::model::{ExecutorId, KilledBy, ProfileId, ResourceProfile, State, Status};
use jiff::Timestamp;

use super::app::{Executor, Place};
use super::worker::WorkerState;
use super::{Cluster, Turn};
use crate::host::process::Stop;
use crate::master::schedule::{Amount, Ask, Grant, place};
use crate::wire::{DriverOrder, ExecutorOrder, Task, ToWorker};

/// What a process of this shape takes of a worker: as Spark's master counts, without the overhead.
pub(super) fn need(profile: &ResourceProfile) -> Amount {
    Amount {
        // Whole and in range: fractions are refused where they come in.
        cores: profile.cores as u32,
        memory_mib: profile.memory_mib,
        extra: profile.extra.clone(),
    }
}

impl Cluster {
    /// Places what can be placed, if anything has changed since the last pass; then tells how far
    /// applications are.
    pub(crate) fn schedule(&mut self) {
        if !self.is_recovering() && std::mem::take(&mut self.is_due) {
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
        self.news.announce();
    }

    /// Drivers go round the workers, so that they do not pile up on one.
    fn place_drivers(&mut self) {
        let waiting: Vec<Turn> = self
            .apps
            .iter()
            .filter(|(_, app)| matches!(app.place, Place::Waiting(..)))
            .map(|(turn, _)| *turn)
            .collect();
        for turn in waiting {
            let Some(app) = self.apps.get_mut(&turn) else { continue };
            let Place::Waiting(spec, command) = &app.place else { continue };
            let need = need(&spec.resources);
            let mut alive: Vec<_> = self
                .workers
                .iter_mut()
                .filter(|(_, worker)| worker.state == WorkerState::Alive)
                .collect();
            let many = alive.len();
            let from = self.next_worker;
            let found =
                (0..many).map(|at| (from + at) % many).find(|at| alive[*at].1.free.holds(&need, 1));
            let Some(at) = found else {
                let why = waits(&need, alive.iter().map(|(_, worker)| &worker.free));
                let state = State::Pending { why: Some(why.into()) };
                if app.driver.state != state {
                    app.driver.state = state;
                    self.news.push(Status::Driver(app.driver.clone()));
                }
                continue;
            };
            self.next_worker = at + 1;
            let (id, worker) = &mut alive[at];
            let given = worker.take(&need);
            worker.tasks.insert((app.id().clone(), Task::Driver));
            if worker.is_new_to(app.id()) {
                worker.send(ToWorker::Application(Box::new(app.shared.clone())));
            }
            let order = DriverOrder {
                app: app.id().clone(),
                spec: (**spec).clone(),
                command: command.clone(),
            };
            worker.send(ToWorker::StartDriver(Box::new(order)));
            tracing::info!(app = %app.id(), "its driver goes to {}", worker.name());
            app.driver.host = Some(worker.info.host.as_str().into());
            app.driver.state = State::Pending { why: None };
            *app.workers.entry((*id).clone()).or_default() += 1;
            app.driver_worker = Some((*id).clone());
            app.place = Place::On { worker: (*id).clone(), need, given, port: None };
            self.news.push(Status::Driver(app.driver.clone()));
            if let Some(unwritten) = &mut self.unwritten {
                unwritten.mark(turn);
            }
        }
    }

    fn place_executors(&mut self, turn: Turn) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        let Some(address) = app.driver_address() else { return };
        let missing: Vec<_> = app.missing().collect();
        let mut blocked = None;
        for (profile_id, missing) in missing {
            let Some(app) = self.apps.get(&turn) else { return };
            let Some(wanted) = &app.wanted else { return };
            let Some(profile) = wanted.target.profiles.get(&profile_id) else { continue };
            let profile = profile.profile.clone();
            let ask = Ask {
                need: need(&profile),
                whole_workers: !app.has_cores_each && missing > u32::MAX / 2,
                executors: missing,
                cores: app.cores_max.saturating_sub(app.cores),
            };
            let alive: Vec<(&String, &Amount)> = self
                .workers
                .iter()
                .filter(|(_, worker)| worker.state == WorkerState::Alive)
                .map(|(id, worker)| (id, &worker.free))
                .collect();
            let free: Vec<_> =
                alive.iter().enumerate().map(|(at, (_, free))| (at, *free)).collect();
            let grants = place(&free, &ask, self.policy.spread_out);
            if (grants.len() as u64) < u64::from(missing) {
                let granted: u32 = grants.iter().map(|grant| grant.cores).sum();
                blocked.get_or_insert_with(|| {
                    if ask.cores.saturating_sub(granted) < ask.need.cores {
                        let (has, most) = (app.cores + granted, app.cores_max);
                        format!("it has {has} cores, and spark.cores.max is {most}")
                    } else {
                        waits(&ask.need, alive.iter().map(|(_, free)| *free))
                    }
                });
            }
            let grants: Vec<_> = grants
                .into_iter()
                .map(|Grant { worker, cores }| (alive[worker].0.clone(), cores))
                .collect();
            for (worker, cores) in grants {
                // When it may, another pass is due.
                if !self.may_number(turn) {
                    break;
                }
                self.start(turn, &worker, profile_id, &profile, cores, &address);
            }
        }
        if let Some(app) = self.apps.get_mut(&turn) {
            app.blocked = blocked.map(String::into_boxed_str);
            self.touched.insert(turn);
        }
    }

    fn start(
        &mut self,
        turn: Turn,
        worker: &str,
        profile_id: ProfileId,
        profile: &ResourceProfile,
        cores: u32,
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
        let need = Amount { cores, ..need(profile) };
        let given = entry.take(&need);
        entry.tasks.insert((app.id().clone(), Task::Executor(id)));
        if entry.is_new_to(app.id()) {
            entry.send(ToWorker::Application(Box::new(app.shared.clone())));
        }
        entry.send(ToWorker::StartExecutor(Box::new(ExecutorOrder {
            app: app.id().clone(),
            id,
            profile_id,
            profile: ResourceProfile { cores: f64::from(cores), ..profile.clone() },
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

/// Why something that needs this has to wait.
fn waits<'a>(need: &Amount, free: impl Iterator<Item = &'a Amount>) -> String {
    let free: Vec<_> = free.collect();
    if free.is_empty() {
        return "no worker has registered".to_owned();
    }
    let (cores, memory) = (need.cores, need.memory_mib);
    let plural = if cores == 1 { "core" } else { "cores" };
    let most = free.iter().max_by_key(|free| (free.cores, free.memory_mib));
    let (most_cores, most_memory) = most.map_or((0, 0), |most| (most.cores, most.memory_mib));
    let mut why = format!(
        "needs {cores} {plural} and {memory} MiB; of {} workers, the freest has {most_cores} and \
         {most_memory} MiB left",
        free.len()
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
