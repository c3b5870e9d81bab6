//! How those who know an application's key speak to its application master: a request for each connection, and its
//! answer, or what happens from then on.
//!
//! Both sides prove that they know the key, with a digest of random numbers of both; each message after that has a
//! digest of its own, so that nobody between them can change, repeat or leave out one. What is said can be read on
//! the way, as everything on a cluster without Kerberos can.

use std::io;
use std::time::Duration;

use anymaster_core::model::{Cursor, Event, ExecutorId, ExecutorStatus, ExecutorTarget, Status};
use anymaster_core::{Error, ErrorKind, HostPort, Result};
use futures::stream::{self, BoxStream, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What each side says first: who we are, and in which version.
const GREETING: [u8; 16] = *b"anymaster-yarn 1";
/// The longest message: a target, or a status with its last lines.
const MAX_MESSAGE: usize = 16 << 20;
/// How long the other side has to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection that is watched may be silent: longer than its server ever is.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a server is silent at most.
pub(crate) const PULSE: Duration = Duration::from_secs(5);

type Digest = Hmac<Sha256>;

/// What an application master is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// So many executors are wanted.
    Target(ExecutorTarget),
    KillDriver {
        grace: Duration,
    },
    KillExecutor {
        id: ExecutorId,
        grace: Duration,
    },
    /// Where an executor's container is.
    Place(ExecutorId),
    /// All that is known, and what happens.
    Watch,
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Refused { kind: ErrorKind, message: String, hint: Option<String> },
    Place(Option<ContainerPlace>),
}

/// Where the output of a container is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerPlace {
    /// `node:8042`.
    pub(crate) node: String,
    pub(crate) container: String,
}

/// What happens to executors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Told {
    Restarted,
    Changed(Status),
    Synced,
    /// Nothing happened.
    Pulse,
}

impl Told {
    /// As those who watch have it; `None` for a pulse.
    pub(crate) fn into_event(self) -> Option<Event> {
        match self {
            Self::Restarted => Some(Event::Restarted),
            Self::Changed(status) => Some(Event::Changed(status)),
            Self::Synced => Some(Event::Synced(Cursor(String::new()))),
            Self::Pulse => None,
        }
    }
}

/// What happens to executors, as it comes.
pub(crate) type MasterEvents = BoxStream<'static, Result<Told>>;

/// What is kept of an executor when its application has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) status: ExecutorStatus,
    pub(crate) container: Option<String>,
}

/// A connection whose other side has proved that it knows the key.
pub(crate) struct Connection {
    stream: TcpStream,
    session: [u8; 32],
    sent: u64,
    read: u64,
    /// How digests of either side begin.
    own: &'static [u8],
    other: &'static [u8],
}

fn broken(error: io::Error) -> Error {
    Error::unavailable("the connection to the application master is broken").with_source(error)
}

fn digest(key: &[u8], parts: &[&[u8]]) -> Result<Digest> {
    let mut digest = Digest::new_from_slice(key)
        .map_err(|_| Error::invalid("the key of the application is not valid"))?;
    parts.iter().for_each(|part| digest.update(part));
    Ok(digest)
}

fn made(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
    Ok(digest(key, parts)?.finalize().into_bytes().into())
}

impl Connection {
    /// Connects to an application master.
    pub(crate) async fn open(address: &HostPort, key: &[u8]) -> Result<Self> {
        let unreachable =
            || Error::unavailable(format!("cannot reach the application master at {address}"));
        let host = address.host.trim_matches(['[', ']']);
        let connecting = TcpStream::connect((host, address.port));
        let stream = timeout(PATIENCE, connecting).await.map_err(|_| unreachable())?;
        let stream = stream.map_err(|error| unreachable().with_source(error))?;
        Self::agree(stream, key, true).await
    }

    /// Takes a connection that was accepted.
    pub(crate) async fn accept(stream: TcpStream, key: &[u8]) -> Result<Self> {
        Self::agree(stream, key, false).await
    }

    async fn agree(stream: TcpStream, key: &[u8], is_client: bool) -> Result<Self> {
        timeout(PATIENCE, Self::shake_hands(stream, key, is_client)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "the other side does not say who it is"))
        })
    }

    async fn shake_hands(mut stream: TcpStream, key: &[u8], is_client: bool) -> Result<Self> {
        let nonce: [u8; 32] = rand::random();
        let hello = [&GREETING[..], &nonce].concat();
        stream.set_nodelay(true).and(Ok(())).map_err(broken)?;
        stream.write_all(&hello).await.map_err(broken)?;
        let mut greeting = [0; GREETING.len()];
        stream.read_exact(&mut greeting).await.map_err(broken)?;
        if greeting != GREETING {
            return Err(Error::protocol("the other side is no application master of ours"));
        }
        let mut theirs = [0; 32];
        stream.read_exact(&mut theirs).await.map_err(broken)?;
        let (client, server) = if is_client { (nonce, theirs) } else { (theirs, nonce) };
        let (own, other): (&'static [u8], &'static [u8]) =
            if is_client { (b"client", b"server") } else { (b"server", b"client") };
        // Who connects proves it first: whoever else comes hears nothing that was made with the key.
        let proof = made(key, &[own, &client, &server])?;
        let expected = digest(key, &[other, &client, &server])?;
        if is_client {
            stream.write_all(&proof).await.map_err(broken)?;
        }
        let mut shown = [0; 32];
        let read = stream.read_exact(&mut shown).await.map(drop);
        let denied = || {
            Error::new(
                ErrorKind::Unauthenticated,
                "the other side does not know the key of the application",
            )
        };
        read.map_err(|error| denied().with_source(error))?;
        expected.verify_slice(&shown).map_err(|_| denied())?;
        if !is_client {
            stream.write_all(&proof).await.map_err(broken)?;
        }
        let session = made(key, &[b"session", &client, &server])?;
        Ok(Self { stream, session, sent: 0, read: 0, own, other })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<()> {
        let body = serde_json::to_vec(message).map_err(|error| {
            Error::invalid("a message cannot be written as JSON").with_source(error)
        })?;
        if body.len() > MAX_MESSAGE {
            return Err(Error::invalid(format!("a message of {} bytes is too long", body.len())));
        }
        let proof = made(&self.session, &[self.own, &self.sent.to_be_bytes(), &body])?;
        self.sent += 1;
        let frame = [&(body.len() as u32).to_be_bytes()[..], &body, &proof].concat();
        self.stream.write_all(&frame).await.map_err(broken)
    }

    /// Reads a message; `None` if the other side has none any more.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let length = match self.stream.read_u32().await {
            Ok(length) => length as usize,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        if length > MAX_MESSAGE {
            return Err(Error::protocol(format!("a message of {length} bytes is too long")));
        }
        // What is announced is believed as it comes.
        let mut body = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut body).await.map_err(broken)?;
        let mut proof = [0; 32];
        self.stream.read_exact(&mut proof).await.map_err(broken)?;
        let expected = digest(&self.session, &[self.other, &self.read.to_be_bytes(), &body])?;
        expected.verify_slice(&proof).map_err(|_| {
            Error::protocol("a message was changed on the way to or from the application master")
        })?;
        self.read += 1;
        let message = serde_json::from_slice(&body).map_err(|error| {
            Error::protocol("a message of the application master is not understood")
                .with_source(error)
        })?;
        Ok(Some(message))
    }

    /// What the other side tells, each as it comes: nothing is lost when waiting for the next one is given up. It
    /// ends with the connection, and fails when the other side is silent for too long.
    pub(crate) fn into_events(self) -> MasterEvents {
        let next = |mut connection: Self| async move {
            Ok(connection.told().await?.map(|told| (told, connection)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// What happened; `None` if nothing will. Not to be given up while it waits.
    pub(crate) async fn told(&mut self) -> Result<Option<Told>> {
        timeout(SILENCE, self.next())
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the application master is silent")))
    }

    /// Asks something.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.send(request).await?;
        let answer = timeout(SILENCE, self.next()).await;
        let answer = answer.map_err(|_| Error::unavailable("the application master is silent"))?;
        match answer? {
            Some(Answer::Refused { kind, message, hint }) => {
                let error = Error::new(kind, message);
                Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
            Some(answer) => Ok(answer),
            None => Err(Error::unavailable("the application master has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(
        first: &'static [u8],
        second: &'static [u8],
    ) -> (Result<Connection>, Result<Connection>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = HostPort { host: "127.0.0.1".to_owned(), port };
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            Connection::accept(stream, second).await
        };
        futures::future::join(Connection::open(&address, first), accepting).await
    }

    #[tokio::test]
    async fn who_knows_the_key_is_heard() {
        let (client, server) = pair(b"key", b"key").await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let serving = async {
            let request: Request = server.next().await.unwrap().unwrap();
            assert!(matches!(request, Request::Place(ExecutorId(7))));
            let message = "no".to_owned();
            let refused = Answer::Refused { kind: ErrorKind::NotFound, message, hint: None };
            server.send(&refused).await.unwrap();
            server.send(&Told::Synced).await.unwrap();
        };
        let asking = async {
            let error = client.ask(&Request::Place(ExecutorId(7))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(matches!(client.told().await.unwrap(), Some(Told::Synced)));
        };
        futures::future::join(serving, asking).await;
        drop(server);
        assert!(client.told().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn who_does_not_know_the_key_is_not_heard() {
        let (client, server) = pair(b"key", b"other").await;
        assert_eq!(server.err().unwrap().kind(), ErrorKind::Unauthenticated);
        assert_eq!(client.err().unwrap().kind(), ErrorKind::Unauthenticated);
    }

    #[tokio::test]
    async fn a_message_that_was_changed_is_refused() {
        let (client, server) = pair(b"key", b"key").await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        // As if it had been sent before.
        client.sent = 3;
        client.send(&Request::Watch).await.unwrap();
        let error = server.next::<Request>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        client.stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        assert!(server.next::<Request>().await.unwrap_err().message().contains("too long"));
    }
}
