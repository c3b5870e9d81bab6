//! The driver of one application, for the process that launched it.

use std::pin::pin;
use std::sync::Arc;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, KilledBy, Payload, State, Status, Stop,
    SubmissionId,
};
use anymaster_core::{Error, Result};
use tokio::sync::watch;

use super::executors::{mark, shared};
use super::hub::{Changed, Hub};
use super::journal::{Journal, Line};
use super::lock::Lock;
use super::requests::{self, Request, Whom};
use super::settle::settle_executors;
use super::store::{AppDir, Part, Record};
use crate::host::identity::Process;
use crate::host::logs::Rotation;
use crate::host::ports::Lease;
use crate::host::process::{Host, Launch};

/// How long executors of another process have to end after the driver.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// A driver that this process launched.
#[derive(Debug)]
pub(crate) struct Driver {
    hub: Hub,
    dir: AppDir,
    journal: Journal,
    status: DriverStatus,
    _lock: Lock,
    _ports: Lease,
}

/// The first line about a driver.
pub(crate) fn accepted(id: &SubmissionId, app: &AppId, record: &Record) -> DriverStatus {
    let mut driver = DriverStatus::new(id.clone(), app.clone(), record.name.as_str())
        .with_submitted(record.submitted);
    driver.host = Some(record.driver_host.as_str().into());
    driver
}

/// What is to be started for a driver.
pub(crate) fn launch(
    spec: &ApplicationSpec,
    dir: &AppDir,
    record: &Record,
    rotation: Rotation,
    program: Option<&std::path::Path>,
) -> Result<Launch> {
    let Payload::Command(command) = &spec.driver.payload else {
        return Err(Error::unsupported(
            "a local cluster does not start Spark's drivers for others to find",
        )
        .with_hint("use --deploy-mode client"));
    };
    let shared = shared(dir, record, rotation);
    let mut launch = shared.driver(&spec.driver, command, dir.driver_dir(), program)?;
    mark(&mut launch, dir);
    Ok(launch)
}

impl Driver {
    pub(crate) fn new(
        hub: Hub,
        dir: AppDir,
        status: DriverStatus,
        lock: Lock,
        ports: Lease,
    ) -> Result<Self> {
        let journal = Journal::open(dir.journal(Part::Driver))?;
        Ok(Self { hub, dir, journal, status, _lock: lock, _ports: ports })
    }

    /// Runs it from its start to the end of its application. `end_ours` ends executors of this very
    /// process, if it has any.
    pub(crate) async fn run(
        mut self,
        host: Arc<Host>,
        launch: Launch,
        end_ours: impl AsyncFnOnce(),
    ) {
        let (stop, requests) = watch::channel(None);
        let asked = requests::follow(self.dir.clone(), self.hub.clone(), move |request| {
            if request.whom == Whom::Driver {
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
        end_ours().await;
        // Executors of whoever else owns them, or is about to: owners read requests from the first on.
        let stop = Stop { by: KilledBy::DriverEnd, grace: GRACE };
        let request = Request { whom: Whom::Executors, stop };
        if let Err(error) = requests::send(&self.dir, &self.hub, &request) {
            tracing::warn!(app = %self.dir.app, %error, "cannot ask for the end of executors");
        }
        if let Err(error) = settle_executors(&self.hub, &self.dir, true).await {
            tracing::warn!(app = %self.dir.app, %error, "executors may be left");
        }
        self.write(outcome.into_state(), None);
    }

    fn write(&mut self, state: State, process: Option<Process>) {
        self.status.state = state;
        let line = Line { status: Status::Driver(self.status.clone()), process };
        if let Err(error) = self.journal.append(&[line]) {
            tracing::error!(app = %self.dir.app, %error, "what happened is not recorded");
        }
        self.hub.tell(Changed::Journal(self.dir.app.clone()));
    }
}
