//! Names of files, as submitters have them and drivers get them.

use std::fmt;

use anymaster_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest name, in bytes: that of file systems.
const LONGEST: usize = 255;

/// The name of a file: the last segment of its download URL, after which Spark names the file of the driver. It is
/// never part of a path on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for what cannot be the name of a file in one directory:
    /// empty, `.`, `..`, longer than 255 bytes, or with `/`, `\` or control characters in it.
    pub fn new(name: &str) -> Result<Self> {
        let fault = match name {
            "" => "it is empty",
            "." | ".." => "it is a directory",
            _ if name.len() > LONGEST => "it has more than 255 bytes",
            _ if name.contains(['/', '\\']) => "it is a path",
            _ if name.chars().any(char::is_control) => "there is a control character in it",
            _ => return Ok(Self(name.to_owned())),
        };
        let shown: String = name.chars().take(80).collect();
        Err(Error::invalid(format!("{shown:?} cannot be the name of a file: {fault}")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a segment of a URL: all but letters, digits, `-`, `.`, `_` and `~` is percent-encoded, so that it can
    /// stand in Spark's lists with commas.
    pub fn encoded(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
        text
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FileName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::new(&name)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_no_names() {
        for bad in
            ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0", "a\nb", &"x".repeat(256)]
        {
            assert!(FileName::new(bad).is_err(), "{bad:?}");
        }
        for (good, encoded) in [
            ("app-1.0_2.jar", "app-1.0_2.jar"),
            ("a b,c#d?.txt", "a%20b%2Cc%23d%3F.txt"),
            ("é", "%C3%A9"),
            ("..a", "..a"),
        ] {
            assert_eq!(FileName::new(good).unwrap().encoded(), encoded);
        }
    }
}
