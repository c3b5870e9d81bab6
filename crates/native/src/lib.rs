//! The native protocol of a master, and its client: a cluster as its users see it
//! (`spark://host:port[,host2:port2]`), whether the master is that of a standalone cluster or the dispatcher
//! of Mesos.
//!
//! [`wire`] is what masters, workers and clients say to each other.

mod backend;
mod external;
pub mod keys;
mod link;
mod master_url;
mod rest;
pub mod wire;

pub use self::backend::{Remote, STANDALONE, Standalone, capabilities, finding};
pub use self::external::{find_own_address, own_address, own_driver, with_defaults};
pub use self::master_url::masters;
