//! Submissions over HTTP: what kubeflow/spark-operator posts instead of starting spark-submit (its
//! `RestSubmitter`, PR #2976).
//!
//! [`Submitter`] makes a driver of a command line; [`router`] is its HTTP. It submits and returns: it
//! neither follows nor restarts nor deletes. It keeps nothing: what was submitted before is in the
//! cluster, where every replica finds it.
//!
//! Whoever may post here may do what the service's own account may do. So the cluster is the
//! service's, whatever the command line says, and no file of the service's machine is read for it.

mod http;
mod metrics;
mod service;
mod wire;

pub use http::{denied, router};
pub use service::{Limits, Submitter};
