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

#[cfg(feature = "client")]
pub use anymaster_dispatcher::client;
#[cfg(feature = "client")]
pub use anymaster_dispatcher::keys::{WAIT_APP_COMPLETION, token};
#[cfg(feature = "daemons")]
pub use anymaster_dispatcher::master;

/// The properties of standalone clusters, for documentation.
#[cfg(feature = "client")]
pub const KEYS: &[&anymaster_core::conf::keys::KeyInfo] = anymaster_dispatcher::keys::TABLE;
