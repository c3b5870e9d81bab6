//! The server of Spark's REST submission protocol: routes, validation and responses. A daemon implements
//! [`Submissions`].

use std::sync::Arc;

use anymaster_core::Result;
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use serde::de::IgnoredAny;

use super::fields::{Fields, echo};
use super::json;
use super::message::{Answer, Create, VERSION};
use anymaster_net::read_body;

/// The largest request, in bytes.
const MAX_BODY: usize = 2 << 20;
/// The state that the Mesos dispatcher reports for an unknown driver (Spark 3.5, `MesosRestServer`); it is not
/// a success.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// The HTTP status that Spark uses for an unknown protocol version.
const UNKNOWN_VERSION: u16 = 468;

/// The status of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// `SUBMITTED`, `RUNNING`, `FINISHED`, `KILLED`, `FAILED`, `ERROR` …, or [`NOT_FOUND`]
    pub state: &'static str,
    /// A message, for example why the driver could not be started.
    pub message: Option<String>,
    /// The worker on which it runs: its id and `HOST:PORT`.
    pub worker: Option<(String, String)>,
}

/// A daemon that accepts submissions.
#[async_trait]
pub trait Submissions: Send + Sync + 'static {
    /// Accepts an application and returns its submission id. It is durable when this returns.
    async fn create(&self, request: Create) -> Result<String>;

    /// Kills a driver. Returns whether there is one to kill, and a message if the default one of the protocol
    /// does not suffice.
    async fn kill(&self, id: &str) -> Result<(bool, Option<String>)>;

    /// Kills all drivers (Spark 4).
    async fn kill_all(&self) -> Result<()>;

    /// Forgets all ended drivers (Spark 4).
    async fn clear(&self) -> Result<()>;

    /// The status of a driver; `None` if the id is unknown.
    async fn status(&self, id: &str) -> Result<Option<Driver>>;

    /// Whether submissions are accepted (Spark 4).
    async fn ready(&self) -> bool;
}

type Daemon = State<Arc<dyn Submissions>>;

/// The routes of the protocol. Use [`Hosts`](anymaster_net::Hosts) to refuse requests from web pages.
pub fn router(daemon: Arc<dyn Submissions>) -> Router {
    let path = |rest: &str| format!("/{VERSION}/submissions/{rest}");
    // As Spark's: what follows an id is ignored.
    let with_id = |router: Router<_>, action: &str, handler: MethodRouter<_>| {
        router
            .route(&path(&format!("{action}/{{id}}")), handler.clone())
            .route(&path(&format!("{action}/{{id}}/{{*rest}}")), handler)
    };
    let mut router = Router::new();
    for end in ["create", "create/{*rest}"] {
        router = router.route(&path(end), post(create).fallback(not_this_method));
    }
    router = with_id(router, "kill", post(kill).fallback(not_this_method));
    router = with_id(router, "status", get(status).fallback(not_this_method));
    for (action, handler) in [
        ("kill", post(|| missing("kill")).fallback(not_this_method)),
        ("kill/", post(|| missing("kill")).fallback(not_this_method)),
        ("status", get(|| missing("status")).fallback(not_this_method)),
        ("status/", get(|| missing("status")).fallback(not_this_method)),
        ("killall", post(kill_all).fallback(not_this_method)),
        ("clear", post(clear).fallback(not_this_method)),
        ("readyz", get(ready).fallback(not_this_method)),
    ] {
        router = router.route(&path(action), handler);
    }
    router.fallback(no_such_path).with_state(daemon)
}

/// An error in the protocol's form.
pub fn error(status: StatusCode, message: &str) -> Response {
    answer(status, &Answer::error(message))
}

fn answer(status: StatusCode, answer: &Answer) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
    (status, kind, json::to_string(answer)).into_response()
}

fn malformed(why: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &Answer::error(format!("Malformed request: {why}")))
}

async fn create(State(daemon): Daemon, request: Request) -> Response {
    const ACTION: &str = "CreateSubmissionResponse";
    let body = match read_body(request, MAX_BODY).await {
        Ok(body) => body,
        Err(unread) => return error(unread.status(), &unread.to_string()),
    };
    let (request, unknown_fields) = match understand(&body) {
        Ok(understood) => understood,
        Err(why) => return malformed(&why),
    };
    let created = match daemon.create(request).await {
        Ok(id) => Answer::created(&id),
        Err(error) => Answer::told(ACTION, None, false, Some(error.to_string())),
    };
    answer(StatusCode::OK, &Answer { unknown_fields, ..created })
}

/// What is submitted, and the fields of it that nobody knows. Fields that are not understood are not
/// kept: what comes of a request is about as large as the request.
///
/// # Errors
/// In Spark's words, what is wrong.
pub fn understand(body: &[u8]) -> std::result::Result<(Create, Vec<String>), String> {
    const CLASS: &str = "org.apache.spark.deploy.rest.SubmitRest";
    let not_json = |error: serde_json::Error| format!("the body is not JSON: {error}");
    let Fields { action, unknown } = match serde_json::from_slice(body) {
        Ok(fields) => fields,
        Err(error) if error.is_data() && body.trim_ascii_start().starts_with(b"{") => {
            return Err(format!("a field is wrong: {error}"));
        }
        Err(error) if error.is_data() => {
            // No object, and so without fields.
            serde_json::from_slice::<IgnoredAny>(body).map_err(not_json)?;
            Fields::default()
        }
        Err(error) => return Err(not_json(error)),
    };
    let Some(action) = action else {
        return Err(format!(
            "{CLASS}MissingFieldException: Action field not found in JSON:\n{}",
            echo(body)
        ));
    };
    if action != "CreateSubmissionRequest" {
        return Err(format!(
            "{CLASS}ProtocolException: Validation of message {action:.100} failed!\n\t\
             It is not a CreateSubmissionRequest."
        ));
    }
    let request: Create =
        serde_json::from_slice(body).map_err(|error| format!("a field is wrong: {error}"))?;
    if let Some(fault) = request.validation_error() {
        return Err(format!(
            "{CLASS}ProtocolException: Validation of message CreateSubmissionRequest failed!\n\t{fault}"
        ));
    }
    if request.main_class.is_none() {
        return Err(format!("{CLASS}MissingFieldException: Main class is missing."));
    }
    Ok((request, unknown))
}

/// The first part of the rest of a path.
fn id_of(path: Path<Vec<(String, String)>>) -> String {
    path.0.into_iter().find(|(name, _)| name == "id").map(|(_, id)| id).unwrap_or_default()
}

async fn kill(State(daemon): Daemon, path: Path<Vec<(String, String)>>) -> Response {
    let id = id_of(path);
    let (success, message) = match daemon.kill(&id).await {
        Ok((true, message)) => {
            (true, message.unwrap_or_else(|| format!("Kill request for {id} submitted")))
        }
        Ok((false, message)) => (
            false,
            message
                .unwrap_or_else(|| format!("Driver {id} has already finished or does not exist")),
        ),
        Err(error) => (false, error.to_string()),
    };
    answer(
        StatusCode::OK,
        &Answer::told("KillSubmissionResponse", Some(id), success, Some(message)),
    )
}

async fn status(State(daemon): Daemon, path: Path<Vec<(String, String)>>) -> Response {
    const ACTION: &str = "SubmissionStatusResponse";
    let id = id_of(path);
    let known = match daemon.status(&id).await {
        Ok(Some(driver)) => {
            let (worker_id, worker_host_port) = driver.worker.unzip();
            Answer {
                driver_state: Some(driver.state.to_owned()),
                worker_id,
                worker_host_port,
                ..Answer::told(ACTION, Some(id), driver.state != NOT_FOUND, driver.message)
            }
        }
        Ok(None) => Answer::told(ACTION, Some(id), false, None),
        Err(error) => Answer::told(ACTION, Some(id), false, Some(error.to_string())),
    };
    answer(StatusCode::OK, &known)
}

fn done(action: &str, done: Result<()>, message: &str) -> Response {
    let (success, message) = match done {
        Ok(()) => (true, message.to_owned()),
        Err(error) => (false, error.to_string()),
    };
    answer(StatusCode::OK, &Answer::told(action, None, success, Some(message)))
}

async fn kill_all(State(daemon): Daemon) -> Response {
    let killed = daemon.kill_all().await;
    done("KillAllSubmissionResponse", killed, "Kill request for all drivers submitted")
}

async fn clear(State(daemon): Daemon) -> Response {
    done("ClearResponse", daemon.clear().await, "")
}

async fn ready(State(daemon): Daemon) -> Response {
    if daemon.ready().await {
        return done("ReadyzResponse", Ok(()), "");
    }
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &Answer::told("ReadyzResponse", None, false, Some("Master is not ready.".to_owned())),
    )
}

async fn missing(action: &'static str) -> Response {
    let message = format!("Submission ID is missing in {action} request.");
    answer(StatusCode::BAD_REQUEST, &Answer::error(message))
}

async fn not_this_method(method: Method) -> Response {
    let message = format!("HTTP method {method} is not supported by this URL");
    answer(StatusCode::METHOD_NOT_ALLOWED, &Answer::error(message))
}

async fn no_such_path(request: Request) -> Response {
    let parts: Vec<_> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let (why, is_other_version) = match parts[..] {
        [] => ("Missing protocol version.".to_owned(), false),
        [VERSION] => ("Missing the /submissions prefix.".to_owned(), false),
        [VERSION, "submissions", ..] => (
            "Missing an action: please specify one of /create, /kill, /killall, /clear, /status, or /readyz."
                .to_owned(),
            false,
        ),
        [version, ..] => (format!("Unknown protocol version '{version}'."), true),
    };
    let message = format!(
        "{why} Please submit requests through http://[host]:[port]/{VERSION}/submissions/..."
    );
    let mut error = Answer::error(message);
    let mut status = StatusCode::BAD_REQUEST;
    if is_other_version {
        error.highest_protocol_version = Some(VERSION.to_owned());
        status = StatusCode::from_u16(UNKNOWN_VERSION).unwrap_or(status);
    }
    answer(status, &error)
}
