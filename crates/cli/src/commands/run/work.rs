//! Pending work, as a document that a program writes or serves.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anymaster::dynamic_allocation::{Activity, Workload};
use anymaster::{Work, WorkSource};
use anymaster_core::model::ExecutorId;
use anymaster_core::{Error, Result};
use async_trait::async_trait;
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 1 << 20;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the document is: a file, or a URL that serves it.
#[derive(Debug, Clone)]
pub(crate) enum Hook {
    File(PathBuf),
    Url(reqwest::Client, reqwest::Url),
}

/// The document. Numbers that are missing are 0, executors that are missing are busy while there is work.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    pending: u64,
    #[serde(default)]
    running: u64,
    #[serde(default = "one")]
    tasks_per_executor: u32,
    #[serde(default)]
    executors: BTreeMap<u64, Doing>,
}

fn one() -> u32 {
    1
}

/// What an executor does.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Doing {
    Busy,
    Idle,
    /// Idle, and it holds cached data.
    Cached,
    /// Idle, and it holds what other executors may still read.
    Shuffle,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // Names, passwords and queries may be secret.
            Self::Url(_, url) => {
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                let host = url.host_str().unwrap_or_default();
                write!(f, "{}://{host}{port}{}", url.scheme(), url.path())
            }
        }
    }
}

impl Hook {
    /// Understands `--pending-work`.
    ///
    /// # Errors
    /// If it is neither a URL of HTTP nor the path of a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(Error::invalid(format!(
                "--pending-work {text}: there is no way to read {scheme}://"
            ))
            .with_hint("it takes the path of a file, or a URL with http:// or https://"));
        }
        let url = reqwest::Url::parse(text).map_err(|error| {
            Error::invalid(format!("--pending-work {text}: it is not a URL")).with_source(error)
        })?;
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::unavailable("there is no HTTP client").with_source(error))?;
        Ok(Self::Url(client, url))
    }

    async fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                let cannot = |error| {
                    Error::unavailable(format!("cannot read {}", path.display())).with_source(error)
                };
                let file = tokio::fs::File::open(path).await.map_err(cannot)?;
                let mut text = Vec::new();
                let mut some = file.take(MAX_DOCUMENT as u64 + 1);
                some.read_to_end(&mut text).await.map_err(cannot)?;
                match text.len() > MAX_DOCUMENT {
                    true => Err(too_long()),
                    false => Ok(text),
                }
            }
            Self::Url(client, url) => {
                let cannot = |error: reqwest::Error| {
                    Error::unavailable(format!("cannot read {self}"))
                        .with_source(error.without_url())
                };
                let answer = client.get(url.clone()).send().await.map_err(cannot)?;
                let answer = answer.error_for_status().map_err(cannot)?;
                let (mut chunks, mut body) = (answer.bytes_stream(), Vec::new());
                while let Some(chunk) = chunks.next().await {
                    body.extend_from_slice(&chunk.map_err(cannot)?);
                    if body.len() > MAX_DOCUMENT {
                        return Err(too_long());
                    }
                }
                Ok(body)
            }
        }
    }
}

fn too_long() -> Error {
    Error::protocol("the document of pending work is longer than 1 MiB")
}

#[async_trait]
impl WorkSource for Hook {
    async fn work(&self) -> Result<Work> {
        let text = self.read().await?;
        let document: Document = serde_json::from_slice(&text).map_err(|error| {
            Error::protocol("the document of pending work is not valid")
                .with_source(error)
                .with_hint("it is a JSON document such as {\"pending\": 12, \"running\": 3}")
        })?;
        Ok(document.into())
    }
}

impl From<Document> for Work {
    fn from(document: Document) -> Self {
        let workload = Workload::new(document.pending, document.running);
        let workload = workload.with_tasks_per_executor(document.tasks_per_executor);
        document.executors.into_iter().fold(Self::new(workload), |work, (id, doing)| {
            let idle = |cached, shuffle| Activity::Idle { cached, shuffle };
            let activity = match doing {
                Doing::Busy => Activity::Busy,
                Doing::Idle => Activity::IDLE,
                Doing::Cached => idle(true, false),
                Doing::Shuffle => idle(false, true),
            };
            work.with_activity(ExecutorId(id), activity)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn said(text: &str) -> Result<Work> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Hook::parse(file.path().to_str().unwrap())?.work().await
    }

    #[tokio::test]
    async fn a_document_says_what_there_is_to_do() {
        let work = said(r#"{"pending": 3}"#).await.unwrap();
        assert_eq!(work, Work::new(Workload::new(3, 0)));
        let text =
            r#"{"pending": 1, "running": 2, "tasksPerExecutor": 4, "executors": {"7": "cached"}}"#;
        let cached = Activity::Idle { cached: true, shuffle: false };
        let expected = Work::new(Workload::new(1, 2).with_tasks_per_executor(4));
        assert_eq!(said(text).await.unwrap(), expected.with_activity(ExecutorId(7), cached));
    }

    #[tokio::test]
    async fn a_program_answers_with_it_over_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hook = Hook::parse(&format!("http://me:secret@{address}/work?token=secret")).unwrap();
        assert_eq!(hook.to_string(), format!("http://{address}/work"));
        let serve = async |answer: &str| {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let ok = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"pending\": 5}";
        let (work, ()) = tokio::join!(hook.work(), serve(ok));
        assert_eq!(work.unwrap(), Work::new(Workload::new(5, 0)));
        let (work, ()) = tokio::join!(hook.work(), serve("HTTP/1.1 503 Later\r\n\r\n"));
        let error = work.unwrap_err().to_string();
        assert!(error.contains("503") && !error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_such_a_document_is_an_error() {
        for text in ["", "7", "{}", r#"{"pending": -1}"#, r#"{"pending": 1, "waiting": 2}"#] {
            assert!(said(text).await.is_err(), "{text}");
        }
        assert!(said(&" ".repeat(MAX_DOCUMENT + 1)).await.unwrap_err().message().contains("1 MiB"));
        assert!(Hook::parse("ftp://host/file").is_err());
        let missing = Hook::parse("/there/is/none").unwrap().work().await.unwrap_err();
        assert!(missing.message().contains("/there/is/none"), "{missing}");
    }
}
