//! How long to wait between attempts.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Exponential back-off with jitter: the pauses between attempts that fail.
///
/// Each pause is twice as long as the one before, up to a limit; jitter makes it up to twice as long again,
/// so that clients which failed together do not try again together.
pub struct Backoff {
    builder: ExponentialBuilder,
    pauses: ExponentialBackoff,
    wait: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`, before jitter.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let builder = exponential(first, longest).with_jitter();
        Self { builder, pauses: builder.build(), wait: Duration::ZERO }
    }

    /// Records a failed attempt, and how long the server asks to wait, if it does: the pause is not shorter
    /// then. Returns the next pause.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.pauses.next().unwrap_or_default();
        self.wait = match asked {
            Some(asked) => asked.mul_f64(1.0 + fastrand::f64() / 2.0),
            None => pause,
        };
        self.wait
    }

    /// Records an attempt that succeeded.
    pub fn reset(&mut self) {
        (self.pauses, self.wait) = (self.builder.build(), Duration::ZERO);
    }

    /// Waits, if the last attempt failed.
    pub async fn pause(&mut self) {
        let wait = std::mem::take(&mut self.wait);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// The pauses of a back-off, without jitter and without end.
pub(crate) fn exponential(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for doubled in [1, 2, 4, 8, 10, 10, 10] {
            let pause = backoff.failed(None);
            assert!(pause >= FIRST * doubled && pause <= FIRST * doubled * 2, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.failed(None) <= FIRST * 2);
    }

    #[test]
    fn a_pause_is_not_shorter_than_the_server_asks() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let asked = Duration::from_secs(7);
        for _ in 0..100 {
            assert!((asked..asked * 2).contains(&backoff.failed(Some(asked))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_once_for_each_failure() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let start = tokio::time::Instant::now();
        backoff.pause().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        let wait = backoff.failed(None);
        backoff.pause().await;
        backoff.pause().await;
        assert!(start.elapsed() >= wait && start.elapsed() < wait + FIRST, "{:?}", start.elapsed());
    }
}
