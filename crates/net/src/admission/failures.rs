//! Failed authentications: they are logged, and each answer is delayed longer than the one before.
//! Successful ones are never delayed, from whatever address, so that nobody can be locked out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Source;

/// The first delay; it doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay: short enough for the client to receive the answer before it times out.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// The failures of an address are forgotten after this time without another one.
const EXPIRY: Duration = Duration::from_secs(600);
/// How many addresses are remembered; beyond that, the one with the oldest failure is forgotten.
const MAX_ADDRESSES: usize = 4_096;
/// The largest number of log lines per minute, over all addresses.
const LINES_PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Failures(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_source: HashMap<Source, Failed>,
    lines: Option<Lines>,
}

struct Failed {
    count: u32,
    last: Instant,
}

/// The log lines of this minute.
struct Lines {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Failures {
    /// Counts and logs a failure; returns the delay of the answer.
    pub(super) fn count(&self, source: Source, what: &str) -> Duration {
        let (count, left_out) = {
            let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let count = table.count(source, now);
            // Logs only the first, second, fourth, eighth … failure, so that an attack cannot fill the log.
            (count, if count.is_power_of_two() { table.may_log(now) } else { None })
        };
        match left_out {
            None => {}
            Some(0) => tracing::warn!("{source} presented an invalid {what}: {count} so far"),
            Some(more) => tracing::warn!(
                "{source} presented an invalid {what}: {count} so far; {more} lines of this kind left out"
            ),
        }
        delay(count)
    }
}

fn delay(count: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << count.saturating_sub(1).min(16)).min(MAX_DELAY)
}

impl Table {
    fn count(&mut self, source: Source, now: Instant) -> u32 {
        if self.by_source.len() >= MAX_ADDRESSES && !self.by_source.contains_key(&source) {
            let oldest = self.by_source.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.by_source.remove(&oldest);
            }
        }
        let failed = self.by_source.entry(source).or_insert(Failed { count: 0, last: now });
        if now.duration_since(failed.last) >= EXPIRY {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
        failed.count
    }

    /// `None` if no line may be written now; else the number of lines left out before.
    fn may_log(&mut self, now: Instant) -> Option<u64> {
        let lines = self.lines.get_or_insert(Lines { since: now, written: 0, left_out: 0 });
        if now.duration_since(lines.since) >= MINUTE {
            (lines.since, lines.written) = (now, 0);
        }
        if lines.written >= LINES_PER_MINUTE {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> Source {
        Source(Ipv4Addr::from(number).into())
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_up_to_a_limit_and_failures_expire() {
        let failures = Failures::default();
        let delays: Vec<_> =
            (0..8).map(|_| failures.count(source(1), "secret").as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(
            failures.count(source(2), "secret"),
            FIRST_DELAY,
            "other addresses are not delayed"
        );
        tokio::time::advance(EXPIRY).await;
        assert_eq!(failures.count(source(1), "secret"), FIRST_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_and_the_log_are_bounded() {
        let mut table = Table::default();
        for number in 0..10_000 {
            tokio::time::advance(Duration::from_micros(1)).await;
            table.count(source(number), Instant::now());
        }
        assert_eq!(table.by_source.len(), MAX_ADDRESSES);
        assert_eq!(table.count(source(9_999), Instant::now()), 2, "the latest are remembered");
        let now = Instant::now();
        assert_eq!(
            (0..100).filter(|_| table.may_log(now).is_some()).count(),
            LINES_PER_MINUTE as usize
        );
        assert_eq!(table.may_log(now + MINUTE), Some(100 - u64::from(LINES_PER_MINUTE)));
    }
}
