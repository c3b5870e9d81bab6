//! The pages of the ResourceManager for programs (`/ws/v1/cluster`): what it tells nowhere else.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_hadoop::http::{body, checked, unreachable};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, DATE};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Whose answers they are, in errors.
const WHO: &str = "the ResourceManager";
/// How long it has to accept a connection, and to go on with an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read: 10,000 nodes are some 12 megabytes.
const MAX_ANSWER: u64 = 64 << 20;

/// The pages of a ResourceManager and its standbys.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    http: reqwest::Client,
    /// `http://host:8088`.
    managers: Arc<[String]>,
    user: Arc<str>,
}

/// What a ResourceManager says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterInfo {
    /// When it was started, in milliseconds since 1970: a part of the ids of its applications.
    pub(crate) started_on: i64,
    #[serde(default)]
    pub(crate) ha_state: String,
    #[serde(default)]
    pub(crate) resource_manager_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    cluster_info: ClusterInfo,
}

/// What one ResourceManager says of itself, and which time it has.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) info: ClusterInfo,
    /// How far its clock is ahead of ours, in seconds, as far as that can be told: answers have whole seconds.
    pub(crate) ahead: Option<i64>,
}

impl Web {
    pub(crate) fn new(managers: &[String], user: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Error::invalid("cannot create an HTTP client").with_source(error))?;
        Ok(Self { http, managers: managers.into(), user: user.into() })
    }

    pub(crate) fn managers(&self) -> &[String] {
        &self.managers
    }

    /// What the active ResourceManager answers; standbys send there.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if it knows no such thing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut last = Error::invalid("no ResourceManager is known");
        for manager in self.managers.iter() {
            let answer = match self.ask(manager, path).await {
                Ok((bytes, _)) => parsed(manager, &bytes),
                Err(error) => Err(error),
            };
            match answer {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Protocol) =>
                {
                    last = error;
                }
                answer => return answer,
            }
        }
        Err(last)
    }

    /// What the active one says of itself, as far as that is known.
    pub(crate) async fn active(&self) -> Result<ClusterInfo> {
        let mut last = Error::invalid("no ResourceManager is known");
        for manager in self.managers.iter() {
            match self.introduction(manager).await {
                Ok(it) if matches!(it.info.ha_state.as_str(), "ACTIVE" | "") => return Ok(it.info),
                Ok(_) => last = Error::unavailable("no ResourceManager is active"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What one of the ResourceManagers says of itself, standby or not.
    pub(crate) async fn introduction(&self, manager: &str) -> Result<Introduction> {
        let before = Timestamp::now();
        let (bytes, date) = self.ask(manager, "info").await?;
        let now = Timestamp::now();
        let Found { cluster_info: info } = parsed(manager, &bytes)?;
        Ok(Introduction { info, ahead: date.map(|date| ahead(date, before, now)) })
    }

    async fn ask(&self, manager: &str, path: &str) -> Result<(Bytes, Option<Timestamp>)> {
        let url = format!("{manager}/ws/v1/cluster/{path}?user.name={}", self.user);
        let sent = self.http.get(&url).header(ACCEPT, "application/json").send().await;
        let answer = sent.map_err(|error| unreachable(WHO, manager, error))?;
        let answer = checked(WHO, answer).await?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        Ok((body(WHO, answer, MAX_ANSWER).await?, date))
    }
}

fn parsed<T: DeserializeOwned>(manager: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::protocol(format!("{WHO} at {manager}: the answer is not understood"))
            .with_source(error)
    })
}

/// How far a clock is ahead that showed this whole second between two times of ours.
fn ahead(date: Timestamp, before: Timestamp, after: Timestamp) -> i64 {
    let date = date.as_second();
    let (early, late) = (before.as_second(), after.as_second());
    if date > late {
        date - late
    } else if date < early {
        date - early
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind_by_what_cannot_be_the_time_of_the_answer() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of = |date| ahead(at(date), at(100), at(103));
        assert_eq!([99, 100, 103, 104, 400].map(of), [-1, 0, 0, 1, 297]);
    }

    #[test]
    fn what_it_says_of_itself_is_read() {
        let text = r#"{"clusterInfo":{"id":1795209662649,"startedOn":1795209662649,"state":"STARTED","haState":"ACTIVE",
            "rmStateStoreName":"x","resourceManagerVersion":"3.4.1","hadoopVersion":"3.4.1"}}"#;
        let Found { cluster_info: info } = parsed("http://rm", text.as_bytes()).unwrap();
        assert_eq!(info.started_on, 1_795_209_662_649);
        assert_eq!((&*info.ha_state, &*info.resource_manager_version), ("ACTIVE", "3.4.1"));
        let other: Result<Found> = parsed("http://rm", b"This is standby RM.");
        assert_eq!(other.err().map(|error| error.kind()), Some(ErrorKind::Protocol));
    }
}
