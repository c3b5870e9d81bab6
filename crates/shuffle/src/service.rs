//! The service: a port for executors, and another one for those who look after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use anymaster_net::{
    Admission, Callers, Hosts, Limits, Tls, bind, bind_with_retry, serve_connections, serve_until,
};
use anymaster_spark_wire::auth::Authentication;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::admin::{self, Token};
use crate::cleanup;
use crate::connection;
use crate::files::Files;
use crate::keys;
use crate::metrics::Metrics;
use crate::output::on_disk;
use crate::registry::{self, Registry};
use crate::roots::{LocalDir, Roots};
use crate::store::{Removal, Store};

/// How many threads wait for disks at most, for each processor and beside that.
const DISK_THREADS: (usize, usize) = (2, 4);

/// What a service is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShuffleOptions {
    /// The address to listen on, which executors of this machine call theirs.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// The directories below which executors have their local directories. In the first one, the service keeps its
    /// registrations.
    pub dirs: Vec<PathBuf>,
    /// What callers have to know (`spark.authenticate`).
    pub authentication: Option<Authentication>,
    /// The address and the port of the administration; `None`: there is none.
    pub admin: Option<(String, u16)>,
    /// By what its callers are known; `None`: by one that the service makes.
    pub token: Option<String>,
    /// The properties of the service.
    pub conf: Conf,
}

impl ShuffleOptions {
    /// A service on loopback at any port, without authentication and administration.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            dirs,
            authentication: None,
            admin: None,
            token: None,
            conf: Conf::new(),
        }
    }
}

/// A service that listens. Cheap to clone is its [`handle`](Self::handle).
#[derive(Debug)]
pub struct ShuffleService {
    listener: TcpListener,
    admin: Option<(TcpListener, Hosts, Token)>,
    host: String,
    removals: Vec<Removal>,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) files: Arc<Files>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) timeout: Duration,
    pub(crate) disk: Arc<Semaphore>,
    /// One application is removed after the other.
    removing: Arc<Semaphore>,
    streams: AtomicI64,
}

impl ShuffleService {
    /// Listens. Executors that were registered before are known before the first one is answered.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for bad properties and directories,
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for TLS, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if a port is taken or the registrations cannot be
    /// read.
    pub async fn bind(options: ShuffleOptions) -> Result<Self> {
        let ShuffleOptions { host, port, dirs, authentication, admin, token, conf } = options;
        if conf.read(&keys::TLS_ENABLED)? {
            return Err(Error::unsupported(format!(
                "{}: the shuffle service has no TLS",
                keys::TLS_ENABLED.info.name
            ))
            .with_hint("set spark.network.crypto.enabled, with spark.network.crypto.cipher=AES/GCM/NoPadding"));
        }
        let timeout = match conf.read_optional(&keys::CONNECTION_TIMEOUT)? {
            Some(timeout) => timeout,
            None => conf.read(&keys::NETWORK_TIMEOUT)?,
        };
        let index_bytes = usize::try_from(conf.read(&keys::INDEX_CACHE)?).unwrap_or(usize::MAX);
        let roots = Roots::open(&dirs)?;
        let (listener, port) = bind(&host, port).await?;
        let name = format!("{}-{port}", host.trim_matches(['[', ']']).replace(['/', ':'], "_"));
        let admin = match admin {
            None => None,
            Some((admin_host, admin_port)) => {
                let (listener, _) = bind_with_retry(&admin_host, admin_port).await?;
                let hosts = Hosts::of(&admin_host, &listener, true, &conf)?;
                Some((listener, hosts, Token::new(token, roots.first(), &name)?))
            }
        };
        let (store, loaded) = Store::open(roots.first(), &name)?;
        let (registry, removals) = Registry::load(roots, store, loaded);
        let metrics = Arc::new(Metrics::default());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            registry,
            files: Arc::new(Files::new(index_bytes, Arc::clone(&metrics))),
            metrics,
            authentication,
            timeout: timeout.max(Duration::from_secs(1)),
            disk: Arc::new(Semaphore::new(DISK_THREADS.0 * processors + DISK_THREADS.1)),
            removing: Arc::new(Semaphore::new(1)),
            // As Spark: hard to guess, and far from the end.
            streams: AtomicI64::new(i64::from(rand::random::<u32>()) * 1000),
        };
        shared.count();
        let host = format!("{host}:{port}");
        Ok(Self { listener, admin, host, removals, shared: Arc::new(shared) })
    }

    /// Where it listens: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.host
    }

    /// Where its administration is, and the file of its token if the service has made that.
    pub fn administration(&self) -> Option<(String, Option<PathBuf>)> {
        let (listener, _, token) = self.admin.as_ref()?;
        let address = listener.local_addr().ok()?;
        Some((format!("http://{address}"), token.file.clone()))
    }

    /// What tells it of ends, for those in the same process.
    pub fn handle(&self) -> ShuffleHandle {
        ShuffleHandle(Arc::clone(&self.shared))
    }

    /// Serves executors until `stop`.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, admin, removals, shared, .. } = self;
        // Executors need not be authenticated: what they ask for has as much memory as that of those who are.
        let limits = Limits { unauthenticated_bytes: 256 << 20, ..Limits::of_process() };
        let admission = Admission::new(&limits);
        let answer = |accepted| connection::serve(Arc::clone(&shared), accepted);
        let serving = serve_connections(listener, &admission, answer);
        let administration = async {
            match admin {
                None => std::future::pending().await,
                Some((listener, hosts, token)) => {
                    let router = admin::router(ShuffleHandle(Arc::clone(&shared)), &token);
                    let router = hosts.protect(router, Callers::Browsers);
                    let (tls, never) = (Tls::default(), std::future::pending());
                    let admission = Admission::of_process();
                    serve_until(listener, &tls, &admission, router, never, Duration::ZERO).await;
                }
            }
        };
        let begun = async {
            for removal in removals {
                shared.remove(removal).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = serving => {}
            () = administration => {}
            () = begun => {}
            () = stop => {}
        }
    }
}

impl Shared {
    /// The id of a new stream.
    pub(crate) fn next_stream(&self) -> i64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts what is registered.
    pub(crate) fn count(&self) {
        let (applications, executors) = self.registry.counts();
        self.metrics.applications.set(applications as i64);
        self.metrics.executors.set(executors as i64);
    }

    /// Removes directories of an application that has ended.
    async fn remove(&self, removal: Removal) {
        let mut failed = false;
        for name in &removal.local_dirs {
            let dir = match self.registry.roots().local_dir(name) {
                Ok(dir) => dir,
                Err(why) => {
                    // Its worker, or somebody else, has removed it.
                    tracing::debug!("a directory is not removed: {why}");
                    continue;
                }
            };
            let removed = on_disk(&self.removing, move || cleanup::remove_dir(&dir)).await;
            match removed {
                Ok(Ok(())) => drop(self.metrics.removed_dirs.inc()),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Ok(Err(error)) => {
                    failed = true;
                    self.metrics.removal_failures.inc();
                    tracing::warn!(app = removal.app, "cannot remove {name}: {error}");
                }
                Err(error) => {
                    tracing::warn!(app = removal.app, "{error}");
                    return;
                }
            }
        }
        if failed {
            // It is tried again when the service is started again.
            return;
        }
        if let Err(error) = self.registry.removed(&removal).await {
            tracing::warn!("{error}");
        }
    }
}

/// Tells a service what has ended.
#[derive(Debug, Clone)]
pub struct ShuffleHandle(pub(crate) Arc<Shared>);

impl ShuffleHandle {
    /// An application has ended: its executors are forgotten at once, and their local directories removed. A second
    /// call finds nothing.
    ///
    /// # Errors
    /// [`NotFound`](anymaster_core::ErrorKind::NotFound) if none of its executors is registered, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if that cannot be written down.
    pub async fn application_ended(&self, app: &str) -> Result<()> {
        let Some((removal, written)) = self.0.registry.end(app)? else {
            return Err(registry::unknown(app));
        };
        self.0.count();
        written.durable().await?;
        tracing::info!(app, "removing {} local directories", removal.local_dirs.len());
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move { shared.remove(removal).await });
        Ok(())
    }

    /// An executor has ended, and its application has not: what nobody asks the service for is removed
    /// (`spark.storage.cleanupFilesAfterExecutorExit`). Blocks of shuffles and cached ones stay.
    ///
    /// # Errors
    /// [`NotFound`](anymaster_core::ErrorKind::NotFound) if it is not registered, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if a directory cannot be read.
    pub async fn executor_ended(&self, app: &str, executor: &str) -> Result<()> {
        let Some(found) = self.0.registry.find(app, executor) else {
            return Err(registry::unknown(app));
        };
        let dirs: Vec<LocalDir> = found.dirs().to_vec();
        let removing =
            on_disk(&self.0.removing, move || dirs.iter().try_for_each(cleanup::remove_rest));
        removing.await?.map_err(|error| {
            Error::unavailable(format!("cannot remove what the executor {executor} has left"))
                .with_source(error)
        })
    }
}
