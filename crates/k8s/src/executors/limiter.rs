//! How many requests are under way at once: more while the API server answers quickly, fewer when it
//! says that it has too much to do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind};
use tokio::sync::watch;

/// An answer that takes longer than this tells of a server with too much to do.
const SLOW: Duration = Duration::from_secs(2);

/// How many requests may be under way. Halved at a refusal, one more after as many successes as there
/// are requests under way (as TCP does it).
#[derive(Debug)]
pub(crate) struct Limiter {
    most: usize,
    limit: watch::Sender<usize>,
    successes: AtomicUsize,
}

impl Limiter {
    /// Begins with `most`, and never goes beyond.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, limit: watch::Sender::new(most), successes: AtomicUsize::new(0) }
    }

    /// The most there can ever be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Waits until the worker of this number, from 0, may make a request.
    pub(crate) async fn turn(&self, worker: usize) {
        // The sender is in `self`: there is no error to be had.
        let _ = self.limit.subscribe().wait_for(|limit| worker < *limit).await;
    }

    /// Learns from an answer and the time it took.
    pub(crate) fn learn(&self, error: Option<&Error>, took: Duration) {
        let is_overload = match error {
            Some(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            None => took > SLOW,
        };
        if is_overload {
            self.successes.store(0, Ordering::Relaxed);
            self.limit.send_modify(|limit| *limit = (*limit / 2).max(1));
            return;
        }
        let limit = *self.limit.borrow();
        let enough = self.successes.fetch_add(1, Ordering::Relaxed) + 1 >= limit;
        if enough && limit < self.most {
            self.successes.store(0, Ordering::Relaxed);
            self.limit.send_modify(|limit| *limit = (*limit + 1).min(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_it_and_successes_restore_it() {
        let limiter = Limiter::new(50);
        let limit = || *limiter.limit.borrow();
        let refusal = Error::unavailable("too much to do");
        limiter.learn(Some(&refusal), Duration::ZERO);
        limiter.learn(None, Duration::from_secs(9));
        assert_eq!(limit(), 12);
        for _ in 0..10 {
            limiter.learn(Some(&refusal), Duration::ZERO);
        }
        assert_eq!(limit(), 1);
        // A mistake of ours is none of the server's.
        limiter.learn(Some(&Error::invalid("no")), Duration::ZERO);
        for _ in 0..2_000 {
            limiter.learn(None, Duration::ZERO);
        }
        assert_eq!(limit(), 50);
    }
}
