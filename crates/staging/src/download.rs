//! `GET /token/CAPABILITY/NAME`: what drivers fetch. Whoever has the URL may; for all others there is nothing.
//!
//! The name is for the driver: a JVM without a locale asks for another one than it was told, where that is not ASCII.
//!
//! The word `token` is in the path because Spark hides, on its pages and in its event logs, values that speak of one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anymaster_net::Admitted;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};

use crate::buffers::SIZE;
use crate::fault::Fault;
use crate::ids::{Capability, ContentDigest};
use crate::names::FileName;
use crate::range::{ByteRange, byte_range};
use crate::staging::{Begun, Staging};

/// The path of a download URL.
pub(crate) fn path(begun: Begun, name: &FileName) -> String {
    format!("/token/{}/{}", begun.capability.text(), name.encoded())
}

pub(crate) async fn download(
    State(staging): State<Arc<Staging>>,
    Path((capability, _)): Path<(String, String)>,
    request: Request,
) -> Response {
    let admitted = request.extensions().get::<Arc<Admitted>>().cloned();
    let found = Capability::parse(&capability)
        .and_then(|capability| staging.catalog().download(capability.digest()));
    let Some((content, length)) = found else {
        if let Some(admitted) = admitted {
            admitted.authentication_failed("download URL").await;
        }
        return Fault::not_found().into_response();
    };
    if let Some(admitted) = admitted {
        // At the limit of authenticated connections, it is served as another one.
        let _ = admitted.set_authenticated();
    }
    answer(&staging, content, length, request.method(), request.headers())
        .await
        .unwrap_or_else(Fault::into_response)
}

async fn answer(
    staging: &Arc<Staging>,
    content: ContentDigest,
    length: u64,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let tag = format!("\"{content}\"");
    // A part of another content is of no use: then all of it is sent.
    let is_same = text(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = match is_same && method == Method::GET {
        true => byte_range(text(header::RANGE), length),
        false => ByteRange::All,
    };
    let (status, from, to) = match range {
        ByteRange::All => (StatusCode::OK, 0, length),
        ByteRange::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        ByteRange::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response = match status == StatusCode::RANGE_NOT_SATISFIABLE || method == Method::HEAD {
        true => Body::empty().into_response(),
        false => {
            let file = staging
                .blocking(move |staging| {
                    let file = File::open(staging.directory().content(content));
                    file.map_err(|error| Fault::of_disk("open a file", &error))
                })
                .await?;
            staging.metrics.downloads.inc();
            body(Arc::clone(staging), file, from, to).into_response()
        }
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {from}-{}/{length}", to - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{length}")),
        _ => None,
    };
    for (name, value) in [
        (header::CONTENT_LENGTH, Some((to - from).to_string())),
        (header::CONTENT_RANGE, content_range),
        (header::ETAG, Some(tag)),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The bytes of a file, in pieces, of which one is read while another one is sent.
fn body(staging: Arc<Staging>, file: File, from: u64, to: u64) -> Body {
    let file = Arc::new(file);
    let starts = (from..to).step_by(SIZE);
    let pieces = stream::iter(starts).map(move |start| {
        let (staging, file) = (Arc::clone(&staging), Arc::clone(&file));
        let length = (SIZE as u64).min(to - start) as usize;
        async move {
            staging.metrics.sent.inc_by(length as u64);
            let mut piece = staging.buffers.take();
            let read = move |_: &Staging| {
                piece.bytes.resize(length, 0);
                file.read_exact_at(&mut piece.bytes, start)
                    .map_err(|error| Fault::of_disk("read a file", &error))?;
                Ok(Bytes::from_owner(piece))
            };
            // The connection is closed before its end: the driver sees that bytes are missing.
            let failed = |_| std::io::Error::other("the file cannot be read");
            staging.blocking(read).await.map_err(failed)
        }
    });
    Body::from_stream(pieces.buffered(2))
}
