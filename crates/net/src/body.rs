//! What was sent with a request: bounded in bytes and time, and counted as memory in use.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures::TryStreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admitted, Lease, allowance};

/// How long a body of few bytes may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was sent. Counts as memory in use for as long as it is there.
pub struct Received {
    bytes: Vec<u8>,
    _lease: Option<Lease>,
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why it was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than so many bytes.
    TooLong(usize),
    /// It did not arrive in time.
    TooSlow,
    /// Others use too much memory just now.
    Busy,
    /// The connection broke.
    Broken,
}

impl Unread {
    /// HTTP's word for it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(longest) => {
                write!(f, "the request is longer than {} MiB", longest >> 20)
            }
            Self::TooSlow => f.write_str("the request did not arrive in time"),
            Self::Busy => f.write_str("too many large requests arrive just now: try again"),
            Self::Broken => f.write_str("the request did not arrive as a whole"),
        }
    }
}

/// Reads the body of a request, of at most so many bytes.
///
/// # Errors
/// Why it was not taken.
pub async fn receive(request: Request, longest: usize) -> Result<Received, Unread> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > longest as u64) {
        return Err(Unread::TooLong(longest));
    }
    let admitted = request.extensions().get::<Arc<Admitted>>();
    let mut lease = admitted.map(|admitted| admitted.lease(admitted.is_proven()));
    let mut pieces = request.into_body().into_data_stream();
    let (began, mut bytes) = (Instant::now(), Vec::new());
    loop {
        let deadline = began + allowance(PATIENCE, bytes.len());
        let next = timeout_at(deadline, pieces.try_next()).await.map_err(|_| Unread::TooSlow)?;
        let Some(piece): Option<Bytes> = next.map_err(|_| Unread::Broken)? else { break };
        let length = bytes.len() + piece.len();
        if length > longest {
            return Err(Unread::TooLong(longest));
        }
        if let Some(lease) = &mut lease {
            lease.try_grow_to(length).map_err(|_| Unread::Busy)?;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Received { bytes, _lease: lease })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::{StreamExt as _, stream};

    use super::*;

    async fn received(body: Body, longest: usize) -> Result<usize, Unread> {
        receive(Request::new(body), longest).await.map(|received| received.len())
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
        assert_eq!(received(Body::from("123456"), 5).await, Err(Unread::TooLong(5)));
        assert_eq!(received(drip(100, 1), 100).await, Err(Unread::TooSlow));
        assert_eq!(received(drip(100, 64 << 10), 100 << 20).await, Ok(100 * (64 << 10)));
        let mut announced = Request::new(Body::empty());
        announced.headers_mut().insert(header::CONTENT_LENGTH, 99_999_999_999_u64.into());
        assert_eq!(receive(announced, 5).await.err(), Some(Unread::TooLong(5)));
    }
}
