//! The Kubernetes backend: drivers and executors as pods.
//!
//! [`driver`] makes the objects of a Spark driver, equal to those of Spark's own submission;
//! [`Kubernetes`] creates and watches them. Nothing here is kept outside of the cluster: what there is
//! to know of an application is in the labels, annotations and states of its pods.

mod administration;
mod backend;
mod call;
mod checks;
mod config;
mod diagnosis;
pub mod driver;
mod error;
mod examine;
mod executors;
pub mod keys;
mod leaks;
mod life;
mod logs;
mod machine;
mod master_url;
mod names;
mod ownership;
mod permissions;
mod pod;
mod pods;
mod profile;
mod quantity;
mod report;
mod store;
mod submit;
mod upload;
mod watch;

pub use backend::{KUBERNETES, Kubernetes, KubernetesBackend};
