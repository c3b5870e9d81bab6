//! What is told in events of the application, with the reasons of kubeflow/spark-operator.

use crate::v1beta2::ExecutorState;

/// Something that happened to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is seen for the first time.
    Added,
    Submitted,
    /// With the reason.
    SubmissionFailed(String),
    /// Its pod, and why it does not start.
    DriverPending(String, String),
    DriverRunning(String),
    DriverCompleted(String),
    /// Its pod, and the reason.
    DriverFailed(String, String),
    DriverMissing(String),
    Completed,
    /// With the reason.
    Failed(String),
    PendingRerun,
    Suspending,
    Suspended,
    Resuming,
    SpecChanged,
    /// So many executors came to this state, one of them the pod of this name.
    Executors {
        state: ExecutorState,
        number: usize,
        example: String,
    },
    /// Fields of executors that cannot reach them.
    ExecutorFieldIgnored(String),
    /// Other fields without effect.
    FieldIgnored(String),
    /// The service of the web page could not be made, for this reason.
    UiServiceFailed(String),
    /// The status cannot be read, and the application is left alone, for this reason.
    StatusUnreadable(String),
}

/// An event as Kubernetes has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Notice {
    /// Kind, reason and text of the event of an application of this name.
    pub(crate) fn event(&self, app: &str) -> (Kind, &'static str, String) {
        use Kind::{Normal, Warning};
        let subject = format!("SparkApplication {app}");
        match self {
            Self::Added => (Normal, "SparkApplicationAdded", format!("{subject} was added")),
            Self::Submitted => (
                Normal,
                "SparkApplicationSubmitted",
                format!("{subject} was submitted successfully"),
            ),
            Self::SubmissionFailed(why) => {
                (Warning, "SparkApplicationSubmissionFailed", format!("{subject}: {why}"))
            }
            Self::DriverPending(pod, why) => {
                (Normal, "SparkDriverPending", format!("Driver {pod} is pending: {why}"))
            }
            Self::DriverRunning(pod) => {
                (Normal, "SparkDriverRunning", format!("Driver {pod} is running"))
            }
            Self::DriverCompleted(pod) => {
                (Normal, "SparkDriverCompleted", format!("Driver {pod} completed"))
            }
            Self::DriverFailed(pod, why) => {
                (Warning, "SparkDriverFailed", format!("Driver {pod} failed: {why}"))
            }
            Self::DriverMissing(pod) => {
                (Warning, "SparkDriverNotFound", format!("Driver {pod} is not there any more"))
            }
            Self::Completed => {
                (Normal, "SparkApplicationCompleted", format!("{subject} completed"))
            }
            Self::Failed(why) => {
                (Warning, "SparkApplicationFailed", format!("{subject} failed: {why}"))
            }
            Self::PendingRerun => {
                (Warning, "SparkApplicationPendingRerun", format!("{subject} is pending rerun"))
            }
            Self::Suspending => {
                (Warning, "SparkApplicationSuspending", format!("{subject} is being suspended"))
            }
            Self::Suspended => {
                (Warning, "SparkApplicationSuspended", format!("{subject} is suspended"))
            }
            Self::Resuming => {
                (Warning, "SparkApplicationResuming", format!("{subject} is being resumed"))
            }
            Self::SpecChanged => (
                Normal,
                "SparkApplicationSpecChanged",
                format!("{subject} has another specification: its driver is replaced"),
            ),
            Self::Executors { state, number, example } => executors(*state, *number, example),
            Self::ExecutorFieldIgnored(fields) => (Warning, "ExecutorFieldIgnored", fields.clone()),
            Self::FieldIgnored(fields) => (Warning, "FieldIgnored", fields.clone()),
            Self::UiServiceFailed(why) => (Warning, "UIServiceFailed", why.clone()),
            Self::StatusUnreadable(why) => (
                Warning,
                "SparkApplicationStatusUnreadable",
                format!("{subject} is left alone: {why}"),
            ),
        }
    }
}

fn executors(state: ExecutorState, number: usize, example: &str) -> (Kind, &'static str, String) {
    let (kind, reason, verb) = match state {
        ExecutorState::Pending => (Kind::Normal, "SparkExecutorPending", "pending"),
        ExecutorState::Running => (Kind::Normal, "SparkExecutorRunning", "running"),
        ExecutorState::Completed => (Kind::Normal, "SparkExecutorCompleted", "completed"),
        ExecutorState::Failed => (Kind::Warning, "SparkExecutorFailed", "failed"),
        ExecutorState::Unknown => (Kind::Warning, "SparkExecutorUnknown", "gone"),
    };
    let text = match number {
        1 => format!("Executor {example} is {verb}"),
        _ => format!("{number} executors are {verb}, one of them {example}"),
    };
    let text = match state {
        ExecutorState::Completed | ExecutorState::Failed => {
            text.replacen(" is ", " has ", 1).replacen(" are ", " have ", 1)
        }
        _ => text,
    };
    (kind, reason, text)
}
