//! Spark's external shuffle service without a JVM: it sends blocks of executors of Spark 3.5 and 4.x, which may have
//! ended, to those that read them.
//!
//! Executors say where their blocks are (`spark.shuffle.service.enabled`); a registration is durable before it is
//! answered. What is sent is read from regular files below the directories of the service only, whatever an executor
//! says or plants there; with `spark.authenticate`, one application never reads what another one wrote.
//!
//! Not here: push-based merging, which Spark uses on YARN only; TLS; heartbeats of drivers on Mesos.

mod admin;
mod bounds;
mod checksum;
mod cleanup;
mod connection;
mod files;
mod index;
mod keys;
mod metrics;
mod names;
mod output;
mod questions;
mod registry;
mod roots;
mod service;
mod store;
mod streams;

pub use keys::{CLEANS_EXECUTORS, ENABLED, PORT, TABLE as KEYS};
pub use roots::OWN;
pub use service::{ShuffleHandle, ShuffleOptions, ShuffleService};
