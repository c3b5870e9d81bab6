//! The administration of a service over HTTP: which applications there are, and the end of one. Callers present a
//! bearer token; `/healthz` and `/metrics` need none.

use std::fmt;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{BearerAuth, page};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maud::html;
use serde_json::{Value, json};

use crate::registry::Listed;
use crate::roots::{OWN, Root};
use crate::service::ShuffleHandle;
use crate::store::own_file;

/// The longest file of a token, in bytes.
const MAX_TOKEN: u64 = 1024;

/// By what callers are known.
pub(crate) struct Token {
    text: String,
    /// Where it is, if the service has made it.
    pub(crate) file: Option<PathBuf>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Token {
    /// The token that was given, or the one of this service, which is made once.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if it cannot be read or written.
    pub(crate) fn new(given: Option<String>, root: &Root, service: &str) -> Result<Self> {
        if let Some(text) = given {
            return Ok(Self { text, file: None });
        }
        let name = format!("{service}.token");
        let path = root.path().join(OWN).join(&name);
        let failed =
            |error| Error::unavailable(format!("cannot use {}", path.display())).with_source(error);
        let mut file = own_file(root, &name)?;
        let mut text = String::new();
        (&mut file).take(MAX_TOKEN).read_to_string(&mut text).map_err(failed)?;
        let mut text = text.trim().to_owned();
        if text.is_empty() {
            text = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
            file.rewind().map_err(failed)?;
            file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        Ok(Self { text, file: Some(path) })
    }
}

/// The paths of the administration.
pub(crate) fn router(handle: ShuffleHandle, token: &Token) -> Router {
    let guarded = Router::new()
        .route("/", get(home))
        .route("/applications", get(applications))
        .route("/applications/{app}", get(application).delete(end))
        .route("/applications/{app}/executors/{executor}", delete(end_executor))
        .with_state(handle.clone());
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(handle);
    BearerAuth::new(Some(&token.text)).protect(guarded).merge(open)
}

/// An error as JSON.
fn failure(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Quota => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({"error": error.to_string(), "hint": error.hint()}))).into_response()
}

async fn applications(State(handle): State<ShuffleHandle>) -> Response {
    let all = handle.0.registry.apps().into_iter();
    let all: Vec<Value> =
        all.map(|(app, executors)| json!({"app": app, "executors": executors})).collect();
    Json(all).into_response()
}

fn executor_json(Listed { id, local_dirs, registered }: Listed) -> Value {
    json!({"executor": id, "localDirs": local_dirs, "registered": registered})
}

async fn application(State(handle): State<ShuffleHandle>, Path(app): Path<String>) -> Response {
    match handle.0.registry.executors(&app) {
        Some(executors) => {
            let executors: Vec<_> = executors.into_iter().map(executor_json).collect();
            Json(json!({"app": app, "executors": executors})).into_response()
        }
        None => failure(&crate::registry::unknown(&app)),
    }
}

async fn end(State(handle): State<ShuffleHandle>, Path(app): Path<String>) -> Response {
    match handle.application_ended(&app).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => failure(&error),
    }
}

async fn end_executor(
    State(handle): State<ShuffleHandle>,
    Path((app, executor)): Path<(String, String)>,
) -> Response {
    match handle.executor_ended(&app, &executor).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failure(&error),
    }
}

async fn metrics(State(handle): State<ShuffleHandle>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match handle.0.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => failure(&Error::protocol("the metrics cannot be written").with_source(error)),
    }
}

async fn home(State(handle): State<ShuffleHandle>) -> Response {
    let shared = &handle.0;
    let (apps, metrics) = (shared.registry.apps(), &shared.metrics);
    let body = html! {
        dl {
            div { dt { "Executors" } dd { (shared.registry.counts().1) } }
            div { dt { "Connections" } dd { (metrics.connections.get()) } }
            div { dt { "Blocks sent" } dd { (metrics.blocks.get()) } }
            div { dt { "Sent" } dd { (page::mebibytes(metrics.bytes.get() >> 20)) } }
            div { dt { "Blocks that could not be sent" } dd { (metrics.failures.get()) } }
        }
        h2 { "Applications " small { (apps.len()) } }
        @if apps.is_empty() { p class="none" { "None." } } @else {
            div class="wide" { table {
                tr { th { "Application" } th class="number" { "Executors" } }
                @for (app, executors) in &apps {
                    tr { td { (app) } td class="number" { (executors) } }
                }
            } }
        }
    };
    page::page("Shuffle service", "anymaster", &body)
}
