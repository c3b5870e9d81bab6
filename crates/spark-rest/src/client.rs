//! The client of Spark's REST submission protocol (Spark 3.5, `RestSubmissionClient`), for masters of Spark
//! and of anymaster.

use std::fmt;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use reqwest::{Method, RequestBuilder};

use super::message::{Answer, Create, SPARK_VERSION, VERSION};
use anymaster_net::Tls;

/// The time-out of a request (Spark 3.5: 10 s).
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of several masters, one of which leads.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    scheme: &'static str,
    masters: Vec<HostPort>,
    token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("masters", &self.masters).finish_non_exhaustive()
    }
}

impl Client {
    /// `token`: the bearer token for masters that require one.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(masters: Vec<HostPort>, tls: &Tls, token: Option<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.client())
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Error::invalid("cannot create an HTTP client").with_source(error))?;
        Ok(Self { http, scheme: tls.scheme(), masters, token })
    }

    /// Submits an application and returns its submission id. Not idempotent: retry only after an error that
    /// says that no master was reached.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) or [`Conflict`](ErrorKind::Conflict) as the master says.
    pub async fn create(&self, request: Create) -> Result<String> {
        let request = Create {
            action: "CreateSubmissionRequest".to_owned(),
            client_spark_version: Some(SPARK_VERSION.to_owned()),
            ..request
        };
        let body = serde_json::to_vec(&request).map_err(|error| {
            Error::protocol("a submission cannot be written as JSON").with_source(error)
        })?;
        let answer = self
            .ask(Method::POST, "create", |request| {
                let kind = "application/json;charset=UTF-8";
                request.header(reqwest::header::CONTENT_TYPE, kind).body(body.clone())
            })
            .await?;
        match (answer.success, answer.submission_id) {
            (Some(true), Some(id)) => Ok(id),
            _ => Err(Error::invalid(format!(
                "the master refused the submission: {}",
                answer.message.unwrap_or_default()
            ))),
        }
    }

    /// What became of a driver; `None` if the master does not know it.
    ///
    /// # Errors
    /// If no master answers.
    pub async fn status(&self, id: &str) -> Result<Option<Answer>> {
        let answer = self.ask(Method::GET, &format!("status/{id}"), |request| request).await?;
        Ok((answer.success == Some(true)).then_some(answer))
    }

    /// Kills a driver. Returns whether the master found it, and the master's message.
    ///
    /// # Errors
    /// If no master answers.
    pub async fn kill(&self, id: &str) -> Result<(bool, String)> {
        let answer = self.ask(Method::POST, &format!("kill/{id}"), |request| request).await?;
        Ok((answer.success == Some(true), answer.message.unwrap_or_default()))
    }

    /// Tries one master after the other until the leading one answers.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer> {
        let mut last = None;
        for master in &self.masters {
            let url = format!("{}://{master}/{VERSION}/submissions/{path}", self.scheme);
            let mut request = with(self.http.request(method.clone(), url));
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            match answer(master, request).await {
                Ok(answer) if is_standby(&answer) => {
                    let message = answer.message.unwrap_or_default();
                    last = Some(Error::new(ErrorKind::NotLeader, format!("{master}: {message}")));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => last = Some(error),
                answered => return answered,
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid("a master URL without a master")))
    }
}

/// Whether the answer is that of a standby master.
fn is_standby(answer: &Answer) -> bool {
    let message = answer.message.as_deref().unwrap_or_default();
    answer.success == Some(false) && message.starts_with("Current state is not alive")
}

async fn answer(master: &HostPort, request: RequestBuilder) -> Result<Answer> {
    let unreachable = |error: reqwest::Error| {
        if error.is_connect() {
            return Error::unavailable(format!("cannot reach {master}")).with_source(error);
        }
        let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Protocol };
        Error::new(kind, format!("{master} does not answer like Spark's REST server"))
            .with_source(error)
            .with_hint(
                "is that the master's REST port (6066), and spark.master.rest.enabled there?",
            )
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if status == reqwest::StatusCode::UNAUTHORIZED {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            format!("{master} requires a token"),
        )
        .with_hint(
            "set spark.authenticate.secret, or spark.anymaster.authenticate.secretFile, to the cluster's",
        ));
    }
    let body = response.bytes().await.map_err(unreachable)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        Error::protocol(format!(
            "{master} answered {status} with a body that is not of Spark's protocol"
        ))
        .with_source(error)
        .with_hint("is that the master's REST port (6066)?")
    })?;
    if answer.action == "ErrorResponse" {
        let message = answer.message.unwrap_or_default();
        let first = message.lines().next().unwrap_or_default();
        return Err(Error::invalid(format!("{master} refuses: {first}")));
    }
    Ok(answer)
}
