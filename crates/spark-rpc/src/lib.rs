//! Gives unmodified Spark drivers their executors on any cluster manager: the RPC of Spark's standalone
//! master (Spark 3.4, 3.5 and 4.x), served over [`ClusterManager`](anymaster_core::ClusterManager).
//!
//! To a driver a [`Gateway`] is a master, `spark://host:port`. An application that registers becomes one of
//! the cluster whose [driver is external](anymaster_core::model::ExternalDriver); what the driver asks for
//! becomes its target, and what happens to executors is told to the driver in Spark's words.
//!
//! A gateway runs no drivers, unless it is the master of a cluster that does; it is no master for Spark's workers.

mod application;
mod connection;
mod demand;
mod drivers;
mod executor_command;
mod gateway;
mod keys;
mod link;
mod master;
mod plan;
mod record;
mod report;
mod security;
mod sparks;
mod takeover;

pub use executor_command::SparkInstallation;
pub use gateway::{Gateway, GatewayOptions};
pub use keys::{
    DEFAULT_CORES, EXECUTOR_SPARK_HOME, MAX_EXECUTOR_RETRIES, SPARK_HOMES, TABLE as KEYS,
};
pub use master::{DriverRecords, SparkMaster};
pub use security::authentication;
pub use sparks::Sparks;
