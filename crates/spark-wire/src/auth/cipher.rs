//! Encryption of a connection after a key agreement.
//!
//! - AES-CTR: the bytes of each direction are one endless stream.
//! - AES-GCM: each piece that is written is a message of its own, in the format of Tink's
//!   `AesGcmHkdfStreaming`: its length, a header with a salt and a prefix of nonces, and segments with a
//!   tag each. Messages need not be frames.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey,
};

use super::engine::{failed, hkdf};
use super::random;
use crate::error::{Result, WireError};

const BLOCK: usize = 16;
const TAG: usize = 16;
const PREFIX: usize = 7;
/// Plain bytes of a segment.
const SEGMENT: usize = 32752;
/// The longest message that is accepted: a frame, and what it takes to encrypt it.
const MAX_MESSAGE: usize = 8 << 20;

/// The ciphers of a connection.
#[derive(Debug)]
pub struct Ciphers {
    /// For what comes in.
    pub opener: Opener,
    /// For what goes out.
    pub sealer: Sealer,
}

/// Decrypts what comes in.
pub struct Opener(Direction);

/// Encrypts what goes out.
pub struct Sealer(Direction);

enum Direction {
    Ctr(StreamingEncryptingKey),
    /// The key, and what was received of a message that is not complete.
    Gcm(Vec<u8>, Vec<u8>),
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(…)")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Ciphers {
    pub(super) fn ctr(key: &[u8], incoming: &[u8], outgoing: &[u8]) -> Result<Self> {
        Ok(Self {
            opener: Opener(Direction::Ctr(ctr(key, incoming)?)),
            sealer: Sealer(Direction::Ctr(ctr(key, outgoing)?)),
        })
    }

    pub(super) fn gcm(key: &[u8]) -> Self {
        let direction = || Direction::Gcm(key.to_vec(), Vec::new());
        Self { opener: Opener(direction()), sealer: Sealer(direction()) }
    }
}

fn ctr(key: &[u8], iv: &[u8]) -> Result<StreamingEncryptingKey> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let iv: [u8; 16] = iv.try_into().map_err(|_| failed("an IV of another length"))?;
    UnboundCipherKey::new(algorithm, key)
        .and_then(|key| {
            StreamingEncryptingKey::less_safe_ctr(key, EncryptionContext::Iv128((&iv).into()))
        })
        .map_err(|_| failed("a key cannot be used"))
}

/// Encryption and decryption are the same.
fn apply(key: &mut StreamingEncryptingKey, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut output = vec![0; bytes.len() + BLOCK];
    let length = key
        .update(bytes, &mut output)
        .map(|update| update.written().len())
        .map_err(|_| failed("bytes cannot be encrypted"))?;
    output.truncate(length);
    Ok(output)
}

impl Opener {
    /// What the bytes that were received say, as far as they are complete.
    ///
    /// # Errors
    /// If they were not encrypted with the same key, or a message is too long.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        match &mut self.0 {
            Direction::Ctr(key) => apply(key, bytes),
            Direction::Gcm(key, received) => {
                received.extend_from_slice(bytes);
                let mut opened = Vec::new();
                let mut start = 0;
                while let Some(length) = received[start..].first_chunk() {
                    let length = usize::try_from(i64::from_be_bytes(*length)).unwrap_or(usize::MAX);
                    if length > MAX_MESSAGE {
                        return Err(WireError::too_large(format!("a message of {length} bytes")));
                    }
                    if received.len() - start < length.max(8) {
                        break;
                    }
                    open_message(key, &received[start..start + length.max(8)], &mut opened)?;
                    start += length.max(8);
                }
                received.drain(..start);
                Ok(opened)
            }
        }
    }
}

impl Sealer {
    /// The bytes to send for these.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn seal(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        match &mut self.0 {
            Direction::Ctr(key) => apply(key, bytes),
            Direction::Gcm(key, _) => seal_message(key, bytes),
        }
    }
}

/// The key of the segments of one message.
fn segment_key(key: &[u8], salt: &[u8], length: &[u8]) -> Result<LessSafeKey> {
    let derived = hkdf(key, salt, &[length], key.len())?;
    let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    UnboundKey::new(algorithm, &derived)
        .map(LessSafeKey::new)
        .map_err(|_| failed("a key cannot be used"))
}

fn nonce(prefix: &[u8], number: usize, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..PREFIX].copy_from_slice(prefix);
    // A message has fewer segments than bytes.
    nonce[PREFIX..11].copy_from_slice(&(number as u32).to_be_bytes());
    nonce[11] = is_last.into();
    Nonce::assume_unique_for_key(nonce)
}

fn open_message(key: &[u8], message: &[u8], opened: &mut Vec<u8>) -> Result<()> {
    let header = 1 + key.len() + PREFIX;
    if message.len() < 8 + header + TAG || usize::from(message[8]) != header {
        return Err(WireError::malformed("an encrypted message without its header"));
    }
    let (length, rest) = message.split_at(8);
    let (salt, rest) = rest[1..].split_at(key.len());
    let (prefix, body) = rest.split_at(PREFIX);
    let key = segment_key(key, salt, length)?;
    let count = body.len().div_ceil(SEGMENT + TAG);
    for (number, segment) in body.chunks(SEGMENT + TAG).enumerate() {
        let mut segment = segment.to_vec();
        let plain = key
            .open_in_place(nonce(prefix, number, number + 1 == count), Aad::empty(), &mut segment)
            .map_err(|_| WireError::malformed("a message that was encrypted with another key"))?;
        opened.extend_from_slice(plain);
    }
    Ok(())
}

fn seal_message(key: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let count = bytes.len().div_ceil(SEGMENT);
    let header = 1 + key.len() + PREFIX;
    let length = ((8 + header + bytes.len() + TAG * count) as i64).to_be_bytes();
    let (salt, prefix) = (random::<32>()?, random::<PREFIX>()?);
    let salt = &salt[..key.len().min(32)];
    let mut message = length.to_vec();
    message.push(header as u8);
    message.extend(salt);
    message.extend(prefix);
    let key = segment_key(key, salt, &length)?;
    for (number, segment) in bytes.chunks(SEGMENT).enumerate() {
        let mut sealed = segment.to_vec();
        key.seal_in_place_append_tag(
            nonce(&prefix, number, number + 1 == count),
            Aad::empty(),
            &mut sealed,
        )
        .map_err(|_| failed("bytes cannot be encrypted"))?;
        message.extend(sealed);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_seals_the_other_opens_in_any_pieces() {
        let (key, one, other) = ([7; 32], [1; 16], [2; 16]);
        let pairs = [
            (Ciphers::ctr(&key, &one, &other).unwrap(), Ciphers::ctr(&key, &other, &one).unwrap()),
            (
                Ciphers::ctr(&key[..16], &one, &other).unwrap(),
                Ciphers::ctr(&key[..16], &other, &one).unwrap(),
            ),
            (Ciphers::gcm(&key), Ciphers::gcm(&key)),
            (Ciphers::gcm(&key[..16]), Ciphers::gcm(&key[..16])),
        ];
        for (mut here, mut there) in pairs {
            let messages = [vec![1; 10], vec![2; SEGMENT], vec![3; 3 * SEGMENT + 5], b"x".to_vec()];
            let sealed: Vec<u8> =
                messages.iter().flat_map(|message| here.sealer.seal(message).unwrap()).collect();
            let mut opened = Vec::new();
            for piece in sealed.chunks(1000) {
                opened.extend(there.opener.open(piece).unwrap());
            }
            assert_eq!(opened, messages.concat());
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let sealed = Ciphers::gcm(&[7; 32]).sealer.seal(b"message").unwrap();
        for at in 8..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Ciphers::gcm(&[7; 32]).opener.open(&changed).is_err(), "byte {at}");
        }
        for length in [0, 7, 8, 20, i64::MAX, -1] {
            let bytes = [&length.to_be_bytes()[..], &[0; 64]].concat();
            assert!(Ciphers::gcm(&[7; 32]).opener.open(&bytes).is_err(), "{length}");
        }
    }
}
