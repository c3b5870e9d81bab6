//! How many requests are under way at once: more while the API server answers quickly, fewer when it
//! says that it has too much to do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::time::Instant;

/// An answer that takes longer than this tells of a server with too much to do.
const SLOW: Duration = Duration::from_secs(2);

/// How many requests may be under way, as TCP does it: halved when the server has too much to do, once
/// for all requests that were under way together; then raised with each success up to half of what was
/// too much, and from there by one after as many successes as there are requests under way.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: usize,
    limit: watch::Sender<usize>,
    learnt: Mutex<Learnt>,
}

#[derive(Debug)]
struct Learnt {
    /// Up to here it is raised quickly.
    quickly: usize,
    /// Since it was last raised.
    successes: usize,
    /// When it was last halved.
    halved: Option<Instant>,
    /// There was a success since then.
    was_right: bool,
}

impl Limiter {
    /// Begins with `most`, and never goes beyond.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        let learnt = Learnt { quickly: most, successes: 0, halved: None, was_right: true };
        Self { most, limit: watch::Sender::new(most), learnt: Mutex::new(learnt) }
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

    /// Learns from the answer to a request that began then.
    pub(crate) fn learn(&self, error: Option<&Error>, began: Instant) {
        let is_overload = match error {
            Some(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            None => began.elapsed() > SLOW,
        };
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = *self.limit.borrow();
        if is_overload {
            if learnt.halved.is_some_and(|halved| began <= halved) {
                return;
            }
            if learnt.was_right {
                learnt.quickly = limit / 2;
            }
            (learnt.successes, learnt.halved, learnt.was_right) = (0, Some(Instant::now()), false);
            self.limit.send_replace((limit / 2).max(1));
            return;
        }
        learnt.was_right = true;
        learnt.successes += 1;
        if limit < self.most && (limit < learnt.quickly || learnt.successes >= limit) {
            learnt.successes = 0;
            self.limit.send_replace(limit + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overload_halves_it_and_successes_restore_it() {
        let limiter = Limiter::new(48);
        let limit = || *limiter.limit.borrow();
        let refusal = Error::unavailable("too much to do");
        let mut began = Instant::now();
        // All that were under way say the same.
        for _ in 0..48 {
            limiter.learn(Some(&refusal), began);
        }
        assert_eq!(limit(), 24);
        tokio::time::advance(SLOW * 2).await;
        limiter.learn(None, began);
        assert_eq!(limit(), 24, "it had begun before");
        for _ in 0..10 {
            began = Instant::now();
            tokio::time::advance(SLOW).await;
            limiter.learn(Some(&refusal), began);
        }
        assert_eq!(limit(), 1);
        // A mistake of ours is none of the server's.
        limiter.learn(Some(&Error::invalid("no")), began);
        for _ in 0..22 {
            limiter.learn(None, began);
        }
        assert_eq!(limit(), 24, "quickly to half of what was too much");
        (0..24).for_each(|_| limiter.learn(None, began));
        assert_eq!(limit(), 25);
        (0..2_000).for_each(|_| limiter.learn(None, began));
        assert_eq!(limit(), 48);
    }
}
