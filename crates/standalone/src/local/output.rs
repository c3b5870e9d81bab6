//! Output as a stream: what was written so far, and what follows until the process has ended.

use std::path::{Path, PathBuf};

use anymaster_core::model::{State, Subject};
use anymaster_core::{Error, LogChunk, LogOptions, LogSource, LogStream, Result};
use futures::stream::{self, StreamExt as _};
use tokio::sync::broadcast;

use super::hub::{Changed, Hub};
use super::store::{AppDir, News};
use crate::host::directories::Watching;
use crate::host::logs::Tail;

/// One reader of a process' output.
struct Output {
    hub: Hub,
    app: AppDir,
    news: News,
    dir: PathBuf,
    follow: bool,
    tails: Vec<(LogSource, Tail)>,
    changes: broadcast::Receiver<Changed>,
    watching: Vec<Watching>,
    /// The process had ended before the files were last found at their ends.
    ended: bool,
}

/// The output of a driver or executor that the journals know.
pub(crate) fn open(
    hub: &Hub,
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
        changes: hub.listen(),
        hub: hub.clone(),
        news: News::of(&app, subject),
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
            // What was written before the end is there by now: one more round reads it.
            self.ended = self.has_ended()?;
            if !self.ended {
                self.wait().await?;
            }
        }
    }

    /// From now on, what is written wakes us; as soon as there is a directory.
    fn watch(&mut self) -> Result<()> {
        if !self.follow {
            return Ok(());
        }
        if self.watching.is_empty() {
            self.watching.push(self.hub.watch(&self.app.path)?);
        }
        if self.watching.len() == 1 && self.dir.is_dir() {
            self.watching.push(self.hub.watch(&self.dir)?);
        }
        Ok(())
    }

    fn has_ended(&mut self) -> Result<bool> {
        // An application that is gone altogether has ended.
        if !self.app.path.exists() {
            return Ok(true);
        }
        Ok(self.news.last()?.as_ref().is_none_or(State::is_ended))
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
