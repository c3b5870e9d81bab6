//! Deletes the pods of executors that have ended: many with one request, and not the latest ones,
//! so that their logs can still be read.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{Cause, ExecutorId, StartFailure};
use tokio::sync::Notify;

use crate::keys;

/// The delay before a failed deletion is retried.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// How many failed deletions are kept for a retry, and how many deleted ids are remembered: a
/// restarted watch reports ends again.
const MAX_REMEMBERED: usize = 10_000;

/// Garbage collection of the pods of executors that have ended.
#[derive(Debug)]
pub(crate) struct PodGc {
    queue: Mutex<Vec<(ExecutorId, PodState)>>,
    notify: Notify,
    /// How long ends are collected before one deletion.
    interval: Duration,
    /// How many pods are retained.
    retained: usize,
    /// Whether to delete terminated pods; otherwise they are only labelled as inactive.
    deletes: bool,
}

/// Why an executor's pod is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PodState {
    Terminated,
    /// It may still occupy its node.
    Stuck,
    /// Its creation failed half-way; another pod of the same name may follow.
    Discarded,
}

/// Pods to be deleted or labelled now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) delete: Vec<ExecutorId>,
    /// To be labelled as inactive, as Spark does.
    pub(crate) label: Vec<ExecutorId>,
}

/// The executors that have ended.
#[derive(Default)]
struct EndedPods {
    ids: HashSet<ExecutorId>,
    retained_ids: VecDeque<ExecutorId>,
    removed: VecDeque<ExecutorId>,
}

impl PodGc {
    /// # Errors
    /// For an invalid property.
    pub(crate) fn new(conf: &Conf) -> Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            notify: Notify::new(),
            interval: conf.read(&keys::EVENT_PROCESSING_INTERVAL)?,
            retained: conf.read(&keys::RETAINED_EXECUTORS)? as usize,
            deletes: conf.read(&keys::DELETE_ON_TERMINATION)?,
        })
    }

    /// An executor ended; its pod may still exist.
    pub(crate) fn ended(&self, id: ExecutorId, cause: &Cause) {
        let deleted = matches!(cause, Cause::Killed { .. } | Cause::Preempted { .. });
        if deleted {
            return;
        }
        let pod = match cause {
            Cause::CouldNotStart { failure: StartFailure::Image, .. } | Cause::Lost { .. } => {
                PodState::Stuck
            }
            _ => PodState::Terminated,
        };
        self.push(id, pod);
    }

    /// The pod was created in vain and is to be deleted.
    pub(crate) fn discard(&self, id: ExecutorId) {
        self.push(id, PodState::Discarded);
    }

    fn push(&self, id: ExecutorId, pod: PodState) {
        self.queued().push((id, pod));
        self.notify.notify_one();
    }

    fn queued(&self) -> MutexGuard<'_, Vec<(ExecutorId, PodState)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `remove` with the pods that are due, in a loop; it returns those to be retried.
    pub(crate) async fn run<F: Future<Output = Due>>(&self, mut remove: impl FnMut(Due) -> F) {
        let (mut ended_pods, mut retry) = (EndedPods::default(), Due::default());
        loop {
            let retry_timer = async {
                match retry == Due::default() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(RETRY_DELAY).await,
                }
            };
            tokio::select! {
                () = self.notify.notified() => tokio::time::sleep(self.interval).await,
                () = retry_timer => {}
            }
            let ended = mem::take(&mut *self.queued());
            let mut due = mem::take(&mut retry);
            for (id, pod) in ended {
                ended_pods.add(id, pod, self.deletes, &mut due);
            }
            due.delete.extend(ended_pods.take_excess(self.retained));
            if due != Due::default() {
                retry = remove(due).await;
                for ids in [&mut retry.delete, &mut retry.label] {
                    ids.drain(..ids.len().saturating_sub(MAX_REMEMBERED));
                }
            }
        }
    }
}

impl EndedPods {
    fn add(&mut self, id: ExecutorId, pod: PodState, deletes: bool, due: &mut Due) {
        if pod == PodState::Discarded {
            due.delete.push(id);
            return;
        }
        // A restarted watch reports ends again.
        if !self.ids.insert(id) {
            return;
        }
        match (pod, deletes) {
            (PodState::Terminated, true) => return self.retained_ids.push_back(id),
            (PodState::Terminated, false) => due.label.push(id),
            _ => due.delete.push(id),
        }
        self.remove(id);
    }

    /// The oldest retained pods beyond the limit.
    fn take_excess(&mut self, retained: usize) -> Vec<ExecutorId> {
        let many = self.retained_ids.len().saturating_sub(retained);
        let excess: Vec<_> = self.retained_ids.drain(..many).collect();
        excess.iter().for_each(|id| self.remove(*id));
        excess
    }

    fn remove(&mut self, id: ExecutorId) {
        self.removed.push_back(id);
        if self.removed.len() > MAX_REMEMBERED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;

    /// The ids that are deleted, and those that are labelled.
    type Removed = mpsc::UnboundedReceiver<(Vec<u64>, Vec<u64>)>;

    /// A collector whose deletions fail the first `fails` times.
    fn run(pairs: &[(&str, &str)], fails: usize) -> (Arc<PodGc>, Removed) {
        let pod_gc = Arc::new(PodGc::new(&pairs.iter().copied().collect()).unwrap());
        let (sender, removed) = mpsc::unbounded_channel();
        let running = Arc::clone(&pod_gc);
        tokio::spawn(async move {
            let mut fails = fails;
            let remove = |due: Due| {
                let ids = |ids: &[ExecutorId]| ids.iter().map(|id| id.0).collect();
                let _ = sender.send((ids(&due.delete), ids(&due.label)));
                let failed = fails > 0;
                fails = fails.saturating_sub(1);
                async move { if failed { due } else { Due::default() } }
            };
            running.run(remove).await;
        });
        (pod_gc, removed)
    }

    fn image() -> Cause {
        Cause::CouldNotStart { failure: StartFailure::Image, why: "no".into() }
    }

    const TWO: (&str, &str) = ("spark.anymaster.kubernetes.retainedExecutors", "2");

    #[tokio::test(start_paused = true)]
    async fn the_latest_are_retained_and_stuck_pods_are_deleted_at_once() {
        let (pod_gc, mut removed) = run(&[TWO], 0);
        for id in 1..=4 {
            pod_gc.ended(ExecutorId(id), &Cause::Exited { code: 1 });
        }
        pod_gc.ended(ExecutorId(5), &image());
        assert_eq!(removed.recv().await.unwrap().0, [5, 1, 2]);
        pod_gc.ended(ExecutorId(6), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_reported_again_displaces_no_retained_pod() {
        let (pod_gc, mut removed) = run(&[TWO], 0);
        for _ in 0..3 {
            for id in 1..=3 {
                pod_gc.ended(ExecutorId(id), &Cause::Finished);
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        pod_gc.ended(ExecutorId(4), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        assert_eq!(removed.recv().await.unwrap().0, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_deletion_is_retried() {
        let (pod_gc, mut removed) = run(&[TWO], 2);
        for id in 1..=3 {
            pod_gc.ended(ExecutorId(id), &Cause::Finished);
        }
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        pod_gc.ended(ExecutorId(4), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn stuck_pods_are_deleted_where_others_are_only_labelled() {
        let labels = ("spark.kubernetes.executor.deleteOnTermination", "false");
        let (pod_gc, mut removed) = run(&[TWO, labels], 0);
        pod_gc.ended(ExecutorId(1), &Cause::Finished);
        pod_gc.ended(ExecutorId(2), &image());
        pod_gc.discard(ExecutorId(3));
        assert_eq!(removed.recv().await.unwrap(), (vec![2, 3], vec![1]));
    }
}
