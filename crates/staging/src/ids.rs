//! Random ids, digests, and what makes a download URL unguessable.

use std::fmt;

use anymaster_core::text::hex;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes as hexadecimal digits in lower case; `None` for anything else.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N
        || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hexadecimal {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// Reads hexadecimal digits in lower case.
            pub(crate) fn parse(text: &str) -> Option<Self> {
                unhex::<$bytes>(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or("these are no hexadecimal digits of the right number")
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

/// The id of an upload, and of the file that it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct UploadId([u8; 16]);

hexadecimal!(UploadId, 16);

impl UploadId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

/// The SHA-256 of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ContentDigest(pub(crate) [u8; 32]);

hexadecimal!(ContentDigest, 32);

/// What a download URL has that nobody can guess: 256 random bits. It is known to who was given the URL only.
#[derive(Clone, Copy)]
pub(crate) struct Capability([u8; 32]);

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capability")
    }
}

impl Capability {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Its text in a URL: 43 characters.
    pub(crate) fn text(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// What the server keeps of it.
    pub(crate) fn digest(self) -> CapabilityDigest {
        CapabilityDigest(Sha256::digest(self.0).into())
    }
}

/// The SHA-256 of a [`Capability`]. Nobody can make a URL of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct CapabilityDigest([u8; 32]);

hexadecimal!(CapabilityDigest, 32);

impl CapabilityDigest {
    /// Compares in constant time.
    pub(crate) fn is(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits_only_and_capabilities_have_256_bits_that_debug_does_not_show() {
        let id = UploadId::random();
        assert_eq!(UploadId::parse(&id.to_string()), Some(id));
        for bad in ["", "../../../../etc/passwd", &"A".repeat(32), &"0".repeat(31), &"é".repeat(16)]
        {
            assert_eq!(UploadId::parse(bad), None, "{bad}");
        }
        let (one, other) = (Capability::random(), Capability::random());
        assert_eq!(one.text().len(), 43);
        assert!(Capability::parse(&one.text()).unwrap().digest().is(one.digest()));
        assert!(!one.digest().is(other.digest()));
        assert!(Capability::parse("short").is_none());
        assert!(!format!("{one:?}").contains(&one.text()));
    }
}
