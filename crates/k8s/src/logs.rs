//! Reads the log of a pod's main container.

use std::time::Duration;

use anymaster_core::{
    Backoff, Error, ErrorKind, LogChunk, LogOptions, LogSource, LogStream, Result,
};
use bytes::Bytes;
use futures::io::AsyncBufRead;
use futures::{AsyncBufReadExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::runtime::wait::await_condition;

use crate::config::Connection;
use crate::error::translate;
use crate::pod;

/// The first pause before an interrupted log is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(1600);

/// Opens the log of a pod. With `follow`, waits until the container has started.
pub(crate) async fn open(
    connection: &Connection,
    pod: Pod,
    options: &LogOptions,
) -> Result<LogStream> {
    if options.source == Some(LogSource::Stderr) {
        return Err(Error::unsupported("Kubernetes keeps both streams of a container in one log")
            .with_hint("leave --stderr out"));
    }
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), &namespace);
    let reader = Reader::new(api, &pod, connection.clone(), options)?;
    if !options.follow {
        if !has_log(Some(&pod), &reader.container) {
            return Ok(stream::empty().boxed());
        }
        return Ok(reader.stream());
    }
    Ok(stream::once(async move {
        match reader.await_log().await {
            Ok(true) => reader.stream(),
            Ok(false) => stream::empty().boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    })
    .flatten()
    .boxed())
}

/// Whether the container is running or has terminated.
fn has_log(pod: Option<&Pod>, container: &str) -> bool {
    let statuses =
        pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_deref()).unwrap_or_default();
    let state = statuses
        .iter()
        .find(|status| status.name == container)
        .and_then(|status| status.state.as_ref());
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// Reads a log line by line, and resumes after an interruption.
struct Reader {
    connection: Connection,
    api: Api<Pod>,
    pod: String,
    uid: Option<String>,
    container: String,
    follow: bool,
    tail: Option<i64>,
    /// The timestamp of the last line returned.
    last: Option<Timestamp>,
    backoff: Backoff,
}

impl Reader {
    fn new(api: Api<Pod>, pod: &Pod, connection: Connection, options: &LogOptions) -> Result<Self> {
        let container =
            pod::main_container(pod).ok_or_else(|| Error::protocol("a pod without containers"))?;
        Ok(Self {
            connection,
            api,
            pod: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone(),
            container: container.name.clone(),
            follow: options.follow,
            tail: options.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            last: None,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        })
    }

    /// Waits until there is a log. Returns `false` if there never will be.
    async fn await_log(&self) -> Result<bool> {
        let container = self.container.clone();
        let decided = |pod: Option<&Pod>| {
            has_log(pod, &container) || pod.is_none_or(|pod| pod::state(pod).is_ended())
        };
        let pod = await_condition(self.api.clone(), &self.pod, decided).await.map_err(|error| {
            Error::unavailable(format!("cannot watch pod {}", self.pod)).with_source(error)
        })?;
        Ok(has_log(pod.as_ref(), &container))
    }

    fn stream(self) -> LogStream {
        let lines = stream::unfold(Some((self, None)), |state| async move {
            let (mut reader, mut open) = state?;
            loop {
                let body = match open.take() {
                    Some(body) => body,
                    None => match reader.connect().await {
                        Ok(Some(body)) => body,
                        Ok(None) => return None,
                        Err(error) => return Some((Err(error), None)),
                    },
                };
                match reader.next_line(body).await {
                    Ok(Some((line, body))) => {
                        reader.backoff.reset();
                        let chunk = LogChunk { source: LogSource::Stdout, bytes: line };
                        return Some((Ok(chunk), Some((reader, Some(body)))));
                    }
                    // The end of the log or an interruption: the pod's status tells which.
                    Ok(None) => match reader.has_ended().await {
                        Ok(true) => return None,
                        Ok(false) => {
                            reader.backoff.failed(None);
                        }
                        Err(error) => return Some((Err(error), None)),
                    },
                    Err(error) => {
                        tracing::info!(%error, "the log was interrupted");
                        reader.backoff.failed(None);
                    }
                }
            }
        });
        lines.boxed()
    }

    async fn connect(&mut self) -> Result<Option<Body>> {
        self.backoff.pause().await;
        let params = LogParams {
            container: Some(self.container.clone()),
            follow: self.follow,
            tail_lines: self.tail.filter(|_| self.last.is_none()),
            since_time: self.last,
            timestamps: true,
            ..LogParams::default()
        };
        let what = format!("read the log of pod {}", self.pod);
        let opened = self.connection.call(&what, || self.api.log_stream(&self.pod, &params)).await;
        match opened {
            Ok(body) => Ok(Some(Box::pin(body))),
            Err(error) if error.kind() == ErrorKind::NotFound && self.last.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next line after the last one returned.
    async fn next_line(&mut self, mut body: Body) -> Result<Option<(Bytes, Body)>> {
        loop {
            let mut line = Vec::new();
            let read = body.read_until(b'\n', &mut line).await.map_err(|error| {
                translate(
                    &format!("read the log of pod {}", self.pod),
                    kube::Error::ReadEvents(error),
                )
            })?;
            if read == 0 {
                return Ok(None);
            }
            let (written, rest) = split_time(&line);
            // `sinceTime` has whole seconds: lines of the last second are sent again.
            if written.is_some() && written <= self.last {
                continue;
            }
            self.last = written.or(self.last);
            return Ok(Some((Bytes::copy_from_slice(rest), body)));
        }
    }

    /// Whether the log is complete.
    async fn has_ended(&self) -> Result<bool> {
        if !self.follow {
            return Ok(true);
        }
        let what = format!("get pod {}", self.pod);
        let pod = self.connection.call(&what, || self.api.get_opt(&self.pod)).await?;
        Ok(pod.is_none_or(|pod| pod.metadata.uid != self.uid || pod::state(&pod).is_ended()))
    }
}

type Body = std::pin::Pin<Box<dyn AsyncBufRead + Send>>;

/// `2026-01-01T00:00:00.123456789Z the line`.
fn split_time(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(at) = line.iter().position(|byte| *byte == b' ') else { return (None, line) };
    match std::str::from_utf8(&line[..at]).ok().and_then(|text| text.parse().ok()) {
        Some(time) => (Some(time), &line[at + 1..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_split_from_lines() {
        let (time, rest) = split_time(b"2026-01-01T00:00:00.123456789Z a b\n");
        assert_eq!(time.unwrap().subsec_nanosecond(), 123_456_789);
        assert_eq!(rest, b"a b\n");
        assert_eq!(split_time(b"no time\n"), (None, &b"no time\n"[..]));
    }
}
