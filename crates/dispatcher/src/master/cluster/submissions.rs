//! Drivers as Spark's submission protocol sees them (Spark 3.5, `DriverState`; 4.0 `killall` and
//! `clear`).

use std::time::Duration;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, KilledBy, State, Stop, SubmissionId,
};
use anymaster_core::{Error, Result};
use anymaster_net::rest::{Driver, NOT_FOUND, driver_state};
use jiff::Timestamp;

use super::app::{App, Place};
use super::{Cluster, Turn};

/// How long a driver that is killed has to end (Spark 3.5, `DriverRunner`).
const GRACE: Duration = Duration::from_secs(10);

impl App {
    /// Spark's word for where its driver is.
    pub(crate) fn driver_state(&self) -> &'static str {
        match &self.driver.state {
            // It has a worker.
            State::Pending { .. } if !matches!(self.place, Place::Waiting(_)) => "RUNNING",
            state => driver_state(state),
        }
    }
}

impl App {
    /// The dispatcher's word for it (Spark 3.5, `MesosClusterScheduler.getSubmissionStatus`).
    pub(super) fn dispatched_state(&self) -> &'static str {
        match (&self.driver.state, &self.place) {
            (State::Ended(_), _) => "FINISHED",
            (_, Place::Waiting(_)) if self.attempts > 0 => "RETRYING",
            (_, Place::Waiting(_)) => "QUEUED",
            _ => "RUNNING",
        }
    }
}

impl Cluster {
    /// Takes in an application under an id of Spark's form.
    pub(crate) fn submit(&mut self, app: &ApplicationSpec) -> Result<DriverStatus> {
        let now = Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
        loop {
            let id = format!("driver-{now}-{:04}", self.submitted);
            self.submitted += 1;
            let id = SubmissionId::new(&id)?;
            if !self.turns.contains_key(&AppId::new(id.as_str())?) {
                return self.launch(&id, app).map(|launched| launched.driver);
            }
        }
    }

    fn submission_turn(&self, id: &str) -> Option<Turn> {
        let turn = *self.turns.get(&AppId::new(id).ok()?)?;
        // One that came by itself was not submitted.
        let app = self.apps.get(&turn)?;
        app.is_submitted().then_some(turn)
    }

    /// What became of a driver.
    pub(crate) fn submission(&self, id: &str) -> Option<Driver> {
        let Some(app) = self.submission_turn(id).and_then(|turn| self.apps.get(&turn)) else {
            let unknown = Driver { state: NOT_FOUND, message: None, worker: None };
            return self.policy.lending.is_some().then_some(unknown);
        };
        let message = match &app.driver.state {
            State::Ended(end) => match &end.cause {
                Cause::CouldNotStart { why, .. } | Cause::Lost { why } => {
                    Some(format!("Exception from the cluster:\n{why}"))
                }
                _ => None,
            },
            _ => None,
        };
        let worker = app.driver_worker.as_ref().map(|id| {
            let address = self.workers.get(id).map(|worker| worker.address());
            (id.clone(), address.unwrap_or_else(|| "gone".to_owned()))
        });
        let Some(_) = self.policy.lending else {
            return Some(Driver { state: app.driver_state(), message, worker });
        };
        let message = match &app.driver.state {
            State::Ended(end) => Some(end.cause.to_string()),
            State::Pending { why } => why.as_deref().map(str::to_owned),
            _ => None,
        };
        Some(Driver { state: app.dispatched_state(), message, worker })
    }

    /// Ends a driver; whether there was one to be ended, and what the dispatcher says of it (Spark 3.5,
    /// `MesosClusterScheduler.killDriver`).
    pub(crate) fn kill_submission(&mut self, id: &str) -> (bool, Option<String>) {
        let is_lent = self.policy.lending.is_some();
        let told = |was_there: bool, words: &str| (was_there, is_lent.then(|| words.to_owned()));
        let known = self.submission_turn(id).and_then(|turn| Some((turn, self.apps.get(&turn)?)));
        let Some((turn, app)) = known else { return told(false, "Cannot find driver") };
        if app.driver.state.is_ended() {
            return told(false, "Driver already terminated");
        }
        let words = match app.dispatched_state() {
            "QUEUED" => "Removed driver while it's still pending",
            "RETRYING" => "Removed driver while it's being retried",
            _ => "Killing running driver",
        };
        self.kill_driver(turn, Stop { by: KilledBy::Request, grace: GRACE });
        told(true, words)
    }

    /// Ends all drivers.
    pub(crate) fn kill_all(&mut self) -> Result<()> {
        let all: Vec<String> = self.apps.values().map(|app| app.id().to_string()).collect();
        for id in all {
            self.kill_submission(&id);
        }
        Ok(())
    }

    /// Forgets applications of which nothing is left.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let over: Vec<Turn> =
            self.apps.iter().filter(|(_, app)| app.is_over()).map(|(turn, _)| *turn).collect();
        over.into_iter().for_each(|turn| self.forget(turn));
        Ok(())
    }

    /// Whether what is kept of an application can be kept.
    pub(super) fn check_record(&self, app: &App) -> Result<()> {
        let most = self.policy.max_record;
        let size = if most == usize::MAX { 0 } else { self.record_size(app) };
        if size <= most {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} takes {} KiB to remember, and ZooKeeper keeps {} KiB at most",
            app.id(),
            size >> 10,
            most >> 10
        ))
        .with_hint("shorten its arguments, properties or environment"))
    }
}
