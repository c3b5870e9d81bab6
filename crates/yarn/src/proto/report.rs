//! The messages about applications that there are (Hadoop 3.4, `yarn_protos.proto`, `yarn_service_protos.proto`).

use prost::{Enumeration, Message};

use super::{ApplicationId, TokenMessage};

/// What the ResourceManager tells of an application.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ApplicationReport {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
    #[prost(string, optional, tag = "2")]
    pub(crate) user: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) queue: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(crate) host: Option<String>,
    #[prost(int32, optional, tag = "6")]
    pub(crate) rpc_port: Option<i32>,
    #[prost(enumeration = "ApplicationState", optional, tag = "8")]
    pub(crate) state: Option<i32>,
    #[prost(string, optional, tag = "9")]
    pub(crate) tracking_url: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(crate) diagnostics: Option<String>,
    /// In milliseconds since 1970.
    #[prost(int64, optional, tag = "11")]
    pub(crate) start_time: Option<i64>,
    #[prost(int64, optional, tag = "12")]
    pub(crate) finish_time: Option<i64>,
    #[prost(enumeration = "FinalStatus", optional, tag = "13")]
    pub(crate) final_status: Option<i32>,
    #[prost(string, optional, tag = "18")]
    pub(crate) application_type: Option<String>,
    /// Of an application master outside of the cluster; only its owner is told.
    #[prost(message, optional, tag = "19")]
    pub(crate) am_rm_token: Option<TokenMessage>,
    #[prost(string, repeated, tag = "20")]
    pub(crate) tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum ApplicationState {
    New = 1,
    NewSaving = 2,
    Submitted = 3,
    Accepted = 4,
    Running = 5,
    Finished = 6,
    Failed = 7,
    Killed = 8,
}

impl ApplicationState {
    /// As Hadoop writes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::NewSaving => "NEW_SAVING",
            Self::Submitted => "SUBMITTED",
            Self::Accepted => "ACCEPTED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum FinalStatus {
    Undefined = 0,
    Succeeded = 1,
    Failed = 2,
    Killed = 3,
    Ended = 4,
}

impl FinalStatus {
    /// As Hadoop writes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Undefined => "UNDEFINED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::Ended => "ENDED",
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetApplicationReportRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetApplicationReportResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) report: Option<ApplicationReport>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetApplicationsRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) types: Vec<String>,
    #[prost(enumeration = "ApplicationState", repeated, packed = "false", tag = "2")]
    pub(crate) states: Vec<i32>,
    #[prost(string, repeated, tag = "10")]
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetApplicationsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) applications: Vec<ApplicationReport>,
}
