//! The secret that a driver and its executors share.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq as _;

use crate::{Error, Result};

/// A secret that a driver and its executors share, so that a driver can tell its executors from
/// whoever else reaches its port. `Debug` does not show it, and comparing it takes the same time
/// whatever the difference.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Reads the file that `ANYMASTER_SECRET_FILE` names.
    ///
    /// # Errors
    /// If it can't be read, or is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::unavailable(format!("cannot read the secret file {}", path.display()))
                .with_source(error)
        })?;
        match text.trim() {
            "" => Err(Error::invalid(format!("the secret file {} is empty", path.display()))),
            secret => Ok(Self(secret.to_owned())),
        }
    }

    /// Whether what the other side showed is the secret.
    pub fn matches(&self, shown: impl AsRef<[u8]>) -> bool {
        self.0.as_bytes().ct_eq(shown.as_ref()).into()
    }

    /// The secret itself, to be shown to the other side.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_matches_and_none_of_it_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let secret = Secret::read(file.path()).unwrap();
        assert!(secret.matches("hunter2"));
        for wrong in ["", "hunter", "hunter22", "Hunter2"] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
        assert!(!format!("{secret:?}").contains("hunter"));
        std::fs::write(file.path(), "\n").unwrap();
        assert!(Secret::read(file.path()).is_err());
    }
}
