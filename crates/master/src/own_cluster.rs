//! The cluster of a daemon, for others in its process: a [`ClusterManager`] without a connection.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, ExecutorTarget, ExternalDriver, Filter, Status, Subject,
    SubmissionId,
};
use anymaster_core::{
    Capabilities, ClusterManager, EventStream, Finding, Launched, LogOptions, LogStream,
    MemoryLimit, Result, WatchOptions,
};
use anymaster_engine::OutputLocation;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;

use super::leadership::Leadership;
use super::output;
use super::shared::Shared;
use super::subscription::Subscription;
use anymaster_native::wire::{self, Credentials};
use anymaster_native::{capabilities, finding};

/// The cluster, while its daemon leads; else each call is refused as by one that does not.
#[derive(Debug, Clone)]
pub(super) struct OwnCluster {
    name: &'static str,
    leadership: Arc<Leadership>,
    /// By which workers know who asks for output.
    credentials: Credentials,
}

impl OwnCluster {
    /// The cluster of a daemon of the backend of this name.
    pub(super) fn new(
        name: &'static str,
        leadership: Arc<Leadership>,
        credentials: Credentials,
    ) -> Self {
        Self { name, leadership, credentials }
    }

    pub(super) fn leadership(&self) -> &Arc<Leadership> {
        &self.leadership
    }

    pub(super) fn lead(&self) -> Result<Arc<Shared>> {
        self.leadership.lead()
    }
}

#[async_trait]
impl ClusterManager for OwnCluster {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(match self.leadership.daemon().is_dispatcher() {
            true => MemoryLimit::ByNode,
            false => MemoryLimit::Enforced,
        })
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        self.lead()?
            .accept(|engine| engine.launch(id, app), |launched| launched.driver.app.clone())
            .await
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        // It is lost with this process, and so are its executors.
        let (launched, _) = self.lead()?.register_application(id, driver).await?;
        Ok(launched)
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        self.lead()?.commit(|engine| engine.unregister_application(app, cause)).await
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        self.lead()?.commit(|engine| engine.request(app, target.clone())).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.lead()?.commit(|engine| engine.kill(subject, grace)).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let WatchOptions { app, from, .. } = options;
        let subscription = Subscription::begin(&self.lead()?, app.as_ref(), from.as_ref()).await?;
        let batches = stream::unfold(Some(subscription), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(events) => Some((events.into_iter().map(Ok).collect(), Some(subscription))),
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        Ok(batches.flat_map(stream::iter).boxed())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        self.lead()?.read_written(|engine| engine.list(filter)).await
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let shared = self.lead()?;
        match shared.read(|engine| engine.locate(subject))? {
            // It has not begun, or is not the cluster's.
            None => Ok(stream::empty().boxed()),
            Some((OutputLocation::Worker(address), app, task)) => {
                wire::output(&address, &self.credentials, app, task, options).await
            }
            Some((_, app, task)) => {
                output::of_agent(&shared, self.leadership.daemon(), &app, task, options).await
            }
        }
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        let shared = self.lead()?;
        let now = shared.now();
        let findings = shared.read(|engine| engine.diagnose(app, now));
        Ok(findings.into_iter().map(finding).collect())
    }
}
