//! What every case starts from.

use std::sync::Arc;

use anymaster_core::model::{
    AppId, ApplicationSpec, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile,
    Subject, SubmissionId,
};
use anymaster_core::{Capabilities, ClusterManager, Error, MemoryLimit};
use futures::future::BoxFuture;

use crate::observed::Observed;
use crate::{Harness, Programs};

/// Why a case failed, in words.
pub(crate) type Outcome<T = ()> = std::result::Result<T, String>;

/// A case: an asynchronous function of its context.
pub(crate) type Run = fn(Case) -> BoxFuture<'static, Outcome>;

/// What a case needs, beyond drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Executors,
    Profiles,
    Logs,
    MemoryLimits,
    NotExecutable,
    Stubborn,
    KillExecutor,
    LoseNode,
    DropWatches,
    OwningDriver,
    NoTemplates,
    ExternalDrivers,
}

impl Needs {
    /// Why the case can't be run here.
    pub(crate) fn missing(self, can: &Capabilities, harness: &dyn Harness) -> Option<&'static str> {
        let (faults, programs) = (harness.possible(), harness.programs());
        let (there, why) = match self {
            Self::Nothing => (true, ""),
            Self::Executors => (can.executors, "no executors"),
            Self::Profiles => (can.executors && can.profiles, "one profile only"),
            Self::Logs => (can.logs, "no logs"),
            Self::MemoryLimits => (
                can.memory == MemoryLimit::Enforced && programs.hungry.is_some(),
                "memory limits are not enforced here",
            ),
            Self::NotExecutable => (programs.not_executable.is_some(), "no such program"),
            Self::Stubborn => (programs.stubborn.is_some(), "no such program"),
            Self::KillExecutor => (faults.kill_executor, "processes can't be killed from here"),
            Self::LoseNode => (can.nodes && faults.lose_node, "no nodes to lose"),
            Self::DropWatches => (faults.drop_watches, "connections can't be broken from here"),
            Self::NoTemplates => (!can.templates, "templates are taken here"),
            Self::ExternalDrivers => (can.external_drivers, "no drivers outside of the cluster"),
            Self::OwningDriver => (
                faults.kill_driver && programs.owning_driver.is_some(),
                "no driver that can be killed",
            ),
        };
        (!there).then_some(why)
    }
}

/// A cluster, and an application id that nobody else has.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) harness: Arc<dyn Harness>,
    pub(crate) cluster: Arc<dyn ClusterManager>,
    pub(crate) id: SubmissionId,
    pub(crate) app: AppId,
}

impl Case {
    pub(crate) fn new(harness: Arc<dyn Harness>, cluster: Arc<dyn ClusterManager>) -> Self {
        let id = format!("conformance-{:016x}", rand::random::<u64>());
        // Letters, digits and a dash.
        let (id, app) = match (SubmissionId::new(&id), AppId::new(&id)) {
            (Ok(id), Ok(app)) => (id, app),
            _ => unreachable!("{id} is valid"),
        };
        Self { harness, cluster, id, app }
    }

    pub(crate) fn programs(&self) -> Programs {
        self.harness.programs()
    }

    /// Few resources, so that many fit on a small machine.
    pub(crate) fn profile(&self) -> ResourceProfile {
        ResourceProfile::new(self.harness.cores(), 64)
    }

    pub(crate) fn spec(&self, command: CommandLine) -> ApplicationSpec {
        ApplicationSpec::new("conformance", command)
            .with_driver_resources(ResourceProfile::new(self.harness.cores(), 0))
            .with_conf(self.harness.conf())
    }

    pub(crate) fn target(&self, command: CommandLine, executors: u32) -> ExecutorTarget {
        ExecutorTarget::new(ExecutorTemplate::new(command), self.profile(), executors)
    }

    pub(crate) fn driver(&self) -> Subject {
        Subject::Driver(self.id.clone())
    }

    /// Launches a driver and watches its application.
    pub(crate) async fn launch(&self, command: CommandLine) -> Outcome<Observed> {
        self.launch_spec(&self.spec(command)).await
    }

    pub(crate) async fn launch_spec(&self, spec: &ApplicationSpec) -> Outcome<Observed> {
        self.cluster.launch_driver(&self.id, spec).await.map_err(told)?;
        Observed::open(&*self.cluster, &self.app, None).await
    }

    /// A driver that waits, and its application.
    pub(crate) async fn waiting_driver(&self) -> Outcome<Observed> {
        let mut observed = self.launch(self.programs().wait).await?;
        observed.until("the driver runs", |seen| seen.driver_runs()).await?;
        Ok(observed)
    }

    /// A driver that waits, and so many executors that run and wait.
    pub(crate) async fn running_executors(&self, executors: u32) -> Outcome<Observed> {
        let mut observed = self.waiting_driver().await?;
        self.request(&self.target(self.programs().wait, executors)).await?;
        let so = format!("{executors} executors run");
        observed.until(&so, |seen| seen.reached(executors as usize)).await?;
        Ok(observed)
    }

    pub(crate) async fn request(&self, target: &ExecutorTarget) -> Outcome {
        self.cluster.request_executors(&self.app, target).await.map_err(told)
    }

    /// Ends the driver, and waits until all of the application has ended.
    pub(crate) async fn finish(&self, mut observed: Observed) -> Outcome {
        let grace = std::time::Duration::from_secs(1);
        self.cluster.kill(&self.driver(), grace).await.map_err(told)?;
        observed.until("all of the application has ended", |seen| seen.is_over()).await?;
        self.nothing_left().await
    }

    /// No process of the application is left, not long after its end.
    pub(crate) async fn nothing_left(&self) -> Outcome {
        let seconds = self.harness.leak_seconds();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
        loop {
            match self.harness.processes(&self.app).await {
                None | Some(0) => return Ok(()),
                Some(left) if tokio::time::Instant::now() > deadline => {
                    return Err(format!("{left} processes are left after {seconds} s"));
                }
                // Nobody announces that a process is not there.
                Some(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }
}

/// An error as the reason of a failure.
pub(crate) fn told(error: Error) -> String {
    format!("{error:?}")
}

/// Fails with what was expected unless it is so.
pub(crate) fn expect(so: bool, what: impl FnOnce() -> String) -> Outcome {
    if so { Ok(()) } else { Err(what()) }
}
