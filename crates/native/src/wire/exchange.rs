//! The key exchange of a connection (SPAKE2). A passive listener learns nothing. A side without the secret can test
//! one guess per connection, and the other side notices a wrong one. Nothing that is sent allows offline guessing.

use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use subtle::ConstantTimeEq as _;

use super::greeting::Role;
use super::seal::Seal;
use super::secret::Secret;

/// Which side of a connection this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Callee,
}

/// This side's part, until the other one's is known.
pub(super) struct Exchange {
    spake: Spake2<Ed25519Group>,
    secret: String,
}

impl Exchange {
    /// Begins; returns as well what the other side is sent.
    pub(super) fn begin(
        side: Side,
        role: &Role,
        secret: &Secret,
        rng: impl CryptoRng + RngCore,
    ) -> Result<(Self, String)> {
        let secret = secret.for_exchange()?;
        let password = Password::new(&secret);
        let caller = Identity::new(format!("anymaster {role}").as_bytes());
        let callee = Identity::new(b"anymaster callee");
        let (spake, part) = match side {
            Side::Caller => Spake2::start_a_with_rng(&password, &caller, &callee, rng),
            Side::Callee => Spake2::start_b_with_rng(&password, &caller, &callee, rng),
        };
        Ok((Self { spake, secret }, hex(&part)))
    }

    /// What follows of the other side's part, and of all that was said so far: sides that heard different things
    /// come to different keys.
    ///
    /// # Errors
    /// If the other side's part is none.
    pub(super) fn finish(self, theirs: &str, said: [&[u8]; 2]) -> Result<Keys> {
        let wrong = || Error::protocol("the other side sent what is no part of a key exchange");
        let theirs = unhex(theirs).ok_or_else(wrong)?;
        let mut shared = self.spake.finish(&theirs).map_err(|_| wrong())?;
        // With a random secret, the keys stay unknown even if SPAKE2 or its implementation is broken.
        shared.extend_from_slice(self.secret.as_bytes());
        let mut transcript = Sha256::new();
        for message in said {
            transcript.update((message.len() as u64).to_be_bytes());
            transcript.update(message);
        }
        Ok(Keys(Salt::new(HKDF_SHA256, &transcript.finalize()).extract(&shared)))
    }
}

/// What both sides know after the exchange, if both have the same secret.
pub(super) struct Keys(Prk);

impl Keys {
    fn derive(&self, purpose: &str) -> Result<[u8; 32]> {
        let mut key = [0; 32];
        self.0
            .expand(&[b"anymaster ", purpose.as_bytes()], HKDF_SHA256)
            .and_then(|key_material| key_material.fill(&mut key))
            .map_err(|_| Error::protocol("the keys of a connection cannot be derived"))?;
        Ok(key)
    }

    /// What shows to the other side that this one has come to the same keys, and says something.
    pub(super) fn prove(&self, what: &str) -> Result<String> {
        Ok(hex(&self.derive(&format!("proof: {what}"))?))
    }

    /// Whether the other side has shown that.
    pub(super) fn proves(&self, what: &str, proof: Option<&str>) -> Result<bool> {
        let expected = self.prove(what)?;
        Ok(proof.is_some_and(|proof| bool::from(expected.as_bytes().ct_eq(proof.as_bytes()))))
    }

    /// For what comes to this side, and for what goes from it.
    pub(super) fn seals(&self, side: Side) -> Result<Seals> {
        let from_caller = Seal::new(&self.derive("from caller")?)?;
        let to_caller = Seal::new(&self.derive("to caller")?)?;
        Ok(match side {
            Side::Caller => Seals { coming: to_caller, going: from_caller },
            Side::Callee => Seals { coming: from_caller, going: to_caller },
        })
    }
}

/// The encryption of both directions of a connection.
pub struct Seals {
    /// Opens what comes.
    pub coming: Seal,
    /// Seals what goes.
    pub going: Seal,
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let [high, low] = pair.try_into().ok()?;
            u8::try_from(digit(high)? << 4 | digit(low)?).ok()
        })
        .collect()
}
