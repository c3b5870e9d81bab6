//! A watch, and what it told so far. The rules that hold for every watch are checked as it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, Cause, Cursor, DriverStatus, Event, ExecutorId,
    ExecutorStatus, State, Status,
};
use anymaster_core::{ClusterManager, EventStream, WatchOptions};
use futures::StreamExt as _;

use crate::case::{Outcome, told};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch of one application.
pub(crate) struct Observed {
    events: EventStream,
    pub(crate) seen: Seen,
    pub(crate) cursor: Option<Cursor>,
    /// Within a snapshot: what it showed so far.
    snapshot: bool,
}

/// What is known.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) driver: Option<DriverStatus>,
    pub(crate) executors: BTreeMap<ExecutorId, ExecutorStatus>,
    pub(crate) allocation: Option<AllocationStatus>,
}

impl Seen {
    pub(crate) fn driver_runs(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.state == State::Running)
    }

    pub(crate) fn driver_end(&self) -> Option<&Cause> {
        self.driver.as_ref()?.state.end().map(|end| &end.cause)
    }

    pub(crate) fn end(&self, id: ExecutorId) -> Option<&Cause> {
        self.executors.get(&id)?.state.end().map(|end| &end.cause)
    }

    pub(crate) fn running(&self) -> Vec<ExecutorId> {
        let running = self.executors.values().filter(|executor| executor.state == State::Running);
        running.map(|executor| executor.id).collect()
    }

    /// Exactly so many are alive, and all of them run.
    pub(crate) fn settled(&self, executors: usize) -> bool {
        let alive = self.executors.values().filter(|executor| !executor.state.is_ended()).count();
        alive == executors && self.running().len() == executors
    }

    /// [`settled`](Self::settled), and whoever keeps the target knows it.
    pub(crate) fn reached(&self, executors: usize) -> bool {
        let known = self.allocation.as_ref().map(|allocation| allocation.running);
        self.settled(executors) && known == Some(executors as u64)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.driver_end().is_some() && self.settled(0)
    }

    pub(crate) fn given_up(&self) -> Option<&str> {
        match &self.allocation.as_ref()?.phase {
            AllocationPhase::GivenUp { why } => Some(why),
            _ => None,
        }
    }

    /// The statuses without times, in order, to be compared.
    pub(crate) fn essence(&self) -> Vec<String> {
        let driver = self.driver.iter().map(|driver| format!("driver {:?}", driver.state));
        let executors = self.executors.values();
        driver.chain(executors.map(|e| format!("{} {:?}", e.id, e.state))).collect()
    }
}

impl Observed {
    /// Opens a watch and reads its snapshot.
    pub(crate) async fn open(
        cluster: &dyn ClusterManager,
        app: &AppId,
        from: Option<Cursor>,
    ) -> Outcome<Self> {
        let resumed = from.is_some();
        let options = WatchOptions::of(app);
        let options = if let Some(from) = from { options.from(from) } else { options };
        let events = cluster.watch(&options).await.map_err(told)?;
        let seen = Seen::default();
        let mut observed = Self { events, seen, cursor: None, snapshot: resumed };
        if !resumed {
            match observed.event("the beginning of a watch").await? {
                Event::Restarted => observed.snapshot = true,
                other => return Err(format!("a watch begins with {other:?}, not Restarted")),
            }
        }
        while observed.cursor.is_none() {
            observed.step("the end of the snapshot").await?;
        }
        Ok(observed)
    }

    async fn event(&mut self, what: &str) -> Outcome<Event> {
        match tokio::time::timeout(PATIENCE, self.events.next()).await {
            Ok(Some(Ok(event))) => Ok(event),
            Ok(Some(Err(error))) => Err(format!("waiting for {what}: {}", told(error))),
            Ok(None) => Err(format!("waiting for {what}: the watch ended; {:#?}", self.seen)),
            Err(_) => {
                Err(format!("not seen in {} s: {what}; {:#?}", PATIENCE.as_secs(), self.seen))
            }
        }
    }

    /// Takes in one event, and checks it.
    async fn step(&mut self, what: &str) -> Outcome {
        match self.event(what).await? {
            Event::Restarted => {
                self.snapshot = true;
                self.seen = Seen::default();
            }
            Event::Synced(cursor) => {
                self.snapshot = false;
                self.cursor = Some(cursor);
            }
            Event::Changed(status) => self.take_in(status)?,
        }
        Ok(())
    }

    fn take_in(&mut self, status: Status) -> Outcome {
        match status {
            Status::Driver(driver) => {
                let before = self.seen.driver.as_ref().map(|driver| &driver.state);
                follows(before, &driver.state, "the driver")?;
                self.seen.driver = Some(driver);
            }
            Status::Executor(executor) => {
                let before = self.seen.executors.get(&executor.id).map(|before| &before.state);
                follows(before, &executor.state, &format!("executor {}", executor.id))?;
                self.seen.executors.insert(executor.id, executor);
            }
            Status::Allocation(allocation) => self.seen.allocation = Some(allocation),
            other => return Err(format!("an unknown status: {other:?}")),
        }
        Ok(())
    }

    /// Waits until something is so. Only whole states count.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Seen) -> bool,
    ) -> Outcome<Seen> {
        loop {
            if !self.snapshot && so(&self.seen) {
                return Ok(self.seen.clone());
            }
            self.step(what).await?;
        }
    }

    /// Sees what happens for a while; fails if the watch breaks a rule.
    pub(crate) async fn for_a_while(&mut self, time: Duration) -> Outcome {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(step) = tokio::time::timeout_at(deadline, self.step("nothing")).await {
            step?;
        }
        Ok(())
    }
}

/// States only go forward, and nothing follows an end.
fn follows(before: Option<&State>, after: &State, what: &str) -> Outcome {
    match before {
        Some(before) if before.is_ended() => {
            Err(format!("{what} ended ({before:?}), and then was {after:?}"))
        }
        Some(before) if before.rank() > after.rank() => {
            Err(format!("{what} was {before:?}, and then {after:?}"))
        }
        _ => Ok(()),
    }
}
