//! The driver of one application, run by the process that launched it.

use std::pin::pin;
use std::sync::Arc;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, KilledBy, Outcome, Payload, State, Status, Stop,
    SubmissionId,
};
use anymaster_core::{Error, Result};
use tokio::sync::watch;

use super::executors::{process_context, set_state_dir};
use super::journal::{Journal, Line};
use super::lock::Lock;
use super::notifier::{Changed, Notifier};
use super::recovery::end_orphaned_executors;
use super::requests::{self, Request, Target};
use super::store::{AppDir, Part, Record};
use crate::host::identity::Process;
use crate::host::logs::Rotation;
use crate::host::ports::Lease;
use crate::host::process::{Host, Launch};

/// The grace period of executors that another process owns, after the driver has ended.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// A driver that this process launched.
#[derive(Debug)]
pub(crate) struct Driver {
    notifier: Notifier,
    dir: AppDir,
    journal: Journal,
    status: DriverStatus,
    _lock: Lock,
    _ports: Lease,
}

/// The first status of a driver: accepted_status, not yet running.
pub(crate) fn accepted_status(id: &SubmissionId, app: &AppId, record: &Record) -> DriverStatus {
    let mut driver = DriverStatus::new(id.clone(), app.clone(), record.name.as_str())
        .with_submitted(record.submitted);
    driver.host = Some(record.driver_host.as_str().into());
    driver
}

/// The process to start for a driver.
pub(crate) fn launch(
    spec: &ApplicationSpec,
    dir: &AppDir,
    record: &Record,
    rotation: Rotation,
    program: Option<&std::path::Path>,
) -> Result<Launch> {
    let Payload::Command(command) = &spec.driver.payload else {
        return Err(Error::unsupported(
            "a local cluster has no cluster deploy mode for Spark applications",
        )
        .with_hint("use --deploy-mode client"));
    };
    let processes = process_context(dir, record, rotation);
    let mut launch = processes.driver(&spec.driver, command, dir.driver_dir(), program)?;
    set_state_dir(&mut launch, dir);
    Ok(launch)
}

impl Driver {
    pub(crate) fn new(
        notifier: Notifier,
        dir: AppDir,
        status: DriverStatus,
        lock: Lock,
        ports: Lease,
    ) -> Result<Self> {
        let journal = Journal::open(dir.journal(Part::Driver))?;
        Ok(Self { notifier, dir, journal, status, _lock: lock, _ports: ports })
    }

    /// Runs the driver from its start to the end of its application. `end_own_executors` ends the executors
    /// that this process owns.
    pub(crate) async fn run(
        mut self,
        host: Arc<Host>,
        launch: Launch,
        end_own_executors: impl AsyncFnOnce(),
    ) {
        let (stop, requests) = watch::channel(None);
        let asked = requests::follow(self.dir.clone(), self.notifier.clone(), move |request| {
            if request.target == Target::Driver {
                stop.send_replace(Some(request.stop));
            }
        });
        let (started, mut starts) = watch::channel(None);
        let mut ends = requests.clone();
        let running = host.run(launch, requests, move |process| {
            started.send_replace(Some(process));
        });
        let (mut running, mut asked) = (pin!(running), pin!(asked));
        let outcome = loop {
            tokio::select! {
                biased;
                Ok(()) = starts.changed() => {
                    let process = *starts.borrow_and_update();
                    self.write(State::Running, process);
                }
                Ok(()) = ends.changed(), if self.status.state == State::Running => {
                    self.write(State::Ending, None);
                }
                outcome = &mut running => break outcome,
                () = &mut asked => {
                    break Cause::Lost { why: "its requests cannot be read".into() }.into();
                }
            }
        };
        self.end(outcome, end_own_executors).await;
    }

    /// Follows a driver that somebody else runs, from its registration to the end of its application: as
    /// `ended` says, or when somebody asks for it.
    pub(crate) async fn attend(
        mut self,
        mut ended: watch::Receiver<Option<Cause>>,
        end_own_executors: impl AsyncFnOnce(),
    ) {
        self.write(State::Running, None);
        let (stop, mut requests) = watch::channel(None);
        let asked = requests::follow(self.dir.clone(), self.notifier.clone(), move |request| {
            if request.target == Target::Driver {
                stop.send_replace(Some(request.stop));
            }
        });
        let outcome: Outcome = tokio::select! {
            ended = ended.wait_for(Option::is_some) => {
                let cause = ended.ok().and_then(|cause| cause.clone());
                cause.unwrap_or(Cause::Lost { why: "nobody follows it any more".into() }).into()
            }
            Ok(stop) = requests.wait_for(Option::is_some) => {
                let by = stop.as_ref().map_or(KilledBy::Request, |stop| stop.by);
                Cause::Killed { by }.into()
            }
            () = asked => Cause::Lost { why: "its requests cannot be read".into() }.into(),
        };
        self.end(outcome, end_own_executors).await;
    }

    async fn end(mut self, outcome: Outcome, end_own_executors: impl AsyncFnOnce()) {
        end_own_executors().await;
        // The executors may belong to another process, now or later: every owner reads all requests.
        let stop = Stop { by: KilledBy::DriverEnd, grace: GRACE };
        let request = Request { target: Target::Executors, stop };
        if let Err(error) = requests::send(&self.dir, &self.notifier, &request) {
            tracing::warn!(app = %self.dir.app, %error, "cannot request the end of the executors");
        }
        if let Err(error) = end_orphaned_executors(&self.notifier, &self.dir, true).await {
            tracing::warn!(app = %self.dir.app, %error, "cannot end the executors; some may still run");
        }
        self.write(outcome.into_state(), None);
    }

    fn write(&mut self, state: State, process: Option<Process>) {
        self.status.state = state;
        let line = Line { status: Status::Driver(self.status.clone()), process };
        if let Err(error) = self.journal.append(&[line]) {
            tracing::error!(app = %self.dir.app, %error, "cannot write a status to the journal");
        }
        self.notifier.notify(Changed::Journal(self.dir.app.clone()));
    }
}
