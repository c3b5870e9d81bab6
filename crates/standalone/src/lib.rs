//! The backends `local` and `spark://`, and the daemons of a standalone cluster.
//!
//! [`local`] runs drivers and executors as processes of this machine: `local`, `local[N]`,
//! `local[*]`, `local[N,F]`, `local-cluster[n,c,m]`. [`master`] and [`worker`] are the daemons of a
//! standalone cluster; [`client`] is the backend that submits to one: `spark://host:port`.

mod host;
pub mod local;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "daemons")]
pub mod worker;

#[cfg(feature = "daemons")]
pub use anymaster_master as master;
#[cfg(feature = "client")]
pub use anymaster_native as client;
#[cfg(feature = "client")]
pub use anymaster_native::keys::{WAIT_APP_COMPLETION, WORKER_SPARK_HOMES, secret, token};

/// The properties of standalone clusters, for documentation.
#[cfg(feature = "client")]
pub const KEYS: &[&anymaster_core::conf::keys::KeyInfo] = anymaster_native::keys::TABLE;
