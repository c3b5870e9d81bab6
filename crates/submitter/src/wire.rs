//! The requests and responses of the API.

use anymaster_core::{Error, ErrorKind, Launched};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A submission.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Submission {
    /// The idempotency key of the submission.
    pub(crate) submission_id: String,
    /// The options and arguments of spark-submit.
    pub(crate) spark_submit_args: Vec<String>,
    /// The pod template of the driver, instead of one in a file.
    #[serde(default)]
    pub(crate) driver_pod_template: Option<Box<RawValue>>,
    /// The pod template of executors.
    #[serde(default)]
    pub(crate) executor_pod_template: Option<Box<RawValue>>,
}

/// The response to a successful submission. The driver may not be running yet.
#[derive(Debug, Serialize)]
pub(crate) struct Submitted {
    pub(crate) submission_id: String,
    pub(crate) app_name: String,
    pub(crate) spark_app_id: String,
    pub(crate) driver_pod_name: String,
    pub(crate) driver_pod_uid: String,
    pub(crate) namespace: String,
    pub(crate) submitted_at: Timestamp,
    pub(crate) duplicate_submission: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<&'static str>,
}

impl Submitted {
    /// The response for a launched driver. Where drivers are not pods, the pod's name is the
    /// driver's id, and the namespace is empty.
    pub(crate) fn of(submission_id: String, app_name: String, launched: &Launched) -> Self {
        let Launched { driver, existed, .. } = launched;
        let id = driver.submission.as_str();
        let (namespace, name) = id.split_once(':').unwrap_or(("", id));
        Self {
            submission_id,
            app_name,
            spark_app_id: driver.app.to_string(),
            driver_pod_name: name.to_owned(),
            driver_pod_uid: driver.uid.as_deref().unwrap_or_default().to_owned(),
            namespace: namespace.to_owned(),
            submitted_at: driver.submitted,
            duplicate_submission: *existed,
            message: existed.then_some("this submission was made before; its driver pod exists"),
        }
    }
}

/// The response to a failed submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) submission_id: String,
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The error codes of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    BadRequest,
    InvalidArguments,
    MethodNotAllowed,
    UnsupportedMediaType,
    PodExists,
    InvalidTemplate,
    Internal,
    Overloaded,
    Denied,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::InvalidArguments => "INVALID_SPARK_SUBMIT_ARGS",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::PodExists => "DRIVER_POD_ALREADY_EXISTS",
            Self::InvalidTemplate => "INVALID_POD_TEMPLATE",
            Self::Internal => "INTERNAL_SERVER_ERROR",
            Self::Overloaded => "SUBMITTER_OVERLOADED",
            Self::Denied => "FORBIDDEN",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::InvalidArguments => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PodExists => StatusCode::CONFLICT,
            Self::InvalidTemplate => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied => StatusCode::FORBIDDEN,
        }
    }

    /// The code for an error of the command line or of the cluster. The operator retries on
    /// `Overloaded`.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSpec | ErrorKind::Unsupported => Self::InvalidArguments,
            ErrorKind::Conflict => Self::PodExists,
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::NotLeader
            | ErrorKind::Unauthenticated => Self::Overloaded,
            _ => Self::Internal,
        }
    }
}

impl Refusal {
    pub(crate) fn new(submission_id: &str, code: Code, message: impl Into<String>) -> Self {
        Self { submission_id: submission_id.to_owned(), code, message: message.into() }
    }

    pub(crate) fn of(submission_id: &str, error: &Error) -> Self {
        let message = match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        Self::new(submission_id, Code::of(error), message)
    }
}
