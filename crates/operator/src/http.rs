//! What probes and Prometheus ask for.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::controller::{Applications, Controller};

#[derive(Clone)]
struct Served {
    controller: Arc<Controller>,
    applications: Arc<OnceLock<Applications>>,
    stands_by: bool,
}

/// The paths of an operator. `stands_by`: it is ready before it works.
pub(crate) fn router(
    controller: Arc<Controller>,
    applications: Arc<OnceLock<Applications>>,
    stands_by: bool,
) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Served { controller, applications, stands_by })
}

/// The response to a caller that is refused, in plain text.
pub fn denied(status: StatusCode, why: &str) -> Response {
    (status, why.to_owned()).into_response()
}

async fn ready(State(served): State<Served>) -> Response {
    let missing = match served.applications.get() {
        None if served.stands_by => return "standing by".into_response(),
        None => "it has not begun",
        Some(known) if served.controller.is_complete(known) => return "ok".into_response(),
        Some(_) => "applications and pods are being listed",
    };
    (StatusCode::SERVICE_UNAVAILABLE, missing).into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let known = served.applications.get().map(Applications::state).unwrap_or_default();
    match served.controller.metrics.text(known.iter().map(|app| &**app)) {
        Ok(text) => ([(header::CONTENT_TYPE, KIND)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
