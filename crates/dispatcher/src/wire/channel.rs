//! Messages over a connection. With a secret, each bears a seal that only the two sides can make, and
//! none can be left out, repeated or changed on the way.

use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::Stream;
use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Longest message: a list of statuses goes in several.
const MAX_MESSAGE: usize = 16 << 20;
/// Longest message of somebody who has not proven anything yet.
const MAX_GREETING: usize = 4 << 10;
/// How long the other side may take to take in a message.
const PATIENCE: Duration = Duration::from_secs(30);
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
    frames: SplitStream<Framed<Stream, LengthDelimitedCodec>>,
    sealer: Option<Sealer>,
}

/// The half of a connection to which messages go.
pub struct Outgoing {
    frames: SplitSink<Framed<Stream, LengthDelimitedCodec>, Bytes>,
    sealer: Option<Sealer>,
}

impl Channel {
    /// For a handshake: messages are short and without seals.
    pub(super) fn greeting(stream: Stream) -> Self {
        Self::over(stream, MAX_GREETING)
    }

    fn over(stream: Stream, longest: usize) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(longest).new_codec();
        let (outgoing, incoming) = Framed::new(stream, codec).split();
        Self {
            incoming: Incoming { frames: incoming, sealer: None },
            outgoing: Outgoing { frames: outgoing, sealer: None },
        }
    }

    /// After a handshake. `keys`: for what comes and for what goes.
    pub(super) fn established(self, keys: Option<[Hmac<Sha256>; 2]>) -> Result<Self> {
        let framed = self.incoming.frames.reunite(self.outgoing.frames).map_err(|error| {
            Error::protocol("the halves of a connection do not match").with_source(error)
        })?;
        let parts = framed.into_parts();
        let mut codec = parts.codec;
        codec.set_max_frame_length(MAX_MESSAGE);
        let mut framed = Framed::new(parts.io, codec);
        // What came in behind the greeting.
        framed.read_buffer_mut().unsplit(parts.read_buf);
        let (outgoing, incoming) = framed.split();
        let sealer = |key| Sealer { key, count: 0 };
        let (coming, going) = match keys {
            Some([coming, going]) => (Some(sealer(coming)), Some(sealer(going))),
            None => (None, None),
        };
        Ok(Self {
            incoming: Incoming { frames: incoming, sealer: coming },
            outgoing: Outgoing { frames: outgoing, sealer: going },
        })
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
        let message = self.seal(message)?;
        self.write([message]).await
    }

    /// Sends messages, in as few pieces as possible.
    pub async fn send_all(&mut self, messages: &[impl Serialize]) -> Result<()> {
        let sealed: Vec<Bytes> =
            messages.iter().map(|message| self.seal(message)).collect::<Result<_>>()?;
        self.write(sealed).await
    }

    fn seal(&mut self, message: &impl Serialize) -> Result<Bytes> {
        let mut bytes = serde_json::to_vec(message).map_err(|error| {
            Error::protocol("a message cannot be written as JSON").with_source(error)
        })?;
        if let Some(sealer) = &mut self.sealer {
            let seal = sealer.seal(&bytes);
            bytes.extend_from_slice(&seal);
        }
        Ok(bytes.into())
    }

    async fn write(&mut self, messages: impl IntoIterator<Item = Bytes>) -> Result<()> {
        let writing = async {
            for message in messages {
                self.frames.feed(message).await?;
            }
            self.frames.flush().await
        };
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(written) => written.map_err(broken),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the other side does not read")),
        }
    }
}

impl Incoming {
    /// The next message; `None` when the other side has closed. May be dropped and called again.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(frame) = self.frames.next().await else { return Ok(None) };
        let mut message: BytesMut = frame.map_err(broken)?;
        if let Some(sealer) = &mut self.sealer {
            let forged = || Error::protocol("a message with a wrong seal");
            let at = message.len().checked_sub(SEAL).ok_or_else(forged)?;
            let seal = message.split_off(at);
            if !bool::from(sealer.seal(&message).as_slice().ct_eq(&seal)) {
                return Err(forged());
            }
        }
        serde_json::from_slice(&message).map(Some).map_err(|error| {
            Error::protocol("the other side sent what is no message").with_source(error)
        })
    }
}

fn broken(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::InvalidData => ErrorKind::Protocol,
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
