//! A cluster that a job may run on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster::WorkSource;
use anymaster_core::dynamic_allocation::DynamicAllocationPolicy;
use anymaster_core::model::{ApplicationSpec, ExecutorTarget};
use anymaster_core::{
    ClusterManager, ConnectOptions, MasterUrl, Registry, Result, SubmissionIdForm,
};

use crate::prices::{Price, Shapes};

/// A cluster on which the job may run, and what the job is for that cluster.
pub struct Candidate {
    /// The master URL.
    pub master: MasterUrl,
    /// What people call such a cluster.
    pub title: String,
    /// The backends, of which one serves the master URL.
    pub registry: Registry,
    /// What it is given to connect.
    pub connect: ConnectOptions,
    /// The job, or why it would not run there.
    pub job: Result<Job>,
    /// What running there costs.
    pub price: Option<Price>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.job.as_ref().map(|job| &job.app.name);
        f.debug_struct("Candidate").field("master", &self.master).field("job", &job).finish()
    }
}

impl Candidate {
    pub(crate) async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        self.registry.connect(self.connect.clone()).await
    }
}

/// What is run.
#[derive(Clone)]
pub struct Job {
    /// The application.
    pub app: ApplicationSpec,
    /// The executors that are requested for it; none if its driver requests its own.
    pub target: Option<ExecutorTarget>,
    /// As many of them as there is work for.
    pub dynamic: Option<(DynamicAllocationPolicy, Arc<dyn WorkSource>)>,
    /// The shapes of its processes, for their price.
    pub shapes: Shapes,
    /// The form of the ids of its submissions: each run has one of its own.
    pub ids: SubmissionIdForm,
    /// How long its driver has to end by itself when it is stopped.
    pub grace: Duration,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.app.name).finish_non_exhaustive()
    }
}
