//! Removes the pods of executors that ended: many with one request, the latest ones last, so that
//! their logs can still be read.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{Cause, ExecutorId, StartFailure};
use tokio::sync::Notify;

use crate::keys;

/// What is to be done with the pods of executors that ended.
#[derive(Debug)]
pub(crate) struct Cleaner {
    ended: Mutex<Vec<(ExecutorId, bool)>>,
    news: Notify,
    /// How long ends are gathered.
    interval: Duration,
    /// How many pods are kept.
    retained: usize,
    /// They are deleted; else only labelled.
    pub(crate) deletes: bool,
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
        // One that waits for an image holds its place on a node.
        let is_over = !matches!(
            cause,
            Cause::CouldNotStart { failure: StartFailure::Image, .. } | Cause::Lost { .. }
        );
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((id, is_over));
        self.news.notify_one();
    }

    /// Hands over those whose time has come, again and again.
    pub(crate) async fn run<F: Future<Output = ()>>(
        &self,
        mut remove: impl FnMut(Vec<ExecutorId>) -> F,
    ) {
        let mut kept = VecDeque::new();
        loop {
            self.news.notified().await;
            tokio::time::sleep(self.interval).await;
            let ended = mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
            let mut due = Vec::new();
            for (id, is_over) in ended {
                if is_over && self.deletes {
                    kept.push_back(id);
                } else {
                    due.push(id);
                }
            }
            let many = kept.len().saturating_sub(self.retained);
            due.extend(kept.drain(..many));
            if !due.is_empty() {
                remove(due).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_latest_are_kept_and_what_hangs_is_removed_at_once() {
        let conf = [("spark.anymaster.kubernetes.retainedExecutors", "2")].into_iter().collect();
        let cleaner = Arc::new(Cleaner::new(&conf).unwrap());
        let (sender, mut removed) = tokio::sync::mpsc::unbounded_channel();
        let running = Arc::clone(&cleaner);
        let task = tokio::spawn(async move {
            running
                .run(|ids| {
                    let _ = sender.send(ids.iter().map(|id| id.0).collect::<Vec<_>>());
                    async {}
                })
                .await;
        });
        for id in 1..=4 {
            cleaner.ended(ExecutorId(id), &Cause::Exited { code: 1 });
        }
        let image = Cause::CouldNotStart { failure: StartFailure::Image, why: "no".into() };
        cleaner.ended(ExecutorId(5), &image);
        assert_eq!(removed.recv().await.unwrap(), [5, 1, 2]);
        cleaner.ended(ExecutorId(6), &Cause::Finished);
        assert_eq!(removed.recv().await.unwrap(), [3]);
        task.abort();
    }
}
