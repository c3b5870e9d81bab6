//! Errors by meaning: what the caller should do, not which library failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::SubmissionId;

/// The result of every call of this project's libraries.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request can never succeed as it is: a bad URL, size, property or specification.
    InvalidSpec,
    /// The backend cannot do this; [`crate::Capabilities`] says so beforehand.
    Unsupported,
    /// The cluster does not know who is asking.
    Unauthenticated,
    /// The cluster knows who is asking, and refuses.
    Denied,
    /// The application, driver or executor does not exist (any more).
    NotFound,
    /// Something else has this id or holds this lock.
    Conflict,
    /// A quota or limit is used up; it may be lifted.
    Quota,
    /// The cluster does not answer now; worth a retry.
    Unavailable,
    /// This server is a standby; ask the leader.
    NotLeader,
    /// No answer in time; the request may or may not have taken effect.
    Timeout,
    /// The other side broke its protocol, or the state on disk is not ours.
    Protocol,
}

impl ErrorKind {
    /// Whether the same call may succeed later without a change by the user.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Quota | Self::Unavailable | Self::NotLeader | Self::Timeout)
    }

    /// The kind in words, as it is shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => "invalid specification",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
            Self::NotLeader => "not the leader",
            Self::Timeout => "timed out",
            Self::Protocol => "protocol error",
        }
    }
}

/// An error with a [kind](ErrorKind) for programs and words for people.
///
/// `Display` prints what failed and on what; [`Error::hint`] says what to do about it. The error of
/// the library below is kept as the source and is not part of the public type.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
    existing: Option<SubmissionId>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind; `message` says what failed, on what.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            retry_after: None,
            existing: None,
            source: None,
        }))
    }

    /// A request that can never succeed as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidSpec, message)
    }

    /// Something that this backend cannot do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// An id or a lock that something else has.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// A cluster that does not answer now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A broken protocol or a state that is not ours.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// Adds what the user can do about it, as one sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the error below this one.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Adds how long the server asked to wait before a retry.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds the cluster's own id of the driver that the same submission has launched before.
    #[must_use]
    pub fn with_existing(mut self, driver: SubmissionId) -> Self {
        self.0.existing = Some(driver);
        self
    }

    /// Puts `context` and a colon before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// What the error means for the caller.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed, on what.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Of a [`Conflict`](ErrorKind::Conflict): the driver that the same submission has launched before with
    /// another specification, where the cluster names it otherwise than the submitter.
    pub fn existing(&self) -> Option<&SubmissionId> {
        self.0.existing.as_ref()
    }

    /// How long the server asked to wait before a retry.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// Words of which the second half says the first again (`a: b: a: b`), said once.
fn once(words: &str) -> &str {
    let middle = words.len() / 2;
    let halves = words.get(..middle.saturating_sub(1)).zip(words.get(middle + 1..));
    match halves {
        Some((first, second)) if !first.is_empty() && first == second => first,
        _ => words,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => {
                let source = source.to_string();
                // Libraries differ in whether an error's words have those of its cause in them.
                if self.0.message.ends_with(source.as_str()) {
                    return Ok(());
                }
                write!(f, ": {}", once(&source))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind.as_str())?;
        if let Some(hint) = &self.0.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // `Display` has its words already: what is printed as a chain says it once.
        self.0.source.as_deref()?.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::other("a: b: a: b");
        let error = Error::invalid("it fails").with_source(cause());
        assert_eq!(error.to_string(), "it fails: a: b");
        let error = Error::invalid("it fails: no").with_source(std::io::Error::other("no"));
        assert_eq!(error.to_string(), "it fails: no");
        assert!(std::error::Error::source(&error).is_none(), "a chain would tell it twice");
    }

    #[test]
    fn display_says_what_failed_and_debug_adds_kind_and_hint() {
        let error = Error::unavailable("cannot reach the master at h:7077")
            .with_source(std::io::Error::other("connection refused"))
            .with_hint("is it running?")
            .context("submission driver-1");
        assert_eq!(
            error.to_string(),
            "submission driver-1: cannot reach the master at h:7077: connection refused"
        );
        assert_eq!(format!("{error:?}"), format!("unavailable: {error} (is it running?)"));
        assert!(error.kind().is_retryable());
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
