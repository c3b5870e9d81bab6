//! Reports, asked for again and again, as YARN tells nothing by itself; and, of an application with an application
//! master of ours, what that tells.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AppId, Cause, Cursor, DriverStatus, Event, ExecutorId, ExecutorStatus, KilledBy, State, Status,
};
use anymaster_core::{Backoff, Error, ErrorKind, EventStream, Result};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::control::{MasterEvents, Told};
use crate::proto::{ApplicationReport, ApplicationState};
use crate::status;

/// How many events may be waiting for the one who watches.
const BACKLOG: usize = 1024;
/// How often is asked for an application that is about to have an application master.
const FAST: Duration = Duration::from_millis(200);
/// While the ResourceManager is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an application master that runs may be out of reach before a watch of its executors fails.
const MASTER_PATIENCE: Duration = Duration::from_secs(30);

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

/// The next that an application master tells; nothing comes if there is none.
async fn next(events: &mut Option<MasterEvents>) -> Option<Result<Told>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

impl Watch {
    async fn run(mut self, first: Vec<ApplicationReport>) {
        // Nobody needs to hear that nobody listens.
        let _ = self.follow(first).await;
    }

    async fn follow(&mut self, first: Vec<ApplicationReport>) -> Result<(), Gone> {
        self.tell(Event::Restarted).await?;
        let (reports, mut events) = self.first_events(first).await?;
        self.reports(reports).await?;
        self.tell(Event::Synced(Cursor(String::new()))).await?;
        let interval = self.cluster.interval;
        let mut backoff = Backoff::new(interval, LONGEST_PAUSE.max(interval));
        loop {
            if self.is_over() {
                // Nothing follows an end; whoever watches decides how long.
                self.sender.closed().await;
                return Err(Gone);
            }
            let pause = match self.has_executors && events.is_none() {
                true => FAST.min(interval),
                false => interval,
            };
            let (cluster, app) = (Arc::clone(&self.cluster), self.app.clone());
            let mut asked = pin!(async move {
                tokio::time::sleep(pause).await;
                cluster.reports(app.as_ref(), false).await
            });
            // However much the application master tells, reports are asked for.
            let reports = loop {
                tokio::select! {
                    told = next(&mut events) => match told {
                        Some(Ok(told)) => self.told(told).await?,
                        // It has ended, or is out of reach: the reports say which.
                        Some(Err(_)) | None => events = None,
                    },
                    reports = &mut asked => break reports,
                    () = self.sender.closed() => return Err(Gone),
                }
            };
            match reports {
                Ok(reports) => {
                    backoff.reset();
                    if events.is_none()
                        && let Some(report) = self.with_executors(&reports)
                    {
                        events = self.connect(report).await.ok();
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
                Err(error) => return self.fail(error).await,
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }

    /// The watch ends with an error.
    async fn fail<T>(&self, error: Error) -> Result<T, Gone> {
        let _ = self.sender.send(Err(error)).await;
        Err(Gone)
    }

    /// The report of an application whose executors its application master knows.
    fn with_executors<'a>(
        &self,
        reports: &'a [ApplicationReport],
    ) -> Option<&'a ApplicationReport> {
        reports.first().filter(|report| {
            self.has_executors
                && status::is_native(report)
                && report.state() == ApplicationState::Running
        })
    }

    /// Takes in all that the application master knows, if there is one of ours that runs. An executor that is not
    /// told before `Synced` would be taken for none: so it is asked again until it answers or has ended.
    async fn first_events(
        &mut self,
        mut reports: Vec<ApplicationReport>,
    ) -> Result<(Vec<ApplicationReport>, Option<MasterEvents>), Gone> {
        let mut backoff = Backoff::new(FAST, LONGEST_PAUSE);
        let deadline = Instant::now() + MASTER_PATIENCE;
        while let Some(report) = self.with_executors(&reports) {
            let error = match self.connect(report).await {
                Ok(mut events) => match self.snapshot(&mut events).await? {
                    Ok(()) => return Ok((reports, Some(events))),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.kind().is_retryable() || Instant::now() > deadline {
                return self.fail(error).await;
            }
            backoff.failed(None);
            backoff.pause().await;
            match self.cluster.reports(self.app.as_ref(), false).await {
                Ok(newer) => reports = newer,
                Err(error) if error.kind().is_retryable() => {}
                Err(error) => return self.fail(error).await,
            }
        }
        Ok((reports, None))
    }

    /// What the application master tells from now on, after all that it knows.
    async fn connect(&self, report: &ApplicationReport) -> Result<MasterEvents> {
        match self.cluster.watch_master(report).await {
            Ok(connection) => Ok(connection.into_events()),
            Err(error) => {
                tracing::info!(%error, "the executors cannot be watched now");
                Err(error)
            }
        }
    }

    async fn snapshot(&mut self, events: &mut MasterEvents) -> Result<Result<()>, Gone> {
        loop {
            match events.next().await {
                Some(Ok(Told::Synced)) => return Ok(Ok(())),
                Some(Ok(told)) => self.told(told).await?,
                Some(Err(error)) => return Ok(Err(error)),
                None => {
                    return Ok(Err(Error::unavailable("the application master has ended")));
                }
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
            Err(error) => return self.fail(error).await,
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
