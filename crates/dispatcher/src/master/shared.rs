//! The cluster of a master that leads, as its tasks share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::Result;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::amount::Amount;
use super::cluster::Cluster;
use super::store::Store;

/// When what could not be written is tried again.
const REWRITE: Duration = Duration::from_secs(1);

/// What the tasks of a master share.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Mutex<Cluster>,
    /// Something has changed: a pass may have something to do.
    due: Notify,
    /// A worker may have to be given up earlier than was thought.
    clock: Notify,
    /// How long passes take, in seconds.
    passes: Histogram,
    sessions: AtomicU64,
    store: Option<Arc<dyn Store>>,
    /// Held while something is written: what comes meanwhile is written together.
    writing: tokio::sync::Mutex<()>,
}

impl Shared {
    /// A cluster, and where of it is kept what is to survive.
    pub(super) fn new(cluster: Cluster, store: Option<Arc<dyn Store>>) -> Self {
        Self {
            cluster: Mutex::new(cluster),
            due: Notify::new(),
            clock: Notify::new(),
            passes: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            sessions: AtomicU64::new(1),
            store,
            writing: tokio::sync::Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn passes(&self) -> &Histogram {
        &self.passes
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

    /// Shares out what is offered just now; when this returns, what came of it survives the master.
    pub(super) async fn offer(&self, offers: Vec<(String, Amount)>) -> Result<()> {
        {
            let mut cluster = self.lock();
            let began = Instant::now();
            cluster.offer(offers, began);
            self.passes.observe(began.elapsed().as_secs_f64());
        }
        self.write().await
    }

    /// Writes what is to survive.
    async fn write(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let Some(writing) = self.lock().take_unwritten() else { return Ok(()) };
        let written = store.write(&writing.changes).await;
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

    /// Does what has to be done, for as long as this master leads.
    pub(super) async fn keep(&self) {
        tokio::select! {
            () = self.keep_scheduling() => {}
            () = self.keep_time() => {}
        }
    }

    /// Schedules whenever there is something to.
    async fn keep_scheduling(&self) {
        loop {
            self.due.notified().await;
            {
                let mut cluster = self.lock();
                let began = Instant::now();
                cluster.schedule();
                self.passes.observe(began.elapsed().as_secs_f64());
            }
            if let Err(error) = self.write().await {
                tracing::error!("{error}");
                tokio::time::sleep(REWRITE).await;
                self.due.notify_one();
            }
            // Changes that come at the same time are for one pass.
            tokio::task::yield_now().await;
        }
    }

    /// Finds out what has been silent for too long.
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
