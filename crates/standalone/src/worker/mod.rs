//! The worker daemon of a standalone cluster: offers the cores and memory of a machine to a master, and
//! runs the drivers and executors that the master assigns.

mod cleanup;
mod connection;
mod output;
mod resources;
mod serve;
mod shuffle;
mod spark;
mod table;
mod tasks;
mod web;

pub use self::serve::{Worker, WorkerOptions};
pub use self::spark::InstalledSpark;
pub use self::table::{Begin, ProcessTable, Stopping};
