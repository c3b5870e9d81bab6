//! How many requests are under way at once: more while the API server answers quickly, fewer when it
//! says that it has too much to do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// An answer that takes longer than this tells of a server with too much to do.
const SLOW: Duration = Duration::from_secs(2);

/// How many requests may be under way, as TCP does it: halved when the server has too much to do, once
/// for all requests that were under way together; then raised with each success up to half of what was
/// too much, and from there by one after as many successes as there are requests under way.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: usize,
    turns: Semaphore,
    learnt: Mutex<Learnt>,
}

/// Somebody's turn to make a request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    limiter: &'a Limiter,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut learnt = self.limiter.learnt();
        if learnt.surplus > 0 {
            learnt.surplus -= 1;
            self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        }
        // Nobody is to take away turns while one goes back.
        self.permit.take();
    }
}

#[derive(Debug)]
struct Learnt {
    limit: usize,
    /// So many of those whose turn it is are too many by now: nobody takes their place.
    surplus: usize,
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
        let learnt = Learnt {
            limit: most,
            surplus: 0,
            quickly: most,
            successes: 0,
            halved: None,
            was_right: true,
        };
        Self { most, turns: Semaphore::new(most), learnt: Mutex::new(learnt) }
    }

    /// The most there can ever be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Waits until one more request may be made, of all that share this.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        // Nobody closes it: there is no error to be had.
        Turn { limiter: self, permit: self.turns.acquire().await.ok() }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from the answer to a request that began then.
    pub(crate) fn learn(&self, error: Option<&Error>, began: Instant) {
        let is_overload = match error {
            Some(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            None => began.elapsed() > SLOW,
        };
        let mut learnt = self.learnt();
        let limit = learnt.limit;
        if is_overload {
            if learnt.halved.is_some_and(|halved| began <= halved) {
                return;
            }
            if learnt.was_right {
                learnt.quickly = limit / 2;
            }
            (learnt.successes, learnt.halved, learnt.was_right) = (0, Some(Instant::now()), false);
            learnt.limit = (limit / 2).max(1);
            let fewer = limit - learnt.limit;
            learnt.surplus += fewer - self.turns.forget_permits(fewer);
            return;
        }
        learnt.was_right = true;
        learnt.successes += 1;
        if limit < self.most && (limit < learnt.quickly || learnt.successes >= limit) {
            learnt.successes = 0;
            learnt.limit += 1;
            match learnt.surplus {
                0 => self.turns.add_permits(1),
                _ => learnt.surplus -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overload_halves_it_and_successes_restore_it() {
        let limiter = Limiter::new(48);
        let limit = || limiter.learnt().limit;
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
    #[tokio::test(start_paused = true)]
    async fn turns_are_as_many_as_the_limit_whoever_has_them() {
        let limiter = Limiter::new(8);
        let refusal = Error::unavailable("too much to do");
        let mut under_way = Vec::new();
        for _ in 0..6 {
            under_way.push(limiter.turn().await);
        }
        let began = Instant::now();
        tokio::time::advance(SLOW).await;
        limiter.learn(Some(&refusal), began);
        assert_eq!(limiter.turns.available_permits(), 0, "six are under way, four may be");
        limiter.learn(None, began);
        (0..3).for_each(|_| drop(under_way.pop()));
        let limit = limiter.learnt().limit;
        assert_eq!(limiter.turns.available_permits(), limit - under_way.len());
        under_way.clear();
        assert_eq!(limiter.turns.available_permits(), limit);
        (0..100).for_each(|_| limiter.learn(None, began));
        assert_eq!(limiter.turns.available_permits(), 8);
    }
}
