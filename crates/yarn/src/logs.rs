//! The output of drivers and executors: from their NodeManager while their application runs, from the file that it
//! leaves afterwards.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, LogChunk, LogOptions, LogSource, LogStream, Result};
use anymaster_hadoop::http::body;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use reqwest::StatusCode;
use serde::Deserialize;

use crate::archive::Archive;
use crate::proto::ApplicationId;
use crate::web::Web;

/// How often is asked for more output while a driver runs.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a server has for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much more than is missing is asked for: it may have been written since.
const AHEAD: u64 = 64 << 10;
/// The most that an answer has beside the bytes of a log.
const MAX_HEAD: u64 = 64 << 10;
/// What stands before the bytes of a log in an answer.
const BEGIN: &[u8] = b"LogContents:\n";

/// Where output is read.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    http: reqwest::Client,
    web: Web,
    user: Arc<str>,
    /// Where they are when their application has ended.
    archive: Option<Archive>,
}

/// How far a process is whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Runs,
    /// It has ended, and its application runs.
    Ended,
    /// Its application has ended: its node has none of its output any more.
    Over,
}

/// The place of a container's output.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `http://node:8042`.
    pub(crate) node: String,
    pub(crate) container: String,
}

#[derive(Deserialize)]
struct Found {
    app: App,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    am_container_logs: Option<String>,
}

impl Logs {
    pub(crate) fn new(web: Web, user: &str, archive: Option<Archive>) -> Result<Self> {
        let http =
            reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().map_err(|error| {
                Error::invalid("cannot create an HTTP client").with_source(error)
            })?;
        Ok(Self { http, web, user: user.into(), archive })
    }

    /// The output of a driver. `life` asks whether there can be more.
    pub(crate) async fn of_driver<F, E>(
        &self,
        id: ApplicationId,
        options: &LogOptions,
        life: F,
    ) -> Result<LogStream>
    where
        F: Fn() -> E + Send + Sync + 'static,
        E: Future<Output = Result<Life>> + Send,
    {
        let place = loop {
            match self.place(id).await? {
                Some(place) => break place,
                None if options.follow && life().await? == Life::Runs => {
                    tokio::time::sleep(INTERVAL).await;
                }
                None => return Ok(stream::empty().boxed()),
            }
        };
        Ok(self.of_container(place, options, life))
    }

    /// The output of a container.
    pub(crate) fn of_container<F, E>(
        &self,
        place: Place,
        options: &LogOptions,
        life: F,
    ) -> LogStream
    where
        F: Fn() -> E + Send + Sync + 'static,
        E: Future<Output = Result<Life>> + Send,
    {
        let sources = [LogSource::Stdout, LogSource::Stderr];
        let wanted = sources.into_iter().filter(|it| options.source.is_none_or(|only| only == *it));
        let readers: Vec<_> = wanted.map(|source| Reader { source, read: 0 }).collect();
        let state = Some((self.clone(), place, readers, life, *options, true));
        let batches = stream::unfold(state, |state| async move {
            let (logs, place, mut readers, life, options, is_first) = state?;
            if !is_first {
                tokio::time::sleep(INTERVAL).await;
            }
            let tail = options.tail.filter(|_| is_first);
            // Asked before the last reading: nothing is written after an end.
            let mut now = life().await;
            let mut chunks = Vec::new();
            if !matches!(now, Ok(Life::Over)) {
                for reader in &mut readers {
                    match logs.more(&place, reader, tail).await {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => chunks.push(Ok(LogChunk { source: reader.source, bytes })),
                        Err(error) => {
                            // The end of an application takes its logs from the node.
                            now = life().await;
                            if !matches!(now, Ok(Life::Over)) {
                                chunks.push(Err(error));
                                return Some((chunks, None));
                            }
                        }
                    }
                }
                // What is not there may be there no more.
                if chunks.is_empty() && (!options.follow || !matches!(now, Ok(Life::Runs))) {
                    now = life().await;
                }
            }
            let is_over = match now {
                Ok(Life::Over) => {
                    chunks.extend(logs.rest(&place, &readers, tail).await);
                    true
                }
                Ok(Life::Ended) => true,
                Ok(Life::Runs) => !options.follow,
                Err(error) => {
                    chunks.push(Err(error));
                    true
                }
            };
            let next = (!is_over).then_some((logs, place, readers, life, options, false));
            Some((chunks, next))
        });
        batches.flat_map(stream::iter).boxed()
    }

    /// What the file of a NodeManager has beyond what was read.
    async fn rest(
        &self,
        place: &Place,
        readers: &[Reader],
        tail: Option<u64>,
    ) -> Vec<Result<LogChunk>> {
        let Some(archive) = &self.archive else {
            let error =
                Error::not_found("the cluster keeps no logs of applications that have ended")
                    .with_hint("yarn.log-aggregation-enable of the cluster says so");
            return vec![Err(error)];
        };
        let mut logs = match archive.logs_of(&place.container).await {
            Ok(logs) => logs,
            Err(error) => return vec![Err(error)],
        };
        let mut chunks = Vec::new();
        for reader in readers {
            let log = logs.iter_mut().find(|(name, _)| name == reader.source.as_str());
            let mut bytes = log.map(|(_, bytes)| std::mem::take(bytes)).unwrap_or_default();
            bytes.drain(..usize::try_from(reader.read).unwrap_or(usize::MAX).min(bytes.len()));
            if let Some(lines) = tail {
                bytes = last_lines(&bytes, lines).to_vec();
            }
            if !bytes.is_empty() {
                chunks.push(Ok(LogChunk { source: reader.source, bytes: bytes.into() }));
            }
        }
        chunks
    }

    /// Where the driver's container writes; `None` if it has none yet.
    async fn place(&self, id: ApplicationId) -> Result<Option<Place>> {
        let found: Found = self.web.get(&format!("apps/{id}")).await?;
        Ok(found.app.am_container_logs.as_deref().and_then(place))
    }

    /// What a log has beyond what was read.
    async fn more(&self, place: &Place, reader: &mut Reader, tail: Option<u64>) -> Result<Bytes> {
        let mut all = Vec::new();
        loop {
            let (length, bytes) = self.read(place, reader.source, reader.read).await?;
            reader.read += bytes.len() as u64;
            let is_all = reader.read >= length;
            all.extend(bytes);
            if is_all {
                break;
            }
        }
        Ok(match tail {
            Some(lines) => last_lines(&all, lines).to_vec().into(),
            None => all.into(),
        })
    }

    /// The length of a log, and its bytes from a place on.
    async fn read(&self, place: &Place, source: LogSource, from: u64) -> Result<(u64, Vec<u8>)> {
        let Place { node, container } = place;
        let base = format!("{node}/ws/v1/node/containerlogs/{container}/{}", source.as_str());
        let Some((length, _)) = self.fetch(&base, 0).await? else { return Ok((0, Vec::new())) };
        let missing = length.saturating_sub(from);
        if missing == 0 {
            return Ok((length, Vec::new()));
        }
        // Only the last bytes can be asked for. If more has been written since, they are others, of which the
        // first are known to be missing: they come with the next question.
        let last = self.fetch(&base, missing.saturating_add(AHEAD)).await?;
        let Some((now, bytes)) = last else { return Ok((0, Vec::new())) };
        let known = usize::try_from(from.saturating_sub(now - bytes.len() as u64)).ok();
        let begins_too_late = now - bytes.len() as u64 > from;
        match known.and_then(|known| bytes.get(known..)) {
            Some(new) if !begins_too_late => Ok((now, new.to_vec())),
            _ => Ok((u64::MAX, Vec::new())),
        }
    }

    /// The length of a log, and its last bytes; `None` if there is no such log.
    async fn fetch(&self, log: &str, size: u64) -> Result<Option<(u64, Vec<u8>)>> {
        let failed = |error: reqwest::Error| {
            Error::unavailable("cannot reach the NodeManager").with_source(error)
        };
        let url = format!("{log}?size=-{size}&user.name={}", self.user);
        let answer =
            self.http.get(&url).header("accept", "text/plain").send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let bytes = body("the NodeManager", answer, size.saturating_add(MAX_HEAD)).await?;
                parse(&bytes, size).map(Some)
            }
            status => Err(Error::unavailable(format!("the NodeManager answers HTTP {status}"))),
        }
    }
}

/// How far a log was read.
struct Reader {
    source: LogSource,
    read: u64,
}

/// Of `http://node:8042/node/containerlogs/container_…/user`.
fn place(url: &str) -> Option<Place> {
    let (node, rest) = url.split_once("/node/containerlogs/")?;
    let node = if node.contains("://") { node.to_owned() } else { format!("http://{node}") };
    let container = rest.split('/').next()?;
    let is_id = container.starts_with("container_")
        && container.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_id.then(|| Place { node, container: container.to_owned() })
}

/// Reads an answer to the question for the last bytes of a log: lines about it, and the bytes.
fn parse(answer: &[u8], size: u64) -> Result<(u64, Vec<u8>)> {
    let broken = || Error::protocol("the NodeManager's answer is not understood");
    let begin =
        answer.windows(BEGIN.len()).position(|window| window == BEGIN).ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..begin]);
    let length = head.lines().find_map(|line| line.strip_prefix("LogLength:"));
    let length: u64 = length.and_then(|length| length.trim().parse().ok()).ok_or_else(broken)?;
    let count = usize::try_from(length.min(size)).map_err(|_| broken())?;
    let bytes = answer[begin + BEGIN.len()..].get(..count).ok_or_else(broken)?;
    Ok((length, bytes.to_vec()))
}

fn last_lines(bytes: &[u8], lines: u64) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let nth = usize::try_from(lines).ok().and_then(|lines| lines.checked_sub(1));
    match nth {
        None => &[],
        Some(nth) => ends.map(|(at, _)| at).nth(nth).map_or(bytes, |at| &bytes[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_length_and_a_part_of_the_log() {
        let answer = b"Container: container_1_0001_01_000001 on node:1\nLogAggregationType: LOCAL\n====\n\
            LogType:stdout\nLogLastModifiedTime:x\nLogLength:10\nLogContents:\nabc\nde\nEnd of LogType:stdout\n****\n";
        assert_eq!(parse(answer, 6).unwrap(), (10, b"abc\nde".to_vec()));
        assert_eq!(parse(answer, 0).unwrap(), (10, Vec::new()));
        assert!(parse(b"nothing", 0).is_err());
        assert!(parse(&answer[..100], 6).is_err());
    }

    #[test]
    fn the_place_is_taken_from_the_link_and_nothing_else() {
        let found =
            place("http://n:8042/node/containerlogs/container_e01_1_0001_01_000001/u").unwrap();
        assert_eq!(found.node, "http://n:8042");
        assert_eq!(found.container, "container_e01_1_0001_01_000001");
        assert!(place("http://n/node/containerlogs/../../x").is_none());
        assert!(place("http://n/other").is_none());
    }

    #[test]
    fn the_last_lines_are_whole() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb", 1), b"b");
        assert_eq!(last_lines(b"a\nb\n", 9), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 0), b"");
    }
}
