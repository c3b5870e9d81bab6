//! Drivers and executors as processes of this machine: `local`, `local[N]`, `local[*]`, `local[N,F]`
//! and `local-cluster[n,c,m]`.
//!
//! There is no daemon. The process that launches a driver owns the driver; the process that requests
//! executors (usually the driver) owns the executors. The state of an application is in its directory,
//! `<state directory>/local/<application id>/`, which every process of the same user can read.
//!
//! An owner holds a file lock that the kernel releases when the owner exits. The next process that
//! lists or watches the application then ends the orphaned processes and records how they ended. In
//! addition, each owner starts a watchdog (a shell) that kills the owner's processes when the owner
//! exits.

mod backend;
mod checks;
mod driver;
mod executors;
mod journal;
mod lock;
mod master_url;
mod notifier;
mod output;
mod pool;
mod recovery;
mod requests;
mod retention;
mod store;
mod summary;
mod watch;
mod worker;
mod workers;

pub use crate::host::limits::Enforcement;
pub use crate::host::spawn::{VERB as START_VERB, exec_program};
pub use backend::{LOCAL, Local, LocalManager};
pub use worker::serve as serve_worker;
