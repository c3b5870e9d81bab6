//! What both sides say before the first message, without I/O: the versions of the protocol that they speak, a key
//! exchange, and proofs that they know the secret. The caller proves first.

use std::fmt;
use std::ops::RangeInclusive;

use anymaster_core::model::AppId;
use anymaster_core::text::hex;
use anymaster_core::{Error, ErrorKind, Result};
use rand_core::{CryptoRng, OsRng, RngCore};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, Keys, Seals, Side};
use super::secret::Secret;

/// The versions of the protocol that this release speaks. The highest that both sides speak is used; a release
/// speaks what the one before it spoke, so that a cluster is upgraded one process at a time. The version is
/// raised with every change of a message that the other side would not understand, or would take for something
/// else; such a message is sent only where the version allows it. Version 2, which was never released, gave the
/// callee's proof to callers that had proved nothing, and did not encrypt: it is no longer supported.
pub const VERSIONS: RangeInclusive<u32> = 3..=3;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A worker that offers itself to a master.
    Worker,
    /// A program that sends requests to a master or a worker.
    Client,
    /// The driver of an application: it may do what concerns that.
    Application(AppId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker => f.write_str("worker"),
            Self::Client => f.write_str("client"),
            Self::Application(app) => write!(f, "application {app}"),
        }
    }
}

/// The caller's first message. Version 2 reads the version, the role and the nonce of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Hello {
    /// The highest version that the caller speaks.
    protocol: u32,
    /// The lowest one; version 2 does not say it.
    oldest: Option<u32>,
    role: Role,
    nonce: String,
    exchange: Option<String>,
}

/// The callee's answer. Version 2 reads the version, the nonce and `secret` of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    /// The version that is used; where there is none, the highest that the callee speaks.
    protocol: u32,
    /// The lowest version that the callee speaks.
    oldest: Option<u32>,
    nonce: String,
    /// Whether the callee has a secret.
    secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Proof {
    proof: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Verdict {
    welcome: bool,
    /// Whether the callee can be asked: of several masters, one leads.
    leads: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

/// A connection on which both sides have proved themselves.
pub struct Established {
    /// The version of the protocol.
    pub version: u32,
    /// Whether there is a secret, so that something was proved.
    pub is_authenticated: bool,
    /// How messages are encrypted.
    pub seals: Seals,
}

const CALLER: &str = "caller";

/// What the callee says with its proof.
fn callee(leads: bool) -> &'static str {
    if leads { "callee that leads" } else { "callee that does not lead" }
}

/// What to look at where the answer is none of this protocol.
pub(super) const IS_IT_OURS: &str = "is that the port of an anymaster master or worker, and is TLS on there \
                                     (spark.ssl.enabled)?";

/// The caller, whose first message is to be sent.
pub struct Caller {
    role: Role,
    has_secret: bool,
    versions: RangeInclusive<u32>,
    exchange: Exchange,
    hello: Vec<u8>,
}

impl Caller {
    /// One of this role, with this secret.
    ///
    /// # Errors
    /// If the secret cannot be used.
    pub fn new(role: &Role, secret: &Secret) -> Result<Self> {
        Self::with(role, secret, VERSIONS, OsRng)
    }

    pub(super) fn with(
        role: &Role,
        secret: &Secret,
        versions: RangeInclusive<u32>,
        mut rng: impl CryptoRng + RngCore,
    ) -> Result<Self> {
        let nonce = nonce(&mut rng);
        let (exchange, part) = Exchange::begin(Side::Caller, role, secret, rng)?;
        let hello = write(&Hello {
            protocol: *versions.end(),
            oldest: Some(*versions.start()),
            role: role.clone(),
            nonce,
            exchange: Some(part),
        })?;
        Ok(Self { role: role.clone(), has_secret: secret.is_set(), versions, exchange, hello })
    }

    /// The first message.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Reads the callee's answer; what the callee has to be sent, and the caller that waits for its verdict.
    ///
    /// # Errors
    /// If both have no version in common, or only one of them a secret.
    pub fn answered(self, answer: &[u8]) -> Result<(Vec<u8>, CallerWaits)> {
        let Self { role, has_secret, versions, exchange, hello } = self;
        let read: Answer = read(answer).map_err(|error| error.with_hint(IS_IT_OURS))?;
        if !versions.contains(&read.protocol) {
            let theirs = read.oldest.unwrap_or(read.protocol)..=read.protocol;
            return Err(no_common_version("it", &theirs, &versions));
        }
        match (has_secret, read.secret) {
            (false, true) => {
                return Err(unknown(
                    "it wants to know who is there, and no secret is set here",
                    "set spark.authenticate.secret, or spark.anymaster.authenticate.secretFile, to the cluster's",
                ));
            }
            (true, false) => {
                return Err(unknown(
                    "it does not know the secret that is set here",
                    "start it with the same spark.authenticate.secret; or is it somebody else?",
                ));
            }
            _ => {}
        }
        let keys = exchange.finish(&read.exchange.unwrap_or_default(), [&hello, answer])?;
        let proof = write(&Proof { proof: Some(keys.prove(CALLER)?) })?;
        tracing::trace!(version = read.protocol, %role, "calling");
        Ok((proof, CallerWaits { version: read.protocol, has_secret, keys }))
    }
}

/// A caller that has proved itself.
pub struct CallerWaits {
    version: u32,
    has_secret: bool,
    keys: Keys,
}

impl CallerWaits {
    /// Reads the callee's verdict.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) if one of the two does not know the secret, and
    /// [`NotLeader`](ErrorKind::NotLeader) if the callee is a master that cannot be asked.
    pub fn verdict(self, verdict: &[u8]) -> Result<Established> {
        let Verdict { welcome, leads, proof } = read(verdict)?;
        if !welcome || !self.keys.proves(callee(leads), proof.as_deref())? {
            return Err(unknown(
                "its secret is another one than ours",
                "spark.authenticate.secret has to be the same everywhere",
            ));
        }
        if !leads {
            return Err(Error::new(
                ErrorKind::NotLeader,
                "it waits for its turn: another master leads, or none yet",
            )
            .with_hint("write all masters into the URL: spark://HOST:PORT,HOST2:PORT2"));
        }
        let Self { version, has_secret, keys } = self;
        Ok(Established { version, is_authenticated: has_secret, seals: keys.seals(Side::Caller)? })
    }
}

/// The callee, which has heard the caller's first message.
pub enum Callee {
    /// They have a version in common: the answer is to be sent, and the caller's proof comes.
    Waits(Vec<u8>, Box<CalleeWaits>),
    /// They have none: the answer that is to be sent, and the error.
    Refuses(Vec<u8>, Error),
}

impl Callee {
    /// Reads the first message of a caller. `secret`: that of the callee.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(hello: &[u8], secret: &Secret) -> Result<Self> {
        Self::with(hello, secret, VERSIONS, OsRng)
    }

    pub(super) fn with(
        hello: &[u8],
        secret: &Secret,
        versions: RangeInclusive<u32>,
        mut rng: impl CryptoRng + RngCore,
    ) -> Result<Self> {
        let Hello { protocol, oldest, role, exchange: theirs, .. } = read(hello)?;
        let spoken = oldest.unwrap_or(protocol)..=protocol;
        let version = protocol.min(*versions.end());
        let mut answer = Answer {
            protocol: version,
            oldest: Some(*versions.start()),
            nonce: nonce(&mut rng),
            secret: secret.is_set(),
            exchange: None,
        };
        if !versions.contains(&version) || !spoken.contains(&version) {
            answer.protocol = *versions.end();
            let error = no_common_version(&format!("a caller, {role},"), &spoken, &versions);
            return Ok(Self::Refuses(write(&answer)?, error));
        }
        let key = match &role {
            Role::Application(app) => Secret::new(secret.of_application(app)?.as_deref()),
            _ => secret.clone(),
        };
        let (exchange, part) = Exchange::begin(Side::Callee, &role, &key, rng)?;
        answer.exchange = Some(part);
        let answer = write(&answer)?;
        let waits = CalleeWaits {
            role,
            version,
            has_secret: secret.is_set(),
            exchange,
            theirs: theirs.unwrap_or_default(),
            hello: hello.to_vec(),
            answer: answer.clone(),
        };
        Ok(Self::Waits(answer, Box::new(waits)))
    }
}

/// A callee that waits for the caller's proof.
pub struct CalleeWaits {
    role: Role,
    version: u32,
    has_secret: bool,
    exchange: Exchange,
    theirs: String,
    hello: Vec<u8>,
    answer: Vec<u8>,
}

impl CalleeWaits {
    /// As whom the caller comes.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Reads the caller's proof; the verdict that is to be sent, and the connection, if the proof is right and
    /// the callee `leads`.
    ///
    /// # Errors
    /// If there is none.
    pub fn proof(self, proof: &[u8], leads: bool) -> Result<(Vec<u8>, Result<Established>)> {
        let Self { version, has_secret, exchange, theirs, hello, answer, .. } = self;
        let Proof { proof } = read(proof)?;
        let keys = exchange.finish(&theirs, [&hello, &answer])?;
        let refused = |kind, message: &str| Err(Error::new(kind, message.to_owned()));
        if !keys.proves(CALLER, proof.as_deref())? {
            let verdict = write(&Verdict { welcome: false, leads, proof: None })?;
            let why = "a caller with another secret, or whose words were changed on the way";
            return Ok((verdict, refused(ErrorKind::Unauthenticated, why)));
        }
        let proof = Some(keys.prove(callee(leads))?);
        let verdict = write(&Verdict { welcome: true, leads, proof })?;
        if !leads {
            let error = refused(ErrorKind::NotLeader, "a caller, sent to the master that leads");
            return Ok((verdict, error));
        }
        let seals = keys.seals(Side::Callee)?;
        Ok((verdict, Ok(Established { version, is_authenticated: has_secret, seals })))
    }
}

fn unknown(why: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, why.to_owned()).with_hint(hint)
}

/// Says which of the two has to be upgraded.
fn no_common_version(who: &str, theirs: &RangeInclusive<u32>, ours: &RangeInclusive<u32>) -> Error {
    let words = |versions: &RangeInclusive<u32>| match (versions.start(), versions.end()) {
        (oldest, newest) if oldest == newest => format!("version {newest}"),
        (oldest, newest) => format!("versions {oldest} to {newest}"),
    };
    let (what, hint) = if theirs.end() < ours.start() {
        ("it is of an older release", "upgrade that one first")
    } else {
        ("this is of an older release", "upgrade this one first")
    };
    Error::protocol(format!(
        "{who} speaks {} of the protocol, and this speaks {}: {what}",
        words(theirs),
        words(ours)
    ))
    .with_hint(hint)
}

fn nonce(rng: &mut impl RngCore) -> String {
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);
    hex(&nonce)
}

fn write(message: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(message)
        .map_err(|error| Error::protocol("a message cannot be written as JSON").with_source(error))
}

fn read<T: DeserializeOwned>(message: &[u8]) -> Result<T> {
    serde_json::from_slice(message).map_err(|error| {
        Error::protocol("the other side sent what is no message").with_source(error)
    })
}

#[cfg(test)]
mod tests;
