//! An HTTP/1 server on admitted connections, with limits on time and memory.

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
use crate::listen::{Connection, serve_connections_until};
use crate::tls::{Stream, Tls};

/// How long a client may take to send the head of a request, and be idle between two requests.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// The size of the read and write buffers of a connection, in bytes.
const BUFFER: usize = 64 << 10;

/// Serves a port over HTTP. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, tls: &Tls, admission: &Admission, router: Router) {
    let never = std::future::pending();
    serve_until(listener, tls, admission, router, never, Duration::ZERO).await;
}

/// As [`serve`], until `stop` completes: requests in progress then have `drain` to finish.
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
    serve_connections_until(listener, admission, stop, drain, |Connection { stream, admitted }| {
        let (tls, router, mut is_stopping) = (tls.clone(), router.clone(), is_stopping.clone());
        async move {
            let accepting = tokio::time::timeout(TIMEOUT, tls.accept(stream));
            let stream = accepting.await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "the client does not finish the TLS handshake")
            })?;
            let stop = async move {
                // Fails only if the sender was dropped.
                if is_stopping.wait_for(|stopping| *stopping).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            serve_http1_until(stream?, &admitted, router, stop).await
        }
    })
    .await;
}

/// Serves one HTTP/1 connection until it ends.
///
/// # Errors
/// If the client breaks the connection or is too slow.
pub async fn serve_http1(stream: Stream, admitted: &Arc<Admitted>, router: Router) -> Result<()> {
    serve_http1_until(stream, admitted, router, std::future::pending()).await
}

async fn serve_http1_until(
    stream: Stream,
    admitted: &Arc<Admitted>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        admitted.touch();
        request.extensions_mut().insert(Arc::clone(admitted));
        let answering = router.call(request);
        async move {
            // Yields after each request, so that pipelined requests do not starve other connections.
            tokio::task::yield_now().await;
            let response = answering.await?;
            Ok::<_, Infallible>(charge(response, admitted))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
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

/// Counts a response as memory in use until it was sent; responds 503 instead if too much is in use, as
/// with clients that send requests and do not read.
fn charge(response: Response, admitted: &Arc<Admitted>) -> Response {
    let Some(bytes) = response.body().size_hint().exact() else { return response };
    let mut lease = admitted.lease(admitted.is_authenticated());
    if lease.try_grow_to(usize::try_from(bytes).unwrap_or(usize::MAX)).is_ok() {
        return response.map(|body| Body::new(Charged { body, _lease: lease }));
    }
    let message = "Too many large responses have not been read yet: try again.\n";
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
