//! Whether the engine's state is consistent: for simulations (feature `simulation`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::model::State;

use crate::amount::{Amount, Cores};
use crate::engine::Engine;
use crate::model::Task;

impl Engine {
    /// What is inconsistent: resources that are given twice, counts that are wrong, processes without a place.
    pub fn audit(&self) -> Vec<String> {
        let mut found = Vec::new();
        // What processes have of each worker.
        let mut taken: BTreeMap<&str, Vec<&Amount>> = BTreeMap::new();
        let (mut tasks, mut assigned) = (0, 0);
        for app in self.apps.values() {
            let (mut pending, mut running, mut cores) = (0, 0, Cores::default());
            for (id, executor) in &app.executors {
                match executor.state {
                    State::Pending { .. } => pending += 1,
                    State::Running => running += 1,
                    State::Ending | State::Ended(_) => {}
                }
                cores += executor.need.cores;
                if !self.has(&executor.place.worker, app.id(), Task::Executor(*id)) {
                    found.push(format!("executor {id} of {} is on no worker", app.id()));
                }
                taken.entry(&executor.place.worker).or_default().push(executor.need.as_ref());
                tasks += 1;
            }
            if (pending, running, cores) != (app.pending, app.running, app.cores) {
                found.push(format!("{}: its executors are counted wrong", app.id()));
            }
            if let Some(assignment) = app.placement.assignment() {
                assigned += 1;
                if self.has(&assignment.worker, app.id(), Task::Driver) {
                    taken.entry(&assignment.worker).or_default().push(&assignment.need);
                    tasks += 1;
                } else if !self.is_recovering() {
                    found.push(format!("the driver of {} is on no worker", app.id()));
                }
            }
            let has_ended = app.driver.state.is_ended();
            if has_ended != matches!(app.placement, crate::driver::DriverPlacement::None) {
                found.push(format!("the driver of {} has ended, or has not", app.id()));
            }
        }
        found.extend(self.workers.audit());
        if assigned != self.assigned_drivers {
            found.push(format!("{assigned} drivers have a worker, not {}", self.assigned_drivers));
        }
        let lost: usize = self.apps.values().map(|app| app.lost_workers.len()).sum();
        if lost != self.losses.values().map(BTreeSet::len).sum::<usize>() {
            found.push("the index of lost workers is wrong".to_owned());
        }
        let known: usize = self.workers.values().map(|worker| worker.tasks.len()).sum();
        if known != tasks {
            found.push(format!("workers have {known} processes, and applications {tasks}"));
        }
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.is_present()) {
            let mut free = worker.whole();
            for need in taken.remove(&**id).unwrap_or_default() {
                if self.supply.lasts() && !free.holds(need, 1) {
                    found.push(format!("worker {id} has given more than it has"));
                }
                free.take(need);
            }
            if self.supply.lasts() && free != worker.free {
                found.push(format!("worker {id} has {:?}, not {free:?}", worker.free));
            }
        }
        found
    }
}
