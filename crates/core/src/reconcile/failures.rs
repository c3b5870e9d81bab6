//! How many executors failed, and when that is too many (Spark 3.5, `ExecutorFailureTracker`).

use std::collections::VecDeque;
use std::time::Duration;

use super::AllocationPolicy;
use super::executor_store::Ended;

/// Counts the failures that are the application's own: bad exits, signals, memory, start failures,
/// and executors that finish although they are wanted. Nodes that are lost and pods that are evicted
/// do not count.
#[derive(Debug, Default)]
pub struct Failures {
    total: u64,
    /// When the latest ones happened; as many as the limit needs.
    recent: VecDeque<Duration>,
    last: Option<String>,
}

impl Failures {
    /// Counts an end, if it is a failure. Times are since whatever the caller counts from.
    pub fn count(&mut self, ended: &Ended, now: Duration) {
        let own = ended.cause.is_failure() || ended.cause == crate::model::Cause::Finished;
        if ended.asked || !own {
            return;
        }
        self.total += 1;
        self.recent.push_back(now);
        self.last = Some(format!("executor {} {}", ended.id, ended.cause));
    }

    /// Forgets what no longer counts, so that memory stays bounded by the limit.
    pub fn trim(&mut self, policy: &AllocationPolicy, limit: u32, now: Duration) {
        if let Some(window) = policy.failure_window {
            while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > window) {
                self.recent.pop_front();
            }
        }
        let keep = limit as usize + 1;
        if self.recent.len() > keep {
            self.recent.drain(..self.recent.len() - keep);
        }
    }

    /// Why no more executors should be started, if there were too many failures. After [`trim`](Self::trim).
    pub fn verdict(&self, policy: &AllocationPolicy, limit: u32) -> Option<String> {
        let count = self.recent.len();
        if count <= limit as usize {
            return None;
        }
        let within = match policy.failure_window {
            Some(window) => format!(" within {} s", window.as_secs()),
            None => String::new(),
        };
        let last = self.last.as_deref().unwrap_or("of unknown cause");
        Some(format!(
            "{} failed{within}, more than the {limit} that \
             spark.executor.maxNumFailures allows; the last one: {last}",
            crate::counted(count, "executor")
        ))
    }

    /// Begins anew, as after a new declaration by the application.
    pub fn reset(&mut self) {
        self.recent.clear();
        self.last = None;
    }

    /// All that ever failed.
    pub fn total(&self) -> u64 {
        self.total
    }
}
