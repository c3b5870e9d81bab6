//! The frames of block transfer (Spark 3.5, `Message.Type`).

use std::fmt;
use std::str::FromStr;

use crate::cursor::Cursor;
use crate::error::{Result, WireError};
use crate::frame::{Frame, HEAD, ONE_WAY, RPC_FAILURE, RPC_REQUEST, RPC_RESPONSE};

const CHUNK_REQUEST: u8 = 0;
const CHUNK_SUCCESS: u8 = 1;
const CHUNK_FAILURE: u8 = 2;
const STREAM_REQUEST: u8 = 6;
const STREAM_RESPONSE: u8 = 7;
const STREAM_FAILURE: u8 = 8;
const UPLOAD_STREAM: u8 = 10;
const MERGED_BLOCK_META_REQUEST: u8 = 11;

/// A chunk of a stream: a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamChunk {
    /// The stream, as a [`StreamHandle`](super::BlockMessage::StreamHandle) names it.
    pub stream: i64,
    /// Its number in the stream, from 0.
    pub chunk: i32,
}

impl fmt::Display for StreamChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.stream, self.chunk)
    }
}

impl FromStr for StreamChunk {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('_').and_then(|(stream, chunk)| {
            Some(Self { stream: stream.parse().ok()?, chunk: chunk.parse().ok()? })
        });
        numbers.ok_or_else(|| WireError::malformed("the id of a stream is STREAM_CHUNK"))
    }
}

/// One message of a connection for blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockFrame {
    /// Asks for a block.
    ChunkFetchRequest(StreamChunk),
    /// A block.
    ChunkFetchSuccess {
        /// Which one.
        chunk: StreamChunk,
        /// Its bytes.
        body: Vec<u8>,
    },
    /// A block cannot be had. The reader does not ask for it again.
    ChunkFetchFailure {
        /// Which one.
        chunk: StreamChunk,
        /// Why.
        text: String,
    },
    /// A request, its answer, or a message without one.
    Message(Frame),
    /// Asks for a block that is too large for memory.
    StreamRequest {
        /// A [`StreamChunk`] as text.
        id: String,
    },
    /// Such a block: its bytes follow the frame, and are no part of it.
    StreamResponse {
        /// As it was asked for.
        id: String,
        /// How many bytes follow.
        byte_count: i64,
    },
    /// Such a block cannot be had.
    StreamFailure {
        /// As it was asked for.
        id: String,
        /// Why.
        text: String,
    },
    /// Offers bytes that follow the frame (pushed blocks). Only the id is read.
    UploadStream {
        /// The id of the request.
        id: i64,
    },
    /// Asks for what is known of a merged block. Only the id is read.
    MergedBlockMetaRequest {
        /// The id of the request.
        id: i64,
    },
}

/// The frame of a [`ChunkFetchSuccess`](BlockFrame::ChunkFetchSuccess) up to its body of `body` bytes.
pub fn chunk_head(chunk: StreamChunk, body: u64) -> [u8; 21] {
    let mut head = [0; 21];
    // The sender makes sure that a frame has less than 2 GiB.
    head[..8].copy_from_slice(&(21 + body).to_be_bytes());
    head[8] = CHUNK_SUCCESS;
    head[9..17].copy_from_slice(&chunk.stream.to_be_bytes());
    head[17..].copy_from_slice(&chunk.chunk.to_be_bytes());
    head
}

/// A [`StreamResponse`](BlockFrame::StreamResponse) with `byte_count` bytes to follow.
pub fn stream_head(id: &str, byte_count: u64) -> Vec<u8> {
    let byte_count = i64::try_from(byte_count).unwrap_or(i64::MAX);
    BlockFrame::StreamResponse { id: id.to_owned(), byte_count }.encode()
}

fn put_chunk(bytes: &mut Vec<u8>, chunk: StreamChunk) {
    bytes.extend(chunk.stream.to_be_bytes());
    bytes.extend(chunk.chunk.to_be_bytes());
}

/// Bytes behind their number. None of ours are 2 GiB long.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, what: &[u8]) {
    bytes.extend((what.len() as i32).to_be_bytes());
    bytes.extend(what);
}

impl BlockFrame {
    /// The frame in bytes, with its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut framed = vec![0; HEAD];
        let bytes = &mut framed;
        let kind = match self {
            Self::Message(frame) => return frame.encode(),
            Self::ChunkFetchRequest(chunk) => {
                put_chunk(bytes, *chunk);
                CHUNK_REQUEST
            }
            Self::ChunkFetchSuccess { chunk, body } => {
                put_chunk(bytes, *chunk);
                bytes.extend(body);
                CHUNK_SUCCESS
            }
            Self::ChunkFetchFailure { chunk, text } => {
                put_chunk(bytes, *chunk);
                put_bytes(bytes, text.as_bytes());
                CHUNK_FAILURE
            }
            Self::StreamRequest { id } => {
                put_bytes(bytes, id.as_bytes());
                STREAM_REQUEST
            }
            Self::StreamResponse { id, byte_count } => {
                put_bytes(bytes, id.as_bytes());
                bytes.extend(byte_count.to_be_bytes());
                STREAM_RESPONSE
            }
            Self::StreamFailure { id, text } => {
                put_bytes(bytes, id.as_bytes());
                put_bytes(bytes, text.as_bytes());
                STREAM_FAILURE
            }
            Self::UploadStream { id } => {
                bytes.extend(id.to_be_bytes());
                UPLOAD_STREAM
            }
            Self::MergedBlockMetaRequest { id } => {
                bytes.extend(id.to_be_bytes());
                MERGED_BLOCK_META_REQUEST
            }
        };
        let length = (framed.len() as i64).to_be_bytes();
        framed[..8].copy_from_slice(&length);
        framed[8] = kind;
        framed
    }

    /// Reads a frame without its length, as
    /// [`FrameDecoder::next_bytes`](crate::FrameDecoder::next_bytes) cuts it.
    ///
    /// # Errors
    /// If it is not of a type that a connection for blocks has, or not of its type's form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let chunk = |cursor: &mut Cursor<'_>| -> Result<StreamChunk> {
            Ok(StreamChunk { stream: cursor.i64()?, chunk: cursor.i32()? })
        };
        Ok(match cursor.u8()? {
            CHUNK_REQUEST => Self::ChunkFetchRequest(chunk(&mut cursor)?),
            CHUNK_SUCCESS => {
                Self::ChunkFetchSuccess { chunk: chunk(&mut cursor)?, body: cursor.rest().to_vec() }
            }
            CHUNK_FAILURE => {
                Self::ChunkFetchFailure { chunk: chunk(&mut cursor)?, text: cursor.text()? }
            }
            RPC_REQUEST | RPC_RESPONSE | RPC_FAILURE | ONE_WAY => {
                Self::Message(Frame::decode(bytes)?)
            }
            STREAM_REQUEST => Self::StreamRequest { id: cursor.text()? },
            STREAM_RESPONSE => {
                Self::StreamResponse { id: cursor.text()?, byte_count: cursor.i64()? }
            }
            STREAM_FAILURE => Self::StreamFailure { id: cursor.text()?, text: cursor.text()? },
            UPLOAD_STREAM => Self::UploadStream { id: cursor.i64()? },
            MERGED_BLOCK_META_REQUEST => Self::MergedBlockMetaRequest { id: cursor.i64()? },
            kind => return Err(WireError::malformed(format!("a frame of unknown type {kind}"))),
        })
    }
}
