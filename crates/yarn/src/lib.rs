//! The backend `yarn`: applications on Hadoop YARN, without a JVM (Hadoop 3.3 and 3.4): those of Spark 3.5 and 4.x in
//! cluster mode, and any program as a driver, with any programs as its executors.
//!
//! `resource_manager` speaks to the ResourceManager, and `web` asks its pages; `spark` says what an application of
//! Spark's becomes, and `submit` brings it there; `native` does that for programs, whose application master is `master`:
//! in the driver's container, as the program `anymaster`, or in the process that registers a driver outside of the
//! cluster (`external`). `control` is how clients and drivers speak to it. `cluster` is what clients know, `status` turns
//! reports into statuses, `exit_status` the ends of containers into causes, and `watch` follows both. `diagnosis` says
//! why an application waits, `preflight` what a submission would lack, `leaks` what others have left. Kerberos is
//! refused by name.

mod administration;
mod application_file;
mod archive;
mod backend;
mod cluster;
mod control;
mod diagnosis;
mod epilogue;
mod exit_status;
mod external;
pub mod keys;
mod leaks;
mod libraries;
mod localized;
mod logs;
mod master;
mod native;
mod output;
mod preflight;
mod proto;
mod quote;
mod resource_manager;
mod spark;
mod staging;
mod status;
mod submit;
mod submitter;
mod tags;
mod tfile;
mod watch;
mod web;
mod yarn;

pub use backend::{YARN, YarnBackend};
pub use master::serve_application_master;
