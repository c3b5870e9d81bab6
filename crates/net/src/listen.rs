//! A port, and those who come to it.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long nobody is let in when the system has no more files: some will be closed.
const PAUSE: Duration = Duration::from_millis(100);

/// How many ports are tried for a page (Spark: `spark.port.maxRetries`).
const TRIES: u16 = 16;

/// Listens at an address; 0 is any free port. The port is told with it.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port is not to be had.
pub async fn bind(host: &str, port: u16) -> Result<(TcpListener, u16)> {
    let listener = listen(host, port).await.map_err(|error| taken(host, port, error))?;
    let failed = |error| Error::unavailable("cannot learn the own port").with_source(error);
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// As [`bind`], or at one of the next ports, as Spark does it with ports of pages: there may be several
/// daemons on a machine.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if none of them is to be had.
pub async fn bind_near(host: &str, port: u16) -> Result<(TcpListener, u16)> {
    for next in port..port.saturating_add(TRIES) {
        match listen(host, next).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(taken(host, next, error)),
            Ok(listener) => return Ok((listener, next)),
        }
    }
    bind(host, port).await
}

async fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((host.trim_matches(['[', ']']), port)).await
}

fn taken(host: &str, port: u16, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot listen on {host}:{port}")).with_source(error).with_hint(
        "does another one listen there? --host and the options for ports say where this one does",
    )
}

/// Answers each who comes in a task of its own, at most so many at once: more wait. When this is
/// dropped, all of them end.
pub async fn answer<F>(listener: TcpListener, most: usize, answer: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (room, mut connections) = (Arc::new(Semaphore::new(most)), JoinSet::new());
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                let answered = answer(stream);
                connections.spawn(async move {
                    if let Err(error) = answered.await {
                        tracing::info!("a connection from {from} ended: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
