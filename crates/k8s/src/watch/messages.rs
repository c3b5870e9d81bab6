//! The Protobuf messages of `k8s.io/api/core/v1` and `k8s.io/apimachinery`, with the fields that
//! are needed here; others are skipped.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::core::Status;
use kube::core::response::StatusDetails;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Unknown {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchEvent {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(message, optional, tag = "2")]
    pub(super) object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RawExtension {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) raw: Vec<u8>,
}

/// `Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Failure {
    #[prost(string, tag = "3")]
    pub(super) message: String,
    #[prost(string, tag = "4")]
    pub(super) reason: String,
    #[prost(message, optional, tag = "5")]
    pub(super) details: Option<FailureDetails>,
    #[prost(int32, tag = "6")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FailureDetails {
    #[prost(int32, tag = "5")]
    pub(super) retry_after_seconds: i32,
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let retry_after = failure.details.map_or(0, |details| details.retry_after_seconds);
        Self {
            message: failure.message,
            reason: failure.reason,
            code: u16::try_from(failure.code).unwrap_or(500),
            details: Some(StatusDetails {
                retry_after_seconds: u32::try_from(retry_after).unwrap_or(0),
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
            }),
            ..Self::default()
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListMeta {
    #[prost(string, tag = "2")]
    pub(super) resource_version: String,
    #[prost(string, tag = "3")]
    pub(super) continue_token: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodList {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ListMeta>,
    #[prost(message, repeated, tag = "2")]
    pub(super) items: Vec<Pod>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Pod {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<PodSpec>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(string, tag = "5")]
    pub(super) uid: String,
    #[prost(string, tag = "6")]
    pub(super) resource_version: String,
    #[prost(message, optional, tag = "8")]
    pub(super) creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    pub(super) deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSpec {
    #[prost(message, repeated, tag = "1")]
    pub(super) volumes: Vec<Volume>,
    #[prost(message, repeated, tag = "2")]
    pub(super) containers: Vec<Container>,
    #[prost(string, tag = "8")]
    pub(super) service_account_name: String,
    #[prost(string, tag = "10")]
    pub(super) node_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Volume {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Container {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) image: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) args: Vec<String>,
    #[prost(message, optional, tag = "8")]
    pub(super) resources: Option<Resources>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resources {
    #[prost(map = "string, message", tag = "1")]
    pub(super) limits: HashMap<String, Amount>,
    #[prost(map = "string, message", tag = "2")]
    pub(super) requests: HashMap<String, Amount>,
}

/// `Quantity`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Amount {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodStatus {
    #[prost(string, tag = "1")]
    pub(super) phase: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) conditions: Vec<Condition>,
    #[prost(string, tag = "3")]
    pub(super) message: String,
    #[prost(string, tag = "4")]
    pub(super) reason: String,
    #[prost(string, tag = "5")]
    pub(super) host_ip: String,
    #[prost(string, tag = "6")]
    pub(super) pod_ip: String,
    #[prost(message, optional, tag = "7")]
    pub(super) start_time: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "10")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Condition {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) status: String,
    #[prost(message, optional, tag = "4")]
    pub(super) since: Option<Time>,
    #[prost(string, tag = "5")]
    pub(super) reason: String,
    #[prost(string, tag = "6")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) state: Option<ContainerState>,
    #[prost(message, optional, tag = "3")]
    pub(super) last_state: Option<ContainerState>,
    #[prost(bool, tag = "4")]
    pub(super) ready: bool,
    #[prost(int32, tag = "5")]
    pub(super) restart_count: i32,
    #[prost(string, tag = "6")]
    pub(super) image: String,
    #[prost(string, tag = "7")]
    pub(super) image_id: String,
    #[prost(string, tag = "8")]
    pub(super) container_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerState {
    #[prost(message, optional, tag = "1")]
    pub(super) waiting: Option<Waiting>,
    #[prost(message, optional, tag = "2")]
    pub(super) running: Option<Running>,
    #[prost(message, optional, tag = "3")]
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Waiting {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Running {
    #[prost(message, optional, tag = "1")]
    pub(super) started_at: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Terminated {
    #[prost(int32, tag = "1")]
    pub(super) exit_code: i32,
    #[prost(int32, tag = "2")]
    pub(super) signal: i32,
    #[prost(string, tag = "3")]
    pub(super) reason: String,
    #[prost(string, tag = "4")]
    pub(super) message: String,
    #[prost(message, optional, tag = "5")]
    pub(super) started_at: Option<Time>,
    #[prost(message, optional, tag = "6")]
    pub(super) finished_at: Option<Time>,
    #[prost(string, tag = "7")]
    pub(super) container_id: String,
}

/// Kubernetes encodes unset strings as empty ones.
fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Kubernetes encodes unset times as 0 or less.
fn time(time: Option<Time>) -> Option<meta::Time> {
    let seconds = time?.seconds;
    if seconds <= 0 {
        return None;
    }
    jiff::Timestamp::from_second(seconds).ok().map(meta::Time)
}

impl From<Pod> for api::Pod {
    fn from(pod: Pod) -> Self {
        let metadata = pod.metadata.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        Self {
            metadata: meta::ObjectMeta {
                name: text(metadata.name),
                namespace: text(metadata.namespace),
                uid: text(metadata.uid),
                resource_version: text(metadata.resource_version),
                labels: Some(metadata.labels),
                annotations: Some(metadata.annotations),
                creation_timestamp: time(metadata.creation_timestamp),
                deletion_timestamp: time(metadata.deletion_timestamp),
                ..meta::ObjectMeta::default()
            },
            spec: Some(api::PodSpec {
                node_name: text(spec.node_name),
                service_account_name: text(spec.service_account_name),
                containers: spec.containers.into_iter().map(Into::into).collect(),
                volumes: Some(spec.volumes.into_iter().map(Into::into).collect()),
                ..api::PodSpec::default()
            }),
            status: pod.status.map(Into::into),
        }
    }
}

impl From<Volume> for api::Volume {
    fn from(volume: Volume) -> Self {
        Self { name: volume.name, ..Self::default() }
    }
}

impl From<Container> for api::Container {
    fn from(container: Container) -> Self {
        let amounts = |amounts: HashMap<String, Amount>| {
            let amounts = amounts.into_iter().map(|(name, amount)| (name, Quantity(amount.text)));
            Some(amounts.collect::<BTreeMap<_, _>>()).filter(|amounts| !amounts.is_empty())
        };
        Self {
            name: container.name,
            image: text(container.image),
            args: Some(container.args).filter(|args| !args.is_empty()),
            resources: container.resources.map(|resources| api::ResourceRequirements {
                limits: amounts(resources.limits),
                requests: amounts(resources.requests),
                claims: None,
            }),
            ..Self::default()
        }
    }
}

impl From<PodStatus> for api::PodStatus {
    fn from(status: PodStatus) -> Self {
        let containers = |statuses: Vec<ContainerStatus>| {
            Some(statuses.into_iter().map(Into::into).collect::<Vec<_>>())
                .filter(|statuses| !statuses.is_empty())
        };
        let conditions: Vec<_> = status.conditions.into_iter().map(Into::into).collect();
        Self {
            phase: text(status.phase),
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
            message: text(status.message),
            reason: text(status.reason),
            host_ip: text(status.host_ip),
            pod_ip: text(status.pod_ip),
            start_time: time(status.start_time),
            container_statuses: containers(status.container_statuses),
            init_container_statuses: containers(status.init_container_statuses),
            ..Self::default()
        }
    }
}

impl From<Condition> for api::PodCondition {
    fn from(condition: Condition) -> Self {
        Self {
            type_: condition.kind,
            status: condition.status,
            last_transition_time: time(condition.since),
            reason: text(condition.reason),
            message: text(condition.message),
            ..Self::default()
        }
    }
}

impl From<ContainerStatus> for api::ContainerStatus {
    fn from(status: ContainerStatus) -> Self {
        Self {
            name: status.name,
            state: status.state.map(Into::into),
            last_state: status.last_state.map(Into::into),
            ready: status.ready,
            restart_count: status.restart_count,
            image: status.image,
            image_id: status.image_id,
            container_id: text(status.container_id),
            ..Self::default()
        }
    }
}

impl From<ContainerState> for api::ContainerState {
    fn from(state: ContainerState) -> Self {
        Self {
            waiting: state.waiting.map(|waiting| api::ContainerStateWaiting {
                reason: text(waiting.reason),
                message: text(waiting.message),
            }),
            running: state
                .running
                .map(|running| api::ContainerStateRunning { started_at: time(running.started_at) }),
            terminated: state.terminated.map(|terminated| api::ContainerStateTerminated {
                exit_code: terminated.exit_code,
                signal: Some(terminated.signal).filter(|signal| *signal != 0),
                reason: text(terminated.reason),
                message: text(terminated.message),
                started_at: time(terminated.started_at),
                finished_at: time(terminated.finished_at),
                container_id: text(terminated.container_id),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_are_none() {
        let status = PodStatus { phase: "Pending".into(), ..Default::default() };
        let pod = api::Pod::from(Pod { status: Some(status), ..Default::default() });
        let status = pod.status.unwrap();
        assert_eq!(
            (status.phase.as_deref(), status.reason, status.start_time),
            (Some("Pending"), None, None)
        );
        assert!(pod.metadata.deletion_timestamp.is_none());
    }
}
