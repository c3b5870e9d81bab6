//! A worker of a standalone cluster: offers a machine to a master and runs what that gives it.

mod link;
mod output;
mod resources;
mod serve;
mod spark;
mod tasks;
mod tidy;
mod web;

pub use self::serve::{Worker, WorkerOptions};
