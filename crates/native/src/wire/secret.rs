//! The secret of a cluster, and the keys that are derived of it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use anymaster_core::model::AppId;
use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The cost of one guess at a secret that people chose: OWASP's parameters for Argon2id. Memory in KiB, passes,
/// lanes.
const COST: (u32, u32, u32) = (19 << 10, 2, 1);
/// The processes of a cluster share nothing but the secret, so there is no salt of their own.
const SALT: &[u8] = b"anymaster secret of a cluster";

/// A secret that all processes of a cluster share (`spark.authenticate.secret`), or a key that was
/// derived of it. Its clones share the work of stretching it.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<Shared>>);

struct Shared {
    text: String,
    /// The secret itself if it is random, otherwise what Argon2id makes of it; when it was needed first.
    key: OnceLock<String>,
}

impl Secret {
    /// This one, or none.
    pub fn new(secret: Option<&str>) -> Self {
        let shared = |text: &str| Arc::new(Shared { text: text.to_owned(), key: OnceLock::new() });
        Self(secret.filter(|secret| !secret.is_empty()).map(shared))
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is one that people chose, which costs an attacker less to guess than one from a generator.
    pub fn is_guessable(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| !is_random(&shared.text))
    }

    /// The secret itself, for those who have to know all of it.
    pub(crate) fn expose(&self) -> Option<&str> {
        self.0.as_ref().map(|shared| shared.text.as_str())
    }

    /// Of this secret, for a purpose: who has it can neither find this one nor those of other purposes. The
    /// first call stretches a secret that people chose, which takes some 20 ms.
    fn derive(&self, purpose: &str) -> Result<Option<String>> {
        let Some(shared) = &self.0 else { return Ok(None) };
        let mut mac = Hmac::<Sha256>::new_from_slice(shared.key()?.as_bytes())
            .map_err(|_| Error::invalid("the shared secret cannot be used"))?;
        mac.update(format!("anymaster {purpose}").as_bytes());
        Ok(Some(hex(&mac.finalize().into_bytes())))
    }

    /// The key by which the driver of an application is known.
    ///
    /// # Errors
    /// If the secret cannot be used.
    pub fn of_application(&self, app: &AppId) -> Result<Option<String>> {
        self.derive(&format!("application {app}"))
    }

    /// What those show who ask over HTTP.
    ///
    /// # Errors
    /// If the secret cannot be used.
    pub fn token(&self) -> Result<Option<String>> {
        self.derive("token")
    }

    /// By which masters are known to ZooKeeper.
    ///
    /// # Errors
    /// If the secret cannot be used.
    pub fn password(&self) -> Result<Option<String>> {
        self.derive("zookeeper")
    }

    /// What goes into the key exchange of a connection; nothing without a secret.
    pub(super) fn for_exchange(&self) -> Result<String> {
        Ok(self.derive("connection")?.unwrap_or_default())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Secret(set)" } else { "Secret(none)" })
    }
}

impl Shared {
    fn key(&self) -> Result<&str> {
        if is_random(&self.text) {
            return Ok(&self.text);
        }
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = stretched(&self.text)?;
        Ok(self.key.get_or_init(|| key))
    }
}

fn stretched(text: &str) -> Result<String> {
    let unusable =
        |error| Error::invalid(format!("the shared secret cannot be used: Argon2: {error}"));
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(unusable)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text.as_bytes(), SALT, &mut key)
        .map_err(unusable)?;
    Ok(hex(&key))
}

/// Whether a text is one of at least 128 random bits, in hexadecimal or base64, as far as can be seen. Such a
/// secret cannot be guessed and is not stretched, which would only take time.
fn is_random(text: &str) -> bool {
    let mut seen = [false; 256];
    text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let distinct = seen.into_iter().filter(|seen| *seen).count();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    let has = |kind: fn(&u8) -> bool| text.bytes().any(|byte| kind(&byte));
    text.len() >= 32
        && if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            distinct >= 8
        } else {
            distinct >= 22
                && text.bytes().all(is_base64)
                && has(u8::is_ascii_lowercase)
                && has(u8::is_ascii_uppercase)
                && has(u8::is_ascii_digit)
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_from_a_generator_is_used_as_it_is_and_all_others_are_stretched() {
        let random = [
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "2vXy1mAq8k0c5rWn7bZtPzJ4sLhUeGd3oYfKiMRxQ9E=",
            "qL8xV-2mT_0nZr5HcJ7bYw9KdF3sPuAe",
        ];
        for text in random {
            assert!(!Secret::new(Some(text)).is_guessable(), "{text}");
        }
        let chosen = [
            "s3cret",
            "correct horse battery staple, and some more words",
            "00000000000000000000000000000000",
            "Password1Password1Password1Password1",
            "onlysmalllettersofwhichthereareverymanyindeed",
        ];
        for text in chosen {
            let secret = Secret::new(Some(text));
            assert!(secret.is_guessable(), "{text}");
            let plain = Hmac::<Sha256>::new_from_slice(text.as_bytes()).unwrap();
            let plain = plain.chain_update(b"anymaster token").finalize().into_bytes();
            assert_ne!(secret.token().unwrap().unwrap(), hex(&plain), "{text} is not stretched");
        }
        assert!(!Secret::default().is_guessable());
    }

    /// All releases have to make the same of the same secret.
    #[test]
    fn the_keys_of_a_secret_are_those_of_every_release() {
        let app = AppId::new("app-1").unwrap();
        for (text, keys) in [
            ("s3cret", include_str!("golden/keys-chosen.txt")),
            ("0f1e2d3c4b5a69788796a5b4c3d2e1f0", include_str!("golden/keys-random.txt")),
        ] {
            let secret = Secret::new(Some(text));
            let derived = [
                secret.token().unwrap().unwrap(),
                secret.password().unwrap().unwrap(),
                secret.of_application(&app).unwrap().unwrap(),
                secret.for_exchange().unwrap(),
            ];
            assert_eq!(derived.join("\n"), keys.trim_end(), "of {text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::new(Some("open sesame"));
        assert_eq!(format!("{secret:?}{:?}", Secret::default()), "Secret(set)Secret(none)");
    }
}
