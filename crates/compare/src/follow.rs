//! Follows an application that was submitted before, for its timeline.

use std::time::Duration;

use anymaster_core::model::{AppId, DriverStatus, Event, Status};
use anymaster_core::{ClusterManager, ClusterManagerExt as _, Error, Result, WatchOptions};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::recorder::Recorder;
use crate::stop::Stop;
use crate::timeline::Timeline;

/// How long executors may take to end after their driver.
const PATIENCE: Duration = Duration::from_secs(15);

/// The timeline of an application, from what the cluster knows of it now to its end, or until it is stopped. It is
/// only looked at: nothing is ended.
///
/// # Errors
/// If it cannot be watched. When a watch is lost later, or the driver is deleted, the timeline ends there.
pub async fn follow(
    cluster: &dyn ClusterManager,
    driver: &DriverStatus,
    stop: &Stop,
) -> Result<Timeline> {
    let known = cluster.application(&driver.app).await?;
    let recorder = Recorder::resume(Timeline::of(&known, driver, Timestamp::now()));
    let mut events = cluster.watch(&WatchOptions::of(&driver.app)).await?;
    let mut deadline = None;
    while !recorder.is_over() {
        tokio::select! {
            _ = stop.after(0) => break,
            event = events.next() => match event {
                Some(Ok(event)) => observe(&recorder, &driver.app, event),
                Some(Err(error)) => return lost(&recorder, &error),
                None => break,
            },
            () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => break,
        }
        if deadline.is_none() && recorder.has_driver_ended() {
            deadline = Some(Instant::now() + PATIENCE);
        }
    }
    Ok(recorder.finish(false))
}

fn observe(recorder: &Recorder, app: &AppId, event: Event) {
    match event {
        Event::Changed(Status::Driver(driver)) if driver.app == *app => recorder.driver(&driver),
        Event::Changed(Status::Executor(executor)) => recorder.executor(&executor),
        _ => {}
    }
}

/// What was seen until then is worth more than the error.
fn lost(recorder: &Recorder, error: &Error) -> Result<Timeline> {
    tracing::warn!(%error, "the application cannot be followed any more");
    Ok(recorder.finish(false))
}
