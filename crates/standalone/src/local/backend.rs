//! The backend `local`: a [`ClusterManager`] that starts processes on this machine.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::{Conf, keys};
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, ExecutorTarget, ExternalDriver, Filter, KilledBy,
    Status, Stop, Subject, SubmissionId,
};
use anymaster_core::reconcile::{
    AllocationPolicy, Launcher, ManagedApps, ManagedExecutors, Reconciler,
};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, Check, ClusterManager, ConnectOptions, DriverPlacement,
    Error, EventStream, Launched, LogOptions, LogStream, MasterUrl, Result, WatchOptions,
    WorkerShape,
};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{OnceCell, watch};

use super::driver::{Driver, accepted_status, launch};
use super::executors::{Context, Executors, Runner, whole_cores};
use super::lock::Lock;
use super::notifier::{Changed, Notifier};
use super::output;
use super::pool::{Pool, Resources};
use super::recovery::{ended_allocation, recover_orphans};
use super::requests::{self, Request, Target};
use super::store::{AppDir, Part, Record, Store};
use super::watch::{Watcher, unreadable};
use super::workers::{Workers, find_program};
use super::{checks, master_url, summary};
use crate::host::limits::Enforcement;
use crate::host::logs::Rotation;
use crate::host::ports::Ports;
use crate::host::process::Host;

/// The backend `local`, to be added to a registry.
pub const LOCAL: Local = Local;

pub(super) const INFO: BackendInfo = {
    let mut info = BackendInfo::new(
        "local",
        &[
            ("local", "local, local[4], local[*] or local[4,3]"),
            ("local-cluster", "local-cluster[2,1,1024]"),
        ],
        "processes of this machine: local, local[4], local[*], local-cluster[2,1,1024]",
    );
    info.title = "this machine";
    info.drivers = DriverPlacement::ThisMachine;
    info.counts_overhead = false;
    info
};

/// The backend `local`.
#[derive(Debug, Clone, Copy)]
pub struct Local;

#[async_trait]
impl Backend for Local {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        master_url::Local::parse(master).map(|_| master.clone())
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        LocalManager::open(options).map(|manager| Arc::new(manager) as _)
    }

    fn workers(&self, master: &MasterUrl) -> Option<WorkerShape> {
        Some(match master_url::Local::parse(master).ok()? {
            master_url::Local::Threads { cores, .. } => {
                WorkerShape { count: 1, cores: cores.count() }
            }
            master_url::Local::Workers { count, cores, .. } => WorkerShape { count, cores },
        })
    }

    fn local_address(&self, _: &MasterUrl) -> Result<String> {
        Ok("127.0.0.1".to_owned())
    }

    fn check_machine(&self, master: &MasterUrl) -> Vec<Check> {
        checks::all(master)
    }
}

/// A [`ClusterManager`] that runs drivers and executors as processes of this machine.
#[derive(Clone)]
pub struct LocalManager {
    inner: Arc<Inner>,
}

impl fmt::Debug for LocalManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { master, store, .. } = &*self.inner;
        f.debug_struct("LocalManager")
            .field("master", master)
            .field("store", store)
            .finish_non_exhaustive()
    }
}

struct Inner {
    master: MasterUrl,
    topology: Topology,
    conf: Conf,
    rotation: Rotation,
    program: Option<PathBuf>,
    store: Store,
    notifier: Notifier,
    ports: Ports,
    enforcement: Enforcement,
    /// Started with the first process.
    host: OnceCell<Arc<Host>>,
    /// The applications whose executors this process owns.
    owned: ManagedApps<Owned>,
    /// How the drivers end that were registered by this process, once it is known.
    external: Mutex<HashMap<AppId, watch::Sender<Option<Cause>>>>,
}

/// What the master URL asks for: slots in this process, or worker processes.
#[derive(Debug, Clone, Copy)]
enum Topology {
    Slots { cores: u32, max_failures: Option<u32> },
    Workers { count: u32, each: Resources },
}

/// The executors of one application, owned by this process.
struct Owned {
    executors: Arc<Executors>,
    requests: tokio::task::JoinHandle<()>,
}

#[async_trait]
impl ManagedExecutors for Owned {
    fn check(&self, target: &ExecutorTarget) -> Result<()> {
        let mut wanted = target.profiles.values().filter(|profile| profile.executors > 0);
        wanted.try_for_each(|profile| self.executors.check(&profile.profile))
    }

    async fn remove(&self, reconciler: Reconciler) -> Result<()> {
        let allocation = reconciler.allocation().borrow().clone();
        reconciler.shutdown().await;
        self.requests.abort();
        let stop = Stop { by: KilledBy::DriverEnd, grace: Duration::from_secs(2) };
        self.executors.close(stop).await;
        self.executors.report(ended_allocation(allocation)).await
    }
}

impl LocalManager {
    /// Opens the state directory; starts nothing.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the directory cannot be used,
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a bad property.
    pub fn open(options: ConnectOptions) -> Result<Self> {
        let ConnectOptions { master, conf, state_dir, program, .. } = options;
        let topology = match master_url::Local::parse(&master)? {
            master_url::Local::Threads { cores, max_failures } => {
                Topology::Slots { cores: cores.count(), max_failures }
            }
            master_url::Local::Workers { count, cores, memory_mib } => {
                Topology::Workers { count, each: Resources { cores, memory_mib } }
            }
        };
        let store = Store::open(&state_dir)?;
        let inner = Inner {
            topology,
            rotation: Rotation::from_conf(&conf)?,
            notifier: Notifier::new(store.root()),
            store,
            ports: Ports::default(),
            enforcement: Enforcement::detect(),
            host: OnceCell::new(),
            owned: ManagedApps::default(),
            external: Mutex::default(),
            master,
            conf,
            program,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How memory limits are enforced on this machine.
    pub fn enforcement(&self) -> &Enforcement {
        &self.inner.enforcement
    }
}

impl Inner {
    async fn host(&self) -> Result<Arc<Host>> {
        let start =
            || async { Host::start(self.enforcement.clone(), self.program.as_deref(), &[]) };
        self.host.get_or_try_init(start).await.cloned()
    }

    fn external(&self) -> MutexGuard<'_, HashMap<AppId, watch::Sender<Option<Cause>>>> {
        self.external.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the oldest ended applications beyond `spark.anymaster.local.retainedApplications`.
    fn retain(&self) -> Result<()> {
        self.store.retain(self.conf.read(&keys::LOCAL_RETAINED_APPLICATIONS)?)
    }

    fn record(&self, spec: &ApplicationSpec, port: u16) -> Result<Record> {
        let master = spec.conf.get("spark.master").map(str::to_owned);
        Ok(Record {
            name: spec.name.clone(),
            master: master.unwrap_or_else(|| self.master.to_string()),
            submitted: Timestamp::now(),
            digest: spec.digest()?,
            driver_host: spec.conf.get("spark.driver.host").unwrap_or("127.0.0.1").to_owned(),
            driver_port: port,
        })
    }

    /// The status of the driver that an earlier submission with this id started.
    ///
    /// # Errors
    /// [`Conflict`](anymaster_core::ErrorKind::Conflict) if its specification differs.
    fn existing(&self, id: &SubmissionId, dir: &AppDir, digest: &str) -> Result<DriverStatus> {
        if dir.record()?.digest != digest {
            return Err(Error::conflict(format!("{id} was submitted with another specification"))
                .with_hint("submit under another id, or without one"));
        }
        match dir.driver()? {
            Some(Status::Driver(status)) => Ok(status),
            _ => Err(Error::protocol(format!("{} has no driver", dir.path.display()))),
        }
    }

    /// Ends the executors of an application that this process owns, if any.
    async fn end_own_executors(&self, app: &AppId) {
        if let Err(error) = self.owned.remove(app).await {
            tracing::warn!(%app, %error, "cannot report the allocation");
        }
    }

    /// Takes ownership of an application's executors: the lock, the journal and the reconciler.
    async fn own(self: &Arc<Self>, dir: AppDir) -> Result<(Owned, Reconciler)> {
        if dir.driver_ended()? {
            return Err(Error::conflict(format!("{} has ended", dir.app)));
        }
        recover_orphans(&self.store, &self.notifier, &dir.app).await?;
        let path = dir.lock(Part::Executors);
        let lock = Lock::try_take(&path)?.ok_or_else(|| {
            let holder =
                Lock::holder(&path).map_or_else(String::new, |p| format!(", pid {}", p.pid));
            Error::conflict(format!("another process{holder} owns the executors of {}", dir.app))
        })?;
        let mut conf = self.conf.clone();
        for (key, value) in dir.conf()? {
            conf.set(key, value);
        }
        let mut policy = AllocationPolicy::from_conf(&conf)?;
        let (pool, counts_memory) = match self.topology {
            Topology::Slots { cores, max_failures } => {
                policy.max_failures = policy.max_failures.or(max_failures);
                (Pool::new([Resources { cores, memory_mib: 0 }], true), false)
            }
            Topology::Workers { count, each } => {
                (Pool::new(std::iter::repeat_n(each, count as usize), false), true)
            }
        };
        let context = Context {
            store: self.store.clone(),
            notifier: self.notifier.clone(),
            record: dir.record()?,
            rotation: Rotation::from_conf(&conf)?,
            ports: self.ports.clone(),
            dir: dir.clone(),
            counts_memory,
        };
        let executors = Executors::new(context, pool, lock)?;
        executors.run_on(match self.topology {
            Topology::Slots { .. } => Runner::ThisProcess(self.host().await?),
            Topology::Workers { count, .. } => {
                let program = find_program(self.program.as_ref())?;
                let executors = Arc::downgrade(&executors);
                Runner::Workers(Workers::start(count, &program, move |node, up| {
                    if let Some(executors) = executors.upgrade() {
                        executors.set_node_up(node, up);
                    }
                }))
            }
        });
        let launcher = Arc::clone(&executors) as Arc<dyn Launcher>;
        let reconciler = Reconciler::spawn(launcher, dir.app.clone(), policy);
        let (inner, app) = (Arc::downgrade(self), dir.app.clone());
        let ours = Arc::downgrade(&executors);
        let take = move |request: Request| match request.target {
            Target::Driver => {}
            Target::Executor(id) => {
                if let Some(executors) = ours.upgrade() {
                    executors.stop_one(id, request.stop);
                }
            }
            Target::Executors => {
                let (inner, app) = (inner.clone(), app.clone());
                tokio::spawn(async move {
                    if let Some(inner) = inner.upgrade() {
                        inner.end_own_executors(&app).await;
                    }
                });
            }
        };
        let requests = tokio::spawn(requests::follow(dir, self.notifier.clone(), take));
        Ok((Owned { executors, requests }, reconciler))
    }
}

#[async_trait]
impl ClusterManager for LocalManager {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        (can.executors, can.profiles, can.logs, can.chosen_ids) = (true, true, true, true);
        can.external_drivers = true;
        can.memory = self.inner.enforcement.effect();
        can.nodes = matches!(self.inner.topology, Topology::Workers { .. });
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
        let inner = &self.inner;
        spec.check()?;
        spec.templates.refuse()?;
        let app = AppId::new(id.as_str())?;
        if spec.driver.supervise {
            return Err(Error::unsupported(
                "a local cluster does not restart drivers (--supervise)",
            )
            .with_hint("leave --supervise out, or use a standalone master"));
        }
        let port = spec.conf.read(&keys::DRIVER_PORT)?;
        let mut ports = inner.ports.lease();
        let port = match u16::try_from(port) {
            Ok(0) => ports.take()?,
            Ok(port) => port,
            Err(_) => {
                return Err(Error::invalid(format!("spark.driver.port: {port} is not a port")));
            }
        };
        let record = inner.record(spec, port)?;
        // Validate everything before anything is written.
        let dir = inner.store.dir(&app);
        let prepared = launch(spec, &dir, &record, inner.rotation, inner.program.as_deref())?;
        let status = accepted_status(id, &app, &record);
        let first = Status::Driver(status.clone()).into();
        let Some((dir, lock)) = inner.store.create(&app, &record, &spec.conf, first)? else {
            return inner.existing(id, &dir, &record.digest).map(Launched::existing);
        };
        inner.retain()?;
        inner.notifier.notify(Changed::Journal(app.clone()));
        let host = inner.host().await?;
        let driver = Driver::new(inner.notifier.clone(), dir, status.clone(), lock, ports)?;
        let inner = Arc::clone(inner);
        tokio::spawn(driver.run(host, prepared, async move || {
            inner.end_own_executors(&app).await;
            // When many were launched at once, some have ended only now.
            if let Err(error) = inner.retain() {
                tracing::warn!(%error, "cannot remove old applications");
            }
        }));
        Ok(Launched::new(status))
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        external: &ExternalDriver,
    ) -> Result<Launched> {
        let inner = &self.inner;
        external.check()?;
        let app = AppId::new(id.as_str())?;
        let record = Record {
            name: external.name.clone(),
            master: inner.master.to_string(),
            submitted: Timestamp::now(),
            digest: external.digest()?,
            driver_host: external.host.clone(),
            driver_port: external.port,
        };
        let status = accepted_status(id, &app, &record);
        let first = Status::Driver(status.clone()).into();
        let Some((dir, lock)) = inner.store.create(&app, &record, &external.conf, first)? else {
            let dir = inner.store.dir(&app);
            return inner.existing(id, &dir, &record.digest).map(Launched::existing);
        };
        inner.retain()?;
        let lease = inner.ports.lease();
        let driver = Driver::new(inner.notifier.clone(), dir, status.clone(), lock, lease)?;
        let (ends, ended) = watch::channel(None);
        inner.external().insert(app.clone(), ends);
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            driver.attend(ended, async || inner.end_own_executors(&app).await).await;
            inner.external().remove(&app);
            if let Err(error) = inner.retain() {
                tracing::warn!(%error, "cannot remove old applications");
            }
        });
        Ok(Launched::new(status))
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        if let Some(ends) = self.inner.external().get(app) {
            ends.send_replace(Some(cause.clone()));
            return Ok(());
        }
        match self.inner.store.find(app)?.driver_ended()? {
            true => Ok(()),
            false => Err(Error::conflict(format!("{app} was registered by another process"))),
        }
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        target.template.refuse_spark()?;
        let dir = self.inner.store.find(app)?;
        for profile in target.profiles.values() {
            whole_cores(&profile.profile)?;
        }
        if dir.driver_ended()? {
            return Err(Error::conflict(format!("{app} has ended")));
        }
        self.inner.owned.request(app, target, self.inner.own(dir)).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        let inner = &self.inner;
        let stop = Stop { by: KilledBy::Request, grace };
        let (app, part, target) = match subject {
            Subject::Driver(id) => (AppId::new(id.as_str())?, Part::Driver, Target::Driver),
            Subject::Executor(app, id) => (app.clone(), Part::Executors, Target::Executor(*id)),
        };
        let dir = inner.store.find(&app)?;
        let state = dir.state(subject)?;
        let Some(state) = state else {
            dir.fold()?;
            return Err(Error::not_found(format!("there is no {subject}")));
        };
        if state.is_ended() {
            return Ok(());
        }
        if Lock::holder(&dir.lock(part)).is_none() {
            return recover_orphans(&inner.store, &inner.notifier, &app).await.map(drop);
        }
        requests::send(&dir, &inner.notifier, &Request { target, stop })
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let Inner { store, notifier, .. } = &*self.inner;
        let WatchOptions { app, from, .. } = options;
        Watcher::open(store.clone(), notifier.clone(), app.as_ref(), from.clone()).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let Inner { store, notifier, .. } = &*self.inner;
        let apps = match &filter.app {
            Some(app) => vec![store.find(app)?.app],
            None => store.apps()?,
        };
        let needs_journals = !(filter.live || filter.live_executors || filter.drivers_only);
        let mut statuses = Vec::new();
        for app in apps {
            let dir = store.dir(&app);
            if !needs_journals && let Some(last) = summary::read(&dir) {
                statuses.extend(last.into_iter().filter(|status| filter.matches(status)));
                continue;
            }
            match recover_orphans(store, notifier, &app).await {
                Ok(latest) => {
                    let found = latest.into_statuses();
                    statuses.extend(found.filter(|status| filter.matches(status)));
                }
                Err(error) if filter.app.is_some() => return Err(error),
                Err(_) if dir.is_gone() => {}
                Err(error) => statuses.push(unreadable(app, &error)),
            }
        }
        Ok(statuses)
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let Inner { store, notifier, .. } = &*self.inner;
        let (dir, output_dir) = match subject {
            Subject::Driver(id) => {
                let dir = store.find(&AppId::new(id.as_str())?)?;
                let driver = dir.driver_dir();
                (dir, driver)
            }
            Subject::Executor(app, id) => {
                let dir = store.find(app)?;
                let executor = dir.executor_dir(*id);
                (dir, executor)
            }
        };
        if dir.state(subject)?.is_none() {
            // Reports a damaged journal as such.
            dir.fold()?;
            return Err(Error::not_found(format!("there is no {subject}")));
        }
        output::open(notifier, dir, subject, &output_dir, options)
    }
}
