//! What has happened lately, for subscribers: a ring that each reads at its own pace, and an index of it by
//! application. A subscriber that falls behind by more than the ring holds begins again with the whole state.

use std::collections::{HashMap, VecDeque};

use anymaster_core::model::{AppId, Cursor, Status};

/// How many events are kept.
const KEPT: usize = 16_384;

/// A position among all events of one incarnation of a master: behind the first `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    incarnation: u64,
    count: u64,
}

impl Position {
    /// As clients know it.
    pub fn cursor(self) -> Cursor {
        Cursor(format!("{:016x}.{}", self.incarnation, self.count))
    }

    /// Reads what a client says; `None` if that was not made by [`cursor`](Self::cursor).
    pub fn parse(cursor: &Cursor) -> Option<Self> {
        let (incarnation, count) = cursor.0.split_once('.')?;
        let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
        Some(Self { incarnation, count: count.parse().ok()? })
    }
}

/// The events of one application in the ring.
#[derive(Debug, Default)]
struct Index {
    /// Their numbers, from 0 on.
    numbers: VecDeque<u64>,
    /// How many events of all applications there were with the last of its events that is not in the ring any more.
    dropped: u64,
    /// The application is forgotten: this goes with the last of its events.
    is_forgotten: bool,
}

/// The latest events.
#[derive(Debug)]
pub struct EventLog {
    incarnation: u64,
    /// `None`: it was withdrawn before it was published.
    ring: VecDeque<Option<Status>>,
    /// How many there were before the first one of the ring.
    dropped: u64,
    /// How many of them subscribers may see: what follows from a state that is not durable yet is not published.
    published: u64,
    by_app: HashMap<AppId, Index>,
}

impl EventLog {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            ring: VecDeque::new(),
            dropped: 0,
            published: 0,
            by_app: HashMap::new(),
        }
    }

    pub(crate) fn push(&mut self, status: Status) {
        if self.ring.len() == KEPT
            && let Some(first) = self.ring.pop_front()
        {
            self.dropped += 1;
            if let Some(first) = first
                && let Some(index) = self.by_app.get_mut(first.app())
            {
                index.numbers.pop_front();
                index.dropped = self.dropped;
                if index.is_forgotten && index.numbers.is_empty() {
                    self.by_app.remove(first.app());
                }
            }
        }
        let number = self.count();
        match self.by_app.get_mut(status.app()) {
            Some(index) => {
                index.numbers.push_back(number);
                index.is_forgotten = false;
            }
            None => {
                let index = Index { numbers: [number].into(), ..Index::default() };
                self.by_app.insert(status.app().clone(), index);
            }
        }
        self.ring.push_back(Some(status));
    }

    /// Takes back the events of an application that are not published: it was not accepted.
    pub(crate) fn withdraw(&mut self, app: &AppId) {
        let Some(index) = self.by_app.get_mut(app) else { return };
        let published = self.published;
        while let Some(number) = index.numbers.pop_back_if(|number| *number >= published) {
            let at = usize::try_from(number - self.dropped).ok();
            if let Some(event) = at.and_then(|at| self.ring.get_mut(at)) {
                *event = None;
            }
        }
    }

    /// An application is forgotten: what is known of its events goes with the last of them.
    pub(crate) fn forget(&mut self, app: &AppId) {
        if let Some(index) = self.by_app.get_mut(app) {
            index.is_forgotten = true;
            if index.numbers.is_empty() {
                self.by_app.remove(app);
            }
        }
    }

    /// How many events there were.
    pub fn count(&self) -> u64 {
        self.dropped + self.ring.len() as u64
    }

    /// How many events there were before those that are known.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many events subscribers may see.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Subscribers may see the first `count` events. Whether that is new.
    pub(crate) fn publish(&mut self, count: u64) -> bool {
        let before = self.published;
        self.published = before.max(count);
        self.published != before
    }

    /// Behind the last event, published or not.
    pub fn position(&self) -> Position {
        Position { incarnation: self.incarnation, count: self.count() }
    }

    /// Of which applications there are events from number `from` on, up to number `to`, as far as they are in the ring.
    pub fn apps_between(&self, from: u64, to: u64) -> impl Iterator<Item = &AppId> {
        let at = |count: u64| {
            let at = usize::try_from(count.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
            at.min(self.ring.len())
        };
        self.ring.range(at(from)..at(to).max(at(from))).flatten().map(Status::app)
    }

    /// The published events behind a position, at most `many`, and the position behind them; `None` if they are not
    /// all known any more. What this costs depends on the number of these events only.
    pub fn since(
        &self,
        position: Position,
        app: Option<&AppId>,
        many: usize,
    ) -> Option<(Vec<Status>, Position)> {
        if position.incarnation != self.incarnation || position.count > self.count() {
            return None;
        }
        let behind = |count| Position { incarnation: self.incarnation, count };
        // There may be unpublished events before the position: it was that of a state.
        let published = self.published.max(position.count);
        let at = |number: u64| usize::try_from(number - self.dropped).ok();
        match app.map(|app| (app, self.by_app.get(app))) {
            Some((_, Some(index))) if position.count >= index.dropped => {
                let first = index.numbers.partition_point(|number| *number < position.count);
                let last = index.numbers.partition_point(|number| *number < published);
                let all = last.saturating_sub(first);
                let taken = index.numbers.range(first..first + all.min(many));
                let events =
                    taken.filter_map(|number| self.ring.get(at(*number)?).cloned().flatten());
                let events: Vec<_> = events.collect();
                let end = match index.numbers.get(first + events.len()) {
                    Some(next) if events.len() < all => *next,
                    _ => published,
                };
                Some((events, behind(end)))
            }
            Some((_, Some(_))) => None,
            // Nothing has happened to it, as far as that is known.
            Some((_, None)) => {
                (position.count >= self.dropped).then(|| (Vec::new(), behind(published)))
            }
            None => {
                let first =
                    at(position.count.checked_sub(self.dropped).map(|_| position.count)?)?;
                let last = usize::try_from(published.saturating_sub(self.dropped));
                let last = last.unwrap_or(usize::MAX).min(self.ring.len());
                let last = last.min(first.saturating_add(many)).max(first);
                let events = self.ring.range(first..last).flatten().cloned().collect();
                Some((events, behind(self.dropped + last as u64)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AllocationPhase, AllocationStatus};

    use super::*;

    fn status(app: &str, target: u64) -> Status {
        let mut allocation = AllocationStatus::new(AppId::new(app).unwrap());
        (allocation.target, allocation.phase) = (target, AllocationPhase::Moving);
        Status::Allocation(allocation)
    }

    #[test]
    fn a_reader_goes_on_where_it_was_or_begins_anew() {
        let mut events = EventLog::new(7);
        let begin = events.position();
        for number in 0..10 {
            events.push(status(if number % 2 == 0 { "a" } else { "b" }, number));
        }
        assert_eq!(
            events.since(begin, None, 100).unwrap(),
            (Vec::new(), begin),
            "none may be told"
        );
        events.publish(events.count());
        let a = AppId::new("a").unwrap();
        let (some, place) = events.since(begin, Some(&a), 2).unwrap();
        assert_eq!(some, [status("a", 0), status("a", 2)]);
        let place = Position::parse(&place.cursor()).unwrap();
        let (rest, place) = events.since(place, None, 100).unwrap();
        assert_eq!(rest.len(), 6);
        assert_eq!(events.since(place, None, 100).unwrap(), (Vec::new(), place));
        for number in 0..KEPT as u64 {
            events.push(status("a", number));
        }
        assert!(events.since(begin, None, 1).is_none(), "too far behind");
        assert!(EventLog::new(8).since(place, None, 1).is_none(), "another master");
    }
}
