//! A port, and those who come to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::{Admission, Admitted};

/// How long nobody is let in when the system has no more files: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// How often that is told at most.
const TELLING: Duration = Duration::from_secs(60);

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

/// Somebody who was let in.
pub struct Connection {
    /// What they sent, and where they listen.
    pub stream: TcpStream,
    /// Their place among all connections.
    pub admitted: Arc<Admitted>,
}

/// Answers each who comes in a task of its own, as long as there is a place for it. When this is
/// dropped, all of them end.
pub async fn answer<F>(
    listener: TcpListener,
    admission: &Admission,
    answer: impl Fn(Connection) -> F,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    answer_until(listener, admission, std::future::pending(), Duration::ZERO, answer).await;
}

/// The same until `stop`: then nobody is let in any more, and those who were have `drain` to end.
pub(crate) async fn answer_until<F>(
    listener: TcpListener,
    admission: &Admission,
    stop: impl Future<Output = ()>,
    drain: Duration,
    answer: impl Fn(Connection) -> F,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shortage = Shortage::default();
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
                shortage.pause = PAUSES.0;
                match admission.admit(from.ip()) {
                    Ok(admitted) => {
                        let admitted = Arc::new(admitted);
                        let connection = Connection { stream, admitted: Arc::clone(&admitted) };
                        connections.spawn(attend(from, admitted, answer(connection)));
                    }
                    Err(error) => tracing::debug!("{from} is turned away: {error}"),
                }
            }
            // Of one who came and went before it was let in.
            Err(error) if is_theirs(&error) => tracing::debug!(%error, "somebody went away"),
            Err(error) => shortage.bear(admission, &error).await,
        }
    }
    drop(listener);
    let ending = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    // Those who are still there then end with the set.
    let _ = tokio::time::timeout(drain, ending).await;
}

/// When the system gives no more connections, most likely as descriptors are used up.
struct Shortage {
    pause: Duration,
    told: Option<Instant>,
}

impl Default for Shortage {
    fn default() -> Self {
        Self { pause: PAUSES.0, told: None }
    }
}

impl Shortage {
    /// Closes one who only waits, and pauses.
    async fn bear(&mut self, admission: &Admission, error: &std::io::Error) {
        admission.evict();
        if self.told.is_none_or(|told| told.elapsed() >= TELLING) {
            self.told = Some(Instant::now());
            tracing::warn!("cannot take a connection: {error}; those that wait are closed");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

fn is_theirs(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

async fn attend(
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
        () = admitted.evicted() => tracing::debug!("a connection from {from} makes room for others"),
    }
}

fn report(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended by a fault of ours: {error}");
    }
}
