//! The output of a driver or executor as a stream, followed until the process has ended.

use std::path::{Path, PathBuf};

use anymaster_core::model::{State, Subject};
use anymaster_core::{Error, LogChunk, LogOptions, LogSource, LogStream, Result};
use futures::stream::{self, StreamExt as _};
use tokio::sync::broadcast;

use super::notifier::{Changed, Notifier};
use super::store::{AppDir, StateReader};
use crate::host::directories::WatchGuard;
use crate::host::logs::Tail;

/// One reader of a process' output.
struct Output {
    notifier: Notifier,
    app: AppDir,
    state: StateReader,
    dir: PathBuf,
    follow: bool,
    tails: Vec<(LogSource, Tail)>,
    changes: broadcast::Receiver<Changed>,
    watching: Vec<WatchGuard>,
    /// The process had ended before the files were last read to their ends.
    ended: bool,
}

/// Opens the output of a driver or executor that is in the journal.
pub(crate) fn open(
    notifier: &Notifier,
    app: AppDir,
    subject: &Subject,
    dir: &Path,
    options: &LogOptions,
) -> Result<LogStream> {
    let failed = |error| {
        Error::unavailable(format!("cannot read the output in {}", dir.display()))
            .with_source(error)
    };
    let sources = [LogSource::Stdout, LogSource::Stderr].into_iter();
    let tails = sources
        .filter(|source| options.source.is_none_or(|only| only == *source))
        .map(|source| {
            Ok((source, Tail::open(dir.join(source.as_str()), options.tail).map_err(failed)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let output = Output {
        changes: notifier.subscribe(),
        notifier: notifier.clone(),
        state: StateReader::new(&app, subject),
        app,
        dir: dir.to_owned(),
        follow: options.follow,
        tails,
        watching: Vec::new(),
        ended: !options.follow,
    };
    let chunks = stream::unfold(Some(output), |output| async {
        let mut output = output?;
        match output.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(output))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(chunks.boxed())
}

impl Output {
    async fn next(&mut self) -> Result<Option<LogChunk>> {
        loop {
            self.watch()?;
            for (source, tail) in &mut self.tails {
                let bytes = tail.read().map_err(|error| {
                    Error::unavailable("cannot read the output").with_source(error)
                })?;
                if !bytes.is_empty() {
                    return Ok(Some(LogChunk { source: *source, bytes: bytes.into() }));
                }
            }
            if self.ended {
                return Ok(None);
            }
            // If it has ended, one more round reads what it wrote last.
            self.ended = self.has_ended()?;
            if !self.ended {
                self.wait().await?;
            }
        }
    }

    /// Watches the directories of the application and, once it exists, of the process.
    fn watch(&mut self) -> Result<()> {
        if !self.follow {
            return Ok(());
        }
        if self.watching.is_empty() {
            self.watching.push(self.notifier.watch(&self.app.path)?);
        }
        if self.watching.len() == 1 && self.dir.is_dir() {
            self.watching.push(self.notifier.watch(&self.dir)?);
        }
        Ok(())
    }

    fn has_ended(&mut self) -> Result<bool> {
        // The directory of the application was removed, so it has ended.
        if !self.app.path.exists() {
            return Ok(true);
        }
        Ok(self.state.last()?.as_ref().is_none_or(State::is_ended))
    }

    async fn wait(&mut self) -> Result<()> {
        loop {
            match self.changes.recv().await {
                Ok(Changed::Journal(app) | Changed::Log(app)) if app != self.app.app => {}
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(Error::unavailable("the local cluster was closed"));
                }
                _ => return Ok(()),
            }
        }
    }
}
