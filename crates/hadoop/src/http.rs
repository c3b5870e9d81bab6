//! What Hadoop's HTTP servers answer: bounded, and their refusals as errors.

use anymaster_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use crate::rpc::refusal;

/// The longest refusal that is read.
const MAX_REFUSAL: u64 = 1 << 20;

/// That a server, for example `HDFS`, cannot be reached, or goes away in the middle of an answer. Of its address, the
/// origin is told: no parameters.
pub fn unreachable(service: &str, address: &str, error: reqwest::Error) -> Error {
    let origin = Url::parse(address).ok().map(|url| url.origin().ascii_serialization());
    let origin = origin.unwrap_or_default();
    Error::unavailable(format!("cannot reach {service} at {origin}"))
        .with_source(error.without_url())
}

/// The answer of a server, for example of `HDFS`, if it is a good one, or sends elsewhere.
///
/// # Errors
/// The exception that the server tells, by its kind; [`Unsupported`](anymaster_core::ErrorKind::Unsupported) if it
/// wants Kerberos.
pub async fn checked(service: &str, answer: Response) -> Result<Response> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::TEMPORARY_REDIRECT {
        return Ok(answer);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::unsupported(format!("{service} wants Kerberos"))
            .with_hint("Kerberos is not implemented: submit with Spark's own spark-submit"));
    }
    let text = body(service, answer, MAX_REFUSAL).await.unwrap_or_default();
    Err(match serde_json::from_slice(&text) {
        Ok(Refused { remote_exception: Refusal { exception, message } }) => {
            refusal(&exception, &message)
        }
        Err(_) if status.is_server_error() => {
            Error::unavailable(format!("{service} answers HTTP {status}"))
        }
        Err(_) if status == StatusCode::FORBIDDEN => {
            Error::new(ErrorKind::Denied, format!("{service} answers HTTP {status}"))
        }
        Err(_) => Error::protocol(format!("{service} answers HTTP {status}")),
    })
}

/// What an answer consists of, up to `max` bytes.
///
/// # Errors
/// [`Protocol`](anymaster_core::ErrorKind::Protocol) if it is longer.
pub async fn body(service: &str, answer: Response, max: u64) -> Result<Bytes> {
    let from = answer.url().clone();
    let (mut bytes, mut chunks) = (BytesMut::new(), answer.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unreachable(service, from.as_str(), error))?;
        if (bytes.len() + chunk.len()) as u64 > max {
            let why = format!("an answer of {service} is longer than {max} bytes");
            return Err(Error::protocol(why));
        }
        bytes.extend(chunk);
    }
    Ok(bytes.freeze())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    remote_exception: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    exception: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a server that says just this is understood as.
    async fn answered(raw: &'static str, max: u64) -> Result<Bytes> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/x?user.name=me", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(raw.as_bytes()).await.unwrap();
        };
        let asking = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.get(&address).send().await;
            let answer = answer.map_err(|error| unreachable("HDFS", &address, error))?;
            body("HDFS", checked("HDFS", answer).await?, max).await
        };
        futures::future::join(serving, asking).await.1
    }

    #[tokio::test]
    async fn answers_are_bounded_and_refusals_have_kinds() {
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
        assert_eq!(answered(good, 4).await.unwrap(), "good");
        let error = answered(good, 3).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message().contains("3 bytes")),
            (ErrorKind::Protocol, true)
        );
        let safe = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n{\"RemoteException\":{\"exception\":\
            \"SafeModeException\",\"message\":\"Name node is in safe mode.\\nIt was turned on manually.\"}}";
        let error = answered(safe, 9).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "Name node is in safe mode. (SafeModeException)");
        let kinds =
            [("401 Unauthorized", ErrorKind::Unsupported), ("403 Forbidden", ErrorKind::Denied)];
        for (status, kind) in kinds {
            let raw = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n<html>");
            assert_eq!(answered(raw.leak(), 9).await.unwrap_err().kind(), kind);
        }
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\ncut";
        let error = answered(cut, 99).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.to_string().contains("user.name"), "{error}");
    }
}
