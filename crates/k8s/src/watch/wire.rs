//! What the API server sends of pods, in its own encoding (protocol buffers): it has each event in that
//! form already, for its own components, and of a pod only what is needed here is read.
//!
//! The messages are those of `k8s.io/api/core/v1` and `k8s.io/apimachinery`, cut down; fields that are
//! not named are passed over.

use std::collections::{BTreeMap, HashMap};
use std::io;

use futures::io::{AsyncBufRead, AsyncReadExt as _};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::response::StatusDetails;
use kube::core::{Request, Status};
use prost::Message;

/// With this, a message begins that does not stand in a stream.
const MAGIC: &[u8] = b"k8s\0";
/// The longest message that is taken in: pods have at most 1.5 MiB, and a page holds 500.
const MAX_MESSAGE: usize = 1 << 30;

/// A page of a list.
pub(super) struct Page {
    pub(super) pods: Vec<api::Pod>,
    pub(super) version: String,
    /// Where the next one begins.
    pub(super) more: Option<String>,
}

/// Something that has become of a pod.
pub(super) enum Change {
    /// It is new, or another.
    Set(Box<api::Pod>),
    Deleted(Box<api::Pod>),
    /// Nothing, up to this version.
    Bookmark(String),
}

/// A page of the pods at `url`.
pub(super) async fn list(client: &Client, url: &str, params: &ListParams) -> kube::Result<Page> {
    let request = Request::new(url).list(params).map_err(kube::Error::BuildRequest)?;
    let mut body = open(client, request, "application/vnd.kubernetes.protobuf").await?;
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
    let list: PodList = envelope(&bytes)?;
    let ListMeta { resource_version, more } = list.metadata.unwrap_or_default();
    Ok(Page {
        pods: list.items.into_iter().map(api::Pod::from).collect(),
        version: resource_version,
        more: Some(more).filter(|token| !token.is_empty()),
    })
}

/// What becomes of the pods at `url` from a version on.
pub(super) async fn watch(
    client: &Client,
    url: &str,
    params: &WatchParams,
    version: &str,
) -> kube::Result<BoxStream<'static, kube::Result<Change>>> {
    let request = Request::new(url).watch(params, version).map_err(kube::Error::BuildRequest)?;
    let body = open(client, request, "application/vnd.kubernetes.protobuf;stream=watch").await?;
    Ok(stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match frame(&mut body).await {
            Ok(None) => None,
            Ok(Some(frame)) => Some((change(&frame), Some(body))),
            Err(error) => Some((Err(kube::Error::ReadEvents(error)), None)),
        }
    })
    .boxed())
}

type Body = std::pin::Pin<Box<dyn AsyncBufRead + Send>>;

async fn open(
    client: &Client,
    mut request: http::Request<Vec<u8>>,
    accept: &'static str,
) -> kube::Result<Body> {
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
    let response = client.send(request.map(kube::client::Body::from)).await?;
    let (status, body) = (response.status(), response.into_body());
    if status.is_success() {
        return Ok(Box::pin(body.into_data_stream().map_err(io::Error::other).into_async_read()));
    }
    let said = body.collect().await.map_err(|error| kube::Error::Service(error.into()))?;
    Err(kube::Error::Api(Box::new(refusal(status.as_u16(), &said.to_bytes()))))
}

/// What a refusal says: in the encoding that was asked for, or, from whoever is in between, in JSON or
/// in words.
fn refusal(code: u16, said: &[u8]) -> Status {
    let status = envelope::<Failure>(said).map(Status::from);
    let mut status = status.or_else(|_| serde_json::from_slice(said)).unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(said).trim().to_owned();
        Status { message, ..Status::default() }
    });
    status.code = code;
    status
}

/// The next message of a stream: its length, then itself.
async fn frame(body: &mut Body) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if body.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    body.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of impossible length"));
    }
    let mut message = Vec::new();
    let read = body.take(length as u64).read_to_end(&mut message).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(message)) }
}

fn change(frame: &[u8]) -> kube::Result<Change> {
    let event = WatchEvent::decode(frame).map_err(garbled)?;
    let object = event.object.unwrap_or_default().raw;
    let pod = || envelope::<Pod>(&object).map(|pod| Box::new(pod.into()));
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => pod().map(Change::Set),
        "DELETED" => pod().map(Change::Deleted),
        "BOOKMARK" => {
            let pod: Pod = envelope(&object)?;
            Ok(Change::Bookmark(pod.metadata.unwrap_or_default().resource_version))
        }
        "ERROR" => {
            let failure: Failure = envelope(&object)?;
            Err(kube::Error::Api(Box::new(failure.into())))
        }
        other => {
            let words = format!("an event of unknown kind {other:?}");
            Err(kube::Error::ReadEvents(io::Error::new(io::ErrorKind::InvalidData, words)))
        }
    }
}

/// What is in an envelope that says what it is.
fn envelope<T: Message + Default>(bytes: &[u8]) -> kube::Result<T> {
    let bytes = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        let words = "this is not Kubernetes' encoding: is it a Kubernetes API server?";
        kube::Error::ReadEvents(io::Error::new(io::ErrorKind::InvalidData, words))
    })?;
    let unknown = Unknown::decode(bytes).map_err(garbled)?;
    T::decode(unknown.raw.as_slice()).map_err(garbled)
}

fn garbled(error: prost::DecodeError) -> kube::Error {
    kube::Error::ReadEvents(io::Error::new(io::ErrorKind::InvalidData, error))
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchEvent {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
struct RawExtension {
    #[prost(bytes = "vec", tag = "1")]
    raw: Vec<u8>,
}

/// `Status`.
#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(message, optional, tag = "5")]
    details: Option<FailureDetails>,
    #[prost(int32, tag = "6")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct FailureDetails {
    #[prost(int32, tag = "5")]
    retry_after_seconds: i32,
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
struct ListMeta {
    #[prost(string, tag = "2")]
    resource_version: String,
    #[prost(string, tag = "3")]
    more: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodList {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ListMeta>,
    #[prost(message, repeated, tag = "2")]
    items: Vec<Pod>,
}

#[derive(Clone, PartialEq, Message)]
struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PodSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PodSpec {
    #[prost(message, repeated, tag = "1")]
    volumes: Vec<Volume>,
    #[prost(message, repeated, tag = "2")]
    containers: Vec<Container>,
    #[prost(string, tag = "8")]
    service_account_name: String,
    #[prost(string, tag = "10")]
    node_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Volume {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(string, repeated, tag = "4")]
    args: Vec<String>,
    #[prost(message, optional, tag = "8")]
    resources: Option<Resources>,
}

#[derive(Clone, PartialEq, Message)]
struct Resources {
    #[prost(map = "string, message", tag = "1")]
    limits: HashMap<String, Amount>,
    #[prost(map = "string, message", tag = "2")]
    requests: HashMap<String, Amount>,
}

/// `Quantity`.
#[derive(Clone, PartialEq, Message)]
struct Amount {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatus {
    #[prost(string, tag = "1")]
    phase: String,
    #[prost(message, repeated, tag = "2")]
    conditions: Vec<Condition>,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(string, tag = "5")]
    host_ip: String,
    #[prost(string, tag = "6")]
    pod_ip: String,
    #[prost(message, optional, tag = "7")]
    start_time: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "10")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    status: String,
    #[prost(message, optional, tag = "4")]
    since: Option<Time>,
    #[prost(string, tag = "5")]
    reason: String,
    #[prost(string, tag = "6")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    state: Option<ContainerState>,
    #[prost(message, optional, tag = "3")]
    last_state: Option<ContainerState>,
    #[prost(bool, tag = "4")]
    ready: bool,
    #[prost(int32, tag = "5")]
    restart_count: i32,
    #[prost(string, tag = "6")]
    image: String,
    #[prost(string, tag = "7")]
    image_id: String,
    #[prost(string, tag = "8")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerState {
    #[prost(message, optional, tag = "1")]
    waiting: Option<Waiting>,
    #[prost(message, optional, tag = "2")]
    running: Option<Running>,
    #[prost(message, optional, tag = "3")]
    terminated: Option<Terminated>,
}

#[derive(Clone, PartialEq, Message)]
struct Waiting {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Running {
    #[prost(message, optional, tag = "1")]
    started_at: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Terminated {
    #[prost(int32, tag = "1")]
    exit_code: i32,
    #[prost(int32, tag = "2")]
    signal: i32,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
    #[prost(message, optional, tag = "5")]
    started_at: Option<Time>,
    #[prost(message, optional, tag = "6")]
    finished_at: Option<Time>,
    #[prost(string, tag = "7")]
    container_id: String,
}

/// Kubernetes writes texts that are not set as empty ones.
fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Times that are not set are before all others.
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

    fn wrapped(message: &impl Message) -> Vec<u8> {
        let unknown = Unknown { raw: message.encode_to_vec() };
        [MAGIC, &unknown.encode_to_vec()].concat()
    }

    fn event(kind: &str, object: &impl Message) -> Vec<u8> {
        let object = Some(RawExtension { raw: wrapped(object) });
        WatchEvent { kind: kind.to_owned(), object }.encode_to_vec()
    }

    #[test]
    fn changes_are_told_apart() {
        let metadata =
            ObjectMeta { name: "p".into(), resource_version: "7".into(), ..Default::default() };
        let pod = Pod { metadata: Some(metadata), ..Default::default() };
        let Ok(Change::Set(set)) = change(&event("ADDED", &pod)) else { panic!() };
        assert_eq!(set.metadata.name.as_deref(), Some("p"));
        assert!(matches!(change(&event("DELETED", &pod)), Ok(Change::Deleted(_))));
        let Ok(Change::Bookmark(version)) = change(&event("BOOKMARK", &pod)) else { panic!() };
        assert_eq!(version, "7");
        let failure = Failure { code: 410, reason: "Expired".into(), ..Default::default() };
        let Err(kube::Error::Api(status)) = change(&event("ERROR", &failure)) else { panic!() };
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    }

    #[test]
    fn a_refusal_is_understood_in_any_encoding() {
        let failure =
            Failure { code: 403, message: "pods is forbidden".into(), ..Default::default() };
        for said in [
            wrapped(&failure),
            br#"{"kind":"Status","message":"pods is forbidden","code":403}"#.to_vec(),
            b"pods is forbidden\n".to_vec(),
        ] {
            let status = refusal(403, &said);
            assert_eq!((status.code, status.message.as_str()), (403, "pods is forbidden"));
        }
        assert_eq!(refusal(502, b"\xff").code, 502);
    }

    #[test]
    fn nonsense_is_an_error() {
        for nonsense in
            [&b""[..], b"{\"type\":\"ADDED\"}", b"\x0a\xff", &event("?", &Pod::default())]
        {
            assert!(change(nonsense).is_err());
        }
    }

    #[test]
    fn what_is_not_set_is_not_there() {
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
