//! The key agreement of `spark.network.crypto` (Spark 3.5, `AuthEngine`): X25519 between two who encrypt
//! their public keys with the secret.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::cipher::Ciphers;
use super::{Cipher, ENGINE, Encryption, Step, USER, random};
use crate::cursor::Cursor;
use crate::error::{Result, WireError};

const IV: usize = 12;
const SALT: usize = 16;
const KEY: usize = 16;
/// No part of a message is longer.
const MAX_PART: usize = 1024;

/// The answer to a challenge.
pub(super) fn answer(secret: &str, encryption: Encryption, challenge: &[u8]) -> Result<Step> {
    let private = PrivateKey::generate(&X25519).map_err(|_| failed("no key can be made"))?;
    answer_with(secret, encryption, challenge, &private, random()?, random()?)
}

fn answer_with(
    secret: &str,
    encryption: Encryption,
    challenge: &[u8],
    private: &PrivateKey,
    salt: [u8; SALT],
    iv: [u8; IV],
) -> Result<Step> {
    let theirs = Message::decode(challenge)?;
    let Some(their_key) = theirs.open(secret, &[])? else {
        return Ok(Step::Wrong("the secret is another one here".to_owned()));
    };
    let our_key = private.compute_public_key().map_err(|_| failed("no key can be made"))?;
    let answer = Message::seal(theirs.user, secret, challenge, our_key.as_ref(), salt, iv)?;
    // The names are the caller's: what goes out of it comes in here.
    let ivs: [&[u8]; 2] = [b"outputIv", b"inputIv"];
    let ciphers = ciphers(encryption, private, &their_key, [challenge, &answer], ivs)?;
    Ok(Step::Proved(answer, Some(Box::new(ciphers))))
}

/// The ciphers that follow from a challenge and its answer. `ivs`: the names of those for what comes in and goes out.
fn ciphers(
    encryption: Encryption,
    private: &PrivateKey,
    their_key: &[u8],
    transcript: [&[u8]; 2],
    [incoming, outgoing]: [&[u8]; 2],
) -> Result<Ciphers> {
    let peer = UnparsedPublicKey::new(&X25519, their_key);
    let shared = agree(private, peer, failed("a public key that is none"), |key| Ok(key.to_vec()))?;
    let transcript = transcript.concat();
    let derive = |name: &[u8]| hkdf(&shared, &transcript, &[name], KEY);
    let key = match encryption.engine_version {
        1 => shared.clone(),
        _ => derive(b"derivedKey")?,
    };
    Ok(match encryption.cipher {
        Cipher::AesCtr => Ciphers::ctr(&key, &derive(incoming)?, &derive(outgoing)?)?,
        Cipher::AesGcm => Ciphers::gcm(&key),
    })
}

/// A key agreement that this side has begun.
pub(super) struct Agreement {
    encryption: Encryption,
    private: PrivateKey,
    challenge: Vec<u8>,
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreement").field("encryption", &self.encryption).finish_non_exhaustive()
    }
}

impl Agreement {
    pub(super) fn begin(secret: &str, encryption: Encryption) -> Result<Self> {
        let private = PrivateKey::generate(&X25519).map_err(|_| failed("no key can be made"))?;
        let public = private.compute_public_key().map_err(|_| failed("no key can be made"))?;
        let (salt, iv) = (random()?, random()?);
        let challenge = Message::seal(USER.as_bytes(), secret, &[], public.as_ref(), salt, iv)?;
        Ok(Self { encryption, private, challenge })
    }

    pub(super) fn challenge(&self) -> &[u8] {
        &self.challenge
    }

    /// The ciphers, if the answer is of one who knows the secret.
    pub(super) fn finish(&self, secret: &str, answer: &[u8]) -> Result<Ciphers> {
        let theirs = Message::decode(answer)?;
        let their_key = theirs.open(secret, &self.challenge)?;
        let their_key = their_key
            .filter(|_| theirs.user == USER.as_bytes())
            .ok_or_else(|| WireError::malformed("the other side does not know the secret"))?;
        let ivs: [&[u8]; 2] = [b"inputIv", b"outputIv"];
        ciphers(self.encryption, &self.private, &their_key, [&self.challenge, answer], ivs)
    }
}

/// For which user a challenge is.
pub(super) fn user(challenge: &[u8]) -> Result<&[u8]> {
    Ok(Message::decode(challenge)?.user)
}

/// A challenge or an answer.
struct Message<'a> {
    user: &'a [u8],
    salt: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Message<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != ENGINE {
            return Err(WireError::malformed("no message of a key agreement"));
        }
        let mut part = || {
            let length = cursor.length()?;
            if length > MAX_PART {
                return Err(WireError::too_large(format!("{length} bytes in a key agreement")));
            }
            cursor.take(length)
        };
        Ok(Self { user: part()?, salt: part()?, sealed: part()? })
    }

    /// The public key inside; `None` if the secret is another one.
    fn open(&self, secret: &str, transcript: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some((iv, sealed)) = self.sealed.split_first_chunk::<IV>() else {
            return Err(WireError::malformed("a key agreement without a key"));
        };
        let known = [self.user, self.salt, transcript].concat();
        let key = key_of(secret, self.salt, &known)?;
        let mut key_bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = key.open_in_place(nonce, Aad::from(known), &mut key_bytes);
        Ok(opened.ok().map(|public| public.to_vec()))
    }

    /// `user`: whoever called; an answer to another one is refused.
    fn seal(
        user: &[u8],
        secret: &str,
        transcript: &[u8],
        public: &[u8],
        salt: [u8; SALT],
        iv: [u8; IV],
    ) -> Result<Vec<u8>> {
        let known = [user, &salt, transcript].concat();
        let key = key_of(secret, &salt, &known)?;
        let mut sealed = public.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::from(known),
            &mut sealed,
        )
        .map_err(|_| failed("a key cannot be encrypted"))?;
        let sealed = [&iv[..], &sealed].concat();
        let mut message = vec![ENGINE];
        for part in [user, &salt, &sealed] {
            message.extend((part.len() as i32).to_be_bytes());
            message.extend(part);
        }
        Ok(message)
    }
}

fn key_of(secret: &str, salt: &[u8], known: &[u8]) -> Result<LessSafeKey> {
    let key = hkdf(secret.as_bytes(), salt, &[known], KEY)?;
    UnboundKey::new(&AES_128_GCM, &key)
        .map(LessSafeKey::new)
        .map_err(|_| failed("a key cannot be used"))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF with SHA-256 (RFC 5869).
pub(super) fn hkdf(secret: &[u8], salt: &[u8], info: &[&[u8]], length: usize) -> Result<Vec<u8>> {
    let mut key = vec![0; length];
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, Length(length))
        .and_then(|derived| derived.fill(&mut key))
        .map_err(|_| failed("a key cannot be derived"))?;
    Ok(key)
}

pub(super) fn failed(what: &str) -> WireError {
    WireError::unsupported(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    const CTR: Encryption =
        Encryption { cipher: Cipher::AesCtr, engine_version: 1, sasl_fallback: true };

    /// Between a driver of Spark 4.1.4 and this side, with the secret `s3cret`: the challenge, the answer, and the
    /// first bytes of both directions after it, plain and encrypted.
    const CHALLENGE: &str = "fb0000000d737061726b5361736c5573657200000010b22e91fc8c9bad7a5be7b6e1ad4a60830000003ccc255f370f92\
        6a075e8fd71abf42e73973cba5d9beae21eaa2ae91136d1957e7dd0a64ba8da5d94360e9600b74cd2e9b8cd4f73e845d\
        f6cffb74501a";
    const ANSWER: &str = "fb0000000d737061726b5361736c55736572000000107aa33c477c4086a21be1d731f3a260700000003caf09e3620664\
        c28fe99168426f5ad66282f1c9f24f327da912977acc012e508a12653054e2e1833abdf1abdadcbe6195c931534bb1f2\
        d611a6706b7c";
    const FROM_DRIVER: &str = "00000000000000bf037fc501787e32e191000000aa0100096c6f63616c686f7374000087ab0100093132372e302e302e\
        310000a08c0011656e64706f696e742d";
    const FROM_DRIVER_SEALED: &str = "4788c3b396756ae4a2e6e8e00fa432a1567b9a652c78093dbc90d2d38f51181be8678aabda40cdd00ff2dba17773651a\
        5764e7b4c1bc140b81b07952fe3913bb";
    const TO_DRIVER: &str = "0000000000000044047fc501787e32e1910000002faced0005737200116a6176612e6c616e672e426f6f6c65616ecd20\
        7280d59cfaee0200015a000576616c7565787001";
    const TO_DRIVER_SEALED: &str = "a2460522e99fb77e51dee113a68750032fa5eb9cc11caea959dab8fa231b4e088ab76c2890855ea632a3425878a54b30\
        279cc6d8775e3132ea0d6f91fa7705ea49262ffa";

    fn challenge() -> Vec<u8> {
        bytes(CHALLENGE)
    }

    #[test]
    fn a_captured_agreement_is_answered_with_the_same_bytes_and_keys() {
        let private = bytes("28a8a43b794b7c7ea49ec446114ba35ce0637a90e131feab30cee06bff455360");
        let private = PrivateKey::from_private_key(&X25519, &private).unwrap();
        let salt = bytes("7aa33c477c4086a21be1d731f3a26070").try_into().unwrap();
        let iv = bytes("af09e3620664c28fe9916842").try_into().unwrap();
        let step = answer_with("s3cret", CTR, &challenge(), &private, salt, iv).unwrap();
        let Step::Proved(answer, Some(mut ciphers)) = step else { panic!("{step:?}") };
        assert_eq!(answer, bytes(ANSWER));
        assert_eq!(ciphers.opener.open(&bytes(FROM_DRIVER_SEALED)).unwrap(), bytes(FROM_DRIVER));
        assert_eq!(ciphers.sealer.seal(&bytes(TO_DRIVER)).unwrap(), bytes(TO_DRIVER_SEALED));
    }

    #[test]
    fn the_answer_is_for_whoever_called() {
        let private = PrivateKey::generate(&X25519).unwrap();
        let public = private.compute_public_key().unwrap();
        let challenge =
            Message::seal(b"app-1", "s3cret", &[], public.as_ref(), [1; 16], [2; 12]).unwrap();
        assert_eq!(user(&challenge), Ok(&b"app-1"[..]));
        let step = answer("s3cret", CTR, &challenge).unwrap();
        let Step::Proved(answer, Some(_)) = step else { panic!("{step:?}") };
        let answer = Message::decode(&answer).unwrap();
        assert_eq!(answer.user, b"app-1");
        assert!(answer.open("s3cret", &challenge).unwrap().is_some());
    }

    #[test]
    fn another_secret_is_noticed() {
        let private = PrivateKey::generate(&X25519).unwrap();
        let step = answer_with("other", CTR, &challenge(), &private, [1; 16], [2; 12]).unwrap();
        assert!(matches!(step, Step::Wrong(_)), "{step:?}");
    }

    #[test]
    fn damaged_challenges_are_refused() {
        let challenge = challenge();
        let private = PrivateKey::generate(&X25519).unwrap();
        let answered = |bytes: &[u8]| answer_with("s3cret", CTR, bytes, &private, [1; 16], [2; 12]);
        for cut in 0..challenge.len() {
            assert!(answered(&challenge[..cut]).is_err(), "{cut} bytes");
        }
        for at in 5..challenge.len() {
            let mut damaged = challenge.clone();
            damaged[at] ^= 1;
            assert!(!matches!(answered(&damaged), Ok(Step::Proved(..))), "byte {at}");
        }
    }
}
