//! Spark's block transfer (Spark 3.5 and 4.x, `network-common` and `network-shuffle`): what executors ask a
//! shuffle service for, and what it answers. No I/O.
//!
//! [`BlockFrame`] is a frame of a connection; the body of its requests and responses is a
//! [`BlockMessage`]. Messages of push-based merging, which Spark uses on YARN only, are known by their names.

mod frame;
#[cfg(test)]
mod golden;
mod message;
mod read;

pub use frame::{BlockFrame, StreamChunk, chunk_head, stream_head};
pub use message::{
    BlockMessage, CorruptionCause, DiagnoseCorruption, FetchShuffleBlocks, LocalDirs,
};
