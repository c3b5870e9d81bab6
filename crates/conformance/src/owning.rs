//! A driver that requests executors from its own process.

use anymaster_core::model::{
    AppId, CommandLine, Event, ExecutorTarget, ExecutorTemplate, ResourceProfile, State, Status,
};
use anymaster_core::{ClusterManager, Result, WatchOptions};
use futures::StreamExt as _;

/// Requests executors that wait, each of this shape, and waits, too; or ends when all of them run.
///
/// # Errors
/// As the cluster's.
pub async fn own_executors(
    cluster: &dyn ClusterManager,
    app: &AppId,
    profile: ResourceProfile,
    executors: u32,
    then_exit: bool,
) -> Result<()> {
    let wait = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    let target = ExecutorTarget::new(wait, profile, executors);
    cluster.request_executors(app, &target).await?;
    let mut events = cluster.watch(&WatchOptions::of(app)).await?;
    let mut running = 0;
    while let Some(event) = events.next().await {
        if let Event::Changed(Status::Executor(executor)) = event?
            && executor.state == State::Running
        {
            running += 1;
        }
        if then_exit && running == executors {
            return Ok(());
        }
    }
    Ok(())
}
