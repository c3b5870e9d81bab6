//! Recovery after an owner was killed: ends its orphaned processes and records how they ended.

use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, Cause, KilledBy, Outcome, State, Status,
};
use jiff::Timestamp;

use super::journal::{Journal, LatestStatuses, Line};
use super::lock::Lock;
use super::notifier::{Changed, Notifier};
use super::store::{AppDir, Part, Store};
use super::summary;
use crate::host::identity::OrphanFilter;
use crate::host::process_record::{self, end_orphans};

/// The time between SIGTERM and SIGKILL for orphaned processes.
const GRACE: Duration = Duration::from_secs(2);

/// Recovers an application whose owner is gone, if there is anything to recover; returns its latest
/// statuses.
pub(crate) async fn recover_orphans(
    store: &Store,
    notifier: &Notifier,
    app: &AppId,
) -> Result<LatestStatuses> {
    let dir = store.dir(app);
    let latest = summary::fold(&dir)?;
    match recover_parts(notifier, &dir, &latest).await? {
        true => summary::fold(&dir),
        false => Ok(latest),
    }
}

/// Returns whether anything had to be recovered.
async fn recover_parts(notifier: &Notifier, dir: &AppDir, latest: &LatestStatuses) -> Result<bool> {
    if is_live(latest.driver.as_ref())
        && let Some(_lock) = lock_if_orphaned(dir, Part::Driver)?
    {
        let latest = dir.fold()?;
        let Some(line) = latest.driver.filter(|line| is_live(Some(line))) else { return Ok(true) };
        let (filter, records) = (OrphanFilter::Driver(&dir.app), dir.process_records(Part::Driver));
        end_orphans(filter, dir.state_dir(), &records, GRACE).await;
        end_orphaned_executors(notifier, dir, true).await?;
        let why = "the process that launched it ended before it".into();
        end_driver(notifier, dir, line, Cause::Lost { why })?;
        return Ok(true);
    }
    let driver_process = latest.driver.as_ref().and_then(|line| line.process);
    if has_executors(latest)
        && let Some(lock) = lock_if_orphaned(dir, Part::Executors)?
    {
        // The owner is usually the driver: executors that end with it did not fail.
        let driver_alive = driver_process.is_some_and(crate::host::identity::Process::is_alive);
        end_executors(notifier, dir, !driver_alive).await?;
        drop(lock);
        return Ok(true);
    }
    Ok(false)
}

/// Waits until no process owns the executors, then ends those that are left.
pub(crate) async fn end_orphaned_executors(
    notifier: &Notifier,
    dir: &AppDir,
    driver_ended: bool,
) -> Result<()> {
    if !dir.journal(Part::Executors).exists() {
        return Ok(());
    }
    let path = dir.lock(Part::Executors);
    let lock =
        tokio::task::spawn_blocking(move || Lock::take(&path)).await.map_err(|error| {
            anymaster_core::Error::unavailable("waiting for a lock failed").with_source(error)
        })??;
    end_executors(notifier, dir, driver_ended).await?;
    drop(lock);
    Ok(())
}

/// The caller holds the lock of the executors.
async fn end_executors(notifier: &Notifier, dir: &AppDir, driver_ended: bool) -> Result<()> {
    let latest = dir.fold()?;
    // If all ends are recorded and no process record is left, the scan of all processes of the machine
    // is skipped.
    if has_executors(&latest)
        || !process_record::read_all(&dir.process_records(Part::Executors)).is_empty()
    {
        let (filter, records) =
            (OrphanFilter::Executors(&dir.app), dir.process_records(Part::Executors));
        end_orphans(filter, dir.state_dir(), &records, GRACE).await;
    }
    let cause = if driver_ended {
        Cause::Killed { by: KilledBy::DriverEnd }
    } else {
        Cause::Lost { why: "the process that started it ended before it".into() }
    };
    let mut lines: Vec<Line> = Vec::new();
    for line in latest.executors.into_values() {
        if let Status::Executor(mut status) = line.status
            && !status.state.is_ended()
        {
            status.since = Timestamp::now();
            status.state = Outcome::from(cause.clone()).into_state();
            lines.push(Status::Executor(status).into());
        }
    }
    if let Some(Line { status: Status::Allocation(last), .. }) = latest.allocation
        && (last.target, last.running, last.pending) != (0, 0, 0)
    {
        lines.push(Status::Allocation(ended_allocation(last)).into());
    }
    if !lines.is_empty() {
        Journal::open(dir.journal(Part::Executors))?.append(&lines)?;
        notifier.notify(Changed::Journal(dir.app.clone()));
    }
    Ok(())
}

/// The allocation of an application that has ended: no target, no executors.
pub(crate) fn ended_allocation(mut last: AllocationStatus) -> AllocationStatus {
    if !matches!(last.phase, AllocationPhase::GivenUp { .. }) {
        last.phase = AllocationPhase::Reached;
    }
    (last.target, last.running, last.pending) = (0, 0, 0);
    last
}

/// Records the end of a driver. The caller holds the lock of the driver.
pub(crate) fn end_driver(
    notifier: &Notifier,
    dir: &AppDir,
    line: Line,
    cause: Cause,
) -> Result<()> {
    if let Status::Driver(mut status) = line.status {
        status.state = Outcome::from(cause).into_state();
        let line = Line { status: Status::Driver(status), process: line.process };
        Journal::open(dir.journal(Part::Driver))?.append(&[line])?;
        notifier.notify(Changed::Journal(dir.app.clone()));
    }
    Ok(())
}

fn is_live(line: Option<&Line>) -> bool {
    line.and_then(|line| line.status.state()).is_some_and(|state| !state.is_ended())
}

fn has_executors(latest: &LatestStatuses) -> bool {
    latest.executors.values().any(|line| !line.status.state().is_some_and(State::is_ended))
}

/// Takes the lock of a part if no living process owns it.
fn lock_if_orphaned(dir: &AppDir, part: Part) -> Result<Option<Lock>> {
    let path = dir.lock(part);
    if Lock::holder(&path).is_some() {
        return Ok(None);
    }
    Lock::try_take(&path)
}
