//! A staging server: files of submitters, for drivers that fetch them over HTTP.
//!
//! A submitter uploads with a bearer token, at once or in parts (the protocol of [tus](https://tus.io), version 1), and
//! gets a URL that nobody can guess. An unmodified Spark driver fetches it by a plain GET, without a token; the last
//! segment is the name of the file. Contents are stored by their SHA-256, the same one once. What was answered is on
//! the disk, and is there after a `kill -9`. Files go by the end of their application, or by their age.
//!
//! Names of files and applications never become paths: what is on the disk is named by digests and random ids.
//!
//! Not here: object stores, to which submissions upload by themselves (`spark.kubernetes.file.upload.path=s3a://…`).

mod api;
mod buffers;
mod catalog;
mod directory;
mod download;
mod fault;
mod ids;
mod keys;
mod metrics;
mod names;
mod range;
mod receive;
mod service;
mod staging;
mod token;
mod tus;

pub use keys::{TABLE as KEYS, TOKEN_FILE};
pub use names::FileName;
pub use range::{ByteRange, byte_range};
pub use service::{StagingOptions, StagingService};
pub use token::Token;
pub use tus::{UploadMetadata, upload_metadata};
