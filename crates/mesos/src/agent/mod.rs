//! Asks masters and agents over HTTP what they know: tasks, agents, and the output of tasks.
//!
//! It is for what a scheduler is not told: it changes nothing.

mod elements;
mod known;
mod output;

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
use elements::Elements;

pub use known::{Agent, Known, Used};

/// How long a connection may take, and each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often one master may send us on to another.
const REDIRECTS: usize = 5;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Asks masters and agents. Cheap to clone.
#[derive(Clone)]
pub struct Inquiry {
    client: Client,
    credentials: Option<Credentials>,
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Inquiry {
    /// As this principal; masters and agents that ask for none take anybody.
    ///
    /// # Errors
    /// If there can be no HTTP client.
    pub fn new(credentials: Option<Credentials>) -> Result<Self> {
        let client = crate::http::client(PATIENCE)?;
        Ok(Self { client, credentials })
    }

    /// All tasks of a framework, with their agents, at one moment: those that have not ended, and as many of
    /// the others as the master remembers. One that does not lead sends us on to the one that does.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the master does not answer, or knows no leader;
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) and [`Denied`](ErrorKind::Denied) if it refuses.
    pub async fn tasks(&self, master: &HostPort, framework: &Id) -> Result<Vec<Known>> {
        let mut tasks = Vec::new();
        // Of pages of an answer, tasks that move meanwhile are in none, or in two.
        let query = [("framework_id", framework.value.as_str()), ("limit", "2147483647")];
        self.each(master, "/master/tasks", &query, "tasks", |bytes| {
            tasks.push(known::task(bytes)?);
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

    /// All agents that are registered.
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
            agents.push(known::agent(bytes)?);
            Ok(())
        })
        .await?;
        Ok(agents)
    }

    /// Tells each element of an array in what a master answers.
    async fn each(
        &self,
        master: &HostPort,
        path: &str,
        query: &[(&str, &str)],
        name: &'static str,
        mut tell: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let invalid = |error| Error::invalid(format!("{master} is no address")).with_source(error);
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
                    Error::protocol(format!("{whom} sends us elsewhere, and does not say where"))
                })?;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(refused(&whom, response).await);
            }
            let mut elements = Elements::new(name);
            let mut pieces = response.bytes_stream();
            while let Some(piece) =
                timeout(PATIENCE, pieces.next()).await.map_err(|_| silent(&whom))?
            {
                let piece = piece.map_err(|error| {
                    Error::unavailable(format!("{whom} hung up")).with_source(error)
                })?;
                elements.push(&piece, &mut tell)?;
            }
            return elements.finish().map_err(|error| error.context(&whom));
        }
        Err(Error::unavailable(format!("{whom} and others send us round")))
    }

    async fn send(&self, request: RequestBuilder, whom: &str) -> Result<Response> {
        let request = match &self.credentials {
            Some(Credentials { principal, secret }) => {
                request.basic_auth(principal, secret.as_deref())
            }
            None => request,
        };
        let sending = request.header(ACCEPT, JSON).send();
        let response = timeout(PATIENCE, sending).await.map_err(|_| silent(whom))?;
        response
            .map_err(|error| Error::unavailable(format!("cannot reach {whom}")).with_source(error))
    }
}

fn silent(whom: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("{whom} does not answer"))
}

/// What a refusal means.
async fn refused(whom: &str, response: Response) -> Error {
    let status = response.status();
    let said = timeout(PATIENCE, response.text()).await.ok().and_then(Result::ok);
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

/// The page of a task's sandbox in Mesos' own web interface.
pub fn sandbox_url(master: &HostPort, agent: &Id, framework: &Id, task: &str) -> String {
    format!(
        "http://{master}/#/agents/{}/frameworks/{}/executors/{}/browse",
        escaped(&agent.value),
        escaped(&framework.value),
        escaped(task)
    )
}

/// For a part of a path.
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

    /// Answers one request so, and tells it.
    async fn answer(listener: &TcpListener, answer: String) -> String {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = connection.read(&mut asked).await.unwrap();
        connection.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_master_that_does_not_lead_sends_us_to_the_one_that_does() {
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
        let inquiry = Inquiry::new(Some(credentials)).unwrap();
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
        // It may be cut short, or refused.
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"slaves\"".to_owned();
        let (found, _) = tokio::join!(inquiry.agents(&master), answer(&follower, cut));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unavailable);
        let no = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (found, _) = tokio::join!(inquiry.tasks(&master, &id), answer(&follower, no));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn sandboxes_have_a_page() {
        let master = HostPort { host: "m".to_owned(), port: 5050 };
        assert_eq!(
            sandbox_url(&master, &Id::new("a-S0"), &Id::new("a-0000"), "driver 1/x"),
            "http://m:5050/#/agents/a-S0/frameworks/a-0000/executors/driver%201%2Fx/browse"
        );
    }
}
