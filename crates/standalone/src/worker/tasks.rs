//! The processes of a worker, and what is to be told of them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{AppId, Cause, KilledBy, Outcome, Payload, Stop};
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, Result};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::spark;
use crate::host::directories::{Depth, Directories, Happened, Watching};
use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::Shared;
use crate::host::process::{Host, Launch, StopRequests};
use anymaster_dispatcher::keys;
use anymaster_dispatcher::wire::{
    Application, DriverOrder, ExecutorOrder, FromWorker, Held, Progress, Secret, Task, Terms,
    WorkerInfo,
};

/// A driver that ran for longer than this is started again without delay (Spark 3.5, `DriverRunner`).
const LONG_RUN: Duration = Duration::from_secs(5);
/// The longest pause before a driver is started again.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Instead of a directory: output may have been written in any.
pub(super) const ANYWHERE: &str = "";
/// How many writes of output a reader may be behind before it looks whether it is concerned.
const MAX_WRITTEN: usize = 1024;

/// How long the master has to take in how the last processes ended.
const NOTED: Duration = Duration::from_secs(3);

/// What a process is given: the addresses of its resources, as JSON.
const ENV_RESOURCES: &str = "ANYMASTER_EXECUTOR_RESOURCES";

/// The processes of a worker.
#[derive(Debug)]
pub(super) struct Tasks {
    info: WorkerInfo,
    host: Arc<Host>,
    work_dir: PathBuf,
    program: Option<PathBuf>,
    /// How drivers reach the master: with the key of their application, derived of this.
    secret: Secret,
    /// And with these properties.
    tls: Vec<(String, String)>,
    rotation: Rotation,
    ports: Ports,
    floor: Mutex<Floor>,
    /// How often something has become of one so far.
    changes: watch::Sender<u64>,
    /// In which directory of a process that is followed something was written.
    written: broadcast::Sender<PathBuf>,
    directories: Directories,
}

#[derive(Debug, Default)]
struct Floor {
    apps: HashMap<AppId, Arc<Introduced>>,
    live: HashMap<(AppId, Task), Live>,
    /// Orders of drivers that the master has not confirmed: void when its connection ends.
    accepted: HashMap<AppId, DriverOrder>,
    /// Where news goes, while there is a master to tell.
    news: Option<mpsc::UnboundedSender<FromWorker>>,
    /// It is decommissioned: executors go elsewhere, drivers may go on.
    leaving: bool,
    /// The master that has taken it in, and its page.
    master: Option<[String; 2]>,
}

impl Floor {
    /// Tells the master to give it nothing any more.
    fn leave(&mut self) {
        self.leaving = true;
        if let Some(news) = &self.news {
            // An error: the connection has just ended. The next one begins with it.
            let _ = news.send(FromWorker::Leaving);
        }
    }

    /// Whether all processes have ended.
    fn is_idle(&self) -> bool {
        self.live.values().all(|live| matches!(live.progress, Progress::Ended(_)))
    }

    fn held(&self) -> Vec<Held> {
        let held = self.live.iter().map(|((app, task), live)| Held {
            app: app.clone(),
            task: *task,
            progress: live.progress.clone(),
            terms: live.terms.clone(),
        });
        held.collect()
    }
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
        secret: Secret,
        conf: &Conf,
    ) -> Result<Self> {
        let (written, _) = broadcast::channel(MAX_WRITTEN);
        let announce = written.clone();
        let directories = Directories::new(move |happened| {
            let dir = match happened {
                Happened::In(dir, _) => dir,
                Happened::TooMuch => Path::new(ANYWHERE),
            };
            // Nobody listens: nobody needs to know.
            let _ = announce.send(dir.to_owned());
        });
        Ok(Self {
            written,
            directories,
            secret,
            tls: anymaster_net::Tls::client_properties(conf),
            info,
            host,
            work_dir,
            program,
            rotation: Rotation::from_conf(conf)?,
            ports: Ports::default(),
            floor: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    pub(super) fn info(&self) -> &WorkerInfo {
        &self.info
    }

    pub(super) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Changes whenever something becomes of a process.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes those who wait for a change.
    fn note_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// In which of the directories that are [watched](Self::watch) something is written.
    pub(super) fn written(&self) -> broadcast::Receiver<PathBuf> {
        self.written.subscribe()
    }

    /// As long as the result lives, it is told what is written in this directory.
    pub(super) fn watch(&self, dir: &Path) -> Result<Watching> {
        self.directories.watch(dir, Depth::Files)
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, news goes there; what there is now, and whether it is decommissioned.
    pub(super) fn tell(&self, news: mpsc::UnboundedSender<FromWorker>) -> (Vec<Held>, bool) {
        let mut floor = self.floor();
        floor.news = Some(news);
        floor.accepted.clear();
        self.note_change();
        (floor.held(), floor.leaving)
    }

    /// What there is now.
    pub(super) fn held(&self) -> Vec<Held> {
        self.floor().held()
    }

    /// The master that has taken it in, and its page.
    pub(super) fn master(&self) -> Option<[String; 2]> {
        self.floor().master.clone()
    }

    /// A master has taken it in, and introduces anew the applications of which nothing is here.
    pub(super) fn set_master(&self, master: &str, web: String) {
        let mut floor = self.floor();
        floor.master = Some([master.to_owned(), web]);
        let Floor { apps, live, .. } = &mut *floor;
        let here: HashSet<&AppId> = live.keys().map(|(app, _)| app).collect();
        apps.retain(|app, _| here.contains(app));
    }

    /// Nobody listens any more.
    pub(super) fn be_silent(&self) {
        let mut floor = self.floor();
        (floor.news, floor.master) = (None, None);
        floor.accepted.clear();
        self.note_change();
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

    /// Whether a process runs, or is about to be started.
    pub(super) fn is_running(&self, app: &AppId, task: Task) -> bool {
        let floor = self.floor();
        let live = floor.live.get(&(app.clone(), task));
        live.is_some_and(|live| !matches!(live.progress, Progress::Ended(_)))
            || (task == Task::Driver && floor.accepted.contains_key(app))
    }

    /// Whether anything of an application runs, or may come yet.
    pub(super) fn has(&self, app: &str) -> bool {
        let floor = self.floor();
        let live = floor.live.keys().map(|(app, _)| app);
        live.chain(floor.apps.keys()).any(|known| known.as_str() == app)
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
        {
            let mut floor = self.floor();
            let key = (app, task);
            let is_ended = |live: &Live| matches!(live.progress, Progress::Ended(_));
            if floor.live.get(&key).is_some_and(is_ended) {
                floor.live.remove(&key);
            }
        }
        self.note_change();
    }

    /// Waits until the master knows of all ends, if it can be told.
    pub(super) async fn until_noted(&self) {
        let noted = self.until(|floor| floor.live.is_empty());
        if tokio::time::timeout(NOTED, noted).await.is_err() {
            tracing::warn!("the master does not know how all processes ended");
        }
    }

    pub(super) fn stop(&self, app: &AppId, task: Task, stop: Stop) {
        let mut floor = self.floor();
        if task == Task::Driver {
            floor.accepted.remove(app);
            self.note_change();
        }
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

    /// Decommissions the worker: its executors end, and waits until its drivers have ended as well.
    pub(super) async fn leave(&self, grace: Duration) {
        {
            let mut floor = self.floor();
            floor.leave();
            let stop = Stop { by: KilledBy::Request, grace };
            for ((_, task), live) in &floor.live {
                if matches!(task, Task::Executor(_)) {
                    live.stop.send_replace(Some(stop));
                }
            }
        }
        self.until(Floor::is_idle).await;
    }

    async fn until(&self, reached: impl Fn(&Floor) -> bool) {
        // Before looking, so that nothing is missed in between.
        let mut changes = self.changes();
        while !reached(&self.floor()) {
            // The sender is in `self`: there is no error to be had.
            let _ = changes.changed().await;
        }
    }

    /// Ends all processes, and waits until that is done.
    pub(super) async fn end_all(&self, grace: Duration) {
        {
            let mut floor = self.floor();
            floor.leave();
            let stop = Stop { by: KilledBy::DriverEnd, grace };
            for live in floor.live.values() {
                live.stop.send_replace(Some(stop));
            }
        }
        self.until(Floor::is_idle).await;
    }

    /// Registers a process that is about to be started; `None` if it is there already.
    fn enter(
        &self,
        app: &AppId,
        task: Task,
        terms: Option<Terms>,
    ) -> Option<(Arc<Introduced>, StopRequests)> {
        let mut floor = self.floor();
        if floor.live.contains_key(&(app.clone(), task)) {
            return None;
        }
        if floor.leaving {
            // The master did not know yet.
            let progress = Progress::Ended(decommissioned().into());
            send(&floor, Held { app: app.clone(), task, progress, terms: None });
            return None;
        }
        let introduced = Arc::clone(floor.apps.get(app)?);
        let (stop, requests) = watch::channel(None);
        let live = Live { progress: Progress::Starting, terms: terms.map(Box::new), stop };
        floor.live.insert((app.clone(), task), live);
        Some((introduced, requests))
    }

    fn set(&self, app: &AppId, task: Task, progress: Progress) {
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
        self.note_change();
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
                        this.set(&order.app, task, Progress::Running { port: None, host: None });
                    };
                    this.host.run(launch, requests, |_| running()).await
                }
                Err(error) => Outcome::could_not_start(&error),
            };
            let outcome = this.as_seen(outcome);
            this.set(&order.app, task, Progress::Ended(outcome));
        });
    }

    /// What was ended because the worker goes was not ended by its application.
    fn as_seen(&self, outcome: Outcome) -> Outcome {
        match outcome.cause {
            Cause::Killed { .. } if self.floor().leaving => {
                Outcome { cause: decommissioned(), ..outcome }
            }
            _ => outcome,
        }
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

    /// The order of a driver has arrived. It is started when the master knows that.
    pub(super) fn accept_driver(&self, order: DriverOrder) {
        let mut floor = self.floor();
        if let Some(news) = &floor.news {
            let (app, attempt) = (order.app.clone(), order.attempt);
            // An error: the connection has just ended, and the order is void.
            let _ = news.send(FromWorker::Accepted { app, attempt });
            floor.accepted.insert(order.app.clone(), order);
        }
    }

    /// The master knows that this worker has the order of a driver, and has written that down.
    pub(super) fn start_driver(self: &Arc<Self>, app: &AppId, attempt: u32) {
        // Whoever reads its output sees it as accepted until it is entered.
        let order = self.floor().accepted.get(app).cloned();
        let order = order.filter(|order| order.attempt == attempt);
        let entered = order.and_then(|order| Some((self.enter(app, Task::Driver, None)?, order)));
        self.floor().accepted.remove(app);
        let Some(((introduced, requests), order)) = entered else {
            self.note_change();
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = this.run_driver(&introduced, &order, requests).await;
            let outcome = this.as_seen(outcome);
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
                self.set(
                    &order.app,
                    Task::Driver,
                    Progress::Running { port: Some(port), host: None },
                );
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
        let program = self.program.as_deref();
        let launch = match &order.spec.payload {
            Payload::Command(command) => shared.driver(&order.spec, command, dir, program)?,
            Payload::Spark(job) => {
                let limit_mib = self.info.memory_mib;
                spark::driver(&shared, &order.spec, job, dir, program, limit_mib)?
            }
        };
        Ok((launch, port))
    }

    /// Writes what the processes of an application share; only they can read it.
    fn write_shared(&self, application: &Application) -> Result<()> {
        let dir = self.work_dir.join(application.app.as_str());
        fs::create_dir_all(&dir).map_err(|error| {
            Error::unavailable(format!("cannot make {}", dir.display())).with_source(error)
        })?;
        let mut conf = keys::without_secrets(&application.conf);
        conf.set("spark.app.id", application.app.as_str());
        self.tls.iter().for_each(|(key, value)| conf.set(key, value));
        if let Some(key) = self.secret.of_application(&application.app)? {
            let path = dir.join("key");
            write_private(&path, &key)?;
            conf.set(keys::APPLICATION_KEY_FILE.info.name, path.display().to_string());
        }
        write_private(&dir.join("application.properties"), &write_properties(conf.iter()))?;
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
            home: dir,
            rotation: self.rotation,
        })
    }
}

fn decommissioned() -> Cause {
    Cause::Evicted { why: "its worker is decommissioned".into() }
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
