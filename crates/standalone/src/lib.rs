//! Clusters that need nothing else.
//!
//! [`local`] runs drivers and executors as processes of this machine: `local`, `local[N]`,
//! `local[*]`, `local[N,F]`, `local-cluster[n,c,m]`. [`master`] and [`worker`] are the daemons of a
//! cluster of several machines, [`client`] is how it is used: `spark://host:port`.

mod host;
pub mod local;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod worker;

pub use anymaster_dispatcher::keys::{WAIT_APP_COMPLETION, token};
pub use anymaster_dispatcher::{client, master};

/// The properties of standalone clusters, for documentation.
pub const KEYS: &[&anymaster_core::conf::keys::KeyInfo] = anymaster_dispatcher::keys::TABLE;
