//! Tokens, and the file in which a container finds those of its application (Hadoop 3.4, `Credentials`).

use std::fmt;

use anymaster_core::{Error, Result};

/// What such a file begins with, and the version that has its own integers.
const MAGIC: &[u8] = b"HDTS\0";
/// The most tokens and secrets that are read of a file.
const MAX_ENTRIES: i64 = 10_000;

/// A token: who has it may call a service. `Debug` does not show its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the service knows it by.
    pub identifier: Vec<u8>,
    /// The secret of it.
    pub password: Vec<u8>,
    /// For what it is: `YARN_AM_RM_TOKEN`.
    pub kind: String,
    /// For which server, where that counts.
    pub service: String,
}

impl Token {
    /// A token for no service in particular.
    pub fn new(
        identifier: impl Into<Vec<u8>>,
        password: impl Into<Vec<u8>>,
        kind: impl Into<String>,
    ) -> Self {
        Self {
            identifier: identifier.into(),
            password: password.into(),
            kind: kind.into(),
            service: String::new(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Tokens and secrets, as the file at `HADOOP_TOKEN_FILE_LOCATION` has them, and the context of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Each with the name under which it is kept.
    pub tokens: Vec<(String, Token)>,
}

impl Credentials {
    /// Reads the form of the file.
    ///
    /// # Errors
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol) for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            return Err(Error::protocol("it is no file of Hadoop's tokens, or of another version"));
        };
        let count = number(&mut rest)?;
        if !(0..=MAX_ENTRIES).contains(&count) {
            return Err(damaged());
        }
        let mut tokens = Vec::new();
        for _ in 0..count {
            let name = text(&mut rest)?;
            let (identifier, password) = (part(&mut rest)?.to_vec(), part(&mut rest)?.to_vec());
            let (kind, service) = (text(&mut rest)?, text(&mut rest)?);
            tokens.push((name, Token { identifier, password, kind, service }));
        }
        Ok(Self { tokens })
    }

    /// The first token of a kind.
    pub fn of_kind(&self, kind: &str) -> Option<&Token> {
        self.tokens.iter().map(|(_, token)| token).find(|token| token.kind == kind)
    }
}

fn damaged() -> Error {
    Error::protocol("the file of tokens is damaged")
}

/// Hadoop's integers of variable length (`WritableUtils.readVLong`).
fn number(rest: &mut &[u8]) -> Result<i64> {
    let (first, after) = rest.split_first().ok_or_else(damaged)?;
    *rest = after;
    let first = first.cast_signed();
    if first >= -112 {
        return Ok(first.into());
    }
    let (count, is_negative) = match first {
        -120.. => (-112 - i32::from(first), false),
        _ => (-120 - i32::from(first), true),
    };
    let count = usize::try_from(count).map_err(|_| damaged())?;
    let bytes = rest.split_off(..count).ok_or_else(damaged)?;
    let value = bytes.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    Ok(if is_negative { !value } else { value })
}

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(number(rest)?).map_err(|_| damaged())?;
    rest.split_off(..length).ok_or_else(damaged)
}

fn text(rest: &mut &[u8]) -> Result<String> {
    part(rest).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(1);
        // A name, an identifier of 300 bytes, a password, a kind, a service.
        bytes.extend_from_slice(b"\x01n\x8e\x01\x2c");
        bytes.extend_from_slice(&[7; 300]);
        bytes.extend_from_slice(b"\x02pw\x10YARN_AM_RM_TOKEN\x00");
        bytes.push(0);
        bytes
    }

    #[test]
    fn tokens_are_read_and_not_shown() {
        let credentials = Credentials::read(&file()).unwrap();
        let token = credentials.of_kind("YARN_AM_RM_TOKEN").unwrap();
        assert_eq!((token.identifier.len(), token.password.as_slice()), (300, &b"pw"[..]));
        assert_eq!(credentials.of_kind("other"), None);
        assert!(!format!("{credentials:?}").contains("112"), "{credentials:?}");
    }

    #[test]
    fn a_damaged_file_is_told() {
        let whole = file();
        for cut in 0..whole.len() - 1 {
            assert!(Credentials::read(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(Credentials::read(b"HDTS\x01").is_err());
    }
}
