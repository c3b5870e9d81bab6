//! An application master: it asks the ResourceManager for containers, has NodeManagers start executors in them, and
//! answers those who know the application's key. The same in a container, where it is the parent of the driver, and
//! outside of the cluster, for a driver that somebody else runs.

mod asks;
mod container;
mod containers;
mod heart;
pub(crate) mod launch;
pub(crate) mod messages;
mod nodes;
mod roster;
mod scheduler;
mod server;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AllocationStatus, AppId, Cause, Event, ExecutorId, ExecutorTarget, KilledBy, Outcome,
};
use anymaster_core::reconcile::{AllocationPolicy, ExecutorLaunch, Launcher, Reconciler};
use anymaster_core::{Error, EventStream, Result};
use anymaster_hadoop::{Configuration, Token};
use async_trait::async_trait;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::launch::Common;
use self::messages::{ContainerId, NodeId};
use self::nodes::Nodes;
use self::roster::Roster;
use self::scheduler::Scheduler;
use crate::control::ContainerPlace;
use crate::epilogue::Epilogue;
use crate::keys;
use crate::proto::{FinalStatus, NamedResource};
use crate::resource_manager::ResourceManager;

pub(crate) use self::container::ENV_KEY_FILE;
pub use self::container::serve_application_master;
pub(crate) use self::server::listen;

/// How long nodes have to end containers when the driver has ended: the ResourceManager does it then.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// How many executors are told of when an application has ended.
const MAX_KEPT: usize = 100;

/// What an application master needs to know.
pub(crate) struct Options<'a> {
    pub(crate) app: AppId,
    pub(crate) conf: &'a Conf,
    pub(crate) configuration: &'a Configuration,
    /// The ResourceManager as clients speak to it, for its nodes.
    pub(crate) cluster: ResourceManager,
    /// That of this attempt.
    pub(crate) token: Token,
    /// What others prove to be heard.
    pub(crate) key: Vec<u8>,
    /// Where executors reach the driver.
    pub(crate) driver: (String, u16),
    /// Where we are reached.
    pub(crate) listener: TcpListener,
    pub(crate) host: String,
    pub(crate) secret: NamedResource,
}

/// An application master that is registered.
pub(crate) struct Master {
    app: AppId,
    scheduler: Scheduler,
    cluster: ResourceManager,
    nodes: Nodes,
    roster: Mutex<Roster>,
    releases: Mutex<Vec<ContainerId>>,
    common: Common,
    /// Of the nodes that executors may run on.
    label: Option<String>,
    policy: AllocationPolicy,
    reconciler: tokio::sync::Mutex<Option<Reconciler>>,
    wake: Notify,
    /// Somebody wants the driver's end, and gives it so much time.
    kill: watch::Sender<Option<Duration>>,
    /// The ResourceManager has ended the application, for this reason.
    over: watch::Sender<Option<Box<str>>>,
    /// Nothing happens any more: who watches is told the rest.
    done: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Master {
    /// Registers with the ResourceManager, and begins to answer.
    pub(crate) async fn start(options: Options<'_>) -> Result<Arc<Self>> {
        let Options { app, conf, configuration, cluster, token, key, .. } = options;
        let (driver_host, driver_port) = options.driver;
        let address = options.listener.local_addr().map_err(|error| {
            Error::unavailable("the application master has no address").with_source(error)
        })?;
        let scheduler = Scheduler::new(configuration, token, &options.host, address.port())?;
        let common = Common { app: app.clone(), driver_host, driver_port, secret: options.secret };
        let master = Arc::new(Self {
            scheduler,
            cluster,
            nodes: Nodes::default(),
            roster: Mutex::new(Roster::new(app.clone())),
            releases: Mutex::default(),
            common,
            label: conf.read_optional(&keys::EXECUTOR_NODE_LABEL)?,
            policy: AllocationPolicy::from_conf(conf)?,
            reconciler: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            kill: watch::Sender::new(None),
            over: watch::Sender::new(None),
            done: watch::Sender::new(false),
            tasks: Mutex::default(),
            app,
        });
        // Who hears of us may call at once.
        let serving = server::run(Arc::downgrade(&master), options.listener, key.into());
        tokio::spawn(serving);
        master.register().await?;
        master.spawn(heart::run(Arc::clone(&master)));
        master.spawn(Arc::clone(&master).follow_starts());
        Ok(master)
    }

    async fn register(&self) -> Result<()> {
        let mut backoff =
            anymaster_core::Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match self.scheduler.register().await {
                Err(error) if error.kind().is_retryable() => {
                    tracing::warn!(%error, "the ResourceManager does not answer");
                    backoff.failed(None);
                    backoff.pause().await;
                }
                registered => return registered,
            }
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something until the application ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn release(&self, container: ContainerId) {
        self.releases.lock().unwrap_or_else(PoisonError::into_inner).push(container);
        self.wake.notify_one();
    }

    fn take_releases(&self) -> Vec<ContainerId> {
        std::mem::take(&mut *self.releases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who wants the driver's end is heard here.
    pub(crate) fn kill_requests(&self) -> watch::Receiver<Option<Duration>> {
        self.kill.subscribe()
    }

    /// Asks for the driver's end.
    pub(crate) fn kill_driver(&self, grace: Duration) {
        self.kill.send_if_modified(|known| {
            let is_sooner = known.is_none_or(|known| grace < known);
            if is_sooner {
                *known = Some(grace);
            }
            is_sooner
        });
    }

    /// Waits until the ResourceManager ends the application; returns why.
    pub(crate) async fn until_over(&self) -> Box<str> {
        let mut over = self.over.subscribe();
        match over.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            _ => "the application is over".into(),
        }
    }

    /// Sets the target.
    pub(crate) async fn request(self: &Arc<Self>, target: ExecutorTarget) -> Result<()> {
        launch::check(&target, &self.scheduler.maximum(), &self.common)?;
        let mut reconciler = self.reconciler.lock().await;
        if self.roster().is_over {
            return Err(Error::conflict(format!("{} has ended", self.app)));
        }
        let reconciler = reconciler.get_or_insert_with(|| {
            let launcher = Arc::new(Executors(Arc::downgrade(self)));
            Reconciler::spawn(launcher, self.app.clone(), self.policy.clone())
        });
        reconciler.set_target(target);
        Ok(())
    }

    /// Ends an executor. Gone already is success.
    pub(crate) fn kill_executor(self: &Arc<Self>, id: ExecutorId, grace: Duration) -> Result<()> {
        if self.roster().get(id).is_none() {
            return Err(Error::not_found(format!("there is no executor {id} of {}", self.app)));
        }
        self.stop(&[id], KilledBy::Request, grace);
        Ok(())
    }

    /// Where the output of an executor is; `None` if it has no container yet. An error if it never will.
    pub(crate) fn place_of(&self, id: ExecutorId) -> Result<Option<ContainerPlace>> {
        let roster = self.roster();
        let executor = roster.get(id).ok_or_else(|| {
            Error::not_found(format!("there is no executor {id} of {}", self.app))
        })?;
        if executor.place.is_none() && executor.status.state.is_ended() {
            return Err(Error::not_found(format!(
                "executor {id} of {} ended before it had a container: it has no output",
                self.app
            )));
        }
        Ok(executor.place.as_ref().map(|place| ContainerPlace {
            node: place.http.to_string(),
            container: place.container.to_string(),
        }))
    }

    /// The driver has ended like this: ends its executors and the registration, and tells those who watch.
    pub(crate) async fn finish(&self, outcome: &Outcome) -> Result<()> {
        let mut reconciler = self.reconciler.lock().await;
        if let Some(reconciler) = reconciler.take() {
            reconciler.shutdown().await;
        }
        let mut nodes: BTreeMap<NodeId, Vec<ContainerId>> = BTreeMap::new();
        {
            let mut roster = self.roster();
            roster.is_over = true;
            let living: Vec<_> = roster.living().map(|executor| executor.status.id).collect();
            for id in living {
                let executor = roster.get(id);
                if let Some(place) = executor.and_then(|executor| executor.place.clone()) {
                    nodes.entry(place.node).or_default().push(place.container);
                }
                let by =
                    executor.and_then(|it| it.asked).map_or(KilledBy::DriverEnd, |asked| asked.by);
                roster.end(id, Cause::Killed { by }.into());
            }
        }
        drop(reconciler);
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let ends = nodes.into_iter().map(|(node, containers)| async move {
            if let Err(error) = self.nodes.stop(&node, containers).await {
                tracing::info!(host = node.name(), %error, "the ResourceManager ends the rest");
            }
        });
        let ending = tokio::time::timeout(NODE_PATIENCE, join_all(ends));
        let status = match &outcome.cause {
            Cause::Finished => FinalStatus::Succeeded,
            Cause::Killed { .. } => FinalStatus::Killed,
            _ => FinalStatus::Failed,
        };
        let executors = self.roster().kept(MAX_KEPT);
        let epilogue = Epilogue { outcome: outcome.clone(), executors };
        let told = self.scheduler.finish(status, epilogue.to_text());
        let (_, told) = futures::future::join(ending, told).await;
        self.done.send_replace(true);
        told
    }
}

/// The executors, as the reconciler sees them.
#[derive(Debug)]
struct Executors(Weak<Master>);

impl Executors {
    fn master(&self) -> Result<Arc<Master>> {
        self.0.upgrade().ok_or_else(|| Error::unavailable("the application master has ended"))
    }
}

#[async_trait]
impl Launcher for Executors {
    async fn start(&self, _app: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let enter = |launch: ExecutorLaunch| {
            let master = self.master()?;
            let shape = launch::resource(&launch.profile)?;
            master.roster().add(launch, shape);
            master.wake.notify_one();
            Ok(())
        };
        executors.into_iter().map(enter).collect()
    }

    async fn stop(&self, _app: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        self.master()?.stop(executors, KilledBy::ScaleDown, grace);
        Ok(())
    }

    async fn watch(&self, _app: &AppId) -> Result<EventStream> {
        let (known, events) = self.master()?.roster().watch();
        let later = stream::unfold(events, |mut events| async move {
            match events.recv().await {
                Ok(told) => Some((told.into_event().map(Ok), events)),
                Err(RecvError::Lagged(_)) => {
                    let error = Error::unavailable("too much has happened at once");
                    Some((Some(Err(error)), events))
                }
                Err(RecvError::Closed) => None,
            }
        });
        let known = known.into_iter().map(|told| told.into_event().map(Ok::<Event, Error>));
        Ok(stream::iter(known).chain(later).filter_map(std::future::ready).boxed())
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.master()?.roster().set_allocation(allocation);
        Ok(())
    }
}
