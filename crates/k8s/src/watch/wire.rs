//! Lists and watches pods in the API server's Protobuf encoding: it costs both sides less than
//! JSON, and only the fields that are needed here are decoded.

use std::io;

use futures::io::{AsyncBufRead, AsyncReadExt as _};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1 as api;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, Status};
use prost::Message;

use super::messages::{Failure, ListMeta, Pod, PodList, Unknown, WatchEvent};

/// The prefix of an encoded object.
const MAGIC: &[u8] = b"k8s\0";
/// The longest message that is accepted: a page has 500 pods of at most 1.5 MiB.
const MAX_MESSAGE: usize = 1 << 30;

/// A page of a list.
pub(super) struct Page {
    pub(super) pods: Vec<api::Pod>,
    pub(super) resource_version: String,
    /// The token of the next page.
    pub(super) continue_token: Option<String>,
}

/// A watch event.
pub(super) enum Change {
    /// The pod was added or modified.
    Applied(Box<api::Pod>),
    Deleted(Box<api::Pod>),
    /// No further change up to this resource version.
    Bookmark(String),
}

/// Gets a page of the pods at `url`.
pub(super) async fn list(client: &Client, url: &str, params: &ListParams) -> kube::Result<Page> {
    let request = Request::new(url).list(params).map_err(kube::Error::BuildRequest)?;
    let mut body = open(client, request, "application/vnd.kubernetes.protobuf").await?;
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
    let list: PodList = envelope(&bytes)?;
    let ListMeta { resource_version, continue_token } = list.metadata.unwrap_or_default();
    Ok(Page {
        pods: list.items.into_iter().map(api::Pod::from).collect(),
        resource_version,
        continue_token: Some(continue_token).filter(|token| !token.is_empty()),
    })
}

/// Watches the pods at `url` from a resource version on.
pub(super) async fn watch(
    client: &Client,
    url: &str,
    params: &WatchParams,
    resource_version: &str,
) -> kube::Result<BoxStream<'static, kube::Result<Change>>> {
    let request =
        Request::new(url).watch(params, resource_version).map_err(kube::Error::BuildRequest)?;
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

/// The status of a refusal: in Protobuf, or, from a proxy, in JSON or as text.
fn refusal(code: u16, said: &[u8]) -> Status {
    let status = envelope::<Failure>(said).map(Status::from);
    let mut status = status.or_else(|_| serde_json::from_slice(said)).unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(said).trim().to_owned();
        Status { message, ..Status::default() }
    });
    status.code = code;
    status
}

/// Reads the next length-prefixed message of a stream.
async fn frame(body: &mut Body) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if body.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    body.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
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
        "ADDED" | "MODIFIED" => pod().map(Change::Applied),
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

/// Decodes the object of a `runtime.Unknown` envelope.
fn envelope<T: Message + Default>(bytes: &[u8]) -> kube::Result<T> {
    let bytes = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        let words = "the response is not in Kubernetes' Protobuf encoding: is this a Kubernetes API server?";
        kube::Error::ReadEvents(io::Error::new(io::ErrorKind::InvalidData, words))
    })?;
    let unknown = Unknown::decode(bytes).map_err(garbled)?;
    T::decode(unknown.raw.as_slice()).map_err(garbled)
}

fn garbled(error: prost::DecodeError) -> kube::Error {
    kube::Error::ReadEvents(io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::super::messages::{ObjectMeta, RawExtension};
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
    fn watch_events_are_decoded() {
        let metadata =
            ObjectMeta { name: "p".into(), resource_version: "7".into(), ..Default::default() };
        let pod = Pod { metadata: Some(metadata), ..Default::default() };
        let Ok(Change::Applied(applied)) = change(&event("ADDED", &pod)) else { panic!() };
        assert_eq!(applied.metadata.name.as_deref(), Some("p"));
        assert!(matches!(change(&event("DELETED", &pod)), Ok(Change::Deleted(_))));
        let Ok(Change::Bookmark(resource_version)) = change(&event("BOOKMARK", &pod)) else {
            panic!()
        };
        assert_eq!(resource_version, "7");
        let failure = Failure { code: 410, reason: "Expired".into(), ..Default::default() };
        let Err(kube::Error::Api(status)) = change(&event("ERROR", &failure)) else { panic!() };
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    }

    #[test]
    fn a_refusal_is_decoded_in_any_encoding() {
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
    fn invalid_messages_are_errors() {
        for nonsense in
            [&b""[..], b"{\"type\":\"ADDED\"}", b"\x0a\xff", &event("?", &Pod::default())]
        {
            assert!(change(nonsense).is_err());
        }
    }
}
