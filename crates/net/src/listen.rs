//! Binds ports and accepts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::{Admission, Admitted};

/// Pauses when `accept` fails for lack of file descriptors: the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// The shortest interval between two warnings about that.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How many ports are tried for a web page (Spark: `spark.port.maxRetries`).
const TRIES: u16 = 16;

/// Binds a port and returns it with the listener; 0: any free port.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port cannot be bound.
pub async fn bind(host: &str, port: u16) -> Result<(TcpListener, u16)> {
    let listener = listen(host, port).await.map_err(|error| taken(host, port, error))?;
    let failed =
        |error| Error::unavailable("cannot read the port of the listener").with_source(error);
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// As [`bind`], but tries the following ports if one is in use, as Spark does for web pages: there may be
/// several daemons on a machine.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if none of them can be bound.
pub async fn bind_with_retry(host: &str, port: u16) -> Result<(TcpListener, u16)> {
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
        "another process may use the port, or the address is not of this machine: choose other ones",
    )
}

/// An accepted connection.
pub struct Connection {
    /// The connection.
    pub stream: TcpStream,
    /// Its entry in admission control.
    pub admitted: Arc<Admitted>,
}

/// Accepts connections and runs `answer` for each in a task of its own, subject to admission control.
/// Dropping the future ends all of them.
pub async fn serve_connections<F>(
    listener: TcpListener,
    admission: &Admission,
    answer: impl Fn(Connection) -> F,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    serve_connections_until(listener, admission, std::future::pending(), Duration::ZERO, answer)
        .await;
}

/// The same until `stop` completes: then nothing is accepted any more, and open connections have `drain` to
/// end.
pub(crate) async fn serve_connections_until<F>(
    listener: TcpListener,
    admission: &Admission,
    stop: impl Future<Output = ()>,
    drain: Duration,
    answer: impl Fn(Connection) -> F,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut backoff = AcceptBackoff::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, from)) => {
                backoff.pause = PAUSES.0;
                match admission.admit(from.ip()) {
                    Ok(admitted) => {
                        let admitted = Arc::new(admitted);
                        let connection = Connection { stream, admitted: Arc::clone(&admitted) };
                        connections.spawn(run_connection(from, admitted, answer(connection)));
                    }
                    Err(error) => tracing::debug!("refused a connection from {from}: {error}"),
                }
            }
            // The connection was closed before it was accepted.
            Err(error) if is_theirs(&error) => {
                tracing::debug!(%error, "a connection was closed before it was accepted")
            }
            Err(error) => backoff.wait(admission, &error).await,
        }
    }
    drop(listener);
    let ending = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    // Dropping the set ends those that are left.
    let _ = tokio::time::timeout(drain, ending).await;
}

/// Back-off when `accept` fails, most likely because all file descriptors are in use.
struct AcceptBackoff {
    pause: Duration,
    logged: Option<Instant>,
}

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self { pause: PAUSES.0, logged: None }
    }
}

impl AcceptBackoff {
    /// Closes an idle connection, and pauses.
    async fn wait(&mut self, admission: &Admission, error: &std::io::Error) {
        admission.evict();
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!("cannot accept connections: {error}; closing idle ones");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

fn is_theirs(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

async fn run_connection(
    from: SocketAddr,
    admitted: Arc<Admitted>,
    answered: impl Future<Output = Result<()>>,
) {
    tokio::select! {
        answered = answered => {
            if let Err(error) = answered {
                tracing::debug!("a connection from {from} ended: {error}");
            }
        }
        () = admitted.evicted() => tracing::debug!("closed a connection from {from} in favour of another one"),
    }
}

fn report(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("the task of a connection failed: {error}");
    }
}
