//! By what submitters are known.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The longest token, in bytes.
const LONGEST: u64 = 1024;
/// The shortest token that is believed to be a random one, in bytes.
const SHORTEST: usize = 16;

/// The token of submitters. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    pub(crate) text: String,
    /// Where it is, if the server has made it.
    pub(crate) file: Option<PathBuf>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Token {
    /// A token that is known already.
    pub fn new(text: String) -> Self {
        Self { text, file: None }
    }

    /// The token in a file. `option` is named in errors.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it cannot be read, or has fewer than 16 characters or
    /// more than 1,024, or any that cannot be in a header.
    pub fn of_file(option: &str, path: &Path) -> Result<Self> {
        let failed = |error| {
            Error::invalid(format!("{option}: cannot read {}", path.display())).with_source(error)
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
            .map_err(failed)?;
        let text = text.trim();
        if !(SHORTEST..=LONGEST as usize).contains(&text.len())
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::invalid(format!(
                "{option}: {} is not a token of 16 to 1024 characters without spaces",
                path.display()
            ))
            .with_hint("make one with: head -c 32 /dev/urandom | base64"));
        }
        Ok(Self::new(text.to_owned()))
    }

    /// The token that the server has made in this file, or makes now. Only its user can read it.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be read or written.
    pub(crate) fn own(path: &Path) -> Result<Self> {
        let failed =
            |error| Error::unavailable(format!("cannot use {}", path.display())).with_source(error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        let mut text = String::new();
        (&mut file).take(LONGEST).read_to_string(&mut text).map_err(failed)?;
        let mut text = text.trim().to_owned();
        if text.len() < SHORTEST {
            text = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
            file.set_len(0).map_err(failed)?;
            std::os::unix::fs::FileExt::write_all_at(&file, format!("{text}\n").as_bytes(), 0)
                .map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(Self { text, file: Some(path.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_made_once_and_not_shown() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let made = Token::own(&path).unwrap();
        assert_eq!(Token::own(&path).unwrap().text, made.text);
        assert_eq!(Token::of_file("--token-file", &path).unwrap().text, made.text);
        assert!(!format!("{made:?}").contains(&made.text));
        for bad in ["", "short", "with a space in the middle", &"x".repeat(1025)] {
            std::fs::write(&path, bad).unwrap();
            let error = Token::of_file("--token-file", &path).unwrap_err();
            assert!(error.message().contains("--token-file"), "{bad}");
            assert!(bad.is_empty() || !error.message().contains(bad), "{error}");
        }
    }
}
