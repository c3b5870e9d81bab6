//! Messages over a connection. After the handshake each is sealed: only the two sides can read it, and none can be
//! left out, repeated or changed on the way.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{Admitted, Stream};
use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::frames::{Bounds, FrameReader, FrameWriter};
use super::greeting::Established;
use super::seal::Seal;

/// Longest message: a list of statuses goes in several.
const MAX_MESSAGE: usize = 16 << 20;
/// Longest first message of somebody who has not proved anything: a worker with what it runs, an
/// application.
const MAX_FIRST: usize = 4 << 20;
/// Longest message of a handshake.
const MAX_GREETING: usize = 4 << 10;
/// How long after the handshake the first message has to be there.
const FIRST: Duration = Duration::from_secs(30);

/// A connection to another process of the cluster.
pub struct Channel {
    version: u32,
    incoming: Incoming,
    outgoing: Outgoing,
}

/// The half of a connection from which messages come.
pub struct Incoming {
    frames: FrameReader<ReadHalf<Stream>>,
    seal: Option<Seal>,
    /// Whoever called, as long as its first message has not come.
    caller: Option<Arc<Admitted>>,
}

/// The half of a connection to which messages go.
pub struct Outgoing {
    frames: FrameWriter<WriteHalf<Stream>>,
    seal: Option<Seal>,
}

impl Channel {
    /// A connection on which nothing was said yet: messages are short and not encrypted.
    pub fn greeting(stream: Stream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let frames = FrameReader::new(reader, MAX_GREETING);
        Self {
            version: 0,
            incoming: Incoming { frames, seal: None, caller: None },
            outgoing: Outgoing { frames: FrameWriter::new(writer), seal: None },
        }
    }

    /// After a handshake. `caller`: the one who called, where that is the other side. Without a secret nothing was
    /// proved: then its first message has to be one that is understood, and not too long.
    ///
    /// # Errors
    /// If there are too many of those who are known.
    pub(super) fn established(
        mut self,
        established: Established,
        caller: Option<&Arc<Admitted>>,
    ) -> Result<Self> {
        let Established { version, is_authenticated, seals } = established;
        if let Some(caller) = caller {
            if is_authenticated {
                caller.set_authenticated()?;
            }
            self.incoming.caller = Some(Arc::clone(caller));
            self.incoming.frames.set_bounds(Bounds {
                longest: if is_authenticated { MAX_MESSAGE } else { MAX_FIRST },
                lease: Some(caller.lease(is_authenticated)),
                due: Some(Instant::now() + FIRST),
            });
        } else {
            self.incoming.frames.lift(MAX_MESSAGE);
        }
        self.version = version;
        self.incoming.seal = Some(seals.coming);
        self.outgoing.seal = Some(seals.going);
        Ok(self)
    }

    /// The version of the protocol that both sides speak; 0 before they have agreed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its two directions.
    pub fn split(self) -> (Incoming, Outgoing) {
        (self.incoming, self.outgoing)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<()> {
        self.outgoing.send(message).await
    }

    /// Sends a message of the handshake.
    pub(super) async fn send_plain(&mut self, message: &[u8]) -> Result<()> {
        self.outgoing.frames.feed(message).await.map_err(broken)?;
        self.outgoing.frames.flush().await.map_err(broken)
    }

    /// The next message of the handshake.
    pub(super) async fn expect_plain(&mut self) -> Result<BytesMut> {
        let message = self.incoming.frames.next().await.map_err(broken)?;
        message.ok_or_else(closed)
    }

    /// Sends messages at once.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send_all(&mut self, messages: &[impl Serialize]) -> Result<()> {
        self.outgoing.send_all(messages).await
    }

    /// The next message; `None` when the other side has closed.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.incoming.receive().await
    }

    /// The next message, where there has to be one.
    pub async fn expect<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.receive().await?.ok_or_else(closed)
    }
}

impl Outgoing {
    /// Sends a message. To be tried no more after an error, nor if it was dropped half-way.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<()> {
        self.feed(message).await?;
        self.frames.flush().await.map_err(broken)
    }

    /// Sends messages, in as few pieces as possible.
    pub async fn send_all(&mut self, messages: &[impl Serialize]) -> Result<()> {
        for message in messages {
            self.feed(message).await?;
        }
        self.frames.flush().await.map_err(broken)
    }

    async fn feed(&mut self, message: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec(message).map_err(|error| {
            Error::protocol("a message cannot be written as JSON").with_source(error)
        })?;
        if let Some(seal) = &mut self.seal {
            seal.seal(&mut bytes)?;
        }
        self.frames.feed(&bytes).await.map_err(broken)
    }
}

impl Incoming {
    /// The next message; `None` when the other side has closed. May be dropped and called again.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(mut message) = self.frames.next().await.map_err(broken)? else { return Ok(None) };
        let message = match &mut self.seal {
            Some(seal) => seal.open(&mut message)?,
            None => &message,
        };
        let understood = serde_json::from_slice(message).map_err(|error| {
            Error::protocol("the other side sent what is no message").with_source(error)
        })?;
        if let Some(caller) = self.caller.take() {
            caller.set_authenticated()?;
            self.frames.lift(MAX_MESSAGE);
        }
        Ok(Some(understood))
    }
}

pub(super) fn broken(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::InvalidData => ErrorKind::Protocol,
        std::io::ErrorKind::TimedOut => return Error::new(ErrorKind::Timeout, error.to_string()),
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the connection is broken").with_source(error)
}

fn closed() -> Error {
    Error::unavailable("the other side closed the connection")
}
