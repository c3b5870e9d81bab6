//! What happened lately, for those who watch: a ring that each reads at its own pace. Whoever falls
//! behind by more than the ring holds begins anew with the state as it is.

use std::collections::VecDeque;

use anymaster_core::model::{AppId, Cursor, Status};
use tokio::sync::watch;

/// How many changes are kept.
const KEPT: usize = 16_384;

/// A place among all changes that a master has seen: which master's life, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    life: u64,
    count: u64,
}

impl Place {
    pub(crate) fn cursor(self) -> Cursor {
        Cursor(format!("{:016x}.{}", self.life, self.count))
    }

    pub(crate) fn parse(cursor: &Cursor) -> Option<Self> {
        let (life, count) = cursor.0.split_once('.')?;
        Some(Self { life: u64::from_str_radix(life, 16).ok()?, count: count.parse().ok()? })
    }
}

/// The latest changes.
#[derive(Debug)]
pub(crate) struct News {
    life: u64,
    ring: VecDeque<Status>,
    /// How many there were before the first one of the ring.
    dropped: u64,
    /// How many of them those who watch may know: what follows from a state that is not durable yet is
    /// not told.
    told: watch::Sender<u64>,
}

impl News {
    pub(crate) fn new() -> Self {
        Self {
            life: rand::random(),
            ring: VecDeque::new(),
            dropped: 0,
            told: watch::Sender::new(0),
        }
    }

    pub(crate) fn push(&mut self, status: Status) {
        if self.ring.len() == KEPT {
            self.ring.pop_front();
            self.dropped += 1;
        }
        self.ring.push_back(status);
    }

    /// How many changes there were.
    pub(crate) fn count(&self) -> u64 {
        self.dropped + self.ring.len() as u64
    }

    /// Tells the first `count` changes to those who wait for changes.
    pub(crate) fn announce(&self, count: u64) {
        self.told.send_if_modified(|told| {
            let before = *told;
            *told = before.max(count);
            *told != before
        });
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Behind the last change, whether it has been told or not.
    pub(crate) fn place(&self) -> Place {
        Place { life: self.life, count: self.count() }
    }

    /// The changes behind a place that may be told, at most `many`, and the place behind them; `None` if
    /// they are not all known any more.
    pub(crate) fn since(
        &self,
        place: Place,
        app: Option<&AppId>,
        many: usize,
    ) -> Option<(Vec<Status>, Place)> {
        let skipped = place.count.checked_sub(self.dropped)?;
        let skipped = usize::try_from(skipped).ok().filter(|at| *at <= self.ring.len())?;
        if place.life != self.life {
            return None;
        }
        let told = usize::try_from(self.told.borrow().saturating_sub(self.dropped));
        let told = self.ring.len().min(told.unwrap_or(usize::MAX));
        let taken = told.min(skipped.saturating_add(many)).max(skipped);
        let meant = self.ring.range(skipped..taken);
        let meant = meant.filter(|status| app.is_none_or(|app| status.app() == app));
        let behind = Place { life: self.life, count: self.dropped + taken as u64 };
        Some((meant.cloned().collect(), behind))
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AllocationPhase, AllocationStatus};

    use super::*;

    fn status(app: &str, target: u64) -> Status {
        Status::Allocation(AllocationStatus {
            app: AppId::new(app).unwrap(),
            target,
            running: 0,
            pending: 0,
            failed: 0,
            phase: AllocationPhase::Moving,
        })
    }

    #[test]
    fn a_reader_goes_on_where_it_was_or_begins_anew() {
        let mut news = News::new();
        let begin = news.place();
        for number in 0..10 {
            news.push(status(if number % 2 == 0 { "a" } else { "b" }, number));
        }
        assert_eq!(news.since(begin, None, 100).unwrap(), (Vec::new(), begin), "none may be told");
        news.announce(news.count());
        let a = AppId::new("a").unwrap();
        let (some, place) = news.since(begin, Some(&a), 4).unwrap();
        assert_eq!(some, [status("a", 0), status("a", 2)]);
        let place = Place::parse(&place.cursor()).unwrap();
        let (rest, place) = news.since(place, None, 100).unwrap();
        assert_eq!(rest.len(), 6);
        assert_eq!(news.since(place, None, 100).unwrap(), (Vec::new(), place));
        for number in 0..KEPT as u64 {
            news.push(status("a", number));
        }
        assert!(news.since(begin, None, 1).is_none(), "too far behind");
        assert!(News::new().since(place, None, 1).is_none(), "another master");
    }
}
