//! The processes of a worker, and what is to be told of them.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{AppId, Cause, KilledBy};
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::Shared;
use crate::host::process::{Host, Launch, Outcome, Stop, StopRequests};
use crate::wire::{
    Application, DriverOrder, ExecutorOrder, FromWorker, Held, Progress, Task, Terms, WorkerInfo,
};

/// A driver that ran for longer than this is started again without delay (Spark 3.5, `DriverRunner`).
const LONG_RUN: Duration = Duration::from_secs(5);
/// The longest pause before a driver is started again.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What a process is given: the addresses of its resources, as JSON.
const ENV_RESOURCES: &str = "ANYMASTER_EXECUTOR_RESOURCES";

/// The processes of a worker.
#[derive(Debug)]
pub(super) struct Tasks {
    info: WorkerInfo,
    host: Arc<Host>,
    work_dir: PathBuf,
    program: Option<PathBuf>,
    rotation: Rotation,
    ports: Ports,
    floor: Mutex<Floor>,
    /// How many have ended so far.
    ends: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Floor {
    apps: HashMap<AppId, Arc<Introduced>>,
    live: HashMap<(AppId, Task), Live>,
    /// Where news goes, while there is a master to tell.
    news: Option<mpsc::UnboundedSender<FromWorker>>,
    closed: bool,
}

/// An application of which there are processes.
#[derive(Debug)]
struct Introduced {
    application: Application,
    /// Why its files could not be written.
    fault: Option<Error>,
}

#[derive(Debug)]
struct Live {
    progress: Progress,
    terms: Option<Box<Terms>>,
    stop: watch::Sender<Option<Stop>>,
}

impl Tasks {
    pub(super) fn new(
        info: WorkerInfo,
        host: Arc<Host>,
        work_dir: PathBuf,
        program: Option<PathBuf>,
        conf: &Conf,
    ) -> Result<Self> {
        Ok(Self {
            info,
            host,
            work_dir,
            program,
            rotation: Rotation::from_conf(conf)?,
            ports: Ports::default(),
            floor: Mutex::default(),
            ends: watch::Sender::new(0),
        })
    }

    pub(super) fn info(&self) -> &WorkerInfo {
        &self.info
    }

    pub(super) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Changes whenever a process ends.
    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.ends.subscribe()
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, news goes there; what there is now.
    pub(super) fn tell(&self, news: mpsc::UnboundedSender<FromWorker>) -> Vec<Held> {
        let mut floor = self.floor();
        floor.news = Some(news);
        let held = floor.live.iter().map(|((app, task), live)| Held {
            app: app.clone(),
            task: *task,
            progress: live.progress.clone(),
            terms: live.terms.clone(),
        });
        held.collect()
    }

    /// Nobody listens any more.
    pub(super) fn be_silent(&self) {
        self.floor().news = None;
    }

    /// Where a process has its directory.
    pub(super) fn dir(&self, app: &AppId, task: Task) -> PathBuf {
        let name = match task {
            Task::Driver => "driver".to_owned(),
            Task::Executor(id) => id.to_string(),
        };
        // An application's id is checked to be a file's name where it comes in.
        self.work_dir.join(app.as_str()).join(name)
    }

    pub(super) fn is_running(&self, app: &AppId, task: Task) -> bool {
        let floor = self.floor();
        let live = floor.live.get(&(app.clone(), task));
        live.is_some_and(|live| !matches!(live.progress, Progress::Ended(_)))
    }

    /// Whether anything of an application runs, or may come yet.
    pub(super) fn has(&self, app: &str) -> bool {
        self.floor().apps.keys().any(|known| known.as_str() == app)
    }

    /// Takes in what the processes of an application share.
    pub(super) fn introduce(&self, application: Application) {
        let fault = self.write_shared(&application).err();
        let app = application.app.clone();
        self.floor().apps.insert(app, Arc::new(Introduced { application, fault }));
    }

    /// Nothing more of an application is to come.
    pub(super) fn is_over(&self, app: &AppId) {
        self.floor().apps.remove(app);
    }

    /// The master knows how it ended.
    pub(super) fn noted(&self, app: AppId, task: Task) {
        let mut floor = self.floor();
        let key = (app, task);
        if floor.live.get(&key).is_some_and(|live| matches!(live.progress, Progress::Ended(_))) {
            floor.live.remove(&key);
        }
    }

    pub(super) fn stop(&self, app: &AppId, task: Task, stop: Stop) {
        let floor = self.floor();
        match floor.live.get(&(app.clone(), task)) {
            Some(live) => {
                live.stop.send_replace(Some(stop));
            }
            None => {
                // Never heard of: whoever asks is to know that nothing is left of it.
                let outcome = Cause::Killed { by: stop.by }.into();
                let progress = Progress::Ended(outcome);
                let held = Held { app: app.clone(), task, progress, terms: None };
                send(&floor, held);
            }
        }
    }

    /// Ends all processes; others may follow.
    pub(super) fn fence(&self, grace: Duration) {
        for live in self.floor().live.values() {
            live.stop.send_replace(Some(Stop { by: KilledBy::DriverEnd, grace }));
        }
    }

    /// Ends all processes, and waits until that is done.
    pub(super) async fn end_all(&self, grace: Duration) {
        let mut ends = self.ends();
        {
            let mut floor = self.floor();
            floor.closed = true;
            let stop = Stop { by: KilledBy::DriverEnd, grace };
            for live in floor.live.values() {
                live.stop.send_replace(Some(stop));
            }
        }
        let is_left = || {
            let floor = self.floor();
            floor.live.values().any(|live| !matches!(live.progress, Progress::Ended(_)))
        };
        while is_left() {
            // The sender is in `self`: there is no error to be had.
            let _ = ends.changed().await;
        }
    }

    /// Registers a process that is about to be started; `None` if it is there already.
    fn enter(
        &self,
        app: &AppId,
        task: Task,
        terms: Option<Terms>,
    ) -> Option<(Arc<Introduced>, StopRequests)> {
        let mut floor = self.floor();
        if floor.closed || floor.live.contains_key(&(app.clone(), task)) {
            return None;
        }
        let introduced = Arc::clone(floor.apps.get(app)?);
        let (stop, requests) = watch::channel(None);
        let live = Live { progress: Progress::Starting, terms: terms.map(Box::new), stop };
        floor.live.insert((app.clone(), task), live);
        Some((introduced, requests))
    }

    fn set(&self, app: &AppId, task: Task, progress: Progress) {
        let is_end = matches!(progress, Progress::Ended(_));
        {
            let mut floor = self.floor();
            if let Some(live) = floor.live.get_mut(&(app.clone(), task)) {
                live.progress = match &progress {
                    // It is about to be started once more.
                    Progress::Again(_) => Progress::Starting,
                    other => other.clone(),
                };
            }
            send(&floor, Held { app: app.clone(), task, progress, terms: None });
        }
        if is_end {
            self.ends.send_modify(|ends| *ends += 1);
        }
    }

    pub(super) fn start_executor(self: &Arc<Self>, order: ExecutorOrder) {
        let task = Task::Executor(order.id);
        let terms = Terms {
            profile_id: order.profile_id,
            profile: order.profile.clone(),
            resources: order.resources.clone(),
        };
        let Some((introduced, requests)) = self.enter(&order.app, task, Some(terms)) else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let mut lease = this.ports.lease();
            let outcome = match this.prepare_executor(&introduced, &order, &mut lease) {
                Ok(launch) => {
                    let running = || {
                        this.set(&order.app, task, Progress::Running { port: None });
                    };
                    this.host.run(launch, requests, |_| running()).await
                }
                Err(error) => Outcome::could_not_start(&error),
            };
            this.set(&order.app, task, Progress::Ended(outcome));
        });
    }

    fn prepare_executor(
        &self,
        introduced: &Introduced,
        order: &ExecutorOrder,
        lease: &mut Lease,
    ) -> Result<Launch> {
        let address = (order.driver_host.clone(), order.driver_port);
        let shared = self.share(introduced, address)?;
        let launch = ExecutorLaunch {
            id: order.id,
            profile_id: order.profile_id,
            profile: order.profile.clone(),
            template: Arc::clone(&order.template),
        };
        let dir = self.dir(&order.app, Task::Executor(order.id));
        let mut launch = shared.executor(&launch, &self.info.host, dir, lease)?;
        if !order.resources.is_empty() {
            let resources = serde_json::to_string(&order.resources).unwrap_or_default();
            launch.env.insert(ENV_RESOURCES.to_owned(), resources);
        }
        Ok(launch)
    }

    pub(super) fn start_driver(self: &Arc<Self>, order: DriverOrder) {
        let Some((introduced, requests)) = self.enter(&order.app, Task::Driver, None) else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = this.run_driver(&introduced, &order, requests).await;
            this.set(&order.app, Task::Driver, Progress::Ended(outcome));
        });
    }

    /// Runs a driver; one that is supervised again and again until it succeeds or is told to end.
    async fn run_driver(
        &self,
        introduced: &Introduced,
        order: &DriverOrder,
        requests: StopRequests,
    ) -> Outcome {
        let mut pause = Duration::from_secs(1);
        loop {
            let mut lease = self.ports.lease();
            let (launch, port) = match self.prepare_driver(introduced, order, &mut lease) {
                Ok(prepared) => prepared,
                Err(error) => return Outcome::could_not_start(&error),
            };
            let began = Instant::now();
            let running = || {
                self.set(&order.app, Task::Driver, Progress::Running { port: Some(port) });
            };
            let outcome = self.host.run(launch, requests.clone(), |_| running()).await;
            let is_to_go_on = order.spec.supervise
                && outcome.cause != Cause::Finished
                && requests.borrow().is_none();
            if !is_to_go_on {
                return outcome;
            }
            self.set(&order.app, Task::Driver, Progress::Again(outcome));
            pause = if began.elapsed() > LONG_RUN { Duration::from_secs(1) } else { pause };
            let mut stops = requests.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // An error: whoever could ask is gone.
                stopped = stops.wait_for(Option::is_some) => {
                    let by = match stopped.as_deref() {
                        Ok(Some(stop)) => stop.by,
                        _ => KilledBy::Request,
                    };
                    return Cause::Killed { by }.into();
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn prepare_driver(
        &self,
        introduced: &Introduced,
        order: &DriverOrder,
        lease: &mut Lease,
    ) -> Result<(Launch, u16)> {
        let conf = &introduced.application.conf;
        let given = conf.get("spark.driver.port").and_then(|port| port.parse().ok());
        let port = match given {
            Some(port) if port > 0 => port,
            _ => lease.take()?,
        };
        let shared = self.share(introduced, (self.info.host.clone(), port))?;
        let dir = self.dir(&order.app, Task::Driver);
        let launch = shared.driver(&order.spec, &order.command, dir, self.program.as_deref())?;
        Ok((launch, port))
    }

    /// Writes what the processes of an application share; only they can read it.
    fn write_shared(&self, application: &Application) -> Result<()> {
        let dir = self.work_dir.join(application.app.as_str());
        fs::create_dir_all(&dir).map_err(|error| {
            Error::unavailable(format!("cannot make {}", dir.display())).with_source(error)
        })?;
        let properties = write_properties(application.conf.iter());
        write_private(&dir.join("application.properties"), &properties)?;
        write_private(&dir.join("secret"), &application.secret)
    }

    fn share(&self, introduced: &Introduced, (host, port): (String, u16)) -> Result<Shared> {
        let Introduced { application, fault } = introduced;
        if let Some(fault) = fault {
            return Err(fault.clone());
        }
        let dir = self.work_dir.join(application.app.as_str());
        Ok(Shared {
            app: application.app.clone(),
            master: application.master.clone(),
            driver_host: host,
            driver_port: port,
            secret: dir.join("secret"),
            properties: dir.join("application.properties"),
            rotation: self.rotation,
        })
    }
}

fn send(floor: &Floor, held: Held) {
    if let Some(news) = &floor.news {
        // An error: the connection has just ended. The next one begins with all there is.
        let _ = news.send(FromWorker::Changed(held));
    }
}

/// Writes a file whole or not at all, for the user only.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let failed =
        |error| Error::unavailable(format!("cannot write {}", path.display())).with_source(error);
    let new = path.with_extension("new");
    // Left by one that was interrupted.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}
