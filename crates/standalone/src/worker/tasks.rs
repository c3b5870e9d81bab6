//! The drivers and executors of a worker: starts and ends them, and reports their progress to the master.

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
use crate::host::directories::{Depth, DirEvent, Directories, WatchGuard};
use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::ProcessContext;
use crate::host::process::{Host, Launch, StopRequests};
use anymaster_dispatcher::keys;
use anymaster_dispatcher::wire::{
    Application, DriverOrder, ExecutorOrder, FromWorker, Held, Progress, Secret, Task, Terms,
    WorkerInfo,
};

/// A driver that ran for longer than this is restarted after the shortest pause (Spark 3.5,
/// `DriverRunner`).
const LONG_RUN: Duration = Duration::from_secs(5);
/// The longest pause before a driver is restarted.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// In place of a directory: output may have been written in any of them.
pub(super) const ANY_DIRECTORY: &str = "";
/// How many notifications of written output a reader may lag behind.
const WRITTEN_CAPACITY: usize = 1024;

/// How long to wait for the master to acknowledge how the last processes ended.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);

/// The environment variable with the addresses of an executor's resources, as JSON.
const ENV_RESOURCES: &str = "ANYMASTER_EXECUTOR_RESOURCES";

/// The drivers and executors of a worker.
#[derive(Debug)]
pub(super) struct Tasks {
    info: WorkerInfo,
    host: Arc<Host>,
    work_dir: PathBuf,
    program: Option<PathBuf>,
    /// The secret of the cluster. Drivers get a key of their application that is derived from it.
    secret: Secret,
    /// The TLS properties with which drivers connect to the master.
    tls: Vec<(String, String)>,
    rotation: Rotation,
    ports: Ports,
    state: Mutex<State>,
    /// Counts changes of state.
    changes: watch::Sender<u64>,
    /// The watched directories in which output was written.
    written: broadcast::Sender<PathBuf>,
    directories: Directories,
}

#[derive(Debug, Default)]
struct State {
    apps: HashMap<AppId, Arc<AppEntry>>,
    live: HashMap<(AppId, Task), Live>,
    /// Drivers assigned by the master and not confirmed yet; dropped when the connection ends.
    accepted: HashMap<AppId, DriverOrder>,
    /// Messages to the master, while connected.
    to_master: Option<mpsc::UnboundedSender<FromWorker>>,
    /// The worker is being decommissioned: it accepts nothing new, and only drivers go on.
    leaving: bool,
    /// The master with which it is registered, and the address of the master's web page.
    master: Option<[String; 2]>,
}

impl State {
    /// Begins decommissioning, and tells the master.
    fn start_leaving(&mut self) {
        self.leaving = true;
        if let Some(to_master) = &self.to_master {
            // Fails if the connection has just ended; the next registration says so.
            let _ = to_master.send(FromWorker::Leaving);
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

/// An application that the master has sent to this worker.
#[derive(Debug)]
struct AppEntry {
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
        let (written, _) = broadcast::channel(WRITTEN_CAPACITY);
        let announce = written.clone();
        let directories = Directories::new(move |event| {
            let dir = match event {
                DirEvent::Changed(dir, _) => dir,
                DirEvent::Overflow => Path::new(ANY_DIRECTORY),
            };
            // Fails only without subscribers.
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
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    pub(super) fn info(&self) -> &WorkerInfo {
        &self.info
    }

    pub(super) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Changes whenever the state of a process changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notifies of a change.
    fn notify_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The [watched](Self::watch) directories, each time output is written in them.
    pub(super) fn written(&self) -> broadcast::Receiver<PathBuf> {
        self.written.subscribe()
    }

    /// Watches a directory until the result is dropped.
    pub(super) fn watch(&self, dir: &Path) -> Result<WatchGuard> {
        self.directories.watch(dir, Depth::Files)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends messages for the master to this channel from now on. Returns what runs here, and whether
    /// the worker is being decommissioned, for the registration.
    pub(super) fn attach(&self, to_master: mpsc::UnboundedSender<FromWorker>) -> (Vec<Held>, bool) {
        let mut state = self.state();
        state.to_master = Some(to_master);
        state.accepted.clear();
        self.notify_change();
        (state.held(), state.leaving)
    }

    /// The drivers and executors of this worker.
    pub(super) fn held(&self) -> Vec<Held> {
        self.state().held()
    }

    /// The master with which it is registered, and the address of the master's web page.
    pub(super) fn master(&self) -> Option<[String; 2]> {
        self.state().master.clone()
    }

    /// The worker is registered. The master sends again the applications that have no process here, so
    /// these are dropped.
    pub(super) fn registered_with(&self, master: &str, web: String) {
        let mut state = self.state();
        state.master = Some([master.to_owned(), web]);
        let State { apps, live, .. } = &mut *state;
        let here: HashSet<&AppId> = live.keys().map(|(app, _)| app).collect();
        apps.retain(|app, _| here.contains(app));
    }

    /// The connection to the master has ended.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        (state.to_master, state.master) = (None, None);
        state.accepted.clear();
        self.notify_change();
    }

    /// The directory of a process.
    pub(super) fn dir(&self, app: &AppId, task: Task) -> PathBuf {
        let name = match task {
            Task::Driver => "driver".to_owned(),
            Task::Executor(id) => id.to_string(),
        };
        // Application ids are valid file names: `AppId` checks that.
        self.work_dir.join(app.as_str()).join(name)
    }

    /// Whether a process runs or is about to be started.
    pub(super) fn is_running(&self, app: &AppId, task: Task) -> bool {
        let state = self.state();
        let live = state.live.get(&(app.clone(), task));
        live.is_some_and(|live| !matches!(live.progress, Progress::Ended(_)))
            || (task == Task::Driver && state.accepted.contains_key(app))
    }

    /// Whether an application has processes here or may still get some.
    pub(super) fn has_application(&self, app: &str) -> bool {
        let state = self.state();
        let live = state.live.keys().map(|(app, _)| app);
        live.chain(state.apps.keys()).any(|known| known.as_str() == app)
    }

    /// Adds an application, and writes the files that its processes share.
    pub(super) fn add_application(&self, application: Application) {
        let fault = self.write_app_files(&application).err();
        let app = application.app.clone();
        self.state().apps.insert(app, Arc::new(AppEntry { application, fault }));
    }

    /// The application gets no more processes here.
    pub(super) fn forget_application(&self, app: &AppId) {
        self.state().apps.remove(app);
    }

    /// The master has acknowledged the end of a process.
    pub(super) fn acknowledged(&self, app: AppId, task: Task) {
        {
            let mut state = self.state();
            let key = (app, task);
            let is_ended = |live: &Live| matches!(live.progress, Progress::Ended(_));
            if state.live.get(&key).is_some_and(is_ended) {
                state.live.remove(&key);
            }
        }
        self.notify_change();
    }

    /// Waits for a limited time until the master has acknowledged all ends.
    pub(super) async fn wait_acknowledged(&self) {
        let acknowledged = self.wait_until(|state| state.live.is_empty());
        if tokio::time::timeout(ACK_TIMEOUT, acknowledged).await.is_err() {
            tracing::warn!("the master has not acknowledged the ends of all processes");
        }
    }

    pub(super) fn stop(&self, app: &AppId, task: Task, stop: Stop) {
        let mut state = self.state();
        if task == Task::Driver {
            state.accepted.remove(app);
            self.notify_change();
        }
        match state.live.get(&(app.clone(), task)) {
            Some(live) => {
                live.stop.send_replace(Some(stop));
            }
            None => {
                // Unknown process: report it as ended, so that the master does not wait for it.
                let outcome = Cause::Killed { by: stop.by }.into();
                let progress = Progress::Ended(outcome);
                let held = Held { app: app.clone(), task, progress, terms: None };
                send(&state, held);
            }
        }
    }

    /// Ends all processes because no master is reached. Others may be started later.
    pub(super) fn fence(&self, grace: Duration) {
        for live in self.state().live.values() {
            live.stop.send_replace(Some(Stop { by: KilledBy::DriverEnd, grace }));
        }
    }

    /// Decommissions the worker: ends its executors, and waits until its drivers have ended too.
    pub(super) async fn decommission(&self, grace: Duration) {
        {
            let mut state = self.state();
            state.start_leaving();
            let stop = Stop { by: KilledBy::Request, grace };
            for ((_, task), live) in &state.live {
                if matches!(task, Task::Executor(_)) {
                    live.stop.send_replace(Some(stop));
                }
            }
        }
        self.wait_until(State::is_idle).await;
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        // Subscribe first, so that no change is missed.
        let mut changes = self.changes();
        while !reached(&self.state()) {
            // Cannot fail: the sender is in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Ends all processes and waits until they have ended. Nothing new is accepted.
    pub(super) async fn end_all(&self, grace: Duration) {
        {
            let mut state = self.state();
            state.start_leaving();
            let stop = Stop { by: KilledBy::DriverEnd, grace };
            for live in state.live.values() {
                live.stop.send_replace(Some(stop));
            }
        }
        self.wait_until(State::is_idle).await;
    }

    /// Adds a process that is about to be started. `None` if it exists already, if its application is
    /// unknown, or if the worker is being decommissioned.
    fn add_process(
        &self,
        app: &AppId,
        task: Task,
        terms: Option<Terms>,
    ) -> Option<(Arc<AppEntry>, StopRequests)> {
        let mut state = self.state();
        if state.live.contains_key(&(app.clone(), task)) {
            return None;
        }
        if state.leaving {
            // The master did not know this when it sent the order.
            let progress = Progress::Ended(decommissioned().into());
            send(&state, Held { app: app.clone(), task, progress, terms: None });
            return None;
        }
        let entry = Arc::clone(state.apps.get(app)?);
        let (stop, requests) = watch::channel(None);
        let live = Live { progress: Progress::Starting, terms: terms.map(Box::new), stop };
        state.live.insert((app.clone(), task), live);
        Some((entry, requests))
    }

    fn set_progress(&self, app: &AppId, task: Task, progress: Progress) {
        {
            let mut state = self.state();
            if let Some(live) = state.live.get_mut(&(app.clone(), task)) {
                live.progress = match &progress {
                    // It is about to be restarted.
                    Progress::Again(_) => Progress::Starting,
                    other => other.clone(),
                };
            }
            send(&state, Held { app: app.clone(), task, progress, terms: None });
        }
        self.notify_change();
    }

    pub(super) fn start_executor(self: &Arc<Self>, order: ExecutorOrder) {
        let task = Task::Executor(order.id);
        let terms = Terms {
            profile_id: order.profile_id,
            profile: order.profile.clone(),
            resources: order.resources.clone(),
        };
        let Some((entry, requests)) = self.add_process(&order.app, task, Some(terms)) else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let mut lease = this.ports.lease();
            let outcome = match this.prepare_executor(&entry, &order, &mut lease) {
                Ok(launch) => {
                    let running = || {
                        this.set_progress(
                            &order.app,
                            task,
                            Progress::Running { port: None, host: None },
                        );
                    };
                    this.host.run(launch, requests, |_| running()).await
                }
                Err(error) => Outcome::could_not_start(&error),
            };
            let outcome = this.with_eviction(outcome);
            this.set_progress(&order.app, task, Progress::Ended(outcome));
        });
    }

    /// A process that was killed because of decommissioning counts as evicted.
    fn with_eviction(&self, outcome: Outcome) -> Outcome {
        match outcome.cause {
            Cause::Killed { .. } if self.state().leaving => {
                Outcome { cause: decommissioned(), ..outcome }
            }
            _ => outcome,
        }
    }

    fn prepare_executor(
        &self,
        entry: &AppEntry,
        order: &ExecutorOrder,
        lease: &mut Lease,
    ) -> Result<Launch> {
        let address = (order.driver_host.clone(), order.driver_port);
        let processes = self.process_context(entry, address)?;
        let launch = ExecutorLaunch {
            id: order.id,
            profile_id: order.profile_id,
            profile: order.profile.clone(),
            template: Arc::clone(&order.template),
        };
        let dir = self.dir(&order.app, Task::Executor(order.id));
        let mut launch = processes.executor(&launch, &self.info.host, dir, lease)?;
        if !order.resources.is_empty() {
            let resources = serde_json::to_string(&order.resources).unwrap_or_default();
            launch.env.insert(ENV_RESOURCES.to_owned(), resources);
        }
        Ok(launch)
    }

    /// The master has assigned a driver. It is started when the master [confirms](Self::start_driver).
    pub(super) fn accept_driver(&self, order: DriverOrder) {
        let mut state = self.state();
        if let Some(to_master) = &state.to_master {
            let (app, attempt) = (order.app.clone(), order.attempt);
            // Fails if the connection has just ended; the order is dropped then.
            let _ = to_master.send(FromWorker::Accepted { app, attempt });
            state.accepted.insert(order.app.clone(), order);
        }
    }

    /// The master has recorded that this worker accepted a driver: starts it.
    pub(super) fn start_driver(self: &Arc<Self>, app: &AppId, attempt: u32) {
        // It stays in `accepted` until it is in `live`, so that readers of its output always find it.
        let order = self.state().accepted.get(app).cloned();
        let order = order.filter(|order| order.attempt == attempt);
        let entered =
            order.and_then(|order| Some((self.add_process(app, Task::Driver, None)?, order)));
        self.state().accepted.remove(app);
        let Some(((entry, requests), order)) = entered else {
            self.notify_change();
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = this.run_driver(&entry, &order, requests).await;
            let outcome = this.with_eviction(outcome);
            this.set_progress(&order.app, Task::Driver, Progress::Ended(outcome));
        });
    }

    /// Runs a driver. A supervised one is restarted until it succeeds or is stopped.
    async fn run_driver(
        &self,
        entry: &AppEntry,
        order: &DriverOrder,
        requests: StopRequests,
    ) -> Outcome {
        let mut pause = Duration::from_secs(1);
        loop {
            let mut lease = self.ports.lease();
            let (launch, port) = match self.prepare_driver(entry, order, &mut lease) {
                Ok(prepared) => prepared,
                Err(error) => return Outcome::could_not_start(&error),
            };
            let began = Instant::now();
            let running = || {
                self.set_progress(
                    &order.app,
                    Task::Driver,
                    Progress::Running { port: Some(port), host: None },
                );
            };
            let outcome = self.host.run(launch, requests.clone(), |_| running()).await;
            let restarts = order.spec.supervise
                && outcome.cause != Cause::Finished
                && requests.borrow().is_none();
            if !restarts {
                return outcome;
            }
            self.set_progress(&order.app, Task::Driver, Progress::Again(outcome));
            pause = if began.elapsed() > LONG_RUN { Duration::from_secs(1) } else { pause };
            let mut stops = requests.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Fails if the sender was dropped; treated as a request to stop.
                stopped = stops.wait_for(Option::is_some) => {
                    let by = match stopped.as_deref() {
                        Ok(Some(stop)) => stop.by,
                        _ => KilledBy::Request,
                    };
                    return Cause::Killed { by }.into();
                }
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn prepare_driver(
        &self,
        entry: &AppEntry,
        order: &DriverOrder,
        lease: &mut Lease,
    ) -> Result<(Launch, u16)> {
        let conf = &entry.application.conf;
        let given = conf.get("spark.driver.port").and_then(|port| port.parse().ok());
        let port = match given {
            Some(port) if port > 0 => port,
            _ => lease.take()?,
        };
        let processes = self.process_context(entry, (self.info.host.clone(), port))?;
        let dir = self.dir(&order.app, Task::Driver);
        let program = self.program.as_deref();
        let launch = match &order.spec.payload {
            Payload::Command(command) => processes.driver(&order.spec, command, dir, program)?,
            Payload::Spark(job) => {
                let limit_mib = self.info.memory_mib;
                spark::driver(&processes, &order.spec, job, dir, program, limit_mib)?
            }
        };
        Ok((launch, port))
    }

    /// Writes the files that the processes of an application share, readable by the user only.
    fn write_app_files(&self, application: &Application) -> Result<()> {
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

    fn process_context(
        &self,
        entry: &AppEntry,
        (host, port): (String, u16),
    ) -> Result<ProcessContext> {
        let AppEntry { application, fault } = entry;
        if let Some(fault) = fault {
            return Err(fault.clone());
        }
        let dir = self.work_dir.join(application.app.as_str());
        Ok(ProcessContext {
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

fn send(state: &State, held: Held) {
    if let Some(to_master) = &state.to_master {
        // Fails if the connection has just ended; the next registration includes everything.
        let _ = to_master.send(FromWorker::Changed(held));
    }
}

/// Writes a file atomically, readable by the user only.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let failed =
        |error| Error::unavailable(format!("cannot write {}", path.display())).with_source(error);
    let new = path.with_extension("new");
    // Left by an interrupted write.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}
