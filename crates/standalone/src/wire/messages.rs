//! The messages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, CommandLine, Cursor, DriverSpec, DriverStatus, ExecutorId,
    ExecutorTarget, ExecutorTemplate, Filter, ProfileId, ResourceProfile, Status, Subject,
    SubmissionId,
};
use anymaster_core::{Error, ErrorKind, LogSource};
use serde::{Deserialize, Serialize};

use crate::host::process::{Outcome, Stop};

/// What a worker is and has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerInfo {
    /// Spark's form: `worker-yyyyMMddHHmmss-HOST-PORT`. New whenever it starts.
    pub(crate) id: String,
    pub(crate) host: String,
    /// Where it answers.
    pub(crate) port: u16,
    pub(crate) cores: u32,
    pub(crate) memory_mib: u64,
    /// Other resources, by name: their addresses.
    pub(crate) resources: BTreeMap<String, Vec<String>>,
}

/// A process of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Task {
    Driver,
    Executor(ExecutorId),
}

/// How far a process is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    /// It is being started.
    Starting,
    /// It runs. A driver is reached at this port.
    Running { port: Option<u16> },
    /// A driver failed and is started again (`--supervise`).
    Again(Outcome),
    /// It ended.
    Ended(Outcome),
}

/// A process that a worker has, or had and has not got rid of telling.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) app: AppId,
    pub(crate) task: Task,
    pub(crate) progress: Progress,
    /// What an executor was given, for a master that does not know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) terms: Option<Box<Terms>>,
}

/// What an executor was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) profile_id: ProfileId,
    pub(crate) profile: ResourceProfile,
    pub(crate) resources: BTreeMap<String, Vec<String>>,
}

/// From a worker to its master.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromWorker {
    /// Here I am, with these processes.
    Register { worker: WorkerInfo, held: Vec<Held> },
    /// I am still here.
    Heartbeat,
    /// Something has become of a process.
    Changed(Held),
}

/// From a master to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToWorker {
    /// You are one of mine. Be heard of at least every `heartbeat`.
    Registered {
        master: String,
        heartbeat: Duration,
    },
    /// What driver and executors of an application are told; before the first of them.
    Application(Box<Application>),
    StartDriver(Box<DriverOrder>),
    StartExecutor(Box<ExecutorOrder>),
    Stop {
        app: AppId,
        task: Task,
        stop: Stop,
    },
    /// I know how it ended; forget it.
    Noted {
        app: AppId,
        task: Task,
    },
    /// Nothing of this application is left: its files may go when their time has come.
    Over {
        app: AppId,
    },
}

/// What all processes of an application share.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Application {
    pub(crate) app: AppId,
    /// The master URL.
    pub(crate) master: String,
    pub(crate) secret: String,
    pub(crate) conf: Conf,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("app", &self.app).finish_non_exhaustive()
    }
}

/// A driver to be started.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DriverOrder {
    pub(crate) app: AppId,
    pub(crate) spec: DriverSpec,
    pub(crate) command: CommandLine,
}

impl fmt::Debug for DriverOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverOrder").field("app", &self.app).finish_non_exhaustive()
    }
}

/// An executor to be started.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ExecutorOrder {
    pub(crate) app: AppId,
    pub(crate) id: ExecutorId,
    pub(crate) profile_id: ProfileId,
    pub(crate) profile: ResourceProfile,
    /// The addresses of the other resources that it is given.
    pub(crate) resources: BTreeMap<String, Vec<String>>,
    pub(crate) template: Arc<ExecutorTemplate>,
    pub(crate) driver_host: String,
    pub(crate) driver_port: u16,
}

impl fmt::Debug for ExecutorOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorOrder")
            .field("app", &self.app)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a client asks of a master; `Logs` also of a worker.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Call {
    Launch {
        id: SubmissionId,
        spec: Box<ApplicationSpec>,
    },
    /// I am the driver of this application, for as long as this connection lasts.
    Attach {
        app: AppId,
        name: String,
        host: String,
        port: u16,
        conf: Conf,
    },
    Executors {
        app: AppId,
        target: Box<ExecutorTarget>,
    },
    Kill {
        subject: Subject,
        grace: Duration,
    },
    List {
        filter: Want,
    },
    Watch {
        app: Option<AppId>,
        from: Option<Cursor>,
    },
    /// Which worker has the output of this one.
    Locate {
        subject: Subject,
    },
    /// The output itself.
    Logs {
        app: AppId,
        task: Task,
        follow: bool,
        tail: Option<u64>,
        source: Option<Source>,
    },
    /// What there is to say about why an application is as it is.
    Diagnose {
        app: AppId,
    },
}

/// A [`Filter`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) app: Option<AppId>,
    pub(crate) live: bool,
    pub(crate) drivers_only: bool,
}

impl From<&Filter> for Want {
    fn from(filter: &Filter) -> Self {
        let Filter { app, live, drivers_only } = filter.clone();
        Self { app, live, drivers_only }
    }
}

/// A [`LogSource`] on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

impl From<LogSource> for Source {
    fn from(source: LogSource) -> Self {
        match source {
            LogSource::Stdout => Self::Stdout,
            LogSource::Stderr => Self::Stderr,
        }
    }
}

impl From<Source> for LogSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Stdout => Self::Stdout,
            Source::Stderr => Self::Stderr,
        }
    }
}

/// The answer to a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done,
    Driver(Box<DriverStatus>),
    /// Where output is: `HOST:PORT` of a worker, and whose.
    At {
        address: String,
        app: AppId,
        task: Task,
    },
    /// Sentences, with what to do about each.
    Findings(Vec<(String, Option<String>)>),
    Failed(Fault),
    /// Items follow, up to [`Item::End`] or for ever.
    Stream,
}

/// A part of a streamed answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Item {
    Restarted,
    Changed(Box<Status>),
    Synced(Cursor),
    /// Base64.
    Output {
        source: Source,
        bytes: String,
    },
    End,
}

/// An [`Error`] on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fault {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl Fault {
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.kind, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
