//! Proofs that were wrong: who shows them is told of in the log, and waits for the answer, longer each
//! time. Whoever shows a right one is not kept waiting, of whatever address: nobody can be locked out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Source;

/// The first delay; each one is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(100);
/// The longest: the other side has not given up yet, and is told that its secret is wrong.
const LONGEST: Duration = Duration::from_secs(5);
/// After this time without another one, an address has none.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// How many addresses are remembered: for another one, the one whose last failure is oldest is
/// forgotten.
const ADDRESSES: usize = 4_096;
/// Lines of the log in a minute, over all addresses.
const LINES: u32 = 20;
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

/// What was told in this minute.
struct Lines {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Failures {
    /// Counts one more, and says so in the log; how long its answer is to wait.
    pub(super) fn count(&self, source: Source, what: &str) -> Duration {
        let (count, left_out) = {
            let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let count = table.count(source, now);
            // The first, the second, the fourth …: the log does not grow with the attack.
            (count, if count.is_power_of_two() { table.may_tell(now) } else { None })
        };
        match left_out {
            None => {}
            Some(0) => tracing::warn!("{source} shows a wrong {what}: {count} so far"),
            Some(more) => tracing::warn!(
                "{source} shows a wrong {what}: {count} so far; {more} lines of this kind left out"
            ),
        }
        delay(count)
    }
}

fn delay(count: u32) -> Duration {
    FIRST.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST)
}

impl Table {
    fn count(&mut self, source: Source, now: Instant) -> u32 {
        if self.by_source.len() >= ADDRESSES && !self.by_source.contains_key(&source) {
            let oldest = self.by_source.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.by_source.remove(&oldest);
            }
        }
        let failed = self.by_source.entry(source).or_insert(Failed { count: 0, last: now });
        if now.duration_since(failed.last) >= FORGOTTEN {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
        failed.count
    }

    /// Whether one more line may be written, and how many were left out before it.
    fn may_tell(&mut self, now: Instant) -> Option<u64> {
        let lines = self.lines.get_or_insert(Lines { since: now, told: 0, left_out: 0 });
        if now.duration_since(lines.since) >= MINUTE {
            (lines.since, lines.told) = (now, 0);
        }
        if lines.told >= LINES {
            lines.left_out += 1;
            return None;
        }
        lines.told += 1;
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
    async fn each_is_slower_up_to_a_limit_and_they_are_forgotten() {
        let failures = Failures::default();
        let delays: Vec<_> =
            (0..8).map(|_| failures.count(source(1), "secret").as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(failures.count(source(2), "secret"), FIRST, "others do not pay for it");
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(failures.count(source(1), "secret"), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_the_table_nor_the_log_grows_with_the_attack() {
        let mut table = Table::default();
        for number in 0..10_000 {
            tokio::time::advance(Duration::from_micros(1)).await;
            table.count(source(number), Instant::now());
        }
        assert_eq!(table.by_source.len(), ADDRESSES);
        assert_eq!(table.count(source(9_999), Instant::now()), 2, "the latest are remembered");
        let now = Instant::now();
        assert_eq!((0..100).filter(|_| table.may_tell(now).is_some()).count(), LINES as usize);
        assert_eq!(table.may_tell(now + MINUTE), Some(100 - u64::from(LINES)));
    }
}
