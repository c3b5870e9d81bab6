//! Scheduling on offers: a pass is about what is offered just then, and what it leaves is declined at once.

use anymaster_core::model::{AppId, Cause, Outcome};

use crate::amount::{Amount, Cores};
use crate::app::App;
use crate::driver::DriverEvent;
use crate::effects::Effect;
use crate::engine::{Engine, SubmissionSeq};
use crate::model::{Progress, Task, TaskReport};
use crate::supply::{Demand, RemainingOffer};
use crate::time::Instant;
use crate::worker::Worker;

impl Engine {
    /// Runs a scheduling pass on what agents offer; what has to be started is among the effects then.
    pub fn offer(&mut self, offers: Vec<(String, Amount)>) {
        if self.is_recovering() {
            return;
        }
        for (agent, amount) in offers {
            if let Some(mut worker) = self.workers.get_mut(&agent) {
                (worker.free, worker.is_offering) = (amount, true);
                self.offered.push(agent);
            }
        }
        self.is_due = true;
        self.schedule();
        for agent in std::mem::take(&mut self.offered) {
            if let Some(mut worker) = self.workers.get_mut(&agent) {
                (worker.free, worker.is_offering) = (Amount::default(), false);
            }
        }
        self.set_demand(Demand { is_wanted: self.has_demand(), ..self.demand });
    }

    /// Whether offers are wanted. Changes are [effects](Effect::Demand).
    pub fn demand(&self) -> Demand {
        self.demand
    }

    /// Whether a pass has anything to place on: free resources last, or there are offers.
    pub(crate) fn has_supply(&self) -> bool {
        self.supply.lasts() || !self.offered.is_empty()
    }

    /// Something new may wait, and nothing is on offer.
    pub(crate) fn ask_for_offers(&mut self) {
        let is_wanted = self.has_demand();
        let times = self.demand.times + u64::from(is_wanted);
        self.set_demand(Demand { is_wanted, times });
    }

    fn set_demand(&mut self, demand: Demand) {
        if std::mem::replace(&mut self.demand, demand) != demand {
            self.effects.push(Effect::Demand(demand));
        }
    }

    fn has_demand(&self) -> bool {
        let wants = |seq: SubmissionSeq| {
            self.apps.get(&seq).is_some_and(|app| app.is_wanting() && has_cores_left(app))
        };
        let may_start =
            |seq: SubmissionSeq| self.apps.get(&seq).is_some_and(|app| self.may_start(app));
        self.wanting.iter().any(wants) || self.waiting.iter().any(may_start)
    }

    /// Records what was left of offers, for an application for which it was not enough.
    pub(crate) fn report_unmet(&self, app: &App, need: &Amount, is_driver: bool) {
        let offering = self.workers.iter().filter(|(_, worker)| worker.is_offering);
        let left: Vec<_> = offering
            .map(|(agent, Worker { free, .. })| {
                let is_excluded = !is_driver && app.is_excluded(agent);
                RemainingOffer { agent, free, is_excluded }
            })
            .collect();
        let whose = (app.id(), &app.shared.conf);
        self.supply.unmet(whose, need, is_driver, &left, self.now.at);
    }

    /// A supervised driver that failed waits, longer each time (Spark 3.5, `MesosClusterScheduler`). One that may
    /// never have begun is another attempt as well, but has nothing to wait for.
    pub(crate) fn pause(&mut self, seq: SubmissionSeq, has_begun: bool) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        let Some(pause) = self.supply.retry_pause(app.attempts + 1) else { return };
        app.attempts += 1;
        let pause = if has_begun { pause } else { Default::default() };
        tracing::info!(app = %app.id(), "its driver is started again in {} s", pause.as_secs());
        let at = self.now.at + pause;
        app.not_before = Some(at);
        self.retries.insert((at, seq));
    }

    /// Queued drivers whose pause has ended may start. Says when to call it again.
    pub(crate) fn check_retries(&mut self) -> Option<Instant> {
        while self.retries.first().is_some_and(|(at, _)| *at <= self.now.at) {
            if let Some((_, seq)) = self.retries.pop_first() {
                self.waiting.retry(seq);
            }
            self.is_due = true;
        }
        self.retries.first().map(|(at, _)| *at)
    }

    /// A process was not started: it has to be placed again.
    pub(crate) fn on_refused(&mut self, app: &AppId, task: Task, why: &str) {
        tracing::info!(%app, ?task, "it has to be placed again: {why}");
        match task {
            Task::Driver => drop(self.requeue_driver(app)),
            // Its id is used up, and it is no failure.
            Task::Executor(_) => {
                self.end_process(app, task, Cause::Lost { why: why.into() }.into());
            }
        }
    }

    /// A process can never be started: that a driver is supervised does not matter (Spark 3.5,
    /// `MesosClusterScheduler`, which starts those again that failed or were lost).
    pub fn cannot_start(&mut self, agent: &str, app: &AppId, task: Task, outcome: Outcome) {
        if let (Task::Driver, Some((_, entry))) = (task, self.app_mut(app)) {
            // An error: it was not placed, or not any more.
            let _ = entry.placement.apply(DriverEvent::NeverAgain);
        }
        let progress = Progress::Ended(outcome);
        self.on_report(agent, TaskReport { app: app.clone(), task, progress, spec: None });
    }

    /// Forgets an agent that runs nothing of ours and makes no offers any more.
    pub fn forget_agent(&mut self, id: &str) {
        if self.workers.get(id).is_some_and(|worker| worker.tasks.is_empty()) {
            self.workers.remove(id);
        }
    }

    /// How often the driver of an application was started again; `None` if it has ended, or is unknown.
    pub fn attempts(&self, app: &AppId) -> Option<u32> {
        self.app(app).filter(|app| !app.driver.state.is_ended()).map(|app| app.attempts)
    }
}

/// Whether its most cores (`spark.cores.max`) leave room for one of the executors that are missing.
fn has_cores_left(app: &App) -> bool {
    let left = app.cores_max - app.cores;
    let profiles = app.wanted.iter().flat_map(|wanted| &wanted.target.profiles);
    let mut missing = profiles.filter(|(id, _)| app.missing().any(|(missing, _)| missing == **id));
    missing.any(|(_, profile)| Cores::from(profile.profile.cores) <= left)
}
