//! What a cluster manager is, without knowing any.
//!
//! [`ClusterManager`] is the contract that every backend keeps; [`model`] holds the words it is
//! written in (application, driver, executor, target, status); [`MasterUrl`] and [`Registry`] pick
//! the backend for a master URL; [`conf`] reads Spark's properties; [`reconcile`] turns a declared
//! target into starts and stops for backends that create executors one by one.
//!
//! This crate opens no socket, starts no process and names no backend.

mod administration;
mod backoff;
pub mod conf;
pub mod dynamic_allocation;
mod error;
mod manager;
mod master;
pub mod model;
pub mod native;
pub mod reconcile;
mod registry;
mod spark_release;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
mod traced;
mod user;
mod words;

pub use administration::{Administration, Check, Health, Leak};
pub use backoff::Backoff;
pub use error::{Error, ErrorKind, Result};
pub use manager::{
    Capabilities, ClusterManager, ClusterManagerExt, EventStream, Finding, Launched, LogChunk,
    LogOptions, LogSource, LogStream, MemoryLimit, WatchOptions,
};
pub use master::{HostPort, MasterUrl};
pub use registry::{
    Backend, BackendInfo, ConnectOptions, DriverPlacement, Observer, Registry, SubmissionIdForm,
    SubmitDialect, WorkerShape, default_state_dir,
};
pub use spark_release::{SparkChange, SparkRelease};
pub use user::user_name;
pub use words::counted;
