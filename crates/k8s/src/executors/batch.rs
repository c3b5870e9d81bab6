//! Creates many executors, as many at once as the API server bears.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::maker::Driver;

/// After so many failures in a row, those that are left of a batch are not tried.
const MAX_FAILURES: usize = 20;

/// Executors that are being created.
pub(super) struct Batch {
    keeper: Arc<Keeper>,
    executors: Arc<[ExecutorLaunch]>,
    driver: Driver,
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
    ) -> Arc<Self> {
        let (next, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { keeper, executors, driver, next, failures, last: Mutex::new(None) })
    }

    /// Creates them all. Results are in their order. Dropped, it creates no more.
    pub(super) async fn create(self: Arc<Self>) -> Vec<Result<()>> {
        let many = self.executors.len();
        let (sender, mut receiver) = mpsc::channel(many.max(1));
        let mut workers = JoinSet::new();
        for worker in 0..self.keeper.limiter().most().min(many) {
            workers.spawn(Arc::clone(&self).work(worker, sender.clone()));
        }
        drop(sender);
        let mut results: Vec<_> = self.executors.iter().map(|_| None).collect();
        for _ in 0..many {
            let Some((at, result)) = receiver.recv().await else { break };
            results[at] = Some(result);
        }
        // Those whose turn did not come wait on; with the set, they end.
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(self.keeper.gone())))
            .collect()
    }

    async fn work(self: Arc<Self>, worker: usize, results: mpsc::Sender<(usize, Result<()>)>) {
        loop {
            self.keeper.limiter().turn(worker).await;
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(launch) = self.executors.get(at) else { return };
            let result = match self.hopeless() {
                Some(error) => Err(error),
                None => self.keeper.create(launch, &self.driver).await,
            };
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

    /// Why the next one need not be tried.
    fn hopeless(&self) -> Option<Error> {
        if *self.keeper.over().borrow() {
            return Some(self.keeper.gone());
        }
        let many = self.failures.load(Ordering::Relaxed) >= MAX_FAILURES;
        if many { self.last().clone() } else { None }
    }

    fn last(&self) -> MutexGuard<'_, Option<Error>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
