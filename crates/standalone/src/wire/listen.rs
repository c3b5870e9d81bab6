//! A port, and those who come to it.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long nobody is let in when the system has no more files: some will be closed.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at an address; 0 is any free port. The port is told with it.
pub(crate) async fn bind(host: &str, port: u16) -> Result<(TcpListener, u16)> {
    let bound = TcpListener::bind((host.trim_matches(['[', ']']), port)).await;
    let listener = bound.map_err(|error| {
        Error::unavailable(format!("cannot listen on {host}:{port}"))
            .with_source(error)
            .with_hint("does another one listen there? --host and --port say where this one does")
    })?;
    let failed = |error| Error::unavailable("cannot learn the own port").with_source(error);
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Answers each who comes in a task of its own, at most so many at once: more wait. When this is
/// dropped, all of them end.
pub(crate) async fn answer<F>(listener: TcpListener, most: usize, answer: impl Fn(TcpStream) -> F)
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
