//! The cluster of a master that leads, as its tasks share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug_span;

use super::amount::Amount;
use super::cluster::{Cluster, Writing};
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

/// What is being written: who waits for that may go away.
struct Underway<'a> {
    shared: &'a Shared,
    writing: Option<Writing>,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.shared.change(|cluster| cluster.put_back(writing));
        }
    }
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

    /// Looks at the cluster, and says what is there only when that survives the master: what was told to
    /// have ended has. While nothing can be written it is told nevertheless.
    pub(super) async fn read_written<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        let seen = self.read(look);
        if let Err(error) = self.write().await {
            tracing::debug!("what is told is not written down: {error}");
        }
        seen
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

    /// Takes in an application; when this returns, it survives the master, or it was not taken in.
    /// `whose`: which one it is.
    pub(super) async fn take_in<T>(
        &self,
        change: impl FnOnce(&mut Cluster) -> Result<T>,
        whose: impl FnOnce(&T) -> AppId,
    ) -> Result<T> {
        let taken = self.change(change)?;
        let written = self.write().await;
        // It may have been written, or not, together with what others changed before.
        if self.read(|cluster| cluster.has_taken_in(&whose(&taken))) {
            return Ok(taken);
        }
        Err(written.err().unwrap_or_else(|| {
            Error::unavailable("the master cannot write down what it is to remember")
        }))
    }

    /// Shares out what is offered just now; when this returns, what came of it survives the master.
    pub(super) async fn offer(&self, offers: Vec<(String, Amount)>) -> Result<()> {
        {
            let mut cluster = self.lock();
            let began = Instant::now();
            debug_span!("schedule").in_scope(|| cluster.offer(offers, began));
            self.passes.observe(began.elapsed().as_secs_f64());
        }
        self.write().await
    }

    /// Writes what is to survive.
    async fn write(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let Some(writing) = self.lock().take_unwritten() else { return Ok(()) };
        let changes = Arc::clone(&writing.changes);
        let mut underway = Underway { shared: self, writing: Some(writing) };
        let written = store.write(&changes).await;
        if let Some(writing) = underway.writing.take() {
            self.change(|cluster| match &written {
                Ok(()) => cluster.written(writing),
                Err(_) => cluster.not_written(writing),
            });
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
                debug_span!("schedule").in_scope(|| cluster.schedule());
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use anymaster_core::model::DriverStatus;
    use async_trait::async_trait;

    use super::*;
    use crate::master::cluster::tests::{policy, spec};
    use crate::master::store::Change;

    /// Writes nothing, and says so only if it is full; each write takes a turn of its own.
    #[derive(Debug, Default)]
    struct Disk {
        is_full: AtomicBool,
    }

    #[async_trait]
    impl Store for Disk {
        async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
            Ok(Vec::new())
        }

        async fn write(&self, _: &Arc<[Change]>) -> Result<()> {
            tokio::task::yield_now().await;
            match self.is_full.load(Ordering::Relaxed) {
                true => Err(Error::unavailable("it is full")),
                false => Ok(()),
            }
        }
    }

    fn scene() -> (Arc<Disk>, Shared) {
        let disk = Arc::new(Disk::default());
        let mut cluster = Cluster::new(policy());
        cluster.keep();
        (Arc::clone(&disk), Shared::new(cluster, Some(disk)))
    }

    async fn submit(shared: &Shared) -> Result<DriverStatus> {
        shared.take_in(|cluster| cluster.submit(&spec("app")), |new| new.app.clone()).await
    }

    #[tokio::test]
    async fn what_is_refused_as_it_cannot_be_written_down_is_not_taken_in() {
        let (disk, shared) = scene();
        let kept = submit(&shared).await.unwrap();
        disk.is_full.store(true, Ordering::Relaxed);
        // One of them writes for all.
        let refused = tokio::join!(submit(&shared), submit(&shared), submit(&shared));
        for refused in [refused.0, refused.1, refused.2] {
            assert!(refused.is_err(), "{refused:?}");
        }
        disk.is_full.store(false, Ordering::Relaxed);
        let more = submit(&shared).await.unwrap();
        let known = shared.read(|cluster| cluster.statuses(None));
        let known: Vec<_> = known.iter().map(|status| status.app().clone()).collect();
        assert_eq!(known, [kept.app, more.app]);
    }

    #[tokio::test]
    async fn what_somebody_did_not_wait_for_is_written_nevertheless() {
        let (_, shared) = scene();
        {
            let mut submitting = std::pin::pin!(submit(&shared));
            assert!(futures::poll!(&mut submitting).is_pending());
        }
        shared.write().await.unwrap();
        let app = shared.read(|cluster| cluster.statuses(None))[0].app().clone();
        assert!(shared.read(|cluster| cluster.has_taken_in(&app)));
    }
}
