//! An operator for SparkApplications of kubeflow/spark-operator (`sparkoperator.k8s.io/v1beta2`), without its webhook
//! and without the JVM.
//!
//! An application is translated into a command line of spark-submit and templates of pods, and takes the path of all
//! submissions from there ([`Submitter`](anymaster_submitter::Submitter)). [`Operator`] watches applications and their
//! pods, and keeps their statuses; what it does next follows from what it sees, by a state machine without I/O.
//! [`preview()`] shows what a manifest would create.

mod cluster;
mod controller;
mod http;
mod identity;
mod lease;
mod metrics;
mod notice;
mod operator;
mod pods;
mod preview;
mod state;
mod translate;
mod ui;
mod v1beta2;

pub use http::denied;
pub use operator::{LeaderLock, Operator, Options};
pub use preview::{Preview, preview};
