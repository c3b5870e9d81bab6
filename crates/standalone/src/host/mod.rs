//! Processes of this machine: started, limited, ended, their output kept.

pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod ports;
pub(crate) mod prepare;
pub(crate) mod process;
mod watchdog;
