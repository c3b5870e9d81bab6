//! The messages of YARN's client protocol that are used, by their fields (Hadoop 3.4, `yarn_protos.proto`,
//! `yarn_service_protos.proto`). Fields that nobody reads are left out.

mod queue;
mod report;

use std::fmt;
use std::str::FromStr;

use anymaster_core::Error;
use anymaster_hadoop::Token;
use prost::{Enumeration, Message};
use serde::{Deserialize, Serialize};

pub(crate) use self::queue::{
    QueueAclsResponse, QueueInfo, QueueRequest, QueueResponse, QueueState, QueueUserAcls,
};
pub(crate) use self::report::{
    ApplicationReport, ApplicationState, FinalStatus, GetApplicationReportRequest,
    GetApplicationReportResponse, GetApplicationsRequest, GetApplicationsResponse,
};

/// `application_1700000000000_0001`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub(crate) struct ApplicationId {
    #[prost(int64, tag = "2")]
    pub(crate) cluster_timestamp: i64,
    #[prost(int32, tag = "1")]
    pub(crate) id: i32,
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application_{}_{:04}", self.cluster_timestamp, self.id)
    }
}

impl FromStr for ApplicationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers = text.strip_prefix("application_").and_then(|rest| rest.split_once('_'));
        let read = numbers.and_then(|(timestamp, id)| {
            Some(Self { cluster_timestamp: timestamp.parse().ok()?, id: id.parse().ok()? })
        });
        read.ok_or_else(|| Error::not_found(format!("{text} is no application of YARN")))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    /// In MiB.
    #[prost(int64, optional, tag = "1")]
    pub(crate) memory: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) virtual_cores: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) others: Vec<ResourceInformation>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceInformation {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(int64, optional, tag = "2")]
    pub(crate) value: Option<i64>,
    #[prost(string, optional, tag = "3")]
    pub(crate) units: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceTypeInfo {
    #[prost(string, required, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Priority {
    #[prost(int32, optional, tag = "1")]
    pub(crate) priority: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) priority: Option<Priority>,
    #[prost(string, optional, tag = "2")]
    pub(crate) resource_name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(crate) capability: Option<Resource>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) containers: Option<i32>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) relax_locality: Option<bool>,
    #[prost(string, optional, tag = "6")]
    pub(crate) node_label_expression: Option<String>,
    #[prost(message, optional, tag = "7")]
    pub(crate) execution_type: Option<ExecutionTypeRequest>,
    #[prost(int64, optional, tag = "8")]
    pub(crate) allocation_request_id: Option<i64>,
}

/// Whether containers may wait on their node: the first kind never does.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ExecutionTypeRequest {
    #[prost(int32, optional, tag = "1")]
    pub(crate) execution_type: Option<i32>,
}

/// The context of a submission.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ApplicationSubmissionContext {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
    #[prost(string, optional, tag = "2")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) queue: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub(crate) priority: Option<Priority>,
    #[prost(message, optional, tag = "5")]
    pub(crate) master: Option<ContainerLaunchContext>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) is_unmanaged: Option<bool>,
    #[prost(int32, optional, tag = "8")]
    pub(crate) max_attempts: Option<i32>,
    #[prost(message, optional, tag = "9")]
    pub(crate) resource: Option<Resource>,
    #[prost(string, optional, tag = "10")]
    pub(crate) application_type: Option<String>,
    #[prost(string, repeated, tag = "12")]
    pub(crate) tags: Vec<String>,
    /// In milliseconds.
    #[prost(int64, optional, tag = "13")]
    pub(crate) attempt_failures_validity_interval: Option<i64>,
    #[prost(message, optional, tag = "14")]
    pub(crate) log_aggregation: Option<LogAggregationContext>,
    #[prost(message, repeated, tag = "17")]
    pub(crate) master_requests: Vec<ResourceRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogAggregationContext {
    #[prost(string, optional, tag = "1")]
    pub(crate) include_pattern: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) exclude_pattern: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) rolled_include_pattern: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) rolled_exclude_pattern: Option<String>,
}

/// How a container is started.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerLaunchContext {
    #[prost(message, repeated, tag = "1")]
    pub(crate) local_resources: Vec<NamedResource>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) environment: Vec<StringPair>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) command: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) acls: Vec<ApplicationAcl>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedResource {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<LocalResource>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LocalResource {
    #[prost(message, optional, tag = "1")]
    pub(crate) url: Option<Url>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) size: Option<i64>,
    /// In milliseconds since 1970.
    #[prost(int64, optional, tag = "3")]
    pub(crate) timestamp: Option<i64>,
    #[prost(enumeration = "LocalResourceType", optional, tag = "4")]
    pub(crate) kind: Option<i32>,
    #[prost(enumeration = "Visibility", optional, tag = "5")]
    pub(crate) visibility: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Url {
    #[prost(string, optional, tag = "1")]
    pub(crate) scheme: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) host: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub(crate) port: Option<i32>,
    #[prost(string, optional, tag = "4")]
    pub(crate) file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum LocalResourceType {
    Archive = 1,
    File = 2,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub(crate) enum Visibility {
    Public = 1,
    Private = 2,
    Application = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StringPair {
    #[prost(string, optional, tag = "1")]
    pub(crate) key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ApplicationAcl {
    #[prost(enumeration = "Access", optional, tag = "1")]
    pub(crate) access: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub(crate) users_and_groups: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum Access {
    View = 1,
    Modify = 2,
}

/// A token as messages have it. `Debug` does not show it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct TokenMessage {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(crate) identifier: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "2")]
    pub(crate) password: Vec<u8>,
    #[prost(string, required, tag = "3")]
    pub(crate) kind: String,
    #[prost(string, required, tag = "4")]
    pub(crate) service: String,
}

impl fmt::Debug for TokenMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMessage").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl From<TokenMessage> for Token {
    fn from(message: TokenMessage) -> Self {
        let TokenMessage { identifier, password, kind, service } = message;
        Self { identifier, password, kind, service }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetNewApplicationResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) maximum: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubmitApplicationRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) context: Option<ApplicationSubmissionContext>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KillApplicationRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
    #[prost(string, optional, tag = "2")]
    pub(crate) diagnostics: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KillApplicationResponse {
    #[prost(bool, optional, tag = "1")]
    pub(crate) is_completed: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetResourceTypesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) types: Vec<ResourceTypeInfo>,
}
