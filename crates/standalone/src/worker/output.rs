//! Serves the output of drivers and executors to clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anymaster_core::model::AppId;
use anymaster_core::{Error, ErrorKind, LogSource, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::tasks::{ANY_DIRECTORY, Tasks};
use crate::host::logs::Tail;
use anymaster_native::wire::{Channel, Item, Reply, Request, Source};

/// Serves one request for output, until all is sent or the client disconnects.
///
/// `only`: the application whose output the client may read; `None`: all.
pub(super) async fn serve(
    tasks: &Arc<Tasks>,
    mut channel: Channel,
    only: Option<&AppId>,
) -> Result<()> {
    let Some(call) = channel.receive().await? else { return Ok(()) };
    let Request::Logs { app, task, follow, tail, source } = call else {
        let error = Error::unsupported("a worker serves only output: send this to the master");
        return channel.send(&Reply::Failed((&error).into())).await;
    };
    if only.is_some_and(|only| *only != app) {
        let error = Error::new(ErrorKind::Denied, format!("{app} is another application"));
        return channel.send(&Reply::Failed((&error).into())).await;
    }
    let dir = tasks.dir(&app, task);
    let wanted = [LogSource::Stdout, LogSource::Stderr].into_iter();
    let wanted = wanted.filter(|each| source.is_none_or(|only| LogSource::from(only) == *each));
    let opened: Result<Vec<_>> = wanted
        .map(|source| {
            let tail = Tail::open(dir.join(source.as_str()), tail).map_err(|error| {
                Error::unavailable(format!("cannot read the output in {}", dir.display()))
                    .with_source(error)
            })?;
            Ok((Source::from(source), tail))
        })
        .collect();
    let mut tails = match opened {
        Ok(tails) => tails,
        Err(error) => return channel.send(&Reply::Failed((&error).into())).await,
    };
    channel.send(&Reply::Stream).await?;
    let (mut incoming, mut outgoing) = channel.split();
    let sending = async {
        let mut written = tasks.written();
        let mut changes = tasks.changes();
        let mut watching = None;
        loop {
            if follow && watching.is_none() {
                // Fails while the directory does not exist; its creation is a change.
                watching = tasks.watch(&dir).ok();
            }
            // Before reading, so that later writes are not missed.
            written = written.resubscribe();
            changes.mark_unchanged();
            let is_running = tasks.is_running(&app, task);
            for (source, tail) in &mut tails {
                loop {
                    let bytes = tail.read().map_err(|error| {
                        Error::unavailable("cannot read the output").with_source(error)
                    })?;
                    if bytes.is_empty() {
                        break;
                    }
                    let bytes = BASE64_STANDARD.encode(bytes);
                    outgoing.send(&Item::Output { source: *source, bytes }).await?;
                }
            }
            if !(follow && is_running) {
                return outgoing.send(&Item::End).await;
            }
            tokio::select! {
                () = written_in(&mut written, &dir) => {}
                // The sender lives as long as the worker.
                _ = changes.changed() => {}
            }
        }
    };
    tokio::select! {
        sent = sending => sent,
        // The client sends nothing more: this is the end of the connection.
        said = incoming.receive::<Request>() => said.map(|_| ()),
    }
}

/// Waits until something is written in a directory.
async fn written_in(written: &mut broadcast::Receiver<PathBuf>, dir: &Path) {
    loop {
        match written.recv().await {
            Ok(other) if other != dir && other != Path::new(ANY_DIRECTORY) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The sender lives as long as the worker.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
