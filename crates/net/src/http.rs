//! HTTP on connections that were let in.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::{Admission, Admitted, Lease};
use crate::listen::{Connection, answer_until};
use crate::tls::{Stream, Tls};

/// How long a caller may take to say what it wants, and be silent between two requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest head of a request.
const MAX_HEAD: usize = 32 << 10;
/// What is read ahead of a request, and kept of an answer, in bytes.
const BUFFER: usize = 64 << 10;

/// Serves all who come to a port. When this is dropped, nobody is served any more.
pub async fn serve(listener: TcpListener, tls: &Tls, admission: &Admission, router: Router) {
    let never = std::future::pending();
    serve_until(listener, tls, admission, router, never, Duration::ZERO).await;
}

/// The same until `stop`: requests that were begun by then have `drain` to be finished.
pub async fn serve_until(
    listener: TcpListener,
    tls: &Tls,
    admission: &Admission,
    router: Router,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let (stopping, is_stopping) = watch::channel(false);
    let stop = async {
        stop.await;
        stopping.send_replace(true);
    };
    answer_until(listener, admission, stop, drain, |Connection { stream, admitted }| {
        let (tls, router, mut is_stopping) = (tls.clone(), router.clone(), is_stopping.clone());
        async move {
            let accepting = tokio::time::timeout(PATIENCE, tls.accept(stream));
            let stream = accepting.await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "the other side does not finish the handshake")
            })?;
            let stop = async move {
                // An error: nobody will say it any more.
                if is_stopping.wait_for(|stopping| *stopping).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            converse_until(stream?, &admitted, router, stop).await
        }
    })
    .await;
}

/// Serves one connection until it ends.
///
/// # Errors
/// If the other side breaks it off, or is too slow.
pub async fn converse(stream: Stream, admitted: &Arc<Admitted>, router: Router) -> Result<()> {
    converse_until(stream, admitted, router, std::future::pending()).await
}

async fn converse_until(
    stream: Stream,
    admitted: &Arc<Admitted>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        admitted.is_heard();
        request.extensions_mut().insert(Arc::clone(admitted));
        let answering = router.call(request);
        async move {
            // One request a turn: whoever sends many at once does not keep others waiting.
            tokio::task::yield_now().await;
            let response = answering.await?;
            Ok::<_, Infallible>(charge(response, admitted))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(|error| Error::unavailable("an HTTP connection broke").with_source(error))
}

/// Counts an answer as memory in use until it has been read, or refuses it if there is too much of
/// that: of those who ask and do not read.
fn charge(response: Response, admitted: &Arc<Admitted>) -> Response {
    let Some(bytes) = response.body().size_hint().exact() else { return response };
    let mut lease = admitted.lease(admitted.is_proven());
    if lease.try_grow_to(usize::try_from(bytes).unwrap_or(usize::MAX)).is_ok() {
        return response.map(|body| Body::new(Charged { body, _lease: lease }));
    }
    let message = "Too many large answers have not been read yet: try again.\n";
    let mut refusal = (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    refusal
}

struct Charged {
    body: Body,
    _lease: Lease,
}

impl hyper::body::Body for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
