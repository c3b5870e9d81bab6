//! Runs processes on this machine: cgroups and memory limits, rotated output, and reliable termination of
//! a process with everything that it started.

mod cgroup;
pub(crate) mod directories;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod ports;
pub(crate) mod prepare;
pub(crate) mod process;
pub(crate) mod process_record;
mod registry;
mod snapshot;
pub(crate) mod spawn;
#[cfg(test)]
mod tests;
mod watchdog;
