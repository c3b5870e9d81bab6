//! Processes of this machine: started, limited, ended, their output kept.

mod cgroup;
pub(crate) mod directories;
pub(crate) mod files;
pub(crate) mod identity;
mod kept;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod ports;
pub(crate) mod prepare;
pub(crate) mod process;
mod snapshot;
pub(crate) mod starting;
#[cfg(test)]
mod tests;
pub(crate) mod traces;
mod watchdog;
