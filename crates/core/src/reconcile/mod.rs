//! Turns a declared target into starts and stops, for backends that create executors one by one.
//!
//! [`AllocatorState::plan`] is pure: no clock, no I/O. [`Reconciler`] is the loop around it. A backend
//! implements [`Launcher`] and gets `request_executors` from here.

mod executor_store;
mod failures;
mod managed;
mod plan;
mod policy;
mod run;
#[cfg(test)]
mod simulation;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use executor_store::{Ended, ExecutorStore};
pub use failures::Failures;
pub use managed::{ManagedApp, ManagedApps, ManagedExecutors, WeakManagedApps};
pub use plan::{AllocatorState, Plan};
pub use policy::AllocationPolicy;
pub use run::Reconciler;

use crate::model::{
    AllocationStatus, AppId, ExecutorId, ExecutorTemplate, ProfileId, ResourceProfile,
};
use crate::{Error, ErrorKind, EventStream, Result};

/// A backend that creates executors one by one: starts these, stops those, says what happens.
#[async_trait]
pub trait Launcher: fmt::Debug + Send + Sync + 'static {
    /// Starts named executors. One that exists already is left as it is, so that a call can be
    /// repeated after an error; ids are never reused.
    ///
    /// `Ok` for an executor means that it was accepted: it will be seen in the
    /// [watch](Self::watch), as `Pending`, `Running`, or, if it can never start, as `Ended` with
    /// [`CouldNotStart`](crate::model::Cause::CouldNotStart). `Err` means that nothing is known of
    /// it and, if the error [is retryable](crate::ErrorKind::is_retryable), that the same id is to be
    /// tried again later. Results are in the order of `executors`.
    async fn start(&self, app: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>>;

    /// Asks executors to end because the target was lowered; after `grace` makes them. Those that
    /// are gone already, or that the cluster never knew, are no error.
    async fn stop(&self, app: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()>;

    /// What happens to the executors of `app`: as [`ClusterManager::watch`](crate::ClusterManager::watch).
    async fn watch(&self, app: &AppId) -> Result<EventStream>;

    /// Makes how far the allocation is known to those who watch.
    async fn report(&self, allocation: AllocationStatus) -> Result<()>;
}

/// One executor to start.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorLaunch {
    /// Its id.
    pub id: ExecutorId,
    /// Its shape's id.
    pub profile_id: ProfileId,
    /// Its shape.
    pub profile: ResourceProfile,
    /// How it is started.
    pub template: Arc<ExecutorTemplate>,
}

/// Why a start was refused, as far as the planner is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the cluster said.
    pub message: String,
    /// Whether the same start may be accepted later.
    pub retryable: bool,
    /// Whether it was refused to whoever asks: tokens and rules may be about to change, so one such
    /// refusal alone says nothing.
    pub is_denial: bool,
    /// How long the cluster asked to wait.
    pub retry_after: Option<Duration>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self {
            message: error.to_string(),
            retryable: error.kind().is_retryable(),
            is_denial: matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthenticated),
            retry_after: error.retry_after(),
        }
    }
}
