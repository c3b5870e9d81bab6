//! The engine in the process of its user: a [`ClusterManager`] without a connection or a port, for a driver that has a
//! framework of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, ExecutorTarget, ExternalDriver, Filter, Status, Subject,
    SubmissionId,
};
use anymaster_core::{
    Capabilities, ClusterManager, ErrorKind, EventStream, Finding, Launched, LogOptions, LogStream,
    Result, WatchOptions,
};
use anymaster_engine::Settings;
use anymaster_net::Tls;
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::agent_access::Offers;
use super::agents::LeadershipWatch;
use super::leadership::{Daemon, Leadership};
use super::own_cluster::OwnCluster;
use super::serve::settings;
use anymaster_native::wire::{Credentials, Role, Secret};
use anymaster_native::{own_driver, with_defaults};

/// An engine that schedules on offers, and ends with this.
#[derive(Debug)]
pub struct InProcess {
    cluster: OwnCluster,
    conf: Conf,
    /// The applications whose driver is this process.
    attached: Mutex<HashSet<AppId>>,
    running: AbortHandle,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl InProcess {
    /// Starts it, for the backend of this name. `master`: the URL that executors are told.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for invalid properties.
    pub async fn start(
        name: &'static str,
        master: String,
        conf: &Conf,
        offers: &Offers,
    ) -> Result<Self> {
        let settings = Settings { master: master.clone(), ..settings(conf, Some(offers))? };
        let daemon = Daemon {
            settings,
            master,
            address: String::new(),
            rest: None,
            web: String::new(),
            agents: Some(Arc::clone(&offers.agents)),
        };
        let leadership = Arc::new(Leadership::new(daemon));
        let engine = leadership.assume_alone(None).await?;
        let running = tokio::spawn(async move { engine.run().await }).abort_handle();
        // There are no workers to be asked for output.
        let (role, secret, tls) = (Role::Client, Secret::default(), Tls::default());
        let cluster = OwnCluster::new(name, leadership, Credentials { role, secret, tls });
        Ok(Self { cluster, conf: conf.clone(), attached: Mutex::default(), running })
    }

    /// For the framework that receives offers.
    pub fn leadership(&self) -> LeadershipWatch {
        LeadershipWatch(Arc::clone(self.cluster.leadership()))
    }

    /// Makes the engine know this process as the driver of an application, once.
    async fn attach(&self, app: &AppId) -> Result<()> {
        let mut attached = self.attached.lock().await;
        if !attached.contains(app) {
            let driver = own_driver(app, &self.conf, &[]).await?;
            // It ends with this process: there is nothing to be told.
            let _ = self.cluster.lead()?.attach(app, &driver).await?;
            attached.insert(app.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl ClusterManager for InProcess {
    fn name(&self) -> &'static str {
        self.cluster.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.cluster.capabilities()
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        self.cluster.launch_driver(id, app).await
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        self.cluster.register_application(id, &with_defaults(driver, &self.conf)).await
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        self.cluster.unregister_application(app, cause).await
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        match self.cluster.request_executors(app, target).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.attach(app).await?;
                self.cluster.request_executors(app, target).await
            }
            done => done,
        }
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.cluster.kill(subject, grace).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        match (self.cluster.watch(options).await, &options.app) {
            (Err(error), Some(app)) if error.kind() == ErrorKind::NotFound => {
                self.attach(app).await?;
                self.cluster.watch(options).await
            }
            (begun, _) => begun,
        }
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        self.cluster.list(filter).await
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        self.cluster.logs(subject, options).await
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        self.cluster.diagnose(app).await
    }
}
