//! The messages.

use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, Cursor, DriverStatus, ExecutorTarget, ExternalDriver, Filter,
    Status, Stop, Subject, SubmissionId,
};
use anymaster_core::{Error, ErrorKind, LogSource};
use anymaster_engine::{
    Application, DriverOrder, ExecutorOrder, Order, Task, TaskReport, WorkerInfo, WorkerMessage,
};
use serde::{Deserialize, Serialize};

/// From a worker to its master.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// The first message: who it is, and what it has.
    Register {
        /// Who it is.
        worker: WorkerInfo,
        /// Its processes.
        #[serde(rename = "held")]
        reports: Vec<TaskReport>,
        /// Whether it is being decommissioned.
        leaving: bool,
    },
    /// As [`WorkerMessage::Leaving`].
    Leaving,
    /// As [`WorkerMessage::Heartbeat`].
    Heartbeat,
    /// As [`WorkerMessage::Report`].
    #[serde(rename = "changed")]
    Report(TaskReport),
    /// As [`WorkerMessage::DriverAccepted`].
    Accepted {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
}

impl FromWorker {
    /// As the engine has it; `None` for a registration, which it is told otherwise.
    pub fn into_engine(self) -> Option<WorkerMessage> {
        Some(match self {
            Self::Register { .. } => return None,
            Self::Leaving => WorkerMessage::Leaving,
            Self::Heartbeat => WorkerMessage::Heartbeat,
            Self::Report(report) => WorkerMessage::Report(report),
            Self::Accepted { app, attempt } => WorkerMessage::DriverAccepted { app, attempt },
        })
    }
}

impl From<WorkerMessage> for FromWorker {
    fn from(message: WorkerMessage) -> Self {
        match message {
            WorkerMessage::Report(report) => Self::Report(report),
            WorkerMessage::DriverAccepted { app, attempt } => Self::Accepted { app, attempt },
            WorkerMessage::Leaving => Self::Leaving,
            WorkerMessage::Heartbeat => Self::Heartbeat,
        }
    }
}

/// From a master to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// As [`Order::Registered`].
    Registered {
        /// The master URL.
        master: String,
        /// The URL of its page.
        #[serde(default)]
        web: String,
        /// The longest time between two messages of the worker.
        heartbeat: Duration,
    },
    /// As [`Order::Application`].
    Application(Box<Application>),
    /// As [`Order::StartDriver`].
    StartDriver(Box<DriverOrder>),
    /// As [`Order::ConfirmDriver`].
    Confirmed {
        /// The application.
        app: AppId,
        /// Which attempt of its driver.
        attempt: u32,
    },
    /// As [`Order::StartExecutor`].
    StartExecutor(Box<ExecutorOrder>),
    /// As [`Order::Stop`].
    Stop {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
        /// How it has to end.
        stop: Stop,
    },
    /// As [`Order::TaskAck`].
    #[serde(rename = "noted")]
    TaskAck {
        /// The application.
        app: AppId,
        /// The process.
        task: Task,
    },
    /// As [`Order::ForgetApp`].
    #[serde(rename = "over")]
    ForgetApp {
        /// The application.
        app: AppId,
    },
}

impl ToWorker {
    /// An order of the engine, from a master with these URLs: its own, and that of its page.
    pub fn new(order: Order, (master, web): (&str, &str)) -> Self {
        match order {
            Order::Registered { heartbeat } => {
                Self::Registered { master: master.to_owned(), web: web.to_owned(), heartbeat }
            }
            Order::Application(application) => Self::Application(application),
            Order::StartDriver(order) => Self::StartDriver(order),
            Order::ConfirmDriver { app, attempt } => Self::Confirmed { app, attempt },
            Order::StartExecutor(order) => Self::StartExecutor(order),
            Order::Stop { app, task, stop } => Self::Stop { app, task, stop },
            Order::TaskAck { app, task } => Self::TaskAck { app, task },
            Order::ForgetApp { app } => Self::ForgetApp { app },
        }
    }
}

/// What a client asks of a master; `Logs` also of a worker.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
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
    /// I know the driver of this application, which is outside of the cluster, and tell its end; it is lost with this
    /// connection.
    Register {
        /// The application's id.
        id: SubmissionId,
        /// Its driver.
        driver: Box<ExternalDriver>,
    },
    /// The driver that was registered has ended.
    Unregister {
        /// The application.
        app: AppId,
        /// How.
        cause: Cause,
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
        filter: StatusFilter,
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

impl Request {
    /// What is called, for traces.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Launch { .. } => "launch",
            Self::Attach { .. } => "attach",
            Self::Register { .. } => "register",
            Self::Unregister { .. } => "unregister",
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
            Self::Launch { .. }
            | Self::Attach { .. }
            | Self::Register { .. }
            | Self::Unregister { .. } => None,
        }
    }
}

/// A [`Filter`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusFilter {
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

impl From<&StatusFilter> for Filter {
    fn from(want: &StatusFilter) -> Self {
        let StatusFilter { app, live, drivers_only, live_executors } = want;
        let mut filter = Self::default();
        (filter.app, filter.live) = (app.clone(), *live);
        (filter.drivers_only, filter.live_executors) = (*drivers_only, *live_executors);
        filter
    }
}

impl From<&Filter> for StatusFilter {
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
    /// The error that it was made of.
    pub fn into_error(self) -> Error {
        let error = Error::new(self.kind, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
