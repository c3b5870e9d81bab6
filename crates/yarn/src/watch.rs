//! Reports, asked for again and again, as YARN tells nothing by itself; and, of an application with an application
//! master of ours, what that tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AppId, Cause, Cursor, DriverStatus, Event, ExecutorId, ExecutorStatus, KilledBy, State, Status,
};
use anymaster_core::{Backoff, ErrorKind, EventStream, Result};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::control::{Connection, Told};
use crate::proto::{ApplicationReport, ApplicationState};
use crate::status;

/// How many events may be waiting for the one who watches.
const BACKLOG: usize = 1024;
/// How often is asked for an application that is about to have an application master.
const FAST: Duration = Duration::from_millis(200);
/// While the ResourceManager is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Opens a watch of one application, or of the drivers of all.
pub(crate) async fn open(
    cluster: Arc<Cluster>,
    app: Option<AppId>,
    drivers_only: bool,
) -> Result<EventStream> {
    let first = cluster.reports(app.as_ref(), false).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let has_executors = app.is_some() && !drivers_only;
    let watch = Watch { cluster, app, has_executors, known: Known::default(), sender };
    tokio::spawn(watch.run(first));
    let events = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    });
    Ok(events.boxed())
}

struct Watch {
    cluster: Arc<Cluster>,
    app: Option<AppId>,
    has_executors: bool,
    known: Known,
    sender: mpsc::Sender<Result<Event>>,
}

/// What was told.
#[derive(Default)]
struct Known {
    drivers: BTreeMap<AppId, DriverStatus>,
    executors: BTreeMap<ExecutorId, ExecutorStatus>,
}

/// Nobody watches any more.
struct Gone;

impl Watch {
    async fn run(mut self, first: Vec<ApplicationReport>) {
        // Nobody needs to hear that nobody listens.
        let _ = self.follow(first).await;
    }

    async fn follow(&mut self, first: Vec<ApplicationReport>) -> Result<(), Gone> {
        self.tell(Event::Restarted).await?;
        let mut connection = self.connect(&first).await;
        if let Some(open) = &mut connection {
            match self.snapshot(open).await {
                Ok(told) => told?,
                Err(()) => connection = None,
            }
        }
        self.reports(first).await?;
        self.tell(Event::Synced(Cursor(String::new()))).await?;
        let interval = self.cluster.interval;
        let mut backoff = Backoff::new(interval, LONGEST_PAUSE.max(interval));
        loop {
            if self.is_over() {
                // Nothing follows an end; whoever watches decides how long.
                self.sender.closed().await;
                return Err(Gone);
            }
            let pause = match self.has_executors && connection.is_none() {
                true => FAST.min(interval),
                false => interval,
            };
            let asked = async {
                tokio::time::sleep(pause).await;
                self.cluster.reports(self.app.as_ref(), false).await
            };
            let told = async {
                match &mut connection {
                    Some(connection) => connection.told().await,
                    None => std::future::pending().await,
                }
            };
            let reports = tokio::select! {
                told = told => {
                    match told {
                        Ok(Some(told)) => self.told(told).await?,
                        // It has ended, or is out of reach: the reports say which.
                        Ok(None) | Err(_) => connection = None,
                    }
                    continue;
                }
                reports = asked => reports,
                () = self.sender.closed() => return Err(Gone),
            };
            match reports {
                Ok(reports) => {
                    backoff.reset();
                    if connection.is_none() {
                        connection = self.connect(&reports).await;
                    }
                    self.reports(reports).await?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.reports(Vec::new()).await?
                }
                Err(error) if error.kind().is_retryable() => {
                    tracing::warn!(%error, "the ResourceManager does not answer");
                    backoff.failed(None);
                    backoff.pause().await;
                }
                Err(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return Err(Gone);
                }
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }

    /// A connection to the application master, if there is one of ours that runs.
    async fn connect(&self, reports: &[ApplicationReport]) -> Option<Connection> {
        let report = reports.first().filter(|report| {
            self.has_executors
                && status::is_native(report)
                && report.state() == ApplicationState::Running
        })?;
        match self.cluster.watch_master(report).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::info!(%error, "the executors cannot be watched now");
                None
            }
        }
    }

    /// Takes in all that the application master knows.
    async fn snapshot(&mut self, connection: &mut Connection) -> Result<Result<(), Gone>, ()> {
        loop {
            match connection.told().await {
                Ok(Some(Told::Synced)) => return Ok(Ok(())),
                Ok(Some(told)) => {
                    if self.told(told).await.is_err() {
                        return Ok(Err(Gone));
                    }
                }
                Ok(None) | Err(_) => return Err(()),
            }
        }
    }

    async fn told(&mut self, told: Told) -> Result<(), Gone> {
        match told {
            Told::Changed(Status::Executor(executor)) => self.executor(executor).await,
            Told::Changed(status) => self.tell(Event::Changed(status)).await,
            Told::Restarted | Told::Synced | Told::Pulse => Ok(()),
        }
    }

    /// States go forward only, and nothing is told twice.
    async fn executor(&mut self, executor: ExecutorStatus) -> Result<(), Gone> {
        let known = self.known.executors.get(&executor.id).map(|known| &known.state);
        let is_news = known.is_none_or(|known| {
            !known.is_ended() && known.rank() <= executor.state.rank() && *known != executor.state
        });
        if is_news {
            self.known.executors.insert(executor.id, executor.clone());
            self.tell(Event::Changed(Status::Executor(executor))).await?;
        }
        Ok(())
    }

    /// Takes in reports; of an application that has ended, its executors have.
    async fn reports(&mut self, reports: Vec<ApplicationReport>) -> Result<(), Gone> {
        let drivers = match self.cluster.drivers(&reports) {
            Ok(drivers) => drivers,
            Err(error) => {
                let _ = self.sender.send(Err(error)).await;
                return Err(Gone);
            }
        };
        if self.has_executors
            && let Some(driver) = drivers.first().filter(|driver| driver.state.is_ended())
        {
            let kept = reports.iter().find_map(status::epilogue).map(|it| it.executors);
            for kept in kept.into_iter().flatten() {
                self.executor(kept.status).await?;
            }
            self.end_executors(&driver.state).await?;
        }
        let mut seen = BTreeSet::new();
        for mut driver in drivers {
            seen.insert(driver.app.clone());
            let known = self.known.drivers.get(&driver.app);
            // While an attempt is replaced, the cluster says that the application waits again.
            if let Some(known) = known.filter(|known| known.state.rank() > driver.state.rank()) {
                driver.state = known.state.clone();
            }
            if known
                .is_none_or(|known| known.state != driver.state || known.report != driver.report)
            {
                self.known.drivers.insert(driver.app.clone(), driver.clone());
                self.tell(Event::Changed(Status::Driver(driver))).await?;
            }
        }
        let gone: Vec<_> = self
            .known
            .drivers
            .extract_if(.., |app, _| !seen.contains(app))
            .map(|(_, driver)| driver)
            .filter(|driver| !driver.state.is_ended())
            .collect();
        for mut driver in gone {
            let why = "YARN does not know the application any more".into();
            driver.state = State::ended(Cause::Lost { why }, Timestamp::now());
            let state = driver.state.clone();
            self.tell(Event::Changed(Status::Driver(driver))).await?;
            if self.has_executors {
                self.end_executors(&state).await?;
            }
        }
        Ok(())
    }

    /// With the application, YARN ends its containers.
    async fn end_executors(&mut self, driver: &State) -> Result<(), Gone> {
        let at = driver.end().map_or_else(Timestamp::now, |end| end.at);
        let living = self.known.executors.values().filter(|it| !it.state.is_ended());
        for mut executor in living.cloned().collect::<Vec<_>>() {
            executor.state = State::ended(Cause::Killed { by: KilledBy::DriverEnd }, at);
            self.executor(executor).await?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let drivers = &self.known.drivers;
        self.app.is_some() && drivers.values().all(|driver| driver.state.is_ended())
    }
}
