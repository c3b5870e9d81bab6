//! The mock.
#![allow(missing_docs, reason = "mockall writes methods that it does not document")]

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    AppId, ApplicationSpec, Cursor, DriverStatus, ExecutorTarget, Filter, Status, Subject,
    SubmissionId,
};
use crate::{Capabilities, ClusterManager, EventStream, LogOptions, LogStream, Result};

mockall::mock! {
    /// A cluster manager that answers what a test tells it to: `expect_kill()` and so on, with what
    /// the call returns when it is awaited.
    #[derive(Debug)]
    pub ClusterManager {
        pub fn name(&self) -> &'static str;
        pub fn capabilities(&self) -> Capabilities;
        pub fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<DriverStatus>;
        pub fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()>;
        pub fn kill(&self, subject: &Subject, grace: Duration) -> Result<()>;
        pub fn watch(&self, app: Option<AppId>, from: Option<Cursor>) -> Result<EventStream>;
        pub fn list(&self, filter: &Filter) -> Result<Vec<Status>>;
        pub fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream>;
    }
}

/// Each call is handed to the method of the same name above.
#[async_trait]
impl ClusterManager for MockClusterManager {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities()
    }

    async fn launch_driver(
        &self,
        id: &SubmissionId,
        app: &ApplicationSpec,
    ) -> Result<DriverStatus> {
        self.launch_driver(id, app)
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        self.request_executors(app, target)
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.kill(subject, grace)
    }

    async fn watch(&self, app: Option<&AppId>, from: Option<Cursor>) -> Result<EventStream> {
        self.watch(app.cloned(), from)
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        self.list(filter)
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        self.logs(subject, options)
    }
}
