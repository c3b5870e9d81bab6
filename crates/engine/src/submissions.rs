//! Drivers under ids of Spark's form, as Spark's submission protocols see them (Spark 3.5, `DriverState`; 4.0 `killall`
//! and `clear`).

use std::time::Duration;

use anymaster_core::model::{
    AppId, ApplicationSpec, DriverStatus, KilledBy, State, Stop, SubmissionId,
};
use anymaster_core::{Error, Result};

use crate::app::App;
use crate::engine::{Engine, SubmissionSeq};
use crate::worker::Worker;

/// How long a driver that is killed has to end (Spark 3.5, `DriverRunner`).
const GRACE: Duration = Duration::from_secs(10);

/// How far a driver is in the queue (Spark 3.5, `MesosClusterScheduler.getSubmissionStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// It waits.
    Queued,
    /// It failed, and waits to be started again.
    Retrying,
    /// It was given to a worker.
    Running,
    /// It has ended.
    Finished,
}

impl QueueState {
    /// Spark's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Retrying => "RETRYING",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
        }
    }
}

/// What is known of a submitted driver.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its state.
    pub state: State,
    /// How far it is in the queue.
    pub queue: QueueState,
    /// Its worker, or the last one, and that one's address if it is still known.
    pub worker: Option<(String, Option<String>)>,
}

/// What came of the request to end a submitted driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// There is no such driver.
    Unknown,
    /// It had ended before.
    HadEnded,
    /// It was ended, or is being ended; how far it was.
    Was(QueueState),
}

impl App {
    /// Spark's word for the state of its driver.
    pub(crate) fn driver_word(&self) -> &'static str {
        match &self.driver.state {
            // It has a worker.
            State::Pending { .. } if !self.placement.is_queued() => "RUNNING",
            state => state.driver_word(),
        }
    }

    pub(crate) fn queue_state(&self) -> QueueState {
        match (&self.driver.state, self.placement.is_queued()) {
            (State::Ended(_), _) => QueueState::Finished,
            (_, true) if self.attempts > 0 => QueueState::Retrying,
            (_, true) => QueueState::Queued,
            _ => QueueState::Running,
        }
    }
}

impl Engine {
    /// Accepts an application under an id of Spark's form.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn submit(&mut self, app: &ApplicationSpec) -> Result<DriverStatus> {
        let now = self.now.wall.strftime("%Y%m%d%H%M%S").to_string();
        loop {
            let id = format!("driver-{now}-{:04}", self.submitted);
            self.submitted += 1;
            let id = SubmissionId::new(&id)?;
            if !self.seqs.contains_key(&AppId::new(id.as_str())?) {
                return self.launch(&id, app).map(|launched| launched.driver);
            }
        }
    }

    fn submission_seq(&self, id: &str) -> Option<SubmissionSeq> {
        let seq = *self.seqs.get(&AppId::new(id).ok()?)?;
        // An external driver was not submitted.
        let app = self.apps.get(&seq)?;
        app.is_submitted().then_some(seq)
    }

    /// What is known of a submitted driver.
    pub fn submission(&self, id: &str) -> Option<Submission> {
        let app = self.submission_seq(id).and_then(|seq| self.apps.get(&seq))?;
        let worker = app.driver_worker.as_ref();
        Some(Submission {
            state: match &app.driver.state {
                // It has a worker.
                State::Pending { .. } if !app.placement.is_queued() => State::Running,
                state => state.clone(),
            },
            queue: app.queue_state(),
            worker: worker.map(|id| (id.clone(), self.workers.get(id).map(Worker::address))),
        })
    }

    /// Ends a submitted driver.
    pub fn kill_submission(&mut self, id: &str) -> Killed {
        let known = self.submission_seq(id).and_then(|seq| Some((seq, self.apps.get(&seq)?)));
        let Some((seq, app)) = known else { return Killed::Unknown };
        if app.driver.state.is_ended() {
            return Killed::HadEnded;
        }
        let was = app.queue_state();
        self.kill_driver(seq, Stop { by: KilledBy::Request, grace: GRACE });
        Killed::Was(was)
    }

    /// Ends all submitted drivers.
    pub fn kill_all(&mut self) {
        let all: Vec<String> = self.apps.values().map(|app| app.id().to_string()).collect();
        for id in all {
            self.kill_submission(&id);
        }
    }

    /// Forgets applications that have ended with all their executors.
    pub fn clear(&mut self) {
        for seq in self.finished.clone() {
            self.forget(seq);
        }
    }

    /// Refuses an application whose record is too large to be stored.
    pub(crate) fn check_record(&self, app: &App) -> Result<()> {
        let most = self.settings.max_record;
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
