//! What a driver does: asks for executors, and hears what becomes of them.

use std::sync::Arc;

use crate::conf::Conf;
use crate::model::{AppId, CommandLine, ExecutorTarget, ExecutorTemplate};
use crate::{BackendInfo, ClusterManager, DriverContext, Error, Executors, Result, Secret};

/// The driver of an application, connected to its cluster.
///
/// Its executors end with its process, however that ends.
#[derive(Debug)]
pub struct Driver {
    context: DriverContext,
    cluster: Arc<dyn ClusterManager>,
    info: &'static BackendInfo,
    executors: Executors,
}

impl Driver {
    /// Connects what is known of this driver with its cluster, which is of this kind.
    ///
    /// # Errors
    /// If the cluster does not know the application.
    pub async fn new(
        context: DriverContext,
        cluster: Arc<dyn ClusterManager>,
        info: &'static BackendInfo,
    ) -> Result<Self> {
        let executors = Executors::follow(&*cluster, context.app()).await?;
        Ok(Self { context, cluster, info, executors })
    }

    /// The application.
    pub fn app(&self) -> &AppId {
        self.context.app()
    }

    /// Where executors reach this driver: listen on this address or name …
    pub fn host(&self) -> &str {
        self.context.host()
    }

    /// … and on this TCP port.
    pub fn port(&self) -> u16 {
        self.context.port()
    }

    /// The secret that driver and executors share.
    pub fn secret(&self) -> &Secret {
        self.context.secret()
    }

    /// The properties with which the application was submitted.
    pub fn conf(&self) -> &Conf {
        self.context.conf()
    }

    /// The cluster itself, for what is not offered here.
    pub fn cluster(&self) -> &Arc<dyn ClusterManager> {
        &self.cluster
    }

    /// Declares how many executors there should be: of the shape that the properties ask for
    /// (`spark.executor.cores`, `spark.executor.memory` …), started as this very program with the same
    /// arguments. In them, [`role`](crate::role) says `Executor`.
    ///
    /// Returns when the cluster has accepted that; [`ready`](Self::ready) waits.
    ///
    /// # Errors
    /// If the cluster can't give such executors, or can't be reached.
    pub async fn request(&self, executors: u32) -> Result<()> {
        let profile = (self.info.executor_profile)(self.conf())?;
        let target = ExecutorTarget::new(self.template()?, profile, executors);
        self.request_target(&target).await
    }

    /// Declares how many executors of which profiles there should be, and how they are started.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_target(&self, target: &ExecutorTarget) -> Result<()> {
        self.executors.declared();
        self.cluster.request_executors(self.app(), target).await
    }

    /// Waits until at least `executors` run.
    ///
    /// # Errors
    /// If the cluster gave the target up, because too many executors failed: with the reason.
    pub async fn ready(&self, executors: u64) -> Result<()> {
        self.executors.ready(executors).await
    }

    /// What is known of the executors, kept up to date.
    pub fn executors(&self) -> &Executors {
        &self.executors
    }

    /// Ends all executors, and waits until none is left, nor what they leave behind.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn release(&self) -> Result<()> {
        self.request(0).await?;
        self.executors.none_left().await?;
        self.cluster.cleanup(self.app()).await
    }

    /// How [`request`](Self::request) starts executors: this program, the same arguments and the same
    /// directory; `spark.executorEnv.NAME` as environment variables.
    ///
    /// # Errors
    /// If the path of this program is unknown or not UTF-8.
    pub fn template(&self) -> Result<ExecutorTemplate> {
        let utf8 = |text: std::ffi::OsString| {
            text.into_string().map_err(|text| {
                Error::invalid(format!("{} is not UTF-8, and can't be sent", text.display()))
            })
        };
        let program = std::env::current_exe().map_err(|error| {
            Error::unavailable("the path of this program is not known").with_source(error)
        })?;
        let args = std::env::args_os().skip(1).map(utf8).collect::<Result<Vec<_>>>()?;
        let command = CommandLine::new(utf8(program.into())?).args(args);
        let mut template = ExecutorTemplate::new(command).env_of(self.conf());
        template.working_dir = std::env::current_dir().ok();
        Ok(template)
    }
}
