//! The messages between an application master, the ResourceManager and NodeManagers that are used, by their fields
//! (Hadoop 3.4, `yarn_protos.proto`, `yarn_service_protos.proto`). Fields that nobody reads are left out.

use std::fmt;

use prost::{Enumeration, Message};

use crate::proto::{
    ApplicationId, ContainerLaunchContext, Priority, Resource, ResourceRequest, TokenMessage,
};

/// `application_1700000000000_0001`, and which attempt of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub(crate) struct AttemptId {
    #[prost(message, optional, tag = "1")]
    pub(crate) application_id: Option<ApplicationId>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) attempt: Option<i32>,
}

/// `container_1700000000000_0001_01_000002`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub(crate) struct ContainerId {
    #[prost(message, optional, tag = "2")]
    pub(crate) attempt: Option<AttemptId>,
    /// The number, and above its 40 bits how often the ResourceManager was started.
    #[prost(int64, optional, tag = "3")]
    pub(crate) id: Option<i64>,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempt = self.attempt.unwrap_or_default();
        let app = attempt.application_id.unwrap_or_default();
        let id = self.id.unwrap_or_default();
        let (epoch, number) = (id >> 40, id & ((1 << 40) - 1));
        f.write_str("container_")?;
        if epoch > 0 {
            write!(f, "e{epoch:02}_")?;
        }
        let attempt = attempt.attempt.unwrap_or_default();
        write!(f, "{}_{:04}_{attempt:02}_{number:06}", app.cluster_timestamp, app.id)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub(crate) struct NodeId {
    #[prost(string, optional, tag = "1")]
    pub(crate) host: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) port: Option<i32>,
}

impl NodeId {
    pub(crate) fn name(&self) -> &str {
        self.host.as_deref().unwrap_or_default()
    }
}

/// A container that was allocated.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Container {
    #[prost(message, optional, tag = "1")]
    pub(crate) id: Option<ContainerId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) node: Option<NodeId>,
    #[prost(string, optional, tag = "3")]
    pub(crate) node_http_address: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub(crate) priority: Option<Priority>,
    #[prost(message, optional, tag = "6")]
    pub(crate) token: Option<TokenMessage>,
    #[prost(int64, optional, tag = "8")]
    pub(crate) allocation_request_id: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerStatus {
    #[prost(message, optional, tag = "1")]
    pub(crate) container_id: Option<ContainerId>,
    #[prost(string, optional, tag = "3")]
    pub(crate) diagnostics: Option<String>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) exit_status: Option<i32>,
    #[prost(enumeration = "ContainerPhase", optional, tag = "8")]
    pub(crate) phase: Option<i32>,
}

/// How far a container is, as its NodeManager says (`ContainerSubState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum ContainerPhase {
    Scheduled = 1,
    Running = 2,
    Paused = 3,
    Completing = 4,
    Done = 5,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeReport {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<NodeId>,
    #[prost(string, optional, tag = "3")]
    pub(crate) rack: Option<String>,
    #[prost(enumeration = "NodeState", optional, tag = "7")]
    pub(crate) state: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum NodeState {
    New = 1,
    Running = 2,
    Unhealthy = 3,
    Decommissioned = 4,
    Lost = 5,
    Rebooted = 6,
    Decommissioning = 7,
    Shutdown = 8,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeToken {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<NodeId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) token: Option<TokenMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegisterRequest {
    #[prost(string, optional, tag = "1")]
    pub(crate) host: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) port: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub(crate) tracking_url: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegisterResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) maximum: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AllocateRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) asks: Vec<ResourceRequest>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) release: Vec<ContainerId>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) response_id: Option<i32>,
    #[prost(float, optional, tag = "5")]
    pub(crate) progress: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AllocateResponse {
    #[prost(enumeration = "MasterCommand", optional, tag = "1")]
    pub(crate) command: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) response_id: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) allocated: Vec<Container>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) completed: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) updated_nodes: Vec<NodeReport>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) node_tokens: Vec<NodeToken>,
    #[prost(message, optional, tag = "12")]
    pub(crate) am_rm_token: Option<TokenMessage>,
}

/// What an application master is told to do (`AMCommand`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum MasterCommand {
    Resync = 1,
    Shutdown = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FinishRequest {
    #[prost(string, optional, tag = "1")]
    pub(crate) diagnostics: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) tracking_url: Option<String>,
    #[prost(enumeration = "crate::proto::FinalStatus", optional, tag = "3")]
    pub(crate) status: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FinishResponse {
    #[prost(bool, optional, tag = "1")]
    pub(crate) is_unregistered: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartContainer {
    #[prost(message, optional, tag = "1")]
    pub(crate) context: Option<ContainerLaunchContext>,
    #[prost(message, optional, tag = "2")]
    pub(crate) token: Option<TokenMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartContainersRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) containers: Vec<StartContainer>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartContainersResponse {
    #[prost(message, repeated, tag = "2")]
    pub(crate) succeeded: Vec<ContainerId>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failed: Vec<FailedRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StopContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) succeeded: Vec<ContainerId>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) failed: Vec<FailedRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FailedRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) container_id: Option<ContainerId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) exception: Option<Exception>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exception {
    #[prost(string, optional, tag = "1")]
    pub(crate) message: Option<String>,
}

/// The containers that a call is about: of `stopContainers` and of `getContainerStatuses`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainersRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) containers: Vec<ContainerId>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignalRequest {
    #[prost(message, required, tag = "1")]
    pub(crate) container: ContainerId,
    #[prost(enumeration = "SignalCommand", required, tag = "2")]
    pub(crate) command: i32,
}

/// What a container is told (`SignalContainerCommand`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum SignalCommand {
    OutputThreadDump = 1,
    GracefulShutdown = 2,
    ForcefulShutdown = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodesRequest {
    #[prost(enumeration = "NodeState", repeated, packed = "false", tag = "1")]
    pub(crate) states: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<NodeReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_as_hadoop_names_them() {
        let application_id = Some(ApplicationId { cluster_timestamp: 1_700_000_000_000, id: 7 });
        let attempt = Some(AttemptId { application_id, attempt: Some(1) });
        let name = |id| ContainerId { attempt, id: Some(id) }.to_string();
        assert_eq!(name(2), "container_1700000000000_0007_01_000002");
        assert_eq!(name((1 << 40) + 3), "container_e01_1700000000000_0007_01_000003");
    }
}
