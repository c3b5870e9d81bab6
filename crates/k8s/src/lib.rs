//! The Kubernetes backend: drivers and executors as pods.
//!
//! [`driver`] builds the objects of a driver, equal to those that Spark's own submission creates;
//! [`Kubernetes`] creates and watches them. All state of an application is in the cluster: in the
//! labels, annotations and statuses of its pods.

mod administration;
mod api_call;
mod backend;
mod checks;
mod config;
mod diagnosis;
pub mod driver;
mod error;
mod executors;
mod external;
pub mod keys;
mod leaks;
mod logs;
mod managed_apps;
mod master_url;
mod names;
mod permissions;
mod pod;
mod pods;
mod preflight;
mod profile;
mod quantity;
mod report;
mod staging;
mod store;
mod submit;
mod submitter_env;
mod ttl;
mod upload;
mod watch;

pub use backend::{KUBERNETES, Kubernetes, KubernetesBackend};
