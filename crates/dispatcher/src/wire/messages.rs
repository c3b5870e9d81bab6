//! The messages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cursor, DriverSpec, DriverStatus, ExecutorId, ExecutorTarget,
    ExecutorTemplate, Filter, Outcome, ProfileId, ResourceProfile, Status, Stop, Subject,
    SubmissionId,
};
use anymaster_core::{Error, ErrorKind, LogSource};
use serde::{Deserialize, Serialize};

/// What a worker is and has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Spark's form: `worker-yyyyMMddHHmmss-HOST-PORT`. New whenever it starts.
    pub id: String,
    /// Its machine.
    pub host: String,
    /// Where it answers.
    pub port: u16,
    /// Where its page is.
    pub web: String,
    /// Its cores.
    pub cores: u32,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Other resources, by name: their addresses.
    pub resources: BTreeMap<String, Vec<String>>,
    /// It has nothing of its own: what it has is offered, and gone after the pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_lent: bool,
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
    /// It runs. A driver is reached at this port.
    Running {
        /// Where it is reached.
        port: Option<u16>,
        /// At this address, if it is not that of its worker: a container's own.
        #[serde(default)]
        host: Option<String>,
    },
    /// A driver failed and is started again (`--supervise`).
    Again(Outcome),
    /// It never began, and that is not its fault: it is to be placed once more.
    Refused(Box<str>),
    /// It ended.
    Ended(Outcome),
}

/// A process that a worker has, or had and has not got rid of telling.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// The application.
    pub app: AppId,
    /// The process.
    pub task: Task,
    /// How far it is.
    pub progress: Progress,
    /// What an executor was given, for a master that does not know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terms: Option<Box<Terms>>,
}

/// What an executor was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Terms {
    /// Its profile's id.
    pub profile_id: ProfileId,
    /// Its profile.
    pub profile: ResourceProfile,
    /// The addresses of its other resources, by name.
    pub resources: BTreeMap<String, Vec<String>>,
}

/// From a worker to its master.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// Here I am, with these processes.
    Register {
        /// Who it is.
        worker: WorkerInfo,
        /// What it has.
        held: Vec<Held>,
        /// Whether it is being decommissioned.
        leaving: bool,
    },
    /// I am decommissioned: give me nothing any more.
    Leaving,
    /// I am still here.
    Heartbeat,
    /// Something has become of a process.
    Changed(Held),
    /// A driver's order has arrived. It is started when that is [confirmed](ToWorker::Confirmed).
    Accepted {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
}

/// From a master to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// You are one of mine. Be heard of at least every `heartbeat`.
    Registered {
        /// The master URL.
        master: String,
        /// Where its page is.
        #[serde(default)]
        web: String,
        /// How often it is to be heard of.
        heartbeat: Duration,
    },
    /// What driver and executors of an application are told; before the first of them.
    Application(Box<Application>),
    /// A driver is to be started. A worker [accepts](FromWorker::Accepted) that, and starts it when it is
    /// confirmed: a master that has heard nothing of that knows that the driver was not started, and may
    /// place it on another worker. (On Mesos an offer does the same.)
    StartDriver(Box<DriverOrder>),
    /// The driver that was accepted is to be started now. The order is void when the connection ends.
    Confirmed {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
    /// An executor is to be started.
    StartExecutor(Box<ExecutorOrder>),
    /// A process is to end.
    Stop {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
        /// How it is to end.
        stop: Stop,
    },
    /// I know how it ended; forget it.
    Noted {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
    },
    /// Nothing of this application is left: its files may go when their time has come.
    Over {
        /// The application.
        app: AppId,
    },
}

/// What all processes of an application share.
#[derive(Clone, Serialize, Deserialize)]
pub struct Application {
    /// The application.
    pub app: AppId,
    /// The master URL.
    pub master: String,
    /// What both sides know.
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
    /// What it is.
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
    /// Where its driver is.
    pub driver_host: String,
    /// At which port.
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

/// What a client asks of a master; `Logs` also of a worker.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Start the driver of this application.
    Launch {
        /// Its id.
        id: SubmissionId,
        /// What it is.
        spec: Box<ApplicationSpec>,
    },
    /// I am the driver of this application, for as long as this connection lasts.
    Attach {
        /// The application.
        app: AppId,
        /// For people.
        name: String,
        /// Its machine.
        host: String,
        /// Where it is reached.
        port: u16,
        /// Its properties.
        conf: Conf,
    },
    /// So many executors are wanted in total.
    Executors {
        /// The application.
        app: AppId,
        /// How many of what.
        target: Box<ExecutorTarget>,
    },
    /// End it.
    Kill {
        /// Whom it is about.
        subject: Subject,
        /// How long it has after the polite signal.
        grace: Duration,
    },
    /// What is known now?
    List {
        /// Of which.
        filter: Want,
    },
    /// What happens?
    Watch {
        /// The application.
        app: Option<AppId>,
        /// From where on.
        from: Option<Cursor>,
    },
    /// Which worker has the output of this one.
    Locate {
        /// Whom it is about.
        subject: Subject,
    },
    /// The output itself.
    Logs {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
        /// Whether what comes later is wanted.
        follow: bool,
        /// How many of the last lines.
        tail: Option<u64>,
        /// Which output.
        source: Option<Source>,
    },
    /// What there is to say about why an application is as it is.
    Diagnose {
        /// The application.
        app: AppId,
    },
}

impl Call {
    /// What is called, for traces.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Launch { .. } => "launch",
            Self::Attach { .. } => "attach",
            Self::Executors { .. } => "executors",
            Self::Kill { .. } => "kill",
            Self::List { .. } => "list",
            Self::Watch { .. } => "watch",
            Self::Locate { .. } => "locate",
            Self::Logs { .. } => "logs",
            Self::Diagnose { .. } => "diagnose",
        }
    }

    /// The application that this is about, if its driver may ask for it.
    pub fn concerns(&self) -> Option<&AppId> {
        match self {
            Self::Executors { app, .. } | Self::Diagnose { app } | Self::Logs { app, .. } => {
                Some(app)
            }
            Self::Kill { subject, .. } | Self::Locate { subject } => match subject {
                Subject::Executor(app, _) => Some(app),
                Subject::Driver(_) => None,
            },
            Self::List { filter } => filter.app.as_ref(),
            Self::Watch { app, .. } => app.as_ref(),
            Self::Launch { .. } | Self::Attach { .. } => None,
        }
    }
}

/// A [`Filter`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Want {
    /// The application.
    pub app: Option<AppId>,
    /// Only what has not ended.
    pub live: bool,
    /// No executors.
    pub drivers_only: bool,
    /// No executors that ended.
    #[serde(default)]
    pub live_executors: bool,
}

impl From<&Want> for Filter {
    fn from(want: &Want) -> Self {
        let Want { app, live, drivers_only, live_executors } = want;
        let mut filter = Self::default();
        (filter.app, filter.live) = (app.clone(), *live);
        (filter.drivers_only, filter.live_executors) = (*drivers_only, *live_executors);
        filter
    }
}

impl From<&Filter> for Want {
    fn from(filter: &Filter) -> Self {
        let Filter { app, live, drivers_only, live_executors, .. } = filter.clone();
        Self { app, live, drivers_only, live_executors }
    }
}

/// A [`LogSource`] on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
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
pub enum Reply {
    /// It is done.
    Done,
    /// The driver.
    Driver {
        /// Itself.
        driver: Box<DriverStatus>,
        /// An earlier call started it.
        existed: bool,
    },
    /// Where output is: `HOST:PORT` of a worker, and whose.
    At {
        /// Where.
        address: String,
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
    },
    /// It has not come to a worker yet.
    Nowhere,
    /// Sentences, with what to do about each.
    Findings(Vec<(String, Option<String>)>),
    /// It could not be done.
    Failed(Fault),
    /// Items follow, up to [`Item::End`] or for ever.
    Stream,
}

/// A part of a streamed answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// What follows is all there is.
    Restarted,
    /// Something has changed.
    Changed(Box<Status>),
    /// All that there was has been told.
    Synced(Cursor),
    /// Base64.
    Output {
        /// Which output.
        source: Source,
        /// What was written: base64.
        bytes: String,
    },
    /// Nothing follows.
    End,
}

/// An [`Error`] on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
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
    pub fn into_error(self) -> Error {
        let error = Error::new(self.kind, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
