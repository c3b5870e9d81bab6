//! Reads the output of tasks, `stdout` and `stderr` in their sandboxes, from their agents.

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

use super::{JSON, OperatorClient, TIMEOUT, refused, timed_out};
use crate::model::Id;

/// The largest number of bytes that agents return per request.
const MAX_READ: u64 = 64 * 1024;
/// The first and the longest interval of polling: agents do not notify of new output.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long an agent may be unreachable while output is followed: it may be restarted meanwhile.
const MAX_ABSENCE: Duration = Duration::from_secs(60);

impl OperatorClient {
    /// The output of a running or ended task, read from the task's latest sandbox on the agent at this address.
    /// Agents keep sandboxes for their `--gc_delay`. Only for tasks that are run by the command or Docker
    /// executor, whose executor id is the task id.
    ///
    /// With `follow`, the stream goes on until `ended` becomes true, or its sender is dropped, and everything was
    /// read; without, it ends with the output so far. It fails with
    /// [`NotFound`](ErrorKind::NotFound) if there is no sandbox, and with
    /// [`Unavailable`](ErrorKind::Unavailable) if the agent does not answer: at once or, with `follow`,
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
            // After an error, the stream of the other file ends too.
            let item = (!*has_failed).then_some(item);
            *has_failed = matches!(item, None | Some(Err(_)));
            std::future::ready(item)
        })
        .boxed()
    }
}

/// Reads one file.
struct Reader {
    inquiry: OperatorClient,
    agent: HostPort,
    task: String,
    path: String,
    source: LogSource,
    options: LogOptions,
    ended: watch::Receiver<bool>,
    /// The offset of the next byte, once known.
    at: Option<u64>,
    /// Without `follow`: the size of the file at the beginning.
    until: Option<u64>,
    pause: Duration,
    /// Since when the agent has not answered.
    away: Option<Instant>,
}

/// A part of a file, and the size of the file.
struct Piece {
    size: u64,
    bytes: Vec<u8>,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(LogChunk, Self)>> {
        loop {
            // Checked before reading, so that everything written until then is read.
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
                Err(error) => self.check_error(error, is_over)?,
            }
            // The loop checks whether the task has ended.
            let _ = timeout(self.pause, self.ended.changed()).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Decides whether to continue after an error.
    fn check_error(&mut self, error: Error, is_over: bool) -> Result<()> {
        let since = *self.away.get_or_insert_with(Instant::now);
        match error.kind() {
            // The task has not started yet.
            ErrorKind::NotFound if !is_over => Ok(()),
            ErrorKind::NotFound => Err(Error::not_found(format!(
                "Mesos agent {} has no output of {}",
                self.agent, self.task
            ))
            .with_hint("it was never started, or the agent has removed its sandbox (--gc_delay)")),
            ErrorKind::Unavailable | ErrorKind::Timeout
                if self.options.follow && since.elapsed() < MAX_ABSENCE =>
            {
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// The next bytes; `None` at the end.
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
        let most = self.until.map_or(MAX_READ, |until| until.saturating_sub(at).min(MAX_READ));
        if most == 0 {
            return Ok(None);
        }
        let piece = self.read(at, most).await?;
        if piece.size < at {
            // The file was truncated: read it from the beginning.
            self.at = Some(0);
            self.until = self.until.map(|_| piece.size);
            return Box::pin(self.read_on()).await;
        }
        self.at = Some(at + piece.bytes.len() as u64);
        Ok((!piece.bytes.is_empty()).then_some(piece.bytes))
    }

    /// The offset at which the last `lines` lines begin.
    async fn tail(&self, size: u64, lines: u64) -> Result<u64> {
        // A newline at the very end does not begin another line.
        let (mut end, mut left) = (size, lines);
        if lines == 0 {
            return Ok(size);
        }
        while end > 0 {
            let begin = end.saturating_sub(MAX_READ);
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < end - begin {
                let at = begin + bytes.len() as u64;
                let piece = self.read(at, end - at).await?.bytes;
                if piece.is_empty() {
                    // Truncated meanwhile.
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
        // Unlike `/files/read`, this returns arbitrary bytes.
        let url = format!("http://{}/api/v1", self.agent);
        let request = self.inquiry.client.post(url).header(CONTENT_TYPE, JSON);
        let response = self.inquiry.send(request.body(call.to_string()), &whom).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&whom, response).await);
        }
        let body = timeout(TIMEOUT, response.bytes()).await.map_err(|_| timed_out(&whom))?;
        let body =
            body.map_err(|error| Error::unavailable(format!("{whom} hung up")).with_source(error))?;
        let strange = || Error::protocol(format!("cannot parse the response of {whom}"));
        let Answer { read_file } =
            serde_json::from_slice(&body).map_err(|error| strange().with_source(error))?;
        let bytes =
            STANDARD.decode(read_file.data).map_err(|error| strange().with_source(error))?;
        Ok(Piece { size: read_file.size, bytes })
    }
}
