//! Reports the output of a process, until it has ended.

use std::time::Duration;

use anymaster_core::model::Subject;
use anymaster_core::{ClusterManager, LogChunk, LogOptions, LogStream, Result};
use futures::StreamExt as _;
use tokio::sync::watch;

use super::{RunEvent, RunObserver};

/// How long output may fail to end after the run has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins to read the output of a process.
pub(super) async fn open(cluster: &dyn ClusterManager, of: &Subject) -> Result<LogStream> {
    cluster.logs(of, &LogOptions::default().follow()).await
}

/// Reports output until there is no more; `ended` says that none will be written.
pub(super) async fn report(
    of: &Subject,
    mut chunks: LogStream,
    observer: &dyn RunObserver,
    mut ended: watch::Receiver<bool>,
) {
    while let Some(chunk) = next(&mut chunks, &mut ended).await {
        match chunk {
            Ok(chunk) => observer.observe(RunEvent::Output(of, &chunk)),
            Err(error) => {
                observer.observe(RunEvent::OutputLost(of, &error));
                break;
            }
        }
    }
    observer.observe(RunEvent::OutputEnded(of));
}

/// The next piece of output. Once the run has ended, one that does not come soon never will.
async fn next(
    chunks: &mut LogStream,
    ended: &mut watch::Receiver<bool>,
) -> Option<Result<LogChunk>> {
    if !*ended.borrow() {
        tokio::select! {
            chunk = chunks.next() => return chunk,
            // An error means that the run is over, too.
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }
    match tokio::time::timeout(PATIENCE, chunks.next()).await {
        Ok(chunk) => chunk,
        Err(_) => {
            tracing::warn!("the log did not end with its process; the rest is not reported");
            None
        }
    }
}
