//! Executor pods of applications whose driver is not Spark's: the process that declares the target
//! creates and replaces them.

pub(crate) mod janitor;

mod batch;
mod claims;
mod controller;
mod limiter;
mod orphans;
mod pod_builder;
mod pod_gc;
mod policy;
mod record;

pub(crate) use self::controller::{
    DriverLocation, ExecutorController, delete_executors, delete_params,
};
pub(crate) use self::orphans::delete_executors_and_claims;
pub(crate) use self::pod_builder::ExecutorPodBuilder;
pub(crate) use self::policy::policy;
pub(crate) use self::record::{AllocationRecord, SharedRecord};
