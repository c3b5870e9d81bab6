//! The HTTP interface of a server. All but downloads, `/healthz` and `/metrics` needs the token.
//!
//! Uploads in parts are those of tus 1.0.0: POST with `Upload-Length` and `Upload-Metadata` begins one, PATCH with
//! `Upload-Offset` goes on, HEAD says where. PUT is all of it in one request.

use std::sync::Arc;

use anymaster_core::Error;
use anymaster_core::model::AppId;
use anymaster_net::BearerAuth;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, head, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::download;
use crate::fault::Fault;
use crate::ids::{ContentDigest, UploadId};
use crate::names::FileName;
use crate::receive::{Received, offset, receive};
use crate::staging::{Begun, Staging};
use crate::token::Token;
use crate::tus;

type Shared = State<Arc<Staging>>;

/// The paths of a server.
pub(crate) fn router(staging: Arc<Staging>, token: &Token) -> Router {
    let guarded = Router::new()
        .route("/v1/applications", get(applications))
        .route("/v1/applications/{app}", delete(end))
        .route("/v1/applications/{app}/files", post(begin).options(options))
        .route("/v1/applications/{app}/files/{name}", put(upload))
        .route(
            "/v1/uploads/{id}",
            head(whereabouts).patch(go_on).delete(terminate).options(options),
        )
        .with_state(Arc::clone(&staging));
    let open = Router::new()
        .route("/token/{capability}/{name}", get(download::download))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(staging);
    BearerAuth::new(Some(&token.text)).protect(guarded).merge(open)
}

fn invalid(error: &Error) -> Fault {
    Fault::bad_request(error.to_string())
}

fn app_id(text: &str) -> Result<AppId, Fault> {
    AppId::new(text).map_err(|error| invalid(&error))
}

fn upload_id(text: &str) -> Result<UploadId, Fault> {
    UploadId::parse(text).ok_or_else(Fault::not_found)
}

fn tus_headers(mut response: Response, more: &[(&'static str, String)]) -> Response {
    let headers = response.headers_mut();
    headers.insert("tus-resumable", HeaderValue::from_static(tus::VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in more {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A client of tus says which version it speaks; others need not.
fn check_version(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get("tus-resumable") {
        Some(version) if version != tus::VERSION => Err(Fault::new(
            StatusCode::PRECONDITION_FAILED,
            format!("Tus-Resumable: {} is spoken here", tus::VERSION),
        )),
        _ => Ok(()),
    }
}

/// Answers, or says what is wrong.
async fn answered(answer: impl Future<Output = Result<Response, Fault>>) -> Response {
    tus_headers(answer.await.unwrap_or_else(Fault::into_response), &[])
}

async fn options(State(staging): Shared) -> Response {
    let more = [
        ("tus-version", tus::VERSION.to_owned()),
        ("tus-extension", tus::EXTENSIONS.to_owned()),
        ("tus-max-size", staging.largest.to_string()),
    ];
    tus_headers(StatusCode::NO_CONTENT.into_response(), &more)
}

/// What a submitter is told of its file.
fn told(staging: &Staging, begun: Begun, name: &FileName, content: Option<ContentDigest>) -> Value {
    let path = download::path(begun, name);
    let mut told = json!({"upload": location(begun.id), "path": path});
    if let Some(url) = &staging.public_url {
        told["url"] = format!("{url}{path}").into();
    }
    if let Some(content) = content {
        told["sha256"] = content.to_string().into();
    }
    told
}

fn location(id: UploadId) -> String {
    format!("/v1/uploads/{id}")
}

async fn begin(State(staging): Shared, Path(app): Path<String>, headers: HeaderMap) -> Response {
    answered(async {
        check_version(&headers)?;
        let app = app_id(&app)?;
        let length = tus::number(&headers, "upload-length")?;
        let metadata = headers.get("upload-metadata").and_then(|value| value.to_str().ok());
        let metadata = metadata.ok_or_else(|| Fault::bad_request("Upload-Metadata is missing"))?;
        let metadata = tus::upload_metadata(metadata).map_err(|error| invalid(&error))?;
        let name = metadata.name;
        let begun = staging.begin(app, name.clone(), length, metadata.digest).await?;
        let content = match length {
            0 => receive(&staging, begun.id, 0, None, Body::empty()).await?.content,
            _ => None,
        };
        let told = Json(told(&staging, begun, &name, content));
        let more = [("location", location(begun.id))];
        Ok(tus_headers((StatusCode::CREATED, told).into_response(), &more))
    })
    .await
}

async fn go_on(State(staging): Shared, Path(id): Path<String>, request: Request) -> Response {
    answered(async {
        let headers = request.headers();
        check_version(headers)?;
        if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != tus::OCTETS) {
            let message = format!("Content-Type has to be {}", tus::OCTETS);
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let (id, offset) = (upload_id(&id)?, tus::number(headers, "upload-offset")?);
        let announced = tus::number(headers, "content-length").ok();
        let received = receive(&staging, id, offset, announced, request.into_body()).await?;
        Ok(progress(StatusCode::NO_CONTENT, received))
    })
    .await
}

fn progress(status: StatusCode, Received { offset, .. }: Received) -> Response {
    tus_headers(status.into_response(), &[("upload-offset", offset.to_string())])
}

async fn whereabouts(State(staging): Shared, Path(id): Path<String>) -> Response {
    answered(async {
        let (offset, length) = offset(&staging, upload_id(&id)?).await?;
        let more = [("upload-offset", offset.to_string()), ("upload-length", length.to_string())];
        Ok(tus_headers(StatusCode::OK.into_response(), &more))
    })
    .await
}

async fn terminate(State(staging): Shared, Path(id): Path<String>) -> Response {
    answered(async {
        let id = upload_id(&id)?;
        match staging.blocking(move |staging| staging.remove(&[id])).await? {
            0 => Err(Fault::not_found()),
            _ => Ok(StatusCode::NO_CONTENT.into_response()),
        }
    })
    .await
}

async fn upload(
    State(staging): Shared,
    Path((app, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    answered(async {
        let app = app_id(&app)?;
        let name = FileName::new(&name).map_err(|error| invalid(&error))?;
        let length = tus::number(request.headers(), "content-length").map_err(|_| {
            Fault::new(StatusCode::LENGTH_REQUIRED, "Content-Length says how long the file is")
        })?;
        let begun = staging.begin(app, name.clone(), length, None).await?;
        let received = receive(&staging, begun.id, 0, Some(length), request.into_body()).await;
        let content = match received {
            Ok(Received { content: Some(content), .. }) => Ok(content),
            Ok(_) => Err(Fault::bad_request("the request is incomplete")),
            Err(fault) => Err(fault),
        };
        match content {
            Ok(content) => {
                let told = Json(told(&staging, begun, &name, Some(content)));
                Ok((StatusCode::CREATED, told).into_response())
            }
            Err(fault) => {
                // Nobody knows how to go on with it.
                staging.blocking(move |staging| staging.remove(&[begun.id])).await?;
                Err(fault)
            }
        }
    })
    .await
}

async fn applications(State(staging): Shared) -> Response {
    let apps = staging.apps().into_iter();
    let apps: Vec<Value> = apps
        .map(|(app, usage)| json!({"application": app, "files": usage.files, "bytes": usage.bytes}))
        .collect();
    Json(apps).into_response()
}

async fn end(State(staging): Shared, Path(app): Path<String>) -> Response {
    answered(async {
        let app = app_id(&app)?;
        staging.blocking(move |staging| staging.remove_app(&app)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn metrics(State(staging): Shared) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match staging.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
