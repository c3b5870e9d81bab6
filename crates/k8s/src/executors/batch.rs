//! Creates a batch of executors concurrently, within the limit of [`AimdLimiter`](super::limiter).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::claims::UnusedClaims;
use super::controller::ExecutorController;
use super::pod_builder::DriverAddress;

/// After this many consecutive failures, the rest of the batch is not tried.
const MAX_CONSECUTIVE_FAILURES: usize = 20;

/// Executors that are being created.
pub(super) struct Batch {
    controller: Arc<ExecutorController>,
    executors: Arc<[ExecutorLaunch]>,
    driver_address: DriverAddress,
    unused: UnusedClaims,
    /// The next one to be created.
    next: AtomicUsize,
    /// Consecutive failures, and the last one.
    consecutive_failures: AtomicUsize,
    last_error: Mutex<Option<Error>>,
}

impl Batch {
    pub(super) fn new(
        controller: Arc<ExecutorController>,
        executors: Arc<[ExecutorLaunch]>,
        driver_address: DriverAddress,
        unused: UnusedClaims,
    ) -> Arc<Self> {
        let (next, consecutive_failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self {
            controller,
            executors,
            driver_address,
            unused,
            next,
            consecutive_failures,
            last_error: Mutex::new(None),
        })
    }

    /// Creates them all. Results are in the order of `executors`. Dropping the future cancels the
    /// rest.
    pub(super) async fn create(self: Arc<Self>) -> Vec<Result<()>> {
        let count = self.executors.len();
        let (sender, mut receiver) = mpsc::channel(count.max(1));
        let mut workers = JoinSet::new();
        for _ in 0..self.controller.limiter().max().min(count) {
            workers.spawn(Arc::clone(&self).run_worker(sender.clone()));
        }
        drop(sender);
        let mut results: Vec<_> = self.executors.iter().map(|_| None).collect();
        for _ in 0..count {
            let Some((at, result)) = receiver.recv().await else { break };
            results[at] = Some(result);
        }
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(self.controller.ended_error())))
            .collect()
    }

    async fn run_worker(self: Arc<Self>, results: mpsc::Sender<(usize, Result<()>)>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(launch) = self.executors.get(at) else { return };
            let result = self.start(launch).await;
            match &result {
                Ok(()) => self.consecutive_failures.store(0, Ordering::Relaxed),
                Err(error) => {
                    let is_quota = error.kind() == ErrorKind::Quota;
                    let count = if is_quota { MAX_CONSECUTIVE_FAILURES } else { 1 };
                    self.consecutive_failures.fetch_add(count, Ordering::Relaxed);
                    *self.last_error() = Some(error.clone());
                }
            }
            if results.send((at, result)).await.is_err() {
                return;
            }
        }
    }

    async fn start(&self, launch: &ExecutorLaunch) -> Result<()> {
        // Checked before and after waiting for the permit.
        self.check_aborted()?;
        let _permit = self.controller.limiter().acquire().await;
        self.check_aborted()?;
        self.controller.create(launch, &self.driver_address, &self.unused).await
    }

    /// The error that ends the batch: the driver has ended, or too many attempts have failed.
    fn check_aborted(&self) -> Result<()> {
        if *self.controller.driver_ended().borrow() {
            return Err(self.controller.ended_error());
        }
        if self.consecutive_failures.load(Ordering::Relaxed) < MAX_CONSECUTIVE_FAILURES {
            return Ok(());
        }
        self.last_error().clone().map_or(Ok(()), Err)
    }

    fn last_error(&self) -> MutexGuard<'_, Option<Error>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
