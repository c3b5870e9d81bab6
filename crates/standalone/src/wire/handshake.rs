//! How a connection begins: each side says which protocol it speaks and proves that it knows the shared
//! secret, if there is one, without telling it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpStream;

use super::channel::{Channel, keys};

/// The version of the protocol: sides of different versions do not talk.
const PROTOCOL: u32 = 1;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret that all processes of a cluster share (`spark.authenticate.secret`).
#[derive(Clone, Default)]
pub(crate) struct Secret(Option<Arc<str>>);

impl Secret {
    pub(crate) fn new(secret: Option<&str>) -> Self {
        Self(secret.filter(|secret| !secret.is_empty()).map(Into::into))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    fn prove(&self, who: &str, nonces: &str) -> Result<Option<String>> {
        let Some(secret) = &self.0 else { return Ok(None) };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .map_err(|_| Error::invalid("the shared secret cannot be used"))?;
        mac.update(format!("anymaster {who} {nonces}").as_bytes());
        let proof = mac.finalize().into_bytes();
        Ok(Some(proof.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Whether the other side's proof is right. Without a secret there is nothing to prove.
    fn check(&self, who: &str, nonces: &str, proof: Option<&str>) -> Result<bool> {
        let Some(expected) = self.prove(who, nonces)? else { return Ok(proof.is_none()) };
        Ok(proof.is_some_and(|proof| bool::from(expected.as_bytes().ct_eq(proof.as_bytes()))))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Secret(set)" } else { "Secret(none)" })
    }
}

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// A worker that offers itself to a master.
    Worker,
    /// Somebody who asks a master or a worker for something.
    Client,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Hello {
    protocol: u32,
    role: Role,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    protocol: u32,
    nonce: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    proof: Option<String>,
    /// Whether the caller has to prove something.
    secret: bool,
}

#[derive(Serialize, Deserialize)]
struct Proof {
    proof: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Verdict {
    welcome: bool,
}

fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

async fn in_time<T>(handshake: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, handshake).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "the other side does not finish the handshake"))
    })
}

/// Calls somebody at `address`.
pub(crate) async fn connect(address: &str, role: Role, secret: &Secret) -> Result<Channel> {
    let calling = async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Error::unavailable(format!("cannot reach {address}")).with_source(error)
        })?;
        let _ = stream.set_nodelay(true);
        let mut channel = Channel::greeting(stream);
        let ours = nonce();
        channel.send(&Hello { protocol: PROTOCOL, role, nonce: ours.clone() }).await?;
        let answer: Answer = channel.expect().await.map_err(|error| {
            error.context(address).with_hint("is that the port of an anymaster master or worker?")
        })?;
        if answer.protocol != PROTOCOL {
            return Err(Error::protocol(format!(
                "{address} speaks version {} of the protocol, and this is {PROTOCOL}",
                answer.protocol
            ))
            .with_hint("use the same release of anymaster everywhere"));
        }
        let nonces = format!("{ours} {}", answer.nonce);
        let unknown = |why: &str, hint: &str| {
            Error::new(ErrorKind::Unauthenticated, format!("{address}: {why}")).with_hint(hint)
        };
        match (secret.is_set(), answer.secret) {
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
        if !secret.check("callee", &nonces, answer.proof.as_deref())? {
            return Err(unknown(
                "its secret is another one than ours",
                "spark.authenticate.secret has to be the same everywhere",
            ));
        }
        channel.send(&Proof { proof: secret.prove("caller", &nonces)? }).await?;
        if !channel.expect::<Verdict>().await?.welcome {
            return Err(unknown(
                "it does not accept our secret",
                "spark.authenticate.secret has to be the same everywhere",
            ));
        }
        let sealing = secret.0.as_ref().map(|secret| keys(secret.as_bytes(), &nonces));
        let sealing = sealing.transpose()?.map(|[from_us, to_us]| [to_us, from_us]);
        channel.established(sealing)
    };
    in_time(calling).await
}

/// Answers a caller; says what it wants.
pub(crate) async fn accept(stream: TcpStream, secret: &Secret) -> Result<(Role, Channel)> {
    let answering = async {
        let _ = stream.set_nodelay(true);
        let mut channel = Channel::greeting(stream);
        let hello: Hello = channel.expect().await?;
        let ours = nonce();
        let nonces = format!("{} {ours}", hello.nonce);
        let proof = secret.prove("callee", &nonces)?;
        let answer = Answer { protocol: PROTOCOL, nonce: ours, proof, secret: secret.is_set() };
        channel.send(&answer).await?;
        if hello.protocol != PROTOCOL {
            return Err(Error::protocol(format!("a caller of version {}", hello.protocol)));
        }
        let proof: Proof = channel.expect().await?;
        let welcome = secret.check("caller", &nonces, proof.proof.as_deref())?;
        channel.send(&Verdict { welcome }).await?;
        if !welcome {
            return Err(Error::new(ErrorKind::Unauthenticated, "a caller with another secret"));
        }
        let sealing = secret.0.as_ref().map(|secret| keys(secret.as_bytes(), &nonces));
        Ok((hello.role, channel.established(sealing.transpose()?)?))
    };
    in_time(answering).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn meet(callers: Option<&str>, callees: Option<&str>) -> (Result<Channel>, Result<Role>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (callers, callees) = (Secret::new(callers), Secret::new(callees));
        let answering = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (role, mut channel) = accept(stream, &callees).await?;
            // Messages pass both ways, and are sealed on the way if there is a secret.
            for _ in 0..3 {
                let text: String = channel.expect().await?;
                channel.send(&format!("{text}!")).await?;
            }
            Ok(role)
        };
        let calling = async {
            let mut channel = connect(&address, Role::Worker, &callers).await?;
            for _ in 0..3 {
                channel.send(&"hello").await?;
                assert_eq!(channel.expect::<String>().await?, "hello!");
            }
            Ok(channel)
        };
        futures::join!(calling, answering)
    }

    #[tokio::test]
    async fn those_who_share_a_secret_or_none_can_talk() {
        for secret in [None, Some("s3cret")] {
            let (called, answered) = meet(secret, secret).await;
            assert!(called.is_ok());
            assert_eq!(answered.unwrap(), Role::Worker);
        }
    }

    #[tokio::test]
    async fn others_cannot_and_both_sides_know() {
        for (callers, callees, why) in [
            (Some("a"), Some("b"), "another one than ours"),
            (None, Some("b"), "no secret is set here"),
            (Some("a"), None, "does not know the secret"),
        ] {
            let (called, answered) = meet(callers, callees).await;
            let error = called.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains(why), "{error}");
            assert!(!format!("{error:?}{:?}", Secret::new(callers)).contains("\"a\""));
            assert!(answered.is_err());
        }
    }
}
