//! Statistics of declined offers: why the offers of the last minute did not suit an application.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use anymaster_engine::{Amount, Cores, Instant};

/// The period of the statistics.
const SPAN: Duration = Duration::from_secs(60);
/// The resolution of the statistics.
const PIECE: Duration = Duration::from_secs(1);

/// Why an offer was not used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reason {
    /// Too few cores.
    Cpus,
    /// Too little memory.
    Memory,
    /// Too few of another resource (`gpus`, `ports`).
    Too(String),
    /// An attribute does not meet a constraint.
    Constraint(String),
    /// A port that the application needs is not offered.
    Port(u16),
    /// The agent is excluded, as the application's executors failed there too often.
    Failing,
}

/// The statistics of one application.
#[derive(Debug, Default)]
pub(super) struct DeclineStats {
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    began: Instant,
    counts: BTreeMap<Reason, u64>,
    most: (Cores, u64),
}

impl DeclineStats {
    /// Counts an offer that was not used.
    pub(super) fn count(&mut self, reason: Reason, free: &Amount, now: Instant) {
        self.trim(now);
        if self.pieces.back().is_none_or(|piece| now - piece.began > PIECE) {
            let piece = Piece { began: now, counts: BTreeMap::new(), most: Default::default() };
            self.pieces.push_back(piece);
        }
        if let Some(piece) = self.pieces.back_mut() {
            *piece.counts.entry(reason).or_default() += 1;
            piece.most = (piece.most.0.max(free.cores), piece.most.1.max(free.memory_mib));
        }
    }

    fn trim(&mut self, now: Instant) {
        while self.pieces.front().is_some_and(|piece| now - piece.began > SPAN) {
            self.pieces.pop_front();
        }
    }

    /// A summary as text. `role`: that of the framework.
    pub(super) fn tell(&mut self, need: &Amount, role: &str, now: Instant) -> String {
        self.trim(now);
        let mut text = format!("needs {} cpus and {} MiB", need.cores, need.memory_mib);
        for (name, amount) in need.extra.iter().filter(|(_, amount)| **amount > 0) {
            // Writing to a string cannot fail.
            let _ = write!(text, " and {amount} {name}");
        }
        let mut counts = BTreeMap::<&Reason, u64>::new();
        let mut most = (Cores::default(), 0);
        for piece in &self.pieces {
            for (reason, count) in &piece.counts {
                *counts.entry(reason).or_default() += count;
            }
            most = (most.0.max(piece.most.0), most.1.max(piece.most.1));
        }
        let all: u64 = counts.values().sum();
        if all == 0 {
            let _ = write!(text, "; no offers in the last minute (role {role})");
            return text;
        }
        let _ = write!(text, "; of {all} offers declined in the last minute");
        let told = counts.into_iter().map(|(reason, count)| match reason {
            Reason::Cpus => format!("{count} had too few cpus (the most {})", most.0),
            Reason::Memory => format!("{count} too little memory (the most {} MiB)", most.1),
            Reason::Too(name) => format!("{count} too few {name}"),
            Reason::Constraint(name) => format!("{count} did not meet the constraint on {name}"),
            Reason::Port(port) => format!("{count} did not have port {port}"),
            Reason::Failing => format!("{count} were of agents on which its executors fail"),
        });
        for (at, told) in told.enumerate() {
            let _ = write!(text, "{} {told}", if at == 0 { "" } else { "," });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declined_offers_of_the_last_minute_are_counted() {
        let (mut why, now) = (DeclineStats::default(), Instant::after_start(SPAN));
        let need = Amount { cores: Cores::whole(2), memory_mib: 1024, ..Amount::default() };
        assert!(why.tell(&need, "dev", now).contains("no offers in the last minute"));
        let free = Amount { cores: 0.5.into(), memory_mib: 4096, ..Amount::default() };
        for second in 0..90 {
            why.count(Reason::Cpus, &free, now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(90);
        why.count(Reason::Constraint("zone".to_owned()), &free, later);
        let told = why.tell(&need, "dev", later);
        assert!(told.starts_with("needs 2 cpus and 1024 MiB; of 61 offers declined"), "{told}");
        assert!(told.contains("60 had too few cpus (the most 0.5), 1 did not meet the constraint"));
        assert!(why.pieces.len() < 70);
        assert!(why.tell(&need, "dev", later + SPAN * 2).contains("no offers"));
    }
}
