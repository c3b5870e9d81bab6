//! Clusters that need nothing else.
//!
//! [`local`] runs drivers and executors as processes of this machine: `local`, `local[N]`,
//! `local[*]`, `local[N,F]`, `local-cluster[n,c,m]`. [`master`] and [`worker`] are the daemons of a
//! cluster of several machines, [`client`] is how it is used: `spark://host:port`.

pub mod client;
mod host;
mod keys;
pub mod local;
pub mod master;
mod wire;
pub mod worker;

/// The properties of standalone clusters, for documentation.
pub const KEYS: &[&anymaster_core::conf::keys::KeyInfo] = keys::TABLE;
