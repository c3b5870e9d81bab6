//! Identifiers. Each is checked where it enters, so that one can be a file, pod or task name.

use std::borrow::Borrow;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::quoted;
use crate::{Error, Result};

/// Longest id in bytes: the longest name of a Kubernetes object, `namespace:` before it.
const MAX_LEN: usize = 317;

fn check(kind: &str, id: &str) -> Result<Arc<str>> {
    let fault = if id.is_empty() {
        Some("it is empty".to_owned())
    } else if id.len() > MAX_LEN {
        Some(format!("it has {} bytes, more than {MAX_LEN}", id.len()))
    } else if !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("it does not begin with a letter or a digit".to_owned())
    } else {
        id.chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')))
            .map(|c| format!("it contains {c:?}"))
    };
    match fault {
        None => Ok(id.into()),
        Some(fault) => Err(Error::invalid(format!("{kind} {} is not valid: {fault}", quoted(id)))
            .with_hint("use letters, digits, '-', '_', '.' and ':'")),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps an id.
            ///
            /// # Errors
            /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) unless it begins with a letter or a digit,
            /// and consists of these and `-`, `_`, `.`, `:`.
            pub fn new(id: &str) -> Result<Self> {
                check($kind, id).map(Self)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// An id is looked up by its text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(id: &str) -> Result<Self> {
                Self::new(id)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(id: String) -> Result<Self> {
                Self::new(&id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

text_id! {
    /// Names one submission: chosen by the client or by the cluster, it makes launching a driver
    /// idempotent. What `--status` and `--kill` take.
    SubmissionId, "submission id"
}

text_id! {
    /// Names one application: a driver and its executors (`spark.app.id`).
    AppId, "application id"
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(id: &str) -> Result<Self, ParseIntError> {
                id.parse().map(Self)
            }
        }

        impl From<$number> for $name {
            fn from(id: $number) -> Self {
                Self(id)
            }
        }
    };
}

number_id! {
    /// Names one executor within its application: 1, 2, 3 …, never reused.
    ExecutorId, u64
}

number_id! {
    /// Names a [`ResourceProfile`](super::ResourceProfile) within its application; 0 is the default one.
    ProfileId, u32
}

/// A place in a stream of events from which [`watch`](crate::ClusterManager::watch) goes on.
///
/// Its text means something to the backend that made it, and to nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Cursor {
    fn from(place: String) -> Self {
        Self(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_as_file_names() {
        for good in ["app-20260101120000-0000", "default:pi-driver", "x", "a_b.c"] {
            assert_eq!(AppId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "../etc", "a/b", "-rf", "a b", "a\0", "é"] {
            let error = AppId::new(bad).unwrap_err();
            assert!(error.message().contains("is not valid"), "{bad:?}: {error}");
        }
        assert!(SubmissionId::new(&"x".repeat(318)).is_err());
    }

    #[test]
    fn ids_are_looked_up_by_their_text_and_read_as_they_are_written() {
        let known = std::collections::HashMap::from([(AppId::new("a").unwrap(), 1)]);
        assert_eq!(known.get("a"), Some(&1));
        assert_eq!(ExecutorId(7).to_string().parse(), Ok(ExecutorId(7)));
        assert!("-1".parse::<ProfileId>().is_err());
    }

    #[test]
    fn ids_are_checked_when_they_are_read_from_outside() {
        assert!(serde_json::from_str::<AppId>("\"../x\"").is_err());
        assert_eq!(serde_json::to_string(&AppId::new("a").unwrap()).unwrap(), "\"a\"");
    }
}
