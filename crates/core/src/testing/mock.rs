//! The mock.
#![allow(missing_docs, reason = "mockall writes methods that it does not document")]

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    AppId, ApplicationSpec, DriverStatus, ExecutorTarget, Filter, Status, Subject, SubmissionId,
};
use crate::{
    Administration, Capabilities, ClusterManager, EventStream, Finding, Launched, LogOptions,
    LogStream, Result, WatchOptions,
};

mockall::mock! {
    /// A cluster manager that answers what a test tells it to: `expect_kill()` and so on. What a call
    /// returns when it is awaited is what the test returns.
    ///
    /// ```
    /// use anymaster_core::model::{AppId, Filter};
    /// use anymaster_core::testing::MockClusterManager;
    /// use anymaster_core::{ClusterManager as _, Error, ErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let mut cluster = MockClusterManager::new();
    /// cluster.expect_list().returning(|_| Err(Error::unavailable("the API server is away")));
    /// let error = cluster.list(&Filter::default()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Unavailable);
    /// # });
    /// ```
    #[derive(Debug)]
    pub ClusterManager {}

    #[async_trait]
    impl ClusterManager for ClusterManager {
        fn name(&self) -> &'static str;
        fn capabilities(&self) -> Capabilities;
        async fn launch_driver(
            &self,
            id: &SubmissionId,
            app: &ApplicationSpec,
        ) -> Result<Launched>;
        async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()>;
        async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()>;
        async fn watch(&self, options: &WatchOptions) -> Result<EventStream>;
        async fn list(&self, filter: &Filter) -> Result<Vec<Status>>;
        async fn get(&self, id: &SubmissionId) -> Result<DriverStatus>;
        async fn ping(&self) -> Result<()>;
        async fn cleanup(&self, app: &AppId) -> Result<()>;
        fn administration<'a>(&'a self) -> Option<&'a dyn Administration>;
        async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream>;
        async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>>;
    }
}
