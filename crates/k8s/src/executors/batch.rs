//! Creates many executors, as many at once as the API server bears.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::claims::Free;
use super::keeper::Keeper;
use super::maker::Driver;

/// After so many failures in a row, those that are left of a batch are not tried.
const MAX_FAILURES: usize = 20;

/// Executors that are being created.
pub(super) struct Batch {
    keeper: Arc<Keeper>,
    executors: Arc<[ExecutorLaunch]>,
    driver: Driver,
    free: Free,
    /// The next one to be created.
    next: AtomicUsize,
    /// How many failed in a row, and the last failure.
    failures: AtomicUsize,
    last: Mutex<Option<Error>>,
}

impl Batch {
    pub(super) fn new(
        keeper: Arc<Keeper>,
        executors: Arc<[ExecutorLaunch]>,
        driver: Driver,
        free: Free,
    ) -> Arc<Self> {
        let (next, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { keeper, executors, driver, free, next, failures, last: Mutex::new(None) })
    }

    /// Creates them all. Results are in their order. Dropped, it creates no more.
    pub(super) async fn create(self: Arc<Self>) -> Vec<Result<()>> {
        let many = self.executors.len();
        let (sender, mut receiver) = mpsc::channel(many.max(1));
        let mut workers = JoinSet::new();
        for _ in 0..self.keeper.limiter().most().min(many) {
            workers.spawn(Arc::clone(&self).work(sender.clone()));
        }
        drop(sender);
        let mut results: Vec<_> = self.executors.iter().map(|_| None).collect();
        for _ in 0..many {
            let Some((at, result)) = receiver.recv().await else { break };
            results[at] = Some(result);
        }
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(self.keeper.gone())))
            .collect()
    }

    async fn work(self: Arc<Self>, results: mpsc::Sender<(usize, Result<()>)>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(launch) = self.executors.get(at) else { return };
            let result = self.start(launch).await;
            match &result {
                Ok(()) => self.failures.store(0, Ordering::Relaxed),
                Err(error) => {
                    let full = error.kind() == ErrorKind::Quota;
                    let more = if full { MAX_FAILURES } else { 1 };
                    self.failures.fetch_add(more, Ordering::Relaxed);
                    *self.last() = Some(error.clone());
                }
            }
            if results.send((at, result)).await.is_err() {
                return;
            }
        }
    }

    async fn start(&self, launch: &ExecutorLaunch) -> Result<()> {
        // Those that need not be tried do not wait for their turn either.
        self.hopeful()?;
        let _turn = self.keeper.limiter().turn().await;
        self.hopeful()?;
        self.keeper.create(launch, &self.driver, &self.free).await
    }

    /// An error if the next one need not be tried.
    fn hopeful(&self) -> Result<()> {
        if *self.keeper.over().borrow() {
            return Err(self.keeper.gone());
        }
        if self.failures.load(Ordering::Relaxed) < MAX_FAILURES {
            return Ok(());
        }
        self.last().clone().map_or(Ok(()), Err)
    }

    fn last(&self) -> MutexGuard<'_, Option<Error>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
