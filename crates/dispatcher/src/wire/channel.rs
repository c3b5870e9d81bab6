//! Messages over a connection. With a secret, each bears a seal that only the two sides can make, and
//! none can be left out, repeated or changed on the way.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{Admitted, Stream};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::frames::{Bounds, FrameReader, FrameWriter};

/// Longest message: a list of statuses goes in several.
const MAX_MESSAGE: usize = 16 << 20;
/// Longest first message of somebody who has not proved anything: a worker with what it runs, an
/// application.
const MAX_FIRST: usize = 4 << 20;
/// Longest message of a handshake.
const MAX_GREETING: usize = 4 << 10;
/// How long after the handshake the first message has to be there.
const FIRST: Duration = Duration::from_secs(30);
/// Bytes of a seal.
const SEAL: usize = 16;

/// Seals the messages of one direction.
#[derive(Clone)]
struct Sealer {
    key: Hmac<Sha256>,
    count: u64,
}

impl Sealer {
    fn seal(&mut self, message: &[u8]) -> [u8; SEAL] {
        let mut mac = self.key.clone();
        mac.update(&self.count.to_be_bytes());
        mac.update(message);
        self.count += 1;
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&whole[..SEAL]);
        seal
    }
}

/// A connection to another process of the cluster.
pub struct Channel {
    incoming: Incoming,
    outgoing: Outgoing,
}

/// The half of a connection from which messages come.
pub struct Incoming {
    frames: FrameReader<ReadHalf<Stream>>,
    sealer: Option<Sealer>,
    /// Whoever called, as long as its first message has not come.
    caller: Option<Arc<Admitted>>,
}

/// The half of a connection to which messages go.
pub struct Outgoing {
    frames: FrameWriter<WriteHalf<Stream>>,
    sealer: Option<Sealer>,
}

impl Channel {
    /// For a handshake: messages are short and without seals.
    pub(super) fn greeting(stream: Stream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let frames = FrameReader::new(reader, MAX_GREETING);
        Self {
            incoming: Incoming { frames, sealer: None, caller: None },
            outgoing: Outgoing { frames: FrameWriter::new(writer), sealer: None },
        }
    }

    /// After a handshake. `keys`: for what comes and for what goes. `caller`: the one who called, where
    /// that is the other side. Without a secret nothing was proved: then its first message has to be one
    /// that is understood, and not too long.
    ///
    /// # Errors
    /// If there are too many of those who are known.
    pub(super) fn established(
        mut self,
        keys: Option<[Hmac<Sha256>; 2]>,
        caller: Option<&Arc<Admitted>>,
    ) -> Result<Self> {
        if let Some(caller) = caller {
            let is_known = keys.is_some();
            if is_known {
                caller.prove()?;
            }
            self.incoming.caller = Some(Arc::clone(caller));
            self.incoming.frames.set_bounds(Bounds {
                longest: if is_known { MAX_MESSAGE } else { MAX_FIRST },
                lease: Some(caller.lease(is_known)),
                due: Some(Instant::now() + FIRST),
            });
        } else {
            self.incoming.frames.lift(MAX_MESSAGE);
        }
        let sealer = |key| Sealer { key, count: 0 };
        if let Some([coming, going]) = keys {
            self.incoming.sealer = Some(sealer(coming));
            self.outgoing.sealer = Some(sealer(going));
        }
        Ok(self)
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
        self.receive()
            .await?
            .ok_or_else(|| Error::unavailable("the other side closed the connection"))
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
        if let Some(sealer) = &mut self.sealer {
            let seal = sealer.seal(&bytes);
            bytes.extend_from_slice(&seal);
        }
        self.frames.feed(&bytes).await.map_err(broken)
    }
}

impl Incoming {
    /// The next message; `None` when the other side has closed. May be dropped and called again.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(mut message) = self.frames.next().await.map_err(broken)? else { return Ok(None) };
        if let Some(sealer) = &mut self.sealer {
            let forged = || Error::protocol("a message with a wrong seal");
            let at = message.len().checked_sub(SEAL).ok_or_else(forged)?;
            let seal = message.split_off(at);
            if !bool::from(sealer.seal(&message).as_slice().ct_eq(&seal)) {
                return Err(forged());
            }
        }
        let understood = serde_json::from_slice(&message).map_err(|error| {
            Error::protocol("the other side sent what is no message").with_source(error)
        })?;
        if let Some(caller) = self.caller.take() {
            caller.prove()?;
            self.frames.lift(MAX_MESSAGE);
        }
        Ok(Some(understood))
    }
}

/// Two sides that have met, without a secret.
#[cfg(test)]
pub(crate) fn pair() -> (Channel, Channel) {
    let (one, other) = tokio::io::duplex(64 << 10);
    (Channel::greeting(Box::new(one)), Channel::greeting(Box::new(other)))
}

pub(super) fn broken(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::InvalidData => ErrorKind::Protocol,
        std::io::ErrorKind::TimedOut => return Error::new(ErrorKind::Timeout, error.to_string()),
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the connection is broken").with_source(error)
}

/// Keys for the two directions, from what both sides know: of the one who called, and the other.
pub(super) fn keys(secret: &[u8], nonces: &str) -> Result<[Hmac<Sha256>; 2]> {
    let key = |direction: &str| {
        let unusable = || Error::invalid("the shared secret cannot be used");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| unusable())?;
        mac.update(format!("anymaster {direction} {nonces}").as_bytes());
        Hmac::new_from_slice(&mac.finalize().into_bytes()).map_err(|_| unusable())
    };
    Ok([key("from caller")?, key("to caller")?])
}
