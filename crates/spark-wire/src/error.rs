//! What is wrong with bytes that were received.

use std::fmt;

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    kind: WireErrorKind,
    message: String,
}

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// The bytes are not of this format.
    Malformed,
    /// They are more, or nested deeper, than is accepted.
    TooLarge,
    /// They are of this format, and contain something that is not known here.
    Unsupported,
}

/// The result of reading.
pub type Result<T, E = WireError> = std::result::Result<T, E>;

impl WireError {
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { kind: WireErrorKind::Malformed, message: message.into() }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self { kind: WireErrorKind::TooLarge, message: message.into() }
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { kind: WireErrorKind::Unsupported, message: message.into() }
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> WireErrorKind {
        self.kind
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WireError {}
