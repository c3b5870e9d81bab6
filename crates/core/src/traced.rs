//! Spans around the calls to a cluster, for whoever traces them: written once, for every backend.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::{Instrument as _, info_span};

use crate::Result;
use crate::administration::Administration;
use crate::manager::{
    Capabilities, ClusterManager, EventStream, Finding, Launched, LogOptions, LogStream,
    WatchOptions,
};
use crate::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, ExecutorTarget, ExternalDriver, Filter, Status,
    Subject, SubmissionId,
};

/// A cluster whose calls are spans: `launch_driver{cluster,id}`, `request_executors{cluster,app}`,
/// `kill{cluster,subject}` and so on. Watches and logs are spans until their stream is there.
#[derive(Debug)]
pub(crate) struct Traced(pub(crate) Arc<dyn ClusterManager>);

#[async_trait]
impl ClusterManager for Traced {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        let span = info_span!("launch_driver", cluster = self.name(), %id);
        self.0.launch_driver(id, app).instrument(span).await
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        let span = info_span!("register_application", cluster = self.name(), %id);
        self.0.register_application(id, driver).instrument(span).await
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        let span = info_span!("unregister_application", cluster = self.name(), %app);
        self.0.unregister_application(app, cause).instrument(span).await
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        let span = info_span!("request_executors", cluster = self.name(), %app);
        self.0.request_executors(app, target).instrument(span).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        let span = info_span!("kill", cluster = self.name(), %subject);
        self.0.kill(subject, grace).instrument(span).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let span = info_span!("watch", cluster = self.name());
        self.0.watch(options).instrument(span).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let span = info_span!("list", cluster = self.name());
        self.0.list(filter).instrument(span).await
    }

    async fn get(&self, id: &SubmissionId) -> Result<DriverStatus> {
        let span = info_span!("get", cluster = self.name(), %id);
        self.0.get(id).instrument(span).await
    }

    async fn ping(&self) -> Result<()> {
        let span = info_span!("ping", cluster = self.name());
        self.0.ping().instrument(span).await
    }

    async fn cleanup(&self, app: &AppId) -> Result<()> {
        let span = info_span!("cleanup", cluster = self.name(), %app);
        self.0.cleanup(app).instrument(span).await
    }

    fn administration(&self) -> Option<&dyn Administration> {
        self.0.administration()
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let span = info_span!("logs", cluster = self.name(), %subject);
        self.0.logs(subject, options).instrument(span).await
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        let span = info_span!("diagnose", cluster = self.name(), %app);
        self.0.diagnose(app).instrument(span).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::Error;
    use crate::testing::MockClusterManager;

    /// What has a default would do nothing if it were forgotten here.
    #[test]
    fn calls_with_a_default_reach_the_cluster() {
        let (app, id) = (AppId::new("a").unwrap(), SubmissionId::new("a").unwrap());
        let mut mock = MockClusterManager::new();
        mock.expect_name().return_const("mock");
        mock.expect_get().once().returning(|_| Err(Error::invalid("get")));
        mock.expect_ping().once().returning(|| Err(Error::invalid("ping")));
        mock.expect_cleanup().once().returning(|_| Err(Error::invalid("cleanup")));
        mock.expect_diagnose().once().returning(|_| Err(Error::invalid("diagnose")));
        let failed = |_: &SubmissionId, _: &ExternalDriver| Err(Error::invalid("register"));
        mock.expect_register_application().once().returning(failed);
        let failed = |_: &AppId, _: &Cause| Err(Error::invalid("unregister"));
        mock.expect_unregister_application().once().returning(failed);
        mock.expect_administration().once().returning(|| None);
        let traced = Traced(Arc::new(mock));
        let driver = ExternalDriver::new("a", "h", 1);
        assert!(traced.register_application(&id, &driver).now_or_never().unwrap().is_err());
        let ended = traced.unregister_application(&app, &Cause::Finished);
        assert!(ended.now_or_never().unwrap().is_err());
        assert!(traced.get(&id).now_or_never().unwrap().is_err());
        assert!(traced.ping().now_or_never().unwrap().is_err());
        assert!(traced.cleanup(&app).now_or_never().unwrap().is_err());
        assert!(traced.diagnose(&app).now_or_never().unwrap().is_err());
        assert!(traced.administration().is_none());
    }
}
