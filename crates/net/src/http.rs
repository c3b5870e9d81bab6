//! HTTP on connections that were let in.

use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::listen::answer;
use crate::tls::{Stream, Tls};

/// How long a caller may take to say what it wants, and be silent between two requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many may be served at once: more wait.
const MAX_CONNECTIONS: usize = 20_000;

/// Serves all who come to a port. When this is dropped, nobody is served any more.
pub async fn serve(listener: TcpListener, tls: &Tls, router: Router) {
    answer(listener, MAX_CONNECTIONS, |stream| {
        let (tls, router) = (tls.clone(), router.clone());
        async move {
            let accepting = tokio::time::timeout(PATIENCE, tls.accept(stream));
            let stream = accepting.await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "the other side does not finish the handshake")
            })?;
            converse(stream?, router).await
        }
    })
    .await;
}

/// Serves one connection until it ends.
///
/// # Errors
/// If the other side breaks it off, or is too slow.
pub async fn converse(stream: Stream, router: Router) -> Result<()> {
    let service = TowerToHyperService::new(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| Error::unavailable("an HTTP connection broke").with_source(error))
}
