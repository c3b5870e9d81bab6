//! Reads the bodies of HTTP requests: limited in size and time, and counted as memory in use.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures::TryStreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admitted, Lease, transfer_timeout};

/// How long a small body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The body of a request. Counts as memory in use until dropped.
pub struct RequestBody {
    bytes: Vec<u8>,
    _lease: Option<Lease>,
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It did not arrive in time.
    TooSlow,
    /// Too much memory is in use.
    Busy,
    /// The connection broke.
    Broken,
}

impl BodyError {
    /// The HTTP status for it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(longest) => {
                write!(f, "the request is longer than {} MiB", longest >> 20)
            }
            Self::TooSlow => f.write_str("the request did not arrive in time"),
            Self::Busy => f.write_str("too many large requests at the same time: try again"),
            Self::Broken => f.write_str("the request is incomplete"),
        }
    }
}

/// Reads the body of a request of at most `longest` bytes.
///
/// # Errors
/// If it is too long or too slow, if too much memory is in use, or if the connection breaks.
pub async fn read_body(request: Request, longest: usize) -> Result<RequestBody, BodyError> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > longest as u64) {
        return Err(BodyError::TooLong(longest));
    }
    let admitted = request.extensions().get::<Arc<Admitted>>();
    let mut lease = admitted.map(|admitted| admitted.lease(admitted.is_authenticated()));
    let mut pieces = request.into_body().into_data_stream();
    let (began, mut bytes) = (Instant::now(), Vec::new());
    loop {
        let deadline = began + transfer_timeout(TIMEOUT, bytes.len());
        let next = timeout_at(deadline, pieces.try_next()).await.map_err(|_| BodyError::TooSlow)?;
        let Some(piece): Option<Bytes> = next.map_err(|_| BodyError::Broken)? else { break };
        let length = bytes.len() + piece.len();
        if length > longest {
            return Err(BodyError::TooLong(longest));
        }
        if let Some(lease) = &mut lease {
            lease.try_grow_to(length).map_err(|_| BodyError::Busy)?;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(RequestBody { bytes, _lease: lease })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::{StreamExt as _, stream};

    use super::*;

    async fn received(body: Body, longest: usize) -> Result<usize, BodyError> {
        read_body(Request::new(body), longest).await.map(|received| received.len())
    }

    fn drip(pieces: usize, bytes: usize) -> Body {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![7; bytes]))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_in_bytes_and_time() {
        assert_eq!(received(Body::from("12345"), 5).await, Ok(5));
        assert_eq!(received(Body::from("123456"), 5).await, Err(BodyError::TooLong(5)));
        assert_eq!(received(drip(100, 1), 100).await, Err(BodyError::TooSlow));
        assert_eq!(received(drip(100, 64 << 10), 100 << 20).await, Ok(100 * (64 << 10)));
        let mut announced = Request::new(Body::empty());
        announced.headers_mut().insert(header::CONTENT_LENGTH, 99_999_999_999_u64.into());
        assert_eq!(read_body(announced, 5).await.err(), Some(BodyError::TooLong(5)));
    }
}
