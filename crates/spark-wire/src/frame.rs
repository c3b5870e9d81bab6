//! Frames of Spark's network layer (Spark 3.5, `MessageEncoder` and `TransportFrameDecoder`).
//!
//! A frame is its own length (8 bytes), a type (1 byte), a header and a body. A connection between a
//! driver and a master carries four of the thirteen types; the others serve blocks, files and jars between
//! drivers and executors.

use crate::cursor::Cursor;
use crate::error::{Result, WireError};

/// The bytes of a length and a type.
pub(crate) const HEAD: usize = 9;
/// As long as any frame may be (Spark 3.5, `TransportFrameDecoder.MAX_FRAME_SIZE`).
pub const MAX_FRAME: usize = i32::MAX as usize;

/// The memory in bytes that a connection without a frame keeps for the next one.
const KEPT: usize = 16 << 10;

pub(crate) const RPC_REQUEST: u8 = 3;
pub(crate) const RPC_RESPONSE: u8 = 4;
pub(crate) const RPC_FAILURE: u8 = 5;
pub(crate) const ONE_WAY: u8 = 9;

/// One message between two Spark processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A question that is answered by a response or a failure with the same id.
    RpcRequest {
        /// The id, chosen by whoever asks.
        id: i64,
        /// The question.
        body: Vec<u8>,
    },
    /// The answer to a request.
    RpcResponse {
        /// The id of the request.
        id: i64,
        /// The answer.
        body: Vec<u8>,
    },
    /// A request could not be answered.
    RpcFailure {
        /// The id of the request.
        id: i64,
        /// Why.
        text: String,
    },
    /// A message without an answer.
    OneWay {
        /// The message.
        body: Vec<u8>,
    },
}

impl Frame {
    /// The frame in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, id, body) = match self {
            Self::RpcRequest { id, body } => (RPC_REQUEST, Some(*id), body.as_slice()),
            Self::RpcResponse { id, body } => (RPC_RESPONSE, Some(*id), body.as_slice()),
            Self::RpcFailure { id, text } => (RPC_FAILURE, Some(*id), text.as_bytes()),
            Self::OneWay { body } => (ONE_WAY, None, body.as_slice()),
        };
        let length = HEAD + id.map_or(0, |_| 8) + 4 + body.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as i64).to_be_bytes());
        bytes.push(kind);
        bytes.extend(id.iter().flat_map(|id| id.to_be_bytes()));
        // A body of 2 GiB cannot be sent: whoever writes one has built it from far less.
        bytes.extend((body.len() as i32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads a frame without its length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.u8()?;
        let frame = match kind {
            RPC_REQUEST | RPC_RESPONSE => {
                let id = cursor.i64()?;
                // The length of the body: the frame's own length counts.
                cursor.i32()?;
                let body = cursor.rest().to_vec();
                match kind {
                    RPC_REQUEST => Self::RpcRequest { id, body },
                    _ => Self::RpcResponse { id, body },
                }
            }
            RPC_FAILURE => {
                let id = cursor.i64()?;
                let length = cursor.length()?;
                let text = String::from_utf8_lossy(cursor.take(length)?).into_owned();
                Self::RpcFailure { id, text }
            }
            ONE_WAY => {
                cursor.i32()?;
                Self::OneWay { body: cursor.rest().to_vec() }
            }
            0..=12 => {
                return Err(WireError::unsupported(format!(
                    "a frame of type {kind}, which serves blocks or files, not messages"
                )));
            }
            _ => return Err(WireError::malformed(format!("a frame of unknown type {kind}"))),
        };
        Ok(frame)
    }
}

/// Cuts what was received into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    bytes: Vec<u8>,
    start: usize,
    limit: usize,
}

impl FrameDecoder {
    /// Accepts frames of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, limit: limit.min(MAX_FRAME) }
    }

    /// Accepts frames of at most `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// Takes in what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes out what was received and is no part of a frame that was returned.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start);
        (self.bytes, self.start) = (Vec::new(), 0);
        rest
    }

    /// The length in bytes of the frame that is not complete yet, as it announces it; 0 if nothing of it
    /// is there.
    ///
    /// # Errors
    /// If it is shorter than a frame can be, or longer than the limit.
    pub fn announced(&self) -> Result<usize> {
        let received = &self.bytes[self.start..];
        let Some(length) = received.first_chunk() else { return Ok(received.len()) };
        let length = i64::from_be_bytes(*length);
        if length < HEAD as i64 {
            return Err(WireError::malformed(format!("a frame of {length} bytes")));
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => Ok(length),
            _ => Err(WireError::too_large(format!(
                "a frame of {length} bytes, where at most {} are accepted",
                self.limit
            ))),
        }
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// If its length or its type is not valid. Nothing that follows can be read then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        self.next_bytes()?.map(Frame::decode).transpose()
    }

    /// The next complete frame without its length: its type, its header and its body.
    ///
    /// # Errors
    /// If its length is not valid. Nothing that follows can be read then.
    pub fn next_bytes(&mut self) -> Result<Option<&[u8]>> {
        if self.start == self.bytes.len() {
            // What a large frame took is not kept for a connection that may be silent for days.
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
            self.bytes.clear();
            self.start = 0;
        }
        let received = self.bytes.len() - self.start;
        let length = self.announced()?;
        if received < HEAD || received < length {
            return Ok(None);
        }
        let begin = self.start + 8;
        self.start += length;
        Ok(Some(&self.bytes[begin..self.start]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WireErrorKind;

    fn frames() -> [Frame; 4] {
        [
            Frame::RpcRequest { id: 7, body: b"question".to_vec() },
            Frame::RpcResponse { id: -7, body: Vec::new() },
            Frame::RpcFailure { id: i64::MAX, text: "no".to_owned() },
            Frame::OneWay { body: vec![0; 300] },
        ]
    }

    #[test]
    fn frames_are_read_from_pieces_of_any_size() {
        let bytes: Vec<u8> = frames().iter().flat_map(Frame::encode).collect();
        for size in [1, 2, 7, 8, 9, 100, bytes.len()] {
            let mut decoder = FrameDecoder::new(1000);
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames(), "pieces of {size}");
            assert_eq!(decoder.announced(), Ok(0));
        }
    }

    #[test]
    fn a_length_is_refused_before_anything_is_kept_for_it() {
        for (length, kind) in [
            (0, WireErrorKind::Malformed),
            (8, WireErrorKind::Malformed),
            (-1, WireErrorKind::Malformed),
            (i64::MIN, WireErrorKind::Malformed),
            (1001, WireErrorKind::TooLarge),
            (i64::MAX, WireErrorKind::TooLarge),
        ] {
            let mut decoder = FrameDecoder::new(1000);
            decoder.push(&i64::to_be_bytes(length));
            assert_eq!(decoder.next_frame().unwrap_err().kind(), kind, "{length}");
        }
    }

    #[test]
    fn other_types_are_refused_by_number() {
        for kind in [0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 255] {
            let mut bytes = 20_i64.to_be_bytes().to_vec();
            bytes.push(kind);
            bytes.resize(20, 0);
            let mut decoder = FrameDecoder::new(1000);
            decoder.push(&bytes);
            let error = decoder.next_frame().unwrap_err();
            assert!(error.to_string().contains(&format!("type {kind}")), "{error}");
        }
    }

    #[test]
    fn what_follows_a_handshake_is_handed_over() {
        let mut decoder = FrameDecoder::new(1000);
        let [first, ..] = frames();
        decoder.push(&first.encode());
        decoder.push(b"sealed");
        assert_eq!(decoder.next_frame().unwrap(), Some(first));
        assert_eq!(decoder.take_rest(), b"sealed");
        assert_eq!(decoder.announced(), Ok(0));
    }
}
