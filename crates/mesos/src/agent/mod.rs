//! A client of the operator HTTP APIs of masters and agents: lists tasks and agents, and reads the output of
//! tasks. Read-only.

mod array_elements;
mod output;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use futures::StreamExt as _;
use reqwest::header::{ACCEPT, HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::credentials::Credentials;
use crate::model::Id;
use array_elements::ArrayElements;

pub use state::{Agent, MasterTask, UsedResources};

/// The time-out of connecting, and of each part of a response.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest number of redirects to other masters.
const REDIRECTS: usize = 5;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A client of masters and agents. Cheap to clone.
#[derive(Clone)]
pub struct OperatorClient {
    client: Client,
    credentials: Option<Credentials>,
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl OperatorClient {
    /// Creates a client with these credentials, which masters and agents need only if they are configured to
    /// require authentication.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(credentials: Option<Credentials>) -> Result<Self> {
        let client = crate::http::client(TIMEOUT)?;
        Ok(Self { client, credentials })
    }

    /// A consistent list of all tasks of a framework, with their agents: those that have not ended, and the ended
    /// ones that the master still remembers. Follows redirects to the leading master.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the master does not answer, or knows no leader;
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) and [`Denied`](ErrorKind::Denied) if it refuses.
    pub async fn tasks(&self, master: &HostPort, framework: &Id) -> Result<Vec<MasterTask>> {
        let mut tasks = Vec::new();
        // Not paged: a task that changes its state in between might be on no page, or on two.
        let query = [("framework_id", framework.value.as_str()), ("limit", "2147483647")];
        self.each(master, "/master/tasks", &query, "tasks", |bytes| {
            tasks.push(state::task(bytes)?);
            Ok(())
        })
        .await?;
        if tasks.is_empty() {
            return Ok(tasks);
        }
        let agents = self.agents(master).await?;
        let agents: HashMap<String, Arc<Agent>> =
            agents.into_iter().map(|agent| (agent.id.value.clone(), Arc::new(agent))).collect();
        for task in &mut tasks {
            task.agent = agents.get(&task.agent_id.value).cloned();
        }
        Ok(tasks)
    }

    /// All registered agents.
    ///
    /// # Errors
    /// As [`tasks`](Self::tasks).
    pub async fn agents(&self, master: &HostPort) -> Result<Vec<Agent>> {
        self.agents_of(master, &[]).await
    }

    /// One agent, if it is registered.
    ///
    /// # Errors
    /// As [`tasks`](Self::tasks).
    pub async fn agent(&self, master: &HostPort, id: &Id) -> Result<Option<Agent>> {
        let agents = self.agents_of(master, &[("slave_id", id.value.as_str())]).await?;
        Ok(agents.into_iter().find(|agent| agent.id == *id))
    }

    async fn agents_of(&self, master: &HostPort, query: &[(&str, &str)]) -> Result<Vec<Agent>> {
        let mut agents = Vec::new();
        self.each(master, "/master/slaves", query, "slaves", |bytes| {
            agents.push(state::agent(bytes)?);
            Ok(())
        })
        .await?;
        Ok(agents)
    }

    /// Calls `tell` with each element of an array in a master's response.
    async fn each(
        &self,
        master: &HostPort,
        path: &str,
        query: &[(&str, &str)],
        name: &'static str,
        mut tell: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let invalid =
            |error| Error::invalid(format!("{master} is not an address")).with_source(error);
        let mut url = Url::parse(&format!("http://{master}{path}")).map_err(invalid)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let whom = format!("Mesos master {master}");
        for _ in 0..REDIRECTS {
            let response = self.send(self.client.get(url.clone()), &whom).await?;
            if response.status() == StatusCode::TEMPORARY_REDIRECT {
                let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                // `//host:port/path?query`.
                url = place.and_then(|place| url.join(place).ok()).ok_or_else(|| {
                    Error::protocol(format!("{whom} redirects without a location"))
                })?;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(refused(&whom, response).await);
            }
            let mut elements = ArrayElements::new(name);
            let mut pieces = response.bytes_stream();
            while let Some(piece) =
                timeout(TIMEOUT, pieces.next()).await.map_err(|_| timed_out(&whom))?
            {
                let piece = piece.map_err(|error| {
                    Error::unavailable(format!("{whom} closed the connection")).with_source(error)
                })?;
                elements.push(&piece, &mut tell)?;
            }
            return elements.finish().map_err(|error| error.context(&whom));
        }
        Err(Error::unavailable(format!("too many redirects from {whom}")))
    }

    async fn send(&self, request: RequestBuilder, whom: &str) -> Result<Response> {
        let request = match &self.credentials {
            Some(Credentials { principal, secret }) => {
                request.basic_auth(principal, secret.as_deref())
            }
            None => request,
        };
        let sending = request.header(ACCEPT, JSON).send();
        let response = timeout(TIMEOUT, sending).await.map_err(|_| timed_out(whom))?;
        response
            .map_err(|error| Error::unavailable(format!("cannot reach {whom}")).with_source(error))
    }
}

fn timed_out(whom: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("{whom} does not answer"))
}

/// The error for a response with an error status.
async fn refused(whom: &str, response: Response) -> Error {
    let status = response.status();
    let said = timeout(TIMEOUT, response.text()).await.ok().and_then(Result::ok);
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        status if status.is_client_error() => ErrorKind::InvalidSpec,
        _ => ErrorKind::Unavailable,
    };
    let said = said.unwrap_or_default();
    let error = Error::new(kind, format!("{whom} refuses: {} ({status})", said.trim()));
    match kind {
        ErrorKind::Unauthenticated => {
            error.with_hint("set spark.mesos.principal and spark.mesos.secret")
        }
        _ => error,
    }
}

/// The URL of a task's sandbox in the web interface of Mesos.
pub fn sandbox_url(master: &HostPort, agent: &Id, framework: &Id, task: &str) -> String {
    format!(
        "http://{master}/#/agents/{}/frameworks/{}/executors/{}/browse",
        escaped(&agent.value),
        escaped(&framework.value),
        escaped(task)
    )
}

/// Percent-encodes a segment of a path.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with this response; returns the request.
    async fn answer(listener: &TcpListener, answer: String) -> String {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = connection.read(&mut asked).await.unwrap();
        connection.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn redirects_to_the_leading_master_are_followed() {
        let [follower, leader] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let place = leader.local_addr().unwrap();
        let elsewhere = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: //{place}/master/slaves?slave_id=S%2F0\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let body = r#"{"slaves":[{"id":"S/0","hostname":"h","pid":"slave(1)@10.0.0.7:5051"}]}"#;
        let here = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let credentials =
            Credentials { principal: "me".to_owned(), secret: Some("sesame".to_owned()) };
        let inquiry = OperatorClient::new(Some(credentials)).unwrap();
        assert!(!format!("{inquiry:?}").contains("sesame"));
        let master =
            HostPort { host: "127.0.0.1".to_owned(), port: follower.local_addr().unwrap().port() };
        let id = Id::new("S/0");
        let (found, _, asked) = tokio::join!(
            inquiry.agent(&master, &id),
            answer(&follower, elsewhere),
            answer(&leader, here)
        );
        assert_eq!(found.unwrap().unwrap().address.to_string(), "10.0.0.7:5051");
        assert!(asked.starts_with("GET /master/slaves?slave_id=S%2F0 "), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("authorization: basic "), "{asked}");
        // Truncated and refused responses.
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"slaves\"".to_owned();
        let (found, _) = tokio::join!(inquiry.agents(&master), answer(&follower, cut));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unavailable);
        let no = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (found, _) = tokio::join!(inquiry.tasks(&master, &id), answer(&follower, no));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn sandbox_urls_are_encoded() {
        let master = HostPort { host: "m".to_owned(), port: 5050 };
        assert_eq!(
            sandbox_url(&master, &Id::new("a-S0"), &Id::new("a-0000"), "driver 1/x"),
            "http://m:5050/#/agents/a-S0/frameworks/a-0000/executors/driver%201%2Fx/browse"
        );
    }
}
