//! Makes a timeline of what an observer of a run is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anymaster::{RunEvent, RunObserver};
use anymaster_core::model::{AllocationStatus, DriverStatus, ExecutorId, ExecutorStatus, State};
use jiff::Timestamp;

use crate::timeline::{Bar, Marks, Timeline, is_loss};

/// Who hears how far the executors of a run are.
pub(crate) type OnAllocation = Box<dyn Fn(&AllocationStatus) + Send + Sync>;

/// Takes down when what happened, by the clock of this process: those of clusters differ.
pub(crate) struct Recorder {
    began: Timestamp,
    clock: Instant,
    /// How long the run took before the clock was started, in seconds.
    before: f64,
    on_allocation: OnAllocation,
    state: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    marks: Marks,
    driver: Bar,
    executors: BTreeMap<ExecutorId, Bar>,
    running: u64,
    most: u64,
    lost: u64,
    replaced: u64,
}

impl Recorder {
    /// The run begins now.
    pub(crate) fn new(on_allocation: OnAllocation) -> Self {
        let (began, clock) = (Timestamp::now(), Instant::now());
        Self { began, clock, before: 0.0, on_allocation, state: Mutex::default() }
    }

    /// Goes on with a run of which this is known.
    pub(crate) fn resume(known: Timeline) -> Self {
        let runs = |bar: &&Bar| bar.started.is_some() && bar.ended.is_none();
        let running = known.executors.iter().filter(runs).count() as u64;
        let id = |bar: &Bar| bar.id.map_or(ExecutorId(0), ExecutorId);
        let recorded = Recorded {
            marks: known.marks,
            driver: known.driver,
            running,
            most: running,
            lost: known.lost,
            replaced: known.replaced,
            executors: known.executors.into_iter().map(|bar| (id(&bar), bar)).collect(),
        };
        let began = known.began;
        let before = Timestamp::now().duration_since(began).as_secs_f64().max(0.0);
        let (clock, on_allocation) = (Instant::now(), Box::new(|_: &AllocationStatus| {}));
        Self { began, clock, before, on_allocation, state: Mutex::new(recorded) }
    }

    /// Whether the driver has ended.
    pub(crate) fn has_driver_ended(&self) -> bool {
        self.state().driver.ended.is_some()
    }

    /// Whether the driver and all executors have ended.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.driver.ended.is_some() && state.executors.values().all(|bar| bar.ended.is_some())
    }

    fn state(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the run began.
    pub(crate) fn now(&self) -> f64 {
        self.before + self.clock.elapsed().as_secs_f64()
    }

    /// The cluster has accepted the driver.
    pub(crate) fn submitted(&self, driver: &DriverStatus) {
        let now = self.now();
        self.state().marks.submitted = Some(now);
        self.driver(driver);
    }

    /// How the driver is.
    pub(crate) fn driver(&self, driver: &DriverStatus) {
        let now = self.now();
        let mut state = self.state();
        if let Some(host) = &driver.host {
            state.driver.host = Some(host.to_string());
        }
        match &driver.state {
            State::Pending { .. } if driver.host.is_some() => {
                state.marks.placed.get_or_insert(now);
            }
            State::Pending { .. } => {}
            State::Running | State::Ending => {
                state.marks.driver.get_or_insert(now);
                state.driver.started.get_or_insert(now);
            }
            State::Ended(end) => {
                // One that ends at once may never be seen as it runs.
                state.marks.driver_ended.get_or_insert(now);
                state.driver.ended.get_or_insert(now);
                state.driver.cause = Some(end.cause.clone());
            }
        }
    }

    /// How an executor is.
    pub(crate) fn executor(&self, executor: &ExecutorStatus) {
        self.state().executor(executor, self.now());
    }

    /// The run is over, and nothing is left if `clean`.
    pub(crate) fn finish(&self, clean: bool) -> Timeline {
        let length = self.now();
        // Whoever still holds the recorder tells nothing any more that counts.
        let state = std::mem::take(&mut *self.state());
        let mut marks = state.marks;
        let lives = state.executors.values().any(|bar| bar.ended.is_none());
        let last = state.executors.values().filter_map(|bar| bar.ended).fold(0.0, f64::max);
        marks.all_ended = marks.driver_ended.filter(|_| !lives).map(|ended| ended.max(last));
        marks.cleaned_up = marks.all_ended.filter(|_| clean).map(|_| length);
        Timeline {
            began: self.began,
            length,
            marks,
            driver: state.driver,
            executors: state.executors.into_values().collect(),
            lost: state.lost,
            replaced: state.replaced,
        }
    }
}

impl Recorded {
    fn executor(&mut self, executor: &ExecutorStatus, now: f64) {
        let is_new = !self.executors.contains_key(&executor.id);
        if is_new && self.replaced < self.lost {
            self.replaced += 1;
        }
        let bar = self.executors.entry(executor.id).or_insert_with(|| Bar {
            id: Some(executor.id.0),
            seen: now,
            profile: executor.profile,
            ..Bar::default()
        });
        if let Some(host) = &executor.host {
            bar.host = Some(host.to_string());
        }
        match &executor.state {
            State::Pending { .. } => {}
            State::Running | State::Ending if bar.started.is_none() => {
                bar.started = Some(now);
                self.running += 1;
                self.marks.first_executor.get_or_insert(now);
                // Those that come in the place of others are none of the first ones.
                if self.running > self.most {
                    self.most = self.running;
                    self.marks.last_executor = Some(now);
                }
            }
            State::Running | State::Ending => {}
            State::Ended(end) if bar.ended.is_none() => {
                bar.ended = Some(now);
                bar.cause = Some(end.cause.clone());
                if bar.started.is_some() {
                    self.running -= 1;
                }
                if self.driver.ended.is_none() && is_loss(&end.cause) {
                    self.lost += 1;
                }
            }
            State::Ended(_) => {}
        }
    }
}

impl RunObserver for Recorder {
    fn observe(&self, event: RunEvent<'_>) {
        match event {
            RunEvent::Driver(driver) => self.driver(driver),
            RunEvent::Executor(executor) => self.executor(executor),
            RunEvent::Allocation(allocation) => (self.on_allocation)(allocation),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AppId, Cause, KilledBy, ProfileId, SubmissionId};

    use super::*;

    fn executor(id: u64, state: State) -> ExecutorStatus {
        ExecutorStatus::new(AppId::new("a").unwrap(), ExecutorId(id), ProfileId(0), state)
    }

    fn ended(cause: Cause) -> State {
        State::ended(cause, Timestamp::UNIX_EPOCH)
    }

    fn driver(state: State) -> DriverStatus {
        DriverStatus::new(SubmissionId::new("a").unwrap(), AppId::new("a").unwrap(), "a")
            .with_state(state)
    }

    #[test]
    fn losses_and_their_replacements_are_counted_once() {
        let recorder = Recorder::new(Box::new(|_| {}));
        recorder.submitted(&driver(State::Pending { why: None }));
        recorder.observe(RunEvent::Driver(&driver(State::Running)));
        let tell = |id, state| recorder.observe(RunEvent::Executor(&executor(id, state)));
        tell(1, State::Running);
        tell(2, State::Running);
        tell(1, ended(Cause::Signaled { signal: 9 }));
        tell(1, ended(Cause::Signaled { signal: 9 }));
        tell(3, State::Pending { why: None });
        tell(3, State::Running);
        tell(4, State::Running);
        recorder.observe(RunEvent::Driver(&driver(ended(Cause::Finished))));
        for id in 2..=4 {
            tell(id, ended(Cause::Killed { by: KilledBy::DriverEnd }));
        }
        let timeline = recorder.finish(true);
        assert_eq!((timeline.lost, timeline.replaced, timeline.executors.len()), (1, 1, 4));
        assert_eq!(timeline.running().iter().map(|(_, number)| *number).max(), Some(3));
        let marks = timeline.marks;
        assert!(marks.first_executor <= marks.last_executor);
        assert!(marks.all_ended <= marks.cleaned_up && marks.cleaned_up.is_some());
    }

    #[test]
    fn what_still_lives_is_not_over() {
        let recorder = Recorder::new(Box::new(|_| {}));
        recorder.submitted(&driver(State::Running));
        recorder.observe(RunEvent::Executor(&executor(1, State::Running)));
        recorder.observe(RunEvent::Driver(&driver(ended(Cause::Finished))));
        let timeline = recorder.finish(true);
        assert_eq!((timeline.marks.all_ended, timeline.marks.cleaned_up), (None, None));
        assert!(timeline.driver.ran().is_some() && timeline.executors[0].ran().is_none());
    }
}
