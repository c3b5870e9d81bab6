//! The output of tasks: `stdout` and `stderr` of their sandboxes, read from their agents piece by piece.

use std::time::{Duration, Instant};

use anymaster_core::{
    Error, ErrorKind, HostPort, LogChunk, LogOptions, LogSource, LogStream, Result,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Inquiry, JSON, PATIENCE, refused, silent};
use crate::model::Id;

/// How much agents give at once, at most.
const MOST: u64 = 64 * 1024;
/// The first pause before what is new is asked for, and the longest: agents do not tell by themselves.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long an agent may be away while its tasks are followed: it is started again meanwhile.
const ABSENCE: Duration = Duration::from_secs(60);

impl Inquiry {
    /// The output of a task, one that runs or one that ended; agents keep it for their `--gc_delay`. It is
    /// read at the agent's address, as the files of the task's latest sandbox; the task is one with a
    /// command, whose executor has its id.
    ///
    /// With `follow` it goes on until `ended` turns true (or its sender is gone), and all was read: a task
    /// has ended when its framework hears so. Without, it is what there is now. It fails with
    /// [`NotFound`](ErrorKind::NotFound) if there is no sandbox, and with
    /// [`Unavailable`](ErrorKind::Unavailable) if the agent does not answer: at once, or when it is followed
    /// after a minute.
    pub fn output(
        &self,
        agent: &HostPort,
        framework: &Id,
        task: &str,
        options: &LogOptions,
        ended: watch::Receiver<bool>,
    ) -> LogStream {
        let one = |source: LogSource| {
            let reader = Reader {
                inquiry: self.clone(),
                agent: agent.clone(),
                task: task.to_owned(),
                path: format!(
                    "/frameworks/{framework}/executors/{task}/runs/latest/{}",
                    source.as_str()
                ),
                source,
                options: *options,
                ended: ended.clone(),
                at: None,
                until: None,
                pause: PAUSES.0,
                away: None,
            };
            stream::try_unfold(reader, Reader::next).boxed()
        };
        match (options.source, options.follow) {
            (Some(source), _) => one(source),
            (None, false) => one(LogSource::Stdout).chain(one(LogSource::Stderr)).boxed(),
            (None, true) => stream::select(one(LogSource::Stdout), one(LogSource::Stderr)).boxed(),
        }
        .scan(false, |has_failed, item| {
            // After an error nothing follows, of the other file neither.
            let item = (!*has_failed).then_some(item);
            *has_failed = matches!(item, None | Some(Err(_)));
            std::future::ready(item)
        })
        .boxed()
    }
}

/// Reads one file.
struct Reader {
    inquiry: Inquiry,
    agent: HostPort,
    task: String,
    path: String,
    source: LogSource,
    options: LogOptions,
    ended: watch::Receiver<bool>,
    /// The next byte, once it is known.
    at: Option<u64>,
    /// Where what was there at the beginning ends, if that is enough.
    until: Option<u64>,
    pause: Duration,
    /// Since when the agent does not answer.
    away: Option<Instant>,
}

/// A piece of a file, and the size of all of it.
struct Piece {
    size: u64,
    bytes: Vec<u8>,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(LogChunk, Self)>> {
        loop {
            // Asked for before it is read: what is written until then is read.
            let is_over =
                !self.options.follow || *self.ended.borrow() || self.ended.has_changed().is_err();
            match self.read_on().await {
                Ok(Some(bytes)) => {
                    self.away = None;
                    let chunk = LogChunk { source: self.source, bytes: Bytes::from(bytes) };
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if is_over => return Ok(None),
                Ok(None) => self.away = None,
                Err(error) => self.bear(error, is_over)?,
            }
            // Whether it is time, has ended, or the sender is gone: the loop looks.
            let _ = timeout(self.pause, self.ended.changed()).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Whether it may go on after an error.
    fn bear(&mut self, error: Error, is_over: bool) -> Result<()> {
        let since = *self.away.get_or_insert_with(Instant::now);
        match error.kind() {
            // It has not begun.
            ErrorKind::NotFound if !is_over => Ok(()),
            ErrorKind::NotFound => Err(Error::not_found(format!(
                "Mesos agent {} has no output of {}",
                self.agent, self.task
            ))
            .with_hint("it never began, or the agent has removed its sandbox (--gc_delay)")),
            ErrorKind::Unavailable | ErrorKind::Timeout
                if self.options.follow && since.elapsed() < ABSENCE =>
            {
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// What follows; `None` at the end.
    async fn read_on(&mut self) -> Result<Option<Vec<u8>>> {
        let at = match self.at {
            Some(at) => at,
            None => {
                let size = self.read(0, 0).await?.size;
                if !self.options.follow {
                    self.until = Some(size);
                }
                let at = match self.options.tail {
                    Some(lines) => self.tail(size, lines).await?,
                    None => 0,
                };
                *self.at.insert(at)
            }
        };
        let most = self.until.map_or(MOST, |until| until.saturating_sub(at).min(MOST));
        if most == 0 {
            return Ok(None);
        }
        let piece = self.read(at, most).await?;
        if piece.size < at {
            // It was cut: what is in it now is new.
            self.at = Some(0);
            self.until = self.until.map(|_| piece.size);
            return Box::pin(self.read_on()).await;
        }
        self.at = Some(at + piece.bytes.len() as u64);
        Ok((!piece.bytes.is_empty()).then_some(piece.bytes))
    }

    /// Where so many lines before the end begin.
    async fn tail(&self, size: u64, lines: u64) -> Result<u64> {
        // A line feed at the very end ends the last line, and begins none.
        let (mut end, mut left) = (size, lines);
        if lines == 0 {
            return Ok(size);
        }
        while end > 0 {
            let begin = end.saturating_sub(MOST);
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < end - begin {
                let at = begin + bytes.len() as u64;
                let piece = self.read(at, end - at).await?.bytes;
                if piece.is_empty() {
                    // Cut meanwhile.
                    return Ok(0);
                }
                bytes.extend(piece);
            }
            for (at, byte) in bytes.iter().enumerate().rev() {
                let place = begin + at as u64;
                if *byte == b'\n' && place + 1 < size {
                    left -= 1;
                    if left == 0 {
                        return Ok(place + 1);
                    }
                }
            }
            end = begin;
        }
        Ok(0)
    }

    async fn read(&self, offset: u64, length: u64) -> Result<Piece> {
        #[derive(Deserialize)]
        struct Answer {
            read_file: ReadFile,
        }
        #[derive(Deserialize)]
        struct ReadFile {
            size: u64,
            #[serde(default)]
            data: String,
        }
        let whom = format!("Mesos agent {}", self.agent);
        let call = json!({
            "type": "READ_FILE",
            "read_file": {"path": self.path, "offset": offset, "length": length},
        });
        // Unlike `/files/read` it tells bytes as they are: output need not be text.
        let url = format!("http://{}/api/v1", self.agent);
        let request = self.inquiry.client.post(url).header(CONTENT_TYPE, JSON);
        let response = self.inquiry.send(request.body(call.to_string()), &whom).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&whom, response).await);
        }
        let body = timeout(PATIENCE, response.bytes()).await.map_err(|_| silent(&whom))?;
        let body =
            body.map_err(|error| Error::unavailable(format!("{whom} hung up")).with_source(error))?;
        let strange = || Error::protocol(format!("what {whom} answers is not understood"));
        let Answer { read_file } =
            serde_json::from_slice(&body).map_err(|error| strange().with_source(error))?;
        let bytes =
            STANDARD.decode(read_file.data).map_err(|error| strange().with_source(error))?;
        Ok(Piece { size: read_file.size, bytes })
    }
}
