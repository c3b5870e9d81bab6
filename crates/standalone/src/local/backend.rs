//! The [`ClusterManager`] of this machine.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, keys};
use anymaster_core::model::{
    AppId, ApplicationSpec, DriverStatus, ExecutorTarget, Filter, KilledBy, Status, Stop, Subject,
    SubmissionId,
};
use anymaster_core::reconcile::{AllocationPolicy, Launcher, Reconciler};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, Check, ClusterManager, ConnectOptions, DriverPlacement,
    Error, EventStream, Launched, LogOptions, LogStream, MasterUrl, Result, WatchOptions,
};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::driver::{Driver, accepted, launch};
use super::executors::{Executors, Places, Setting, whole_cores};
use super::hub::{Changed, Hub};
use super::lock::Lock;
use super::output;
use super::pool::{Need, Pool};
use super::requests::{self, Request, Whom};
use super::settle::{at_rest, settle};
use super::store::{AppDir, Part, Record, Store};
use super::watch::{Watcher, unreadable};
use super::workers::{Workers, find_program};
use super::{checks, master_url, summary};
use crate::host::limits::Enforcement;
use crate::host::logs::Rotation;
use crate::host::ports::Ports;
use crate::host::process::Host;

/// The backend `local`, for a registry: processes of this machine.
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

    fn local_address(&self, _: &MasterUrl) -> Result<String> {
        Ok("127.0.0.1".to_owned())
    }

    fn check_machine(&self, master: &MasterUrl) -> Vec<Check> {
        checks::all(master)
    }
}

/// This machine as a cluster.
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
    shape: Shape,
    conf: Conf,
    rotation: Rotation,
    program: Option<PathBuf>,
    store: Store,
    hub: Hub,
    ports: Ports,
    enforcement: Enforcement,
    /// Made with the first process.
    host: OnceCell<Arc<Host>>,
    owned: tokio::sync::Mutex<HashMap<AppId, Owned>>,
}

/// What the master URL says.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Slots { cores: u32, max_failures: Option<u32> },
    Workers { count: u32, each: Need },
}

/// Executors that this process requested.
struct Owned {
    executors: Arc<Executors>,
    reconciler: Reconciler,
    requests: tokio::task::JoinHandle<()>,
}

impl LocalManager {
    /// Opens the state directory; starts nothing.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the directory cannot be used,
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a bad property.
    pub fn open(options: ConnectOptions) -> Result<Self> {
        let ConnectOptions { master, conf, state_dir, program, .. } = options;
        let shape = match master_url::Local::parse(&master)? {
            master_url::Local::Threads { cores, max_failures } => {
                Shape::Slots { cores: cores.count(), max_failures }
            }
            master_url::Local::Workers { count, cores, memory_mib } => {
                Shape::Workers { count, each: Need { cores, memory_mib } }
            }
        };
        let store = Store::open(&state_dir)?;
        let inner = Inner {
            shape,
            rotation: Rotation::from_conf(&conf)?,
            hub: Hub::new(store.root()),
            store,
            ports: Ports::default(),
            enforcement: Enforcement::detect(),
            host: OnceCell::new(),
            owned: tokio::sync::Mutex::default(),
            master,
            conf,
            program,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How memory limits are put in force here.
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

    /// Removes the oldest applications that ended, if there are more than are to be kept.
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

    /// The driver that a submission of this id started earlier.
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

    /// Ends executors of this process, if it has any of this application.
    async fn end_ours(&self, app: &AppId) {
        let Some(owned) = self.owned.lock().await.remove(app) else { return };
        let allocation = owned.reconciler.allocation().borrow().clone();
        owned.reconciler.shutdown().await;
        owned.requests.abort();
        let stop = Stop { by: KilledBy::DriverEnd, grace: Duration::from_secs(2) };
        owned.executors.close(stop).await;
        if let Err(error) = owned.executors.report(at_rest(allocation)).await {
            tracing::warn!(%app, %error, "cannot report the allocation");
        }
    }

    /// Becomes the owner of an application's executors.
    async fn own(self: &Arc<Self>, dir: AppDir) -> Result<Owned> {
        settle(&self.store, &self.hub, &dir.app).await?;
        let path = dir.lock(Part::Executors);
        let lock = Lock::try_take(&path)?.ok_or_else(|| {
            let holder =
                Lock::holder(&path).map_or_else(String::new, |p| format!(", pid {}", p.pid));
            Error::conflict(format!("another process{holder} keeps the executors of {}", dir.app))
        })?;
        let mut conf = self.conf.clone();
        for (key, value) in dir.conf()? {
            conf.set(key, value);
        }
        let mut policy = AllocationPolicy::from_conf(&conf)?;
        let (pool, counts_memory) = match self.shape {
            Shape::Slots { cores, max_failures } => {
                policy.max_failures = policy.max_failures.or(max_failures);
                (Pool::new([Need { cores, memory_mib: 0 }], true), false)
            }
            Shape::Workers { count, each } => {
                (Pool::new(std::iter::repeat_n(each, count as usize), false), true)
            }
        };
        let setting = Setting {
            store: self.store.clone(),
            hub: self.hub.clone(),
            record: dir.record()?,
            rotation: Rotation::from_conf(&conf)?,
            ports: self.ports.clone(),
            dir: dir.clone(),
            counts_memory,
        };
        let executors = Executors::new(setting, pool, lock)?;
        executors.run_on(match self.shape {
            Shape::Slots { .. } => Places::Here(self.host().await?),
            Shape::Workers { count, .. } => {
                let program = find_program(self.program.as_ref())?;
                let executors = Arc::downgrade(&executors);
                Places::Workers(Workers::start(count, &program, move |node, up| {
                    if let Some(executors) = executors.upgrade() {
                        executors.set_up(node, up);
                    }
                }))
            }
        });
        let launcher = Arc::clone(&executors) as Arc<dyn Launcher>;
        let reconciler = Reconciler::spawn(launcher, dir.app.clone(), policy);
        let (inner, app) = (Arc::downgrade(self), dir.app.clone());
        let ours = Arc::downgrade(&executors);
        let take = move |request: Request| match request.whom {
            Whom::Driver => {}
            Whom::Executor(id) => {
                if let Some(executors) = ours.upgrade() {
                    executors.stop_one(id, request.stop);
                }
            }
            Whom::Executors => {
                let (inner, app) = (inner.clone(), app.clone());
                tokio::spawn(async move {
                    if let Some(inner) = inner.upgrade() {
                        inner.end_ours(&app).await;
                    }
                });
            }
        };
        let requests = tokio::spawn(requests::follow(dir, self.hub.clone(), take));
        Ok(Owned { executors, reconciler, requests })
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
        can.memory = self.inner.enforcement.effect();
        can.nodes = matches!(self.inner.shape, Shape::Workers { .. });
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
        let inner = &self.inner;
        spec.check()?;
        spec.templates.refuse()?;
        let app = AppId::new(id.as_str())?;
        if spec.driver.supervise {
            return Err(Error::unsupported(
                "a local cluster does not start drivers again (--supervise)",
            )
            .with_hint("leave --supervise out, or use a standalone master"));
        }
        let port = spec.conf.read(&keys::DRIVER_PORT)?;
        let mut ports = inner.ports.lease();
        let port = match u16::try_from(port) {
            Ok(0) => ports.take()?,
            Ok(port) => port,
            Err(_) => return Err(Error::invalid(format!("spark.driver.port: {port} is no port"))),
        };
        let record = inner.record(spec, port)?;
        // Everything that can be wrong is found before anything is written.
        let dir = inner.store.dir(&app);
        let prepared = launch(spec, &dir, &record, inner.rotation, inner.program.as_deref())?;
        let status = accepted(id, &app, &record);
        let first = Status::Driver(status.clone()).into();
        let Some((dir, lock)) = inner.store.create(&app, &record, &spec.conf, first)? else {
            return inner.existing(id, &dir, &record.digest).map(Launched::existing);
        };
        inner.retain()?;
        inner.hub.tell(Changed::Journal(app.clone()));
        let host = inner.host().await?;
        let driver = Driver::new(inner.hub.clone(), dir, status.clone(), lock, ports)?;
        let inner = Arc::clone(inner);
        tokio::spawn(driver.run(host, prepared, async move || {
            inner.end_ours(&app).await;
            // Of many that were launched at once, those that ended meanwhile.
            if let Err(error) = inner.retain() {
                tracing::warn!(%error, "old applications are left");
            }
        }));
        Ok(Launched::new(status))
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        let dir = self.inner.store.find(app)?;
        for profile in target.profiles.values() {
            whole_cores(&profile.profile)?;
        }
        let mut owned = self.inner.owned.lock().await;
        if dir.driver_ended()? {
            return Err(Error::conflict(format!("{app} has ended")));
        }
        if !owned.contains_key(app) {
            owned.insert(app.clone(), self.inner.own(dir).await?);
        }
        let Some(Owned { executors, reconciler, .. }) = owned.get(app) else {
            return Err(Error::conflict(format!("{app} has ended")));
        };
        for profile in target.profiles.values().filter(|profile| profile.executors > 0) {
            executors.check(&profile.profile)?;
        }
        reconciler.set_target(target.clone());
        Ok(())
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        let inner = &self.inner;
        let stop = Stop { by: KilledBy::Request, grace };
        let (app, part, whom) = match subject {
            Subject::Driver(id) => (AppId::new(id.as_str())?, Part::Driver, Whom::Driver),
            Subject::Executor(app, id) => (app.clone(), Part::Executors, Whom::Executor(*id)),
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
            return settle(&inner.store, &inner.hub, &app).await.map(drop);
        }
        requests::send(&dir, &inner.hub, &Request { whom, stop })
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let Inner { store, hub, .. } = &*self.inner;
        let WatchOptions { app, from, .. } = options;
        Watcher::open(store.clone(), hub.clone(), app.as_ref(), from.clone()).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let Inner { store, hub, .. } = &*self.inner;
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
            match settle(store, hub, &app).await {
                Ok(folded) => {
                    let found = folded.into_statuses();
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
        let Inner { store, hub, .. } = &*self.inner;
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
            // Of a damaged one, nothing is known.
            dir.fold()?;
            return Err(Error::not_found(format!("there is no {subject}")));
        }
        output::open(hub, dir, subject, &output_dir, options)
    }
}
