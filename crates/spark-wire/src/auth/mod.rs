//! How a Spark process proves that it knows the secret of its cluster, before it says anything else: the
//! side of the one who is called ([`Proof`]), and that of the one who calls ([`Caller`]). No I/O.
//!
//! With `spark.authenticate` alone it is SASL with DIGEST-MD5 (Spark 3.5, `SparkSaslServer`), after which
//! frames are plain. With `spark.network.crypto.enabled` it is a key agreement (`AuthEngine`), after which
//! all bytes are encrypted ([`Ciphers`]). SASL's own encryption is not supported.

mod caller;
mod cipher;
mod engine;
mod sasl;

use std::fmt;

use crate::error::{Result, WireError};

pub use caller::{Call, Caller};
pub use cipher::{Ciphers, Opener, Sealer};

/// The user of every Spark process.
const USER: &str = "sparkSaslUser";
const OTHER_USER: &str = "a caller that has begun as another user";
const SASL: u8 = 0xEA;
const ENGINE: u8 = 0xFB;

/// What a process has to know.
#[derive(Clone)]
pub struct Authentication {
    /// `spark.authenticate.secret`
    pub secret: String,
    /// How connections are encrypted, if they are.
    pub encryption: Option<Encryption>,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

/// `spark.network.crypto.*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// `spark.network.crypto.cipher`
    pub cipher: Cipher,
    /// `spark.network.crypto.authEngineVersion`: 1 or 2.
    pub engine_version: u8,
    /// `spark.network.crypto.saslFallback`: who cannot encrypt may come with SASL.
    pub sasl_fallback: bool,
}

/// How bytes are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// `AES/CTR/NoPadding`
    AesCtr,
    /// `AES/GCM/NoPadding`
    AesGcm,
}

impl Cipher {
    /// The cipher of this name in Java.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "AES/CTR/NoPadding" => Some(Self::AesCtr),
            "AES/GCM/NoPadding" => Some(Self::AesGcm),
            _ => None,
        }
    }
}

/// One caller on the way to prove itself.
#[derive(Debug)]
pub struct Proof {
    authentication: Authentication,
    nonce: Option<String>,
    user: Option<String>,
}

/// What follows from a message of a caller.
#[derive(Debug)]
pub enum Step {
    /// It is answered so, and has to go on.
    Continue(Vec<u8>),
    /// It is answered so, and has proved itself. From then on all bytes are encrypted, if there are
    /// ciphers.
    Proved(Vec<u8>, Option<Box<Ciphers>>),
    /// It is told so, and may try another way.
    Refused(String),
    /// It is told so, and the connection is closed: the secret is another one.
    Wrong(String),
}

impl Proof {
    /// Of a caller who has not said anything.
    pub fn new(authentication: Authentication) -> Self {
        Self { authentication, nonce: None, user: None }
    }

    /// The user that the caller has named: between drivers and masters the same everywhere, for a shuffle
    /// service the id of the application. It counts when the caller has [proved](Step::Proved) itself.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// One caller is one user.
    fn name(&mut self, user: &[u8]) -> Result<bool> {
        let user = std::str::from_utf8(user)
            .map_err(|_| WireError::malformed("a user whose name is no text"))?;
        Ok(self.user.get_or_insert_with(|| user.to_owned()) == user)
    }

    /// Takes in the body of a request.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn step(&mut self, body: &[u8]) -> Result<Step> {
        let encryption = self.authentication.encryption;
        match body.first() {
            Some(&ENGINE) => match encryption {
                Some(encryption) => {
                    if !self.name(engine::user(body)?)? {
                        return Ok(Step::Wrong(OTHER_USER.to_owned()));
                    }
                    engine::answer(&self.authentication.secret, encryption, body)
                }
                // Whoever hears this tries SASL.
                None => Ok(Step::Refused(
                    "java.lang.IllegalArgumentException: Unknown challenge message.".to_owned(),
                )),
            },
            Some(&SASL) if encryption.is_none_or(|encryption| encryption.sasl_fallback) => {
                self.sasl(body)
            }
            Some(&SASL) => Ok(Step::Wrong(
                "connections have to be encrypted here: set spark.network.crypto.enabled".to_owned(),
            )),
            // What a Spark process that has a secret tells one without.
            _ => Ok(Step::Wrong(
                "java.lang.IllegalStateException: Expected SaslMessage, received something else (maybe \
                 your client does not have SASL enabled?)"
                    .to_owned(),
            )),
        }
    }

    fn sasl(&mut self, body: &[u8]) -> Result<Step> {
        let (user, token) = sasl::parts(body)?;
        if !self.name(user)? {
            return Ok(Step::Wrong(OTHER_USER.to_owned()));
        }
        let Some(nonce) = &self.nonce else {
            let (nonce, challenge) = sasl::challenge()?;
            self.nonce = Some(nonce);
            return Ok(Step::Continue(challenge));
        };
        Ok(match sasl::verify(token, nonce, &self.authentication.secret)? {
            Ok(answer) => Step::Proved(answer, None),
            Err(why) => Step::Wrong(why),
        })
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| WireError::unsupported("the system has no random numbers"))?;
    Ok(bytes)
}
