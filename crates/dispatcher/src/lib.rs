//! The daemon that takes applications and shares out what a cluster has: the master of a standalone
//! cluster, whose workers offer it machines, and the dispatcher of Mesos, whose agents' offers come
//! through a framework.
//!
//! [`master`] is the daemon, [`client`] how it is used, [`wire`] what they say to each other.

pub mod client;
pub mod keys;
#[cfg(feature = "master")]
pub mod master;
pub mod wire;
