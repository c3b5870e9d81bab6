//! A cluster that lives of offers (Mesos): a pass is about what is offered just then; what it leaves is
//! given back at once.

use anymaster_core::model::{AppId, Cause, Outcome};
use tokio::sync::watch;
use tokio::time::Instant;

use super::app::{App, Place};
use super::worker::Worker;
use super::{Cluster, Turn};
use crate::master::amount::{Amount, Cores};
use crate::master::lender::{Demand, Leftover};
use crate::wire::{FromWorker, Held, Progress, Task};

/// The first pause before a driver is started again; each is twice as long as the one before.
const FIRST_PAUSE: u64 = 1;

impl Cluster {
    /// Shares out what agents offer; what is to be started is in the queue then.
    pub(crate) fn offer(&mut self, offers: Vec<(String, Amount)>, now: Instant) {
        self.now = now;
        if self.is_recovering() {
            return;
        }
        for (agent, amount) in offers {
            if let Some(worker) = self.workers.get_mut(&agent) {
                (worker.free, worker.is_offering) = (amount, true);
                self.offered.push(agent);
            }
        }
        self.is_due = true;
        self.schedule();
        for agent in std::mem::take(&mut self.offered) {
            if let Some(worker) = self.workers.get_mut(&agent) {
                (worker.free, worker.is_offering) = (Amount::default(), false);
            }
        }
        let is_wanted = self.has_demand();
        self.demand.send_if_modified(|demand| {
            std::mem::replace(&mut demand.is_wanted, is_wanted) != is_wanted
        });
    }

    /// Changes with whether offers are wanted.
    pub(crate) fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    /// Something has changed, and nothing is on offer.
    pub(super) fn ask_for_offers(&mut self) {
        let is_wanted = self.has_demand();
        self.demand.send_if_modified(|demand| {
            let was = *demand;
            demand.is_wanted = is_wanted;
            demand.times += u64::from(is_wanted);
            *demand != was
        });
    }

    fn has_demand(&self) -> bool {
        let wants = |turn: &Turn| {
            self.apps.get(turn).is_some_and(|app| app.is_wanting() && may_have_more(app))
        };
        let may_start = |turn: &Turn| self.apps.get(turn).is_some_and(|app| self.may_start(app));
        self.wanting.iter().any(wants) || self.waiting.iter().any(may_start)
    }

    /// Whether a driver waits, and for nothing but a place.
    pub(super) fn may_start(&self, app: &App) -> bool {
        matches!(app.place, Place::Waiting(_))
            && self.is_safe(app)
            && app.asked.is_none()
            && app.not_before.is_none_or(|at| at <= self.now)
    }

    /// Drivers that wait, the one that is to go first before the others.
    pub(super) fn in_order(&self, mut waiting: Vec<Turn>) -> Vec<Turn> {
        if let Some(lender) = self.lender() {
            let priority = |turn: &Turn| {
                self.apps.get(turn).map_or(0.0, |app| lender.priority(&app.shared.conf))
            };
            // Stable: equals stay in their turns.
            waiting.sort_by(|a, b| priority(b).total_cmp(&priority(a)));
        }
        waiting
    }

    /// Whether something may be placed on a worker now, as far as that is no matter of how much it has.
    pub(super) fn is_usable(&self, app: &App, id: &str, worker: &Worker, is_driver: bool) -> bool {
        let Some(lender) = self.lender().filter(|_| worker.info.is_lent) else { return true };
        worker.is_offering && lender.suits(app.id(), &app.shared.conf, id, is_driver)
    }

    /// Says what was left of offers to who knows why they were not enough.
    pub(super) fn tell_unmet(&self, turn: Turn, need: &Amount, is_driver: bool) {
        let (Some(lender), Some(app)) = (self.lender(), self.apps.get(&turn)) else { return };
        let left: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.is_offering)
            .map(|(agent, Worker { free, .. })| {
                let is_left_out = !is_driver && app.is_left_out(agent);
                Leftover { agent, free, is_left_out }
            })
            .collect();
        lender.unmet(app.id(), &app.shared.conf, need, is_driver, &left);
    }

    /// A supervised driver that failed waits, longer each time (Spark 3.5, `MesosClusterScheduler`). One
    /// that may never have begun is another attempt as well, but has nothing to wait for.
    pub(super) fn pause(&mut self, turn: Turn, has_begun: bool) {
        let Some(lending) = &self.policy.lending else { return };
        let last = lending.last_pause;
        let Some(app) = self.apps.get_mut(&turn) else { return };
        app.attempts += 1;
        let pause = FIRST_PAUSE.checked_shl(app.attempts - 1).unwrap_or(u64::MAX);
        let pause = std::time::Duration::from_secs(if has_begun { pause } else { 0 }).min(last);
        tracing::info!(app = %app.id(), "its driver is started again in {} s", pause.as_secs());
        let at = self.now + pause;
        app.not_before = Some(at);
        self.retries.insert((at, turn));
    }

    /// Drivers whose pause is over wait for a place. Says when to look again.
    pub(super) fn check_retries(&mut self) -> Option<Instant> {
        while self.retries.first().is_some_and(|(at, _)| *at <= self.now) {
            self.retries.pop_first();
            self.is_due = true;
        }
        self.retries.first().map(|(at, _)| *at)
    }

    /// A process never began: its place is looked for once more.
    pub(super) fn refused(&mut self, app: &AppId, task: Task, why: &str) {
        tracing::info!(%app, ?task, "it is to be placed once more: {why}");
        match task {
            Task::Driver => drop(self.place_again(app)),
            // Its number is used up, and it is no failure.
            Task::Executor(_) => self.ended(app, task, Cause::Lost { why: why.into() }.into()),
        }
    }

    /// A process can never be started: that a driver is supervised does not matter (Spark 3.5,
    /// `MesosClusterScheduler`, which starts those again that failed or were lost).
    pub(crate) fn cannot_start(
        &mut self,
        agent: &str,
        app: &AppId,
        task: Task,
        outcome: Outcome,
        now: Instant,
    ) {
        if let (Task::Driver, Some((_, entry))) = (task, self.app_mut(app))
            && let Place::On { spec, .. } = &mut entry.place
        {
            *spec = None;
        }
        let progress = Progress::Ended(outcome);
        let held = Held { app: app.clone(), task, progress, terms: None };
        self.heard(agent, FromWorker::Changed(held), now);
    }

    /// An agent that has nothing of ours and makes no offers any more.
    pub(crate) fn forget_agent(&mut self, id: &str) {
        if self.workers.get(id).is_some_and(|worker| worker.tasks.is_empty()) {
            self.workers.remove(id);
        }
    }

    /// How often the driver of an application was started again, unless it has ended.
    pub(crate) fn attempts(&self, app: &AppId) -> Option<u32> {
        self.app(app).filter(|app| !app.driver.state.is_ended()).map(|app| app.attempts)
    }

    /// How many drivers there are that were submitted, waiting or running.
    pub(super) fn drivers(&self) -> usize {
        let is_one = |app: &&App| matches!(app.place, Place::Waiting(_) | Place::On { .. });
        self.apps.values().filter(is_one).count()
    }
}

/// Whether its most cores (`spark.cores.max`) leave room for one of the executors that are missing.
fn may_have_more(app: &App) -> bool {
    let left = app.cores_max - app.cores;
    let profiles = app.wanted.iter().flat_map(|wanted| &wanted.target.profiles);
    let mut missing = profiles.filter(|(id, _)| app.missing().any(|(missing, _)| missing == **id));
    missing.any(|(_, profile)| Cores::from(profile.profile.cores) <= left)
}
