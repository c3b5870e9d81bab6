//! The protocol by which a Spark driver asks a standalone master for executors: what is said, in bytes.
//!
//! No I/O: [`FrameDecoder`] cuts what was received into [`Frame`]s, [`Envelope`] says for which endpoint a
//! frame is, [`Stream`] reads its content, and [`messages`] says what that means. [`messages::ToDriver`]
//! are the answers, in the [`Dialect`] of the driver.
//!
//! [`blocks`] is what executors say to a shuffle service, in the same frames.
//!
//! What is received is bounded before it is believed, and nothing is created by a name that was received.

pub mod auth;
pub mod blocks;
mod cursor;
mod dialect;
mod error;
mod frame;
#[cfg(test)]
mod golden;
mod java;
pub mod messages;
mod request;
mod scala;
mod tables;

pub use dialect::{Dialect, Release, ReleaseLine};
pub use error::{Result, WireError, WireErrorKind};
pub use frame::{Frame, FrameDecoder, MAX_FRAME};
pub use java::{ClassDescription, FieldDescription, Limits, NodeId, Stream, Value};
pub use request::{Envelope, RpcAddress};
pub use tables::Table;
