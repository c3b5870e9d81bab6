//! The client's side, for masters of Spark's and ours (Spark 3.5, `RestSubmissionClient`).

use std::fmt;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use reqwest::{Method, RequestBuilder};

use super::message::{Answer, Create, SPARK_VERSION, VERSION};
use crate::tls::Tls;

/// How long an answer may take (Spark 3.5: 10 s).
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks masters, the first of them that answers.
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
    /// `token`: what is shown to masters that ask for one.
    ///
    /// # Errors
    /// If there can be no HTTP client.
    pub fn new(masters: Vec<HostPort>, tls: &Tls, token: Option<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.client())
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(|error| Error::invalid("cannot speak HTTP").with_source(error))?;
        Ok(Self { http, scheme: tls.scheme(), masters, token })
    }

    /// Submits an application; its submission id. Not to be tried again after an error but one that
    /// says that no master was reached: there may be two of it then.
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

    /// Ends a driver; whether there was one to be ended, and what the master says.
    ///
    /// # Errors
    /// If no master answers.
    pub async fn kill(&self, id: &str) -> Result<(bool, String)> {
        let answer = self.ask(Method::POST, &format!("kill/{id}"), |request| request).await?;
        Ok((answer.success == Some(true), answer.message.unwrap_or_default()))
    }

    /// Asks one master after the other, until one answers that leads.
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

/// Spark's words for a master that does not lead.
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
        Error::new(kind, format!("{master} does not answer as Spark's REST server does"))
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
            format!("{master} wants a token"),
        )
        .with_hint(
            "set spark.authenticate.secret, or spark.anymaster.authenticate.secretFile, to the cluster's",
        ));
    }
    let body = response.bytes().await.map_err(unreachable)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        Error::protocol(format!("{master} answered {status} with what is not Spark's protocol"))
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
