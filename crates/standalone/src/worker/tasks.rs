//! The drivers and executors of a worker: starts and ends them, and reports their progress to the master.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{AppId, Cause, KilledBy, Outcome, Payload, SparkVersions, Stop};
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, Result};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::shuffle;
use super::spark;
use super::spark::InstalledSpark;
use super::table::{Begin, ProcessTable, Stopping};
use crate::host::directories::{Depth, DirEvent, Directories, WatchGuard};
use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::ProcessContext;
use crate::host::process::{Host, Launch, StopRequests};
use anymaster_engine::{
    Application, DriverOrder, ExecutorOrder, ExecutorSpec, Progress, Task, TaskReport, WorkerInfo,
    WorkerMessage,
};
use anymaster_native::keys;
use anymaster_native::wire::{FromWorker, Secret};
use anymaster_shuffle::{CLEANS_EXECUTORS, ShuffleHandle};

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
    /// The same, for drivers and executors of Spark, which know each other and the master by it.
    secret_of_spark: Option<String>,
    sparks: Vec<InstalledSpark>,
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
    /// Its shuffle service is told what has ended.
    pub(super) shuffle: Option<ShuffleHandle>,
    cleans_executors: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Each process with what stops it.
    table: ProcessTable<AppEntry, watch::Sender<Option<Stop>>>,
    /// Messages to the master, while connected.
    to_master: Option<mpsc::UnboundedSender<FromWorker>>,
    /// The master with which it is registered, and the address of the master's web page.
    master: Option<[String; 2]>,
}

impl State {
    /// Begins decommissioning, and tells the master.
    fn start_leaving(&mut self) {
        let message = self.table.leave();
        self.send(message);
    }

    fn send(&self, message: Option<WorkerMessage>) {
        if let (Some(to_master), Some(message)) = (&self.to_master, message) {
            // Fails if the connection has just ended; the next registration includes everything.
            let _ = to_master.send(message.into());
        }
    }

    fn report(&self, report: TaskReport) {
        self.send(Some(WorkerMessage::Report(report)));
    }

    /// Follows an order to start a process: with what it is started, if it is.
    fn entered(&self, begin: Begin<AppEntry>) -> Option<Arc<AppEntry>> {
        match begin {
            Begin::Start(entry) => Some(entry),
            Begin::Report(report) => {
                self.report(report);
                None
            }
            Begin::Ignore => None,
        }
    }
}

/// An application that the master has sent to this worker.
#[derive(Debug)]
struct AppEntry {
    application: Application,
    /// Why its files could not be written.
    fault: Option<Error>,
}

impl Tasks {
    pub(super) fn new(
        info: WorkerInfo,
        host: Arc<Host>,
        (work_dir, program): (PathBuf, Option<PathBuf>),
        secret: Secret,
        sparks: Vec<InstalledSpark>,
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
            secret_of_spark: keys::secret_of_spark(conf)?,
            sparks,
            tls: anymaster_net::Tls::client_properties(conf),
            info,
            host,
            work_dir,
            program,
            rotation: Rotation::from_conf(conf)?,
            ports: Ports::default(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            shuffle: None,
            cleans_executors: conf.read(&CLEANS_EXECUTORS)?,
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
    pub(super) fn attach(
        &self,
        to_master: mpsc::UnboundedSender<FromWorker>,
    ) -> (Vec<TaskReport>, bool) {
        let mut state = self.state();
        state.to_master = Some(to_master);
        let registration = state.table.connect();
        drop(state);
        self.notify_change();
        registration
    }

    /// The drivers and executors of this worker.
    pub(super) fn held(&self) -> Vec<TaskReport> {
        self.state().table.reports()
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
        state.table.registered();
    }

    /// The connection to the master has ended.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        (state.to_master, state.master) = (None, None);
        state.table.disconnect();
        drop(state);
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
        self.state().table.is_running(app, task)
    }

    /// Whether an application has processes here or may still get some.
    pub(super) fn has_application(&self, app: &str) -> bool {
        self.state().table.has_application(app)
    }

    /// Adds an application, and writes the files that its processes share.
    pub(super) fn add_application(&self, application: Application) {
        let fault = self.write_app_files(&application).err();
        let app = application.app.clone();
        self.state().table.add_application(app, AppEntry { application, fault });
    }

    /// The application gets no more processes here.
    pub(super) fn forget_application(&self, app: &AppId) {
        let is_here = {
            let mut state = self.state();
            state.table.forget_application(app);
            state.table.has_application(app.as_str())
        };
        if !is_here {
            shuffle::application_ended(self.shuffle.as_ref(), app);
        }
    }

    /// The master has acknowledged the end of a process.
    pub(super) fn acknowledged(&self, app: AppId, task: Task) {
        let is_here = {
            let mut state = self.state();
            state.table.acknowledged(app.clone(), task);
            state.table.has_application(app.as_str())
        };
        match task {
            // It was forgotten before.
            _ if !is_here => shuffle::application_ended(self.shuffle.as_ref(), &app),
            Task::Executor(id) if self.cleans_executors => {
                shuffle::executor_ended(self.shuffle.as_ref(), &app, id);
            }
            _ => {}
        }
        self.notify_change();
    }

    /// Waits for a limited time until the master has acknowledged all ends.
    pub(super) async fn wait_acknowledged(&self) {
        let acknowledged = self.wait_until(|state| state.table.is_empty());
        if tokio::time::timeout(ACK_TIMEOUT, acknowledged).await.is_err() {
            tracing::warn!("the master has not acknowledged the ends of all processes");
        }
    }

    pub(super) fn stop(&self, app: &AppId, task: Task, stop: Stop) {
        let mut state = self.state();
        let unknown = match state.table.stop(app, task, stop) {
            Stopping::Process(requests) => {
                requests.send_replace(Some(stop));
                None
            }
            Stopping::Report(report) => Some(report),
        };
        if let Some(report) = unknown {
            state.report(report);
        }
        drop(state);
        self.notify_change();
    }

    /// Ends all processes because no master is reached. Others may be started later.
    pub(super) fn fence(&self, grace: Duration) {
        for (_, _, requests) in self.state().table.processes() {
            requests.send_replace(Some(Stop { by: KilledBy::DriverEnd, grace }));
        }
    }

    /// Decommissions the worker: ends its executors, and waits until its drivers have ended too.
    pub(super) async fn decommission(&self, grace: Duration) {
        {
            let mut state = self.state();
            state.start_leaving();
            let stop = Stop { by: KilledBy::Request, grace };
            for (_, task, requests) in state.table.processes() {
                if matches!(task, Task::Executor(_)) {
                    requests.send_replace(Some(stop));
                }
            }
        }
        self.wait_until(|state| state.table.is_idle()).await;
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
            for (_, _, requests) in state.table.processes() {
                requests.send_replace(Some(stop));
            }
        }
        self.wait_until(|state| state.table.is_idle()).await;
    }

    fn set_progress(&self, app: &AppId, task: Task, progress: Progress) {
        {
            let mut state = self.state();
            let report = state.table.set_progress(app, task, progress);
            state.report(report);
        }
        self.notify_change();
    }

    pub(super) fn start_executor(self: &Arc<Self>, order: ExecutorOrder) {
        let task = Task::Executor(order.id);
        let spec = ExecutorSpec {
            profile_id: order.profile_id,
            profile: order.profile.clone(),
            resources: order.resources.clone(),
        };
        let (stop, requests) = watch::channel(None);
        let entered = {
            let mut state = self.state();
            let begin = state.table.begin(&order.app, task, Some(spec), stop);
            state.entered(begin)
        };
        let Some(entry) = entered else { return };
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
            let outcome = this.state().table.outcome(outcome);
            this.set_progress(&order.app, task, Progress::Ended(outcome));
        });
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
        let spark = order.template.spark.as_ref().map(|it| self.spark(it)).transpose()?;
        let spark = |part| Some(spark?.part(part).to_owned());
        let mut launch = processes.executor(&launch, &self.info.host, dir, lease, spark)?;
        if !order.resources.is_empty() {
            let resources = serde_json::to_string(&order.resources).unwrap_or_default();
            launch.env.insert(ENV_RESOURCES.to_owned(), resources);
        }
        Ok(launch)
    }

    /// The Spark of this machine that executors need.
    fn spark(&self, versions: &SparkVersions) -> Result<&InstalledSpark> {
        let found = self.sparks.iter().find(|it| versions.include(&it.release, &it.scala));
        found.ok_or_else(|| Error::unsupported(format!("this worker has no Spark {versions}")))
    }

    /// The master has assigned a driver. It is started when the master [confirms](Self::start_driver).
    pub(super) fn accept_driver(&self, order: DriverOrder) {
        let mut state = self.state();
        let accepted = state.table.accept_driver(order);
        state.send(accepted);
    }

    /// The master has recorded that this worker accepted a driver: starts it.
    pub(super) fn start_driver(self: &Arc<Self>, app: &AppId, attempt: u32) {
        let (stop, requests) = watch::channel(None);
        let entered = {
            let mut state = self.state();
            let confirmed = state.table.confirmed(app, attempt, stop);
            confirmed.and_then(|(order, begin)| Some((state.entered(begin)?, order)))
        };
        let Some((entry, order)) = entered else {
            self.notify_change();
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = this.run_driver(&entry, &order, requests).await;
            let outcome = this.state().table.outcome(outcome);
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
            self.set_progress(&order.app, Task::Driver, Progress::Restarting(outcome));
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
                let place = spark::Place {
                    dir,
                    host: &self.info.host,
                    program,
                    secret: self.secret_of_spark.as_deref(),
                    limit_mib,
                };
                spark::driver(&processes, &order.spec, job, conf, place)?
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

/// Writes a file atomically, readable by the user only.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
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
