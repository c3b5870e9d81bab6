//! Calls to the API server: with a time limit, and tried again where that may help.

use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use rand::RngExt as _;
use tokio::time::Instant;

use crate::config::Connection;
use crate::error::translate;

/// How long a call is tried again before its error is final.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

impl Connection {
    /// Makes a call, again and again while the API server is not able to answer.
    ///
    /// `what` says what is done, on what, for errors: `create pod ns/name`. The call must be one that
    /// can be made twice: what it did the first time may have had its effect.
    pub(crate) async fn call<T, F>(&self, what: &str, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        loop {
            let error = match tokio::time::timeout(self.timeout, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => translate(what, error),
                Err(_) => Error::new(
                    ErrorKind::Timeout,
                    format!("cannot {what}: no answer within {:?}", self.timeout),
                )
                .with_hint("spark.kubernetes.submission.requestTimeout says how long is waited"),
            };
            let jitter = rand::rng().random_range(0.5..1.5);
            let wait = error.retry_after().unwrap_or(pause).mul_f64(jitter);
            if !worth_another_try(&error) || Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::info!(%error, ?wait, "trying again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// A quota is not lifted within seconds, but for the rest an API server that restarts is the rule.
fn worth_another_try(error: &Error) -> bool {
    error.kind().is_retryable() && error.kind() != ErrorKind::Quota
}
