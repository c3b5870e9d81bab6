//! Removes the pods of executors that ended: many with one request, the latest ones last, so that
//! their logs can still be read.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{Cause, ExecutorId, StartFailure};
use tokio::sync::Notify;

use crate::keys;

/// When those that could not be removed are tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How many of those there may be, and how many that were removed are remembered: their ends may be
/// told once more.
const MAX_REMEMBERED: usize = 10_000;

/// What is to be done with the pods of executors that ended.
#[derive(Debug)]
pub(crate) struct Cleaner {
    ended: Mutex<Vec<(ExecutorId, Pod)>>,
    news: Notify,
    /// How long ends are gathered.
    interval: Duration,
    /// How many pods are kept.
    retained: usize,
    /// They are deleted; else only labelled, once they are over.
    deletes: bool,
}

/// What has become of an executor's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pod {
    Over,
    /// It may hold its place on a node.
    Hangs,
    /// It should not have been made; another of its name may follow.
    Useless,
}

/// Pods whose time has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) delete: Vec<ExecutorId>,
    /// To be labelled as inactive, as Spark does.
    pub(crate) label: Vec<ExecutorId>,
}

/// What is known of those that ended.
#[derive(Default)]
struct Known {
    ids: HashSet<ExecutorId>,
    kept: VecDeque<ExecutorId>,
    removed: VecDeque<ExecutorId>,
}

impl Cleaner {
    /// # Errors
    /// For a property that makes no sense.
    pub(crate) fn new(conf: &Conf) -> Result<Self> {
        Ok(Self {
            ended: Mutex::default(),
            news: Notify::new(),
            interval: conf.read(&keys::EVENT_PROCESSING_INTERVAL)?,
            retained: conf.read(&keys::RETAINED_EXECUTORS)? as usize,
            deletes: conf.read(&keys::DELETE_ON_TERMINATION)?,
        })
    }

    /// An executor ended; its pod may still be there.
    pub(crate) fn ended(&self, id: ExecutorId, cause: &Cause) {
        let deleted = matches!(cause, Cause::Killed { .. } | Cause::Preempted { .. });
        if deleted {
            return;
        }
        let pod = match cause {
            Cause::CouldNotStart { failure: StartFailure::Image, .. } | Cause::Lost { .. } => {
                Pod::Hangs
            }
            _ => Pod::Over,
        };
        self.push(id, pod);
    }

    /// A pod is of no use to anybody.
    pub(crate) fn discard(&self, id: ExecutorId) {
        self.push(id, Pod::Useless);
    }

    fn push(&self, id: ExecutorId, pod: Pod) {
        self.news().push((id, pod));
        self.news.notify_one();
    }

    fn news(&self) -> MutexGuard<'_, Vec<(ExecutorId, Pod)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over those whose time has come, again and again; gets back those that are still there.
    pub(crate) async fn run<F: Future<Output = Due>>(&self, mut remove: impl FnMut(Due) -> F) {
        let (mut known, mut left) = (Known::default(), Due::default());
        loop {
            let again = async {
                match left == Due::default() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(AGAIN).await,
                }
            };
            tokio::select! {
                () = self.news.notified() => tokio::time::sleep(self.interval).await,
                () = again => {}
            }
            let ended = mem::take(&mut *self.news());
            let mut due = mem::take(&mut left);
            for (id, pod) in ended {
                known.take_in(id, pod, self.deletes, &mut due);
            }
            due.delete.extend(known.beyond(self.retained));
            if due != Due::default() {
                left = remove(due).await;
                for ids in [&mut left.delete, &mut left.label] {
                    ids.drain(..ids.len().saturating_sub(MAX_REMEMBERED));
                }
            }
        }
    }
}

impl Known {
    fn take_in(&mut self, id: ExecutorId, pod: Pod, deletes: bool, due: &mut Due) {
        if pod == Pod::Useless {
            due.delete.push(id);
            return;
        }
        // An end is told again to whoever listens anew.
        if !self.ids.insert(id) {
            return;
        }
        match (pod, deletes) {
            (Pod::Over, true) => return self.kept.push_back(id),
            (Pod::Over, false) => due.label.push(id),
            _ => due.delete.push(id),
        }
        self.remove(id);
    }

    /// The oldest of those that are kept, where there are more of them.
    fn beyond(&mut self, retained: usize) -> Vec<ExecutorId> {
        let many = self.kept.len().saturating_sub(retained);
        let beyond: Vec<_> = self.kept.drain(..many).collect();
        beyond.iter().for_each(|id| self.remove(*id));
        beyond
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

    /// What is deleted, and what is labelled.
    type Removed = mpsc::UnboundedReceiver<(Vec<u64>, Vec<u64>)>;

    /// A cleaner that gets back what it hands over, so many times.
    fn run(pairs: &[(&str, &str)], fails: usize) -> (Arc<Cleaner>, Removed) {
        let cleaner = Arc::new(Cleaner::new(&pairs.iter().copied().collect()).unwrap());
        let (sender, removed) = mpsc::unbounded_channel();
        let running = Arc::clone(&cleaner);
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
        (cleaner, removed)
    }

    fn image() -> Cause {
        Cause::CouldNotStart { failure: StartFailure::Image, why: "no".into() }
    }

    const TWO: (&str, &str) = ("spark.anymaster.kubernetes.retainedExecutors", "2");

    #[tokio::test(start_paused = true)]
    async fn the_latest_are_kept_and_what_hangs_is_removed_at_once() {
        let (cleaner, mut removed) = run(&[TWO], 0);
        for id in 1..=4 {
            cleaner.ended(ExecutorId(id), &Cause::Exited { code: 1 });
        }
        cleaner.ended(ExecutorId(5), &image());
        assert_eq!(removed.recv().await.unwrap().0, [5, 1, 2]);
        cleaner.ended(ExecutorId(6), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_told_again_displaces_nothing() {
        let (cleaner, mut removed) = run(&[TWO], 0);
        for _ in 0..3 {
            for id in 1..=3 {
                cleaner.ended(ExecutorId(id), &Cause::Finished);
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        cleaner.ended(ExecutorId(4), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        assert_eq!(removed.recv().await.unwrap().0, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_removed_is_tried_again() {
        let (cleaner, mut removed) = run(&[TWO], 2);
        for id in 1..=3 {
            cleaner.ended(ExecutorId(id), &Cause::Finished);
        }
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        assert_eq!(removed.recv().await.unwrap().0, [1]);
        cleaner.ended(ExecutorId(4), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap().0, [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_deleted_where_others_are_only_labelled() {
        let labels = ("spark.kubernetes.executor.deleteOnTermination", "false");
        let (cleaner, mut removed) = run(&[TWO, labels], 0);
        cleaner.ended(ExecutorId(1), &Cause::Finished);
        cleaner.ended(ExecutorId(2), &image());
        cleaner.discard(ExecutorId(3));
        assert_eq!(removed.recv().await.unwrap(), (vec![2, 3], vec![1]));
    }
}
