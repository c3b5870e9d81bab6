//! The REST submission service: the API that kubeflow/spark-operator calls instead of running
//! spark-submit (its `RestSubmitter`, PR #2976).
//!
//! [`Submitter`] launches a driver for a command line; [`router`] is its HTTP API. It only submits:
//! it does not watch, restart or delete drivers. It is stateless: earlier submissions are found in
//! the cluster, by every replica.
//!
//! Callers act with the permissions of the service's account. Therefore the command line cannot
//! choose another cluster, and cannot name files of the service's machine.

mod http;
mod metrics;
mod service;
mod wire;

pub use http::{denied, router};
pub use service::{Limits, Submitter};
