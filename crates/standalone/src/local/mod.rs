//! Drivers and executors as processes of this machine: `local`, `local[N]`, `local[*]`, `local[N,F]`
//! and `local-cluster[n,c,m]`.
//!
//! There is no daemon. The process that launches a driver owns it, the process that requests
//! executors owns these: mostly the driver itself. Everything known of an application is in its
//! directory, `<state directory>/local/<application id>/`, where any process of the same user reads
//! it. An owner holds a lock that the kernel takes from it when it ends; whoever notices settles what
//! it left. A watchdog, one shell per owner, ends its processes even if nobody notices.

mod backend;
mod checks;
mod driver;
mod executors;
mod hub;
mod journal;
mod lock;
mod master_url;
mod output;
mod pool;
mod requests;
mod retention;
mod settle;
mod store;
mod summary;
mod watch;
mod worker;
mod workers;

pub use crate::host::limits::Enforcement;
pub use crate::host::starting::{VERB as START_VERB, become_program};
pub use backend::{LOCAL, Local, LocalManager};
pub use worker::serve as serve_worker;
