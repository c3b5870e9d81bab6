//! SparkApplications of kubeflow/spark-operator (`sparkoperator.k8s.io/v1beta2`), without its webhook and without the
//! JVM.
//!
//! [`preview()`] shows what a manifest would create. The application is translated into a command line of spark-submit
//! and templates of pods, and takes the path of all submissions from there
//! ([`Submitter`](anymaster_submitter::Submitter)). Nothing here watches a cluster.

mod identity;
mod preview;
mod translate;
mod v1beta2;

pub use preview::{Preview, preview};
