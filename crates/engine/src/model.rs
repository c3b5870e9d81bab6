//! What the engine and those who run processes for it tell each other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::SparkRelease;
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, DriverSpec, ExecutorId, ExecutorTemplate, Outcome, ProfileId, ResourceProfile,
    SparkVersions, Stop,
};
use serde::{Deserialize, Serialize};

/// What a worker is and has. An agent that makes offers has nothing of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Spark's form: `worker-yyyyMMddHHmmss-HOST-PORT`. New whenever it starts.
    pub id: String,
    /// Its machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The URL of its web page.
    pub web: String,
    /// Its cores.
    pub cores: u32,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Other resources, by name: their addresses.
    pub resources: BTreeMap<String, Vec<String>>,
    /// The Sparks that it has for executors.
    #[serde(default)]
    pub sparks: Vec<WorkerSpark>,
}

/// A Spark of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpark {
    /// Its release: `4.0.5`.
    pub release: String,
    /// The binary version of its Scala: `2.13`.
    pub scala: String,
}

impl WorkerSpark {
    /// Whether it is one of these.
    pub(crate) fn is_of(&self, versions: &SparkVersions) -> bool {
        let release = self.release.parse::<SparkRelease>();
        release.is_ok_and(|release| versions.include(&release, &self.scala))
    }
}

/// A process of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Its driver.
    Driver,
    /// One of its executors.
    Executor(ExecutorId),
}

/// How far a process is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// It is being started.
    Starting,
    /// It runs.
    Running {
        /// The port of a driver.
        port: Option<u16>,
        /// Its address, if that is not the address of its worker: a container's own.
        #[serde(default)]
        host: Option<String>,
    },
    /// A driver failed, and its worker starts it again (`--supervise`).
    #[serde(rename = "again")]
    Restarting(Outcome),
    /// It was not started, for no fault of its own: it has to be placed again.
    Refused(Box<str>),
    /// It ended.
    Ended(Outcome),
}

/// A process that a worker has, or whose end it has not got acknowledged yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The application.
    pub app: AppId,
    /// The process.
    pub task: Task,
    /// How far it is.
    pub progress: Progress,
    /// What an executor was given, for a master that does not know it.
    #[serde(rename = "terms", skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<Box<ExecutorSpec>>,
}

/// What an executor was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorSpec {
    /// Its profile's id.
    pub profile_id: ProfileId,
    /// Its profile.
    pub profile: ResourceProfile,
    /// The addresses of its other resources, by name.
    pub resources: BTreeMap<String, Vec<String>>,
}

/// A message of a worker that is registered.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerMessage {
    /// The state of a process has changed.
    Report(TaskReport),
    /// The order to start a driver has arrived. The worker starts it when that is
    /// [confirmed](Order::ConfirmDriver).
    DriverAccepted {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
    /// It is being decommissioned: it takes nothing new.
    Leaving,
    /// It is still there.
    Heartbeat,
}

/// What a worker, or the framework of an agent, has to do.
#[derive(Debug, Clone)]
pub enum Order {
    /// It is registered, and has to send something at least every `heartbeat`.
    Registered {
        /// The longest time between two messages.
        heartbeat: Duration,
    },
    /// What driver and executors of an application need to know; before the first of them.
    Application(Box<Application>),
    /// Start a driver. A worker [accepts](WorkerMessage::DriverAccepted) that, and starts it when it is
    /// confirmed: if it has not accepted, the driver was not started, and may be placed on another worker. An
    /// agent starts it when its offer is accepted.
    StartDriver(Box<DriverOrder>),
    /// Start the driver that was accepted. Void when the connection ends.
    ConfirmDriver {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
    /// Start an executor.
    StartExecutor(Box<ExecutorOrder>),
    /// End a process.
    Stop {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
        /// How it has to end.
        stop: Stop,
    },
    /// The end of a process is durably known: it need not be reported again.
    TaskAck {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
    },
    /// Nothing of this application runs any more: its files may be deleted when their time has come.
    ForgetApp {
        /// The application.
        app: AppId,
    },
}

/// What all processes of an application share.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// The application.
    pub app: AppId,
    /// The master URL.
    pub master: String,
    /// The secret that driver and executors share.
    pub secret: String,
    /// Its properties.
    pub conf: Conf,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("app", &self.app).finish_non_exhaustive()
    }
}

/// A driver to be started.
#[derive(Clone, Serialize, Deserialize)]
pub struct DriverOrder {
    /// The application.
    pub app: AppId,
    /// What to start.
    pub spec: DriverSpec,
    /// How often it was started before.
    #[serde(default)]
    pub attempt: u32,
}

impl fmt::Debug for DriverOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverOrder").field("app", &self.app).finish_non_exhaustive()
    }
}

/// An executor to be started.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExecutorOrder {
    /// The application.
    pub app: AppId,
    /// Its id.
    pub id: ExecutorId,
    /// Its profile's id.
    pub profile_id: ProfileId,
    /// Its profile.
    pub profile: ResourceProfile,
    /// The addresses of the other resources that it is given.
    pub resources: BTreeMap<String, Vec<String>>,
    /// How it is started.
    pub template: Arc<ExecutorTemplate>,
    /// The host of its driver.
    pub driver_host: String,
    /// The port of its driver.
    pub driver_port: u16,
}

impl fmt::Debug for ExecutorOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorOrder")
            .field("app", &self.app)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
