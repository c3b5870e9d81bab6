//! The HTTP API of the service.

use anymaster_net::{BodyError, read_body};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::json;

use crate::service::Submitter;
use crate::wire::{Code, Refusal, Submission, Submitted};

/// The paths of the service: `POST /api/v1/spark-submit`, and `GET /healthz`, `/readyz`, `/metrics`.
pub fn router(submitter: Submitter) -> Router {
    Router::new()
        .route("/api/v1/spark-submit", post(submit).fallback(method_not_allowed))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(submitter)
}

/// The response to a caller that is not authorized, in the format of the API.
pub fn denied(_: StatusCode, why: &str) -> Response {
    Refusal::new("", Code::Denied, why).into_response()
}

async fn submit(State(submitter): State<Submitter>, request: Request) -> Response {
    match try_submit(&submitter, request).await {
        Ok((status, submitted)) => {
            submitter.metrics().count(if submitted.duplicate_submission {
                "duplicate"
            } else {
                "created"
            });
            (status, Json(submitted)).into_response()
        }
        Err(refusal) => {
            submitter.metrics().count(refusal.code.as_str());
            refusal.into_response()
        }
    }
}

async fn try_submit(
    submitter: &Submitter,
    request: Request,
) -> Result<(StatusCode, Submitted), Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type
        .split(';')
        .next()
        .is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err(Refusal::new(
            "",
            Code::UnsupportedMediaType,
            format!("Content-Type must be application/json, not {content_type:?}"),
        ));
    }
    let body = read_body(request, submitter.limits().body).await.map_err(|error| {
        let code = if error == BodyError::Busy { Code::Overloaded } else { Code::BadRequest };
        Refusal::new("", code, error.to_string())
    })?;
    let request = read(&body)?;
    let (launched, app_name) = submitter.submit(&request).await?;
    let status = if launched.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Submitted::of(request.submission_id, app_name, &launched)))
}

/// Parses the body. The error names the field at fault, and has the submission id if there is one.
fn read(body: &[u8]) -> Result<Submission, Refusal> {
    #[derive(Default, serde::Deserialize)]
    struct WithId {
        submission_id: String,
    }
    let WithId { submission_id: id } = serde_json::from_slice(body).unwrap_or_default();
    let bad = |message: String| Refusal::new(&id, Code::BadRequest, message);
    let request: Submission = serde_json::from_slice(body).map_err(|error| {
        bad(if error.is_data() {
            error.to_string()
        } else {
            format!("the body is not JSON: {error}")
        })
    })?;
    if request.submission_id.is_empty() {
        return Err(bad("submission_id is empty".to_owned()));
    }
    if request.spark_submit_args.is_empty() {
        return Err(bad("spark_submit_args is empty".to_owned()));
    }
    Ok(request)
}

/// The operator probes the service with GET, and expects this status.
async fn method_not_allowed() -> Refusal {
    Refusal::new("", Code::MethodNotAllowed, "use POST to submit")
}

async fn ready(State(submitter): State<Submitter>) -> Response {
    match submitter.check().await {
        Ok(()) => "ok".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn metrics(State(submitter): State<Submitter>) -> Response {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match submitter.metrics().text() {
        Ok(text) => ([(header::CONTENT_TYPE, KIND)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::info!(
            id = self.submission_id,
            code = self.code.as_str(),
            message = self.message,
            "refused"
        );
        let body = Json(json!({
            "submission_id": self.submission_id,
            "status": "FAILED",
            "error_code": self.code.as_str(),
            "message": self.message,
            "timestamp": Timestamp::now(),
        }));
        let mut response = (self.code.status(), body).into_response();
        if self.code == Code::Overloaded {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if self.code == Code::MethodNotAllowed {
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        }
        response
    }
}
