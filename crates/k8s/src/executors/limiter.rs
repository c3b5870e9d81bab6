//! Limits concurrent requests adaptively (AIMD): additive increase while the API server answers
//! quickly, multiplicative decrease when it is overloaded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A response that takes longer counts as overload.
const SLOW_RESPONSE: Duration = Duration::from_secs(2);

/// A concurrency limit, adapted like TCP's congestion window: halved on overload, once for all
/// requests that were in flight together; then raised by one per success up to half of the limit
/// that was too high (slow start), and from there by one per `limit` successes.
#[derive(Debug)]
pub(crate) struct AimdLimiter {
    max: usize,
    semaphore: Semaphore,
    state: Mutex<LimitState>,
}

/// The permission to make one request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    limiter: &'a AimdLimiter,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        if state.excess > 0 {
            state.excess -= 1;
            self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        }
        // Returned while the lock is held, so that no other thread removes permits meanwhile.
        self.permit.take();
    }
}

#[derive(Debug)]
struct LimitState {
    limit: usize,
    /// Permits in use beyond the limit: they are not returned to the semaphore.
    excess: usize,
    /// Below this the limit rises with every success.
    slow_start_threshold: usize,
    /// Successes since the last increase.
    successes_since_increase: usize,
    /// When the limit was last halved.
    last_decrease: Option<Instant>,
    /// Whether a request has succeeded since then.
    succeeded_since_decrease: bool,
}

impl AimdLimiter {
    /// Starts at `max`, the upper bound.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1);
        let state = LimitState {
            limit: max,
            excess: 0,
            slow_start_threshold: max,
            successes_since_increase: 0,
            last_decrease: None,
            succeeded_since_decrease: true,
        };
        Self { max, semaphore: Semaphore::new(max), state: Mutex::new(state) }
    }

    /// The upper bound of concurrent requests.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Waits for the permission to make one more request.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        // The semaphore is never closed, so this does not fail.
        Permit { limiter: self, permit: self.semaphore.acquire().await.ok() }
    }

    fn state(&self) -> MutexGuard<'_, LimitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adapts the limit to the response to a request that began at `began`.
    pub(crate) fn record_response(&self, error: Option<&Error>, began: Instant) {
        let is_overload = match error {
            Some(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            None => began.elapsed() > SLOW_RESPONSE,
        };
        let mut state = self.state();
        let limit = state.limit;
        if is_overload {
            if state.last_decrease.is_some_and(|last_decrease| began <= last_decrease) {
                return;
            }
            if state.succeeded_since_decrease {
                state.slow_start_threshold = limit / 2;
            }
            (state.successes_since_increase, state.last_decrease, state.succeeded_since_decrease) =
                (0, Some(Instant::now()), false);
            state.limit = (limit / 2).max(1);
            let fewer = limit - state.limit;
            state.excess += fewer - self.semaphore.forget_permits(fewer);
            return;
        }
        state.succeeded_since_decrease = true;
        state.successes_since_increase += 1;
        if limit < self.max
            && (limit < state.slow_start_threshold || state.successes_since_increase >= limit)
        {
            state.successes_since_increase = 0;
            state.limit += 1;
            match state.excess {
                0 => self.semaphore.add_permits(1),
                _ => state.excess -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overload_halves_the_limit_and_successes_restore_it() {
        let limiter = AimdLimiter::new(48);
        let limit = || limiter.state().limit;
        let refusal = Error::unavailable("too much to do");
        let mut began = Instant::now();
        // All requests in flight are refused.
        for _ in 0..48 {
            limiter.record_response(Some(&refusal), began);
        }
        assert_eq!(limit(), 24);
        tokio::time::advance(SLOW_RESPONSE * 2).await;
        limiter.record_response(None, began);
        assert_eq!(limit(), 24, "the request began before the decrease");
        for _ in 0..10 {
            began = Instant::now();
            tokio::time::advance(SLOW_RESPONSE).await;
            limiter.record_response(Some(&refusal), began);
        }
        assert_eq!(limit(), 1);
        // An invalid request is no sign of overload.
        limiter.record_response(Some(&Error::invalid("no")), began);
        for _ in 0..22 {
            limiter.record_response(None, began);
        }
        assert_eq!(limit(), 24, "slow start ends at half of the limit that was too high");
        (0..24).for_each(|_| limiter.record_response(None, began));
        assert_eq!(limit(), 25);
        (0..2_000).for_each(|_| limiter.record_response(None, began));
        assert_eq!(limit(), 48);
    }
    #[tokio::test(start_paused = true)]
    async fn permits_in_use_and_available_never_exceed_the_limit() {
        let limiter = AimdLimiter::new(8);
        let refusal = Error::unavailable("too much to do");
        let mut in_flight = Vec::new();
        for _ in 0..6 {
            in_flight.push(limiter.acquire().await);
        }
        let began = Instant::now();
        tokio::time::advance(SLOW_RESPONSE).await;
        limiter.record_response(Some(&refusal), began);
        assert_eq!(limiter.semaphore.available_permits(), 0, "six are in flight, four are allowed");
        limiter.record_response(None, began);
        (0..3).for_each(|_| drop(in_flight.pop()));
        let limit = limiter.state().limit;
        assert_eq!(limiter.semaphore.available_permits(), limit - in_flight.len());
        in_flight.clear();
        assert_eq!(limiter.semaphore.available_permits(), limit);
        (0..100).for_each(|_| limiter.record_response(None, began));
        assert_eq!(limiter.semaphore.available_permits(), 8);
    }
}
