//! A gateway: Spark's master protocol at a port, over a cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Cause, KilledBy};
use anymaster_core::{ClusterManager, Error, Result, WorkerShape};
use anymaster_net::{Admission, Connection, Tls};
use anymaster_spark_wire::RpcAddress;
use anymaster_spark_wire::auth::Authentication;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::application::{Application, Runner};
use crate::connection;
use crate::master::DriverRecords;
use crate::plan::Settings;
use crate::security;
use crate::sparks::Sparks;

/// How long applications have to end their executors when the gateway ends.
const DRAIN: Duration = Duration::from_secs(20);

/// What a gateway is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// The cluster that runs executors.
    pub cluster: Arc<dyn ClusterManager>,
    /// The address to listen on, by which drivers reach it.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// The properties of the gateway.
    pub conf: Conf,
    /// The Sparks that executors run.
    pub sparks: Sparks,
    /// The workers of the cluster, if their number is known.
    pub workers: Option<WorkerShape>,
    /// Whether the cluster shares out what it has as Spark's master does: an application without a limit has all of
    /// it, and executors without a number of cores have all of a worker.
    pub shares_all: bool,
    /// The address of executors, where all have the same: they run on this machine.
    pub executor_host: Option<String>,
    /// Whether executors are limited to the memory of their profile with its overhead, as containers are.
    pub limits_memory: bool,
}

impl GatewayOptions {
    /// A gateway on loopback at any port, without properties.
    pub fn new(cluster: Arc<dyn ClusterManager>, sparks: Sparks) -> Self {
        Self {
            cluster,
            host: "127.0.0.1".to_owned(),
            port: 0,
            conf: Conf::new(),
            sparks,
            workers: None,
            shares_all: false,
            executor_host: None,
            limits_memory: false,
        }
    }
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    tls: Tls,
    shared: Arc<Shared>,
}

/// What all connections of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: Arc<dyn ClusterManager>,
    pub(crate) settings: Settings,
    /// What callers have to know, if they have to know something.
    pub(crate) authentication: Option<Authentication>,
    pub(crate) address: RpcAddress,
    running: Mutex<Running>,
    /// Where applications are recorded, if they survive this process; `None` while it does not lead.
    records: Option<watch::Sender<Option<Arc<dyn DriverRecords>>>>,
}

/// A master that leads. When this is dropped, it does not any more.
pub(crate) struct Leads<'a>(&'a Shared);

impl Drop for Leads<'_> {
    fn drop(&mut self) {
        // The next one that leads follows the applications.
        if let Some(records) = &self.0.records {
            records.send_replace(None);
        }
        let mut running = self.0.running();
        running.tasks.abort_all();
        running.applications.clear();
    }
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    applications: HashMap<AppId, Arc<Application>>,
}

impl Gateway {
    /// Listens.
    ///
    /// # Errors
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for a cluster that has no drivers outside of
    /// it, [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a bad property, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port is taken.
    pub async fn bind(options: GatewayOptions) -> Result<Self> {
        let tls = security::tls(&options.conf)?;
        let mut shared = Shared::new(options)?;
        let RpcAddress { host, port } = &shared.address;
        let (listener, port) = anymaster_net::bind(host, *port).await?;
        shared.address.port = port;
        Ok(Self { listener, tls, shared: Arc::new(shared) })
    }

    /// The master URL for drivers: `spark://host:port`.
    pub fn url(&self) -> String {
        format!("spark://{}:{}", self.shared.address.host, self.shared.address.port)
    }

    /// Serves drivers until `stop`. Then all applications end, and with them their executors.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, shared } = self;
        let admission = Admission::of_process();
        let answer = |Connection { stream, admitted }| {
            let (tls, shared) = (tls.clone(), Arc::clone(&shared));
            async move {
                let stream = tls.accept(stream).await?;
                connection::serve(shared, stream, admitted, true).await
            }
        };
        let serving = anymaster_net::serve_connections(listener, &admission, answer);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            () = &mut serving => {}
            () = stop => {}
        }
        shared.end_all();
        let ended = async {
            loop {
                let next =
                    std::future::poll_fn(|context| shared.running().tasks.poll_join_next(context));
                if next.await.is_none() {
                    break;
                }
            }
        };
        // Drivers are still connected, to hear of it.
        tokio::select! {
            () = serving => {}
            ended = tokio::time::timeout(DRAIN, ended) => {
                if ended.is_err() {
                    tracing::warn!("some applications have not ended in time");
                }
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(options: GatewayOptions) -> Result<Self> {
        let GatewayOptions { cluster, host, port, conf, sparks, workers, .. } = options;
        if !cluster.capabilities().external_drivers {
            return Err(Error::unsupported(format!(
                "{} does not run executors for drivers outside of it",
                cluster.name()
            )));
        }
        let authentication = security::authentication(&conf)?;
        let settings = Settings {
            conf,
            sparks,
            workers,
            shares_all: options.shares_all,
            executor_host: options.executor_host,
            limits_memory: options.limits_memory,
            secret: authentication.as_ref().map(|known| known.secret.clone()),
        };
        let (address, running) = (RpcAddress { host, port }, Mutex::default());
        Ok(Self { cluster, settings, authentication, address, running, records: None })
    }

    /// Applications are recorded, once it leads.
    pub(crate) fn with_records(self) -> Self {
        Self { records: Some(watch::Sender::new(None)), ..self }
    }

    /// It leads, and applications are recorded there.
    pub(crate) fn begin(&self, records: Arc<dyn DriverRecords>) -> Leads<'_> {
        if let Some(current) = &self.records {
            current.send_replace(Some(records));
        }
        Leads(self)
    }

    /// Where applications are recorded, if they are. Waits until it leads.
    pub(crate) async fn records(&self) -> Option<Arc<dyn DriverRecords>> {
        let mut records = self.records.as_ref()?.subscribe();
        // An error: it is gone.
        records.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an application to its end, also when its connection is gone before.
    pub(crate) fn run(self: &Arc<Self>, runner: Runner) {
        let application = Arc::clone(&runner.application);
        let id = application.id.clone();
        self.running().applications.insert(id.clone(), application);
        let shared = Arc::clone(self);
        self.spawn(async move {
            let records = shared.records().await;
            runner.run(records.as_deref()).await;
            shared.running().applications.remove(&id);
        });
    }

    /// Runs something that the gateway waits for when it ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        running.tasks.spawn(task);
        // Those that have ended are forgotten.
        while running.tasks.try_join_next().is_some() {}
    }

    fn end_all(&self) {
        for application in self.running().applications.values() {
            application.end(Cause::Killed { by: KilledBy::Request });
        }
    }
}
