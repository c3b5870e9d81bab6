//! Spark's submission protocol: `POST /v1/submissions/create` and so on, for the master of a standalone
//! cluster (port 6066) and the dispatcher of Mesos (Spark 3.5 and 4, `RestSubmissionServer`).

mod client;
#[cfg(feature = "server")]
mod fields;
pub mod json;
mod message;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod validate;

pub use self::client::Client;
pub use self::message::{Answer, Create, SPARK_VERSION};
#[cfg(feature = "server")]
pub use self::server::{Driver, NOT_FOUND, Submissions, error, router, understand};
