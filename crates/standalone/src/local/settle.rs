//! Puts in order what an owner left that was killed: ends its processes, and says how they ended.

use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, Cause, ExecutorStatus, KilledBy, Outcome, State,
    Status,
};
use jiff::Timestamp;

use super::hub::{Changed, Hub};
use super::journal::{Folded, Journal, Line};
use super::lock::Lock;
use super::store::{AppDir, Part, Store};
use super::summary;
use crate::host::identity::Mark;
use crate::host::traces::{self, end_left};

/// How long processes without an owner have to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Settles an application if it needs to be, and says what is known of it then.
pub(crate) async fn settle(store: &Store, hub: &Hub, app: &AppId) -> Result<Folded> {
    let dir = store.dir(app);
    let folded = summary::fold(&dir)?;
    match end_what_was_left(hub, &dir, &folded).await? {
        true => summary::fold(&dir),
        false => Ok(folded),
    }
}

/// Whether there was something.
async fn end_what_was_left(hub: &Hub, dir: &AppDir, folded: &Folded) -> Result<bool> {
    if is_live(folded.driver.as_ref())
        && let Some(_lock) = free(dir, Part::Driver)?
    {
        let folded = dir.fold()?;
        let Some(line) = folded.driver.filter(|line| is_live(Some(line))) else { return Ok(true) };
        let (mark, traces) = (Mark::Driver(&dir.app), dir.traces(Part::Driver));
        end_left(mark, dir.state_dir(), &traces, GRACE).await;
        settle_executors(hub, dir, true).await?;
        let why = "the process that launched it ended before it".into();
        end_driver(hub, dir, line, Cause::Lost { why })?;
        return Ok(true);
    }
    let driver_process = folded.driver.as_ref().and_then(|line| line.process);
    if has_executors(folded)
        && let Some(lock) = free(dir, Part::Executors)?
    {
        // The owner is mostly the driver itself: what ends with it did not fail.
        let driver_alive = driver_process.is_some_and(crate::host::identity::Process::is_alive);
        end_executors(hub, dir, !driver_alive).await?;
        drop(lock);
        return Ok(true);
    }
    Ok(false)
}

/// Ends what is left of the executors, once nobody owns them.
pub(crate) async fn settle_executors(hub: &Hub, dir: &AppDir, driver_ended: bool) -> Result<()> {
    if !dir.journal(Part::Executors).exists() {
        return Ok(());
    }
    let path = dir.lock(Part::Executors);
    let lock =
        tokio::task::spawn_blocking(move || Lock::take(&path)).await.map_err(|error| {
            anymaster_core::Error::unavailable("waiting for a lock failed").with_source(error)
        })??;
    end_executors(hub, dir, driver_ended).await?;
    drop(lock);
    Ok(())
}

/// For the holder of the lock.
async fn end_executors(hub: &Hub, dir: &AppDir, driver_ended: bool) -> Result<()> {
    let folded = dir.fold()?;
    // An owner that told all ends and left no traces left nothing: what would be looked for are all
    // processes of this machine.
    if has_executors(&folded) || !traces::read(&dir.traces(Part::Executors)).is_empty() {
        let (mark, traces) = (Mark::Executors(&dir.app), dir.traces(Part::Executors));
        end_left(mark, dir.state_dir(), &traces, GRACE).await;
    }
    let cause = if driver_ended {
        Cause::Killed { by: KilledBy::DriverEnd }
    } else {
        Cause::Lost { why: "the process that started it ended before it".into() }
    };
    let mut lines: Vec<Line> = Vec::new();
    for line in folded.executors.into_values() {
        if let Status::Executor(status) = line.status
            && !status.state.is_ended()
        {
            let since = Timestamp::now();
            let state = Outcome::from(cause.clone()).into_state();
            lines.push(Status::Executor(ExecutorStatus { state, since, ..status }).into());
        }
    }
    if let Some(Line { status: Status::Allocation(last), .. }) = folded.allocation
        && (last.target, last.running, last.pending) != (0, 0, 0)
    {
        lines.push(Status::Allocation(at_rest(last)).into());
    }
    if !lines.is_empty() {
        Journal::open(dir.journal(Part::Executors))?.append(&lines)?;
        hub.tell(Changed::Journal(dir.app.clone()));
    }
    Ok(())
}

/// The allocation of an application that wants nothing any more.
pub(crate) fn at_rest(last: AllocationStatus) -> AllocationStatus {
    let phase = match last.phase {
        AllocationPhase::GivenUp { why } => AllocationPhase::GivenUp { why },
        _ => AllocationPhase::Reached,
    };
    AllocationStatus { target: 0, running: 0, pending: 0, phase, ..last }
}

/// Writes the end of a driver, for the holder of its lock.
pub(crate) fn end_driver(hub: &Hub, dir: &AppDir, line: Line, cause: Cause) -> Result<()> {
    if let Status::Driver(mut status) = line.status {
        status.state = Outcome::from(cause).into_state();
        let line = Line { status: Status::Driver(status), process: line.process };
        Journal::open(dir.journal(Part::Driver))?.append(&[line])?;
        hub.tell(Changed::Journal(dir.app.clone()));
    }
    Ok(())
}

fn is_live(line: Option<&Line>) -> bool {
    line.and_then(|line| line.status.state()).is_some_and(|state| !state.is_ended())
}

fn has_executors(folded: &Folded) -> bool {
    folded.executors.values().any(|line| !line.status.state().is_some_and(State::is_ended))
}

/// The lock of a part that has no living owner.
fn free(dir: &AppDir, part: Part) -> Result<Option<Lock>> {
    let path = dir.lock(part);
    if Lock::holder(&path).is_some() {
        return Ok(None);
    }
    Lock::try_take(&path)
}
