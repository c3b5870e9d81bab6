//! The status of a SparkApplication, as dashboards, Kueue, Airflow and Argo CD read it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The status of an application.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) spark_application_id: String,
    /// The id of the latest submission.
    #[serde(rename = "submissionID", skip_serializing_if = "String::is_empty")]
    pub(crate) submission_id: String,
    pub(crate) last_submission_attempt_time: Option<Timestamp>,
    pub(crate) termination_time: Option<Timestamp>,
    pub(crate) driver_info: DriverInfo,
    pub(crate) application_state: ApplicationState,
    /// By name of the executor's pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) executor_state: BTreeMap<String, ExecutorState>,
    /// How often a driver was started.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) execution_attempts: i32,
    /// How often the application was submitted, with success or without.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) submission_attempts: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Where the driver is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DriverInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pod_name: String,
    #[serde(rename = "webUIServiceName", skip_serializing_if = "String::is_empty")]
    pub(crate) web_ui_service_name: String,
    /// The service's address and port.
    #[serde(rename = "webUIAddress", skip_serializing_if = "String::is_empty")]
    pub(crate) web_ui_address: String,
    #[serde(rename = "webUIPort", skip_serializing_if = "is_zero")]
    pub(crate) web_ui_port: i32,
}

/// The state, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ApplicationState {
    pub(crate) state: State,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error_message: String,
}

/// The states of an application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    #[default]
    #[serde(rename = "")]
    New,
    Submitted,
    Running,
    Completed,
    Failed,
    SubmissionFailed,
    PendingRerun,
    Invalidating,
    Succeeding,
    Failing,
    Suspending,
    Suspended,
    Resuming,
    /// Never set here; adopted as RUNNING.
    Unknown,
}

impl State {
    /// The states through which an application only passes: they need not be written.
    pub(crate) const fn is_passing(self) -> bool {
        matches!(self, Self::Succeeding | Self::Resuming)
    }
}

/// The states of executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ExecutorState {
    Pending,
    Running,
    Completed,
    Failed,
    Unknown,
}

impl ExecutorState {
    /// Whether the executor has ended.
    pub(crate) const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
