//! The daemon: listens, lets in those who prove themselves, and schedules when there is something to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::{Cluster, Policy};
use super::store::{self, Store};
use super::{clients, workers};
use crate::keys;
use crate::wire::{Role, Secret, accept, answer, bind};

/// How many connections there may be: more wait until some have ended.
const MAX_CONNECTIONS: usize = 50_000;
/// When what could not be written is tried again.
const REWRITE: Duration = Duration::from_secs(1);

/// How a master is started.
#[derive(Debug, Clone)]
pub struct MasterOptions {
    /// The address to listen on, and by which others know it.
    pub host: String,
    /// The port for workers and clients; 0: a free one.
    pub port: u16,
    /// The properties of the daemon.
    pub conf: Conf,
}

/// A master that listens.
#[derive(Debug)]
pub struct Master {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What the tasks of a master share.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Mutex<Cluster>,
    secret: Secret,
    /// Something has changed: a pass may have something to do.
    due: Notify,
    /// A worker may have to be given up earlier than was thought.
    clock: Notify,
    sessions: AtomicU64,
    store: Option<Arc<dyn Store>>,
    /// Held while something is written: what comes meanwhile is written together.
    writing: tokio::sync::Mutex<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the cluster.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the cluster.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let changed = change(&mut self.lock());
        self.due.notify_one();
        changed
    }

    /// Changes the cluster; when this returns, the change survives the master.
    pub(super) async fn commit<T>(
        &self,
        change: impl FnOnce(&mut Cluster) -> Result<T>,
    ) -> Result<T> {
        let changed = self.change(change)?;
        self.write().await?;
        Ok(changed)
    }

    /// Writes what is to survive.
    async fn write(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let Some(writing) = self.lock().take_unwritten() else { return Ok(()) };
        let (store, changes) = (Arc::clone(store), Arc::clone(&writing.changes));
        let written = tokio::task::spawn_blocking(move || store.write(&changes)).await;
        let written = written.unwrap_or_else(|error| {
            Err(Error::unavailable("writing was broken off").with_source(error))
        });
        match &written {
            Ok(()) => self.change(|cluster| cluster.written(writing)),
            Err(_) => self.lock().not_written(writing),
        }
        written
    }

    /// Looks again at when workers have to be given up.
    pub(super) fn set_clock(&self) {
        self.clock.notify_one();
    }

    pub(super) fn new_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    async fn keep_scheduling(&self) {
        loop {
            self.due.notified().await;
            self.lock().schedule();
            if let Err(error) = self.write().await {
                tracing::error!("{error}");
                tokio::time::sleep(REWRITE).await;
                self.due.notify_one();
            }
            // Changes that come at the same time are for one pass.
            tokio::task::yield_now().await;
        }
    }

    async fn keep_time(&self) {
        loop {
            let next = self.change(|cluster| cluster.check_workers(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.clock.notified() => {}
            }
        }
    }
}

impl Master {
    /// Listens. Nobody is served yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port is not to be had.
    pub async fn bind(options: &MasterOptions) -> Result<Self> {
        let MasterOptions { host, port, conf } = options;
        let secret = keys::secret(conf)?;
        let (listener, port) = bind(host, *port).await?;
        let policy = Policy {
            master: format!("spark://{host}:{port}"),
            spread_out: conf.read(&keys::SPREAD_OUT)?,
            default_cores: conf.read_optional(&keys::DEFAULT_CORES)?.unwrap_or(u32::MAX),
            max_retries: keys::max_retries(conf)?,
            worker_timeout: conf.read(&keys::WORKER_TIMEOUT)?.max(Duration::from_secs(1)),
            return_time: conf.read(&keys::RETURN_TIME)?,
            retained: conf.read(&keys::RETAINED_APPLICATIONS)? as usize,
        };
        let store = store::open(conf)?;
        let mut cluster = Cluster::new(policy);
        if let Some(store) = &store {
            cluster.keep();
            cluster.recover(store.load()?, Instant::now())?;
        }
        let shared = Shared {
            cluster: Mutex::new(cluster),
            store,
            writing: tokio::sync::Mutex::new(()),
            secret,
            due: Notify::new(),
            clock: Notify::new(),
            sessions: AtomicU64::new(1),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// The master URL: `spark://HOST:PORT`.
    pub fn url(&self) -> String {
        self.shared.read(|cluster| cluster.policy().master.clone())
    }

    /// Serves until `stop`. Processes on workers go on.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, shared } = self;
        let accepting = answer(listener, MAX_CONNECTIONS, |stream| {
            let shared = Arc::clone(&shared);
            async move {
                match accept(stream, &shared.secret).await? {
                    (Role::Worker, channel) => workers::serve(&shared, channel).await,
                    (Role::Client, channel) => clients::serve(&shared, channel).await,
                }
            }
        });
        tokio::select! {
            () = stop => {}
            () = accepting => {}
            () = shared.keep_scheduling() => {}
            () = shared.keep_time() => {}
        }
    }
}
