//! Hadoop without a JVM, as far as clients of a cluster need it: its configuration files
//! ([`Configuration`]), its RPC ([`rpc`]), and its file systems ([`FileSystem`]).
//!
//! For Hadoop 3.3 and 3.4. Kerberos is refused by name.

mod configuration;
mod file_system;
pub mod http;
mod remedy;
pub mod rpc;
mod token;
mod user;
mod webhdfs;

pub use configuration::Configuration;
pub use file_system::{FileStatus, FileSystem, Location, Source};
pub use token::{Credentials, Token};
pub use user::current_user;
