//! How a connection begins: each side says which protocol it speaks and proves that it knows the shared
//! secret, if there is one, without telling it.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{Admitted, Connection, Stream, Tls};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::channel::{Channel, keys};

/// The version of the protocol: sides of different versions do not talk. It is raised with every change of
/// a message that the other side would not understand, or would take for something else.
const PROTOCOL: u32 = 2;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret that all processes of a cluster share (`spark.authenticate.secret`), or a key that was
/// derived of it.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<str>>);

impl Secret {
    /// This one, or none.
    pub fn new(secret: Option<&str>) -> Self {
        Self(secret.filter(|secret| !secret.is_empty()).map(Into::into))
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Of this secret, for a purpose: who has it can neither find this one nor those of other purposes.
    fn derive(&self, purpose: &str) -> Result<Option<String>> {
        let Some(secret) = &self.0 else { return Ok(None) };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .map_err(|_| Error::invalid("the shared secret cannot be used"))?;
        mac.update(format!("anymaster {purpose}").as_bytes());
        let derived = mac.finalize().into_bytes();
        Ok(Some(derived.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The key by which the driver of an application is known.
    pub fn of_application(&self, app: &AppId) -> Result<Option<String>> {
        self.derive(&format!("application {app}"))
    }

    /// What those show who ask over HTTP.
    pub fn token(&self) -> Result<Option<String>> {
        self.derive("token")
    }

    /// By which masters are known to ZooKeeper.
    pub fn password(&self) -> Result<Option<String>> {
        self.derive("zookeeper")
    }

    fn prove(&self, who: &str, words: &str) -> Result<Option<String>> {
        self.derive(&format!("{who} {words}"))
    }

    /// Whether the other side's proof is right. Without a secret there is nothing to prove.
    fn check(&self, who: &str, words: &str, proof: Option<&str>) -> Result<bool> {
        let Some(expected) = self.prove(who, words)? else { return Ok(proof.is_none()) };
        Ok(proof.is_some_and(|proof| bool::from(expected.as_bytes().ct_eq(proof.as_bytes()))))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Secret(set)" } else { "Secret(none)" })
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A worker that offers itself to a master.
    Worker,
    /// Somebody who asks a master or a worker for something.
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

/// How one who calls is known, and knows others.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// As whom it comes.
    pub role: Role,
    /// What both sides know.
    pub secret: Secret,
    /// How connections are encrypted.
    pub tls: Tls,
}

/// Somebody who came.
pub enum Arrival {
    /// Known by the secret.
    Known(Role, Box<Channel>),
    /// Speaks HTTP.
    Http(Stream),
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
    /// Whether it can be asked: of several masters, one leads.
    leads: bool,
}

fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

async fn in_time<T>(handshake: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, handshake).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "the other side does not finish the handshake"))
    })
}

/// Calls somebody at `HOST:PORT`.
pub async fn connect(address: &str, credentials: &Credentials) -> Result<Channel> {
    let Credentials { role, secret, tls } = credentials;
    let calling = async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Error::unavailable(format!("cannot reach {address}")).with_source(error)
        })?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let mut channel = Channel::greeting(tls.connect(host, stream).await?);
        let ours = nonce();
        let hello = Hello { protocol: PROTOCOL, role: role.clone(), nonce: ours.clone() };
        channel.send(&hello).await?;
        let answer: Answer = channel.expect().await.map_err(|error| {
            error.context(address).with_hint(
                "is that the port of an anymaster master or worker, and is TLS on there \
                 (spark.ssl.enabled)?",
            )
        })?;
        if answer.protocol != PROTOCOL {
            return Err(Error::protocol(format!(
                "{address} speaks version {} of the protocol, and this is {PROTOCOL}",
                answer.protocol
            ))
            .with_hint("use the same release of anymaster everywhere"));
        }
        let words = format!("{role} {ours} {}", answer.nonce);
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
        if !secret.check("callee", &words, answer.proof.as_deref())? {
            return Err(unknown(
                "its secret is another one than ours",
                "spark.authenticate.secret has to be the same everywhere",
            ));
        }
        channel.send(&Proof { proof: secret.prove("caller", &words)? }).await?;
        let Verdict { welcome, leads } = channel.expect().await?;
        if !welcome {
            return Err(unknown(
                "it does not accept our secret",
                "spark.authenticate.secret has to be the same everywhere",
            ));
        }
        if !leads {
            return Err(Error::new(
                ErrorKind::NotLeader,
                format!("{address} waits for its turn: another master leads, or none yet"),
            )
            .with_hint("write all masters into the URL: spark://HOST:PORT,HOST2:PORT2"));
        }
        let sealing = secret.0.as_ref().map(|secret| keys(secret.as_bytes(), &words));
        let sealing = sealing.transpose()?.map(|[from_us, to_us]| [to_us, from_us]);
        channel.established(sealing, None)
    };
    in_time(calling).await
}

/// Takes in somebody who came. `leads`: whether they can be served.
pub async fn accept(
    connection: Connection,
    secret: &Secret,
    tls: &Tls,
    leads: bool,
) -> Result<Arrival> {
    let Connection { stream, admitted } = connection;
    in_time(async { greet(tls.accept(stream).await?, &admitted, secret, leads).await }).await
}

/// The same, on a connection that is encrypted already, or is not to be.
pub async fn greet(
    mut stream: Stream,
    admitted: &Arc<Admitted>,
    secret: &Secret,
    leads: bool,
) -> Result<Arrival> {
    let mut begin = [0; 4];
    stream.read_exact(&mut begin).await.map_err(|error| {
        Error::unavailable("the other side closed the connection").with_source(error)
    })?;
    // The length of a greeting begins with zeros.
    let is_http = begin[..3].iter().all(u8::is_ascii_uppercase);
    let (reader, writer) = tokio::io::split(stream);
    let stream = Box::new(tokio::io::join(Cursor::new(begin).chain(reader), writer));
    if is_http {
        return Ok(Arrival::Http(stream));
    }
    let mut channel = Channel::greeting(stream);
    let Hello { protocol, role, nonce: theirs } = channel.expect().await?;
    let key = match &role {
        Role::Application(app) => Secret::new(secret.of_application(app)?.as_deref()),
        _ => secret.clone(),
    };
    let ours = nonce();
    let words = format!("{role} {theirs} {ours}");
    let proof = key.prove("callee", &words)?;
    let answer = Answer { protocol: PROTOCOL, nonce: ours, proof, secret: key.is_set() };
    channel.send(&answer).await?;
    if protocol != PROTOCOL {
        return Err(Error::protocol(format!(
            "a caller of version {protocol} of the protocol, and this is {PROTOCOL}"
        )));
    }
    let proof: Proof = channel.expect().await?;
    let welcome = key.check("caller", &words, proof.proof.as_deref())?;
    if !welcome {
        admitted.proved_wrong(&format!("proof of the secret, as {role}")).await;
    }
    channel.send(&Verdict { welcome, leads }).await?;
    if !welcome {
        return Err(Error::new(ErrorKind::Unauthenticated, "a caller with another secret"));
    }
    if !leads {
        return Err(Error::new(ErrorKind::NotLeader, "a caller, sent to the master that leads"));
    }
    let sealing = key.0.as_ref().map(|secret| keys(secret.as_bytes(), &words)).transpose()?;
    Ok(Arrival::Known(role, Box::new(channel.established(sealing, Some(admitted))?)))
}

#[cfg(test)]
mod tests {
    use anymaster_net::Admission;
    use tokio::net::TcpListener;

    use super::*;

    async fn meet(
        role: Role,
        callers: Option<&str>,
        callees: Option<&str>,
    ) -> (Result<Channel>, Result<Role>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let credentials = Credentials { role, secret: Secret::new(callers), tls: Tls::default() };
        let callees = Secret::new(callees);
        let answering = async {
            let (stream, from) = listener.accept().await.unwrap();
            let admitted = Arc::new(Admission::of_process().admit(from.ip()).unwrap());
            let connection = Connection { stream, admitted };
            let arrival = accept(connection, &callees, &Tls::default(), true).await?;
            let Arrival::Known(role, mut channel) = arrival else { panic!("HTTP") };
            // Messages pass both ways, and are sealed on the way if there is a secret.
            for _ in 0..3 {
                let text: String = channel.expect().await?;
                channel.send(&format!("{text}!")).await?;
            }
            Ok(role)
        };
        let calling = async {
            let mut channel = connect(&address, &credentials).await?;
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
            let (called, answered) = meet(Role::Worker, secret, secret).await;
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
            let (called, answered) = meet(Role::Worker, callers, callees).await;
            let error = called.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains(why), "{error}");
            assert!(!format!("{error:?}{:?}", Secret::new(callers)).contains("\"a\""));
            assert!(answered.is_err());
        }
    }

    #[tokio::test]
    async fn sides_of_different_versions_do_not_talk_and_both_know_why() {
        // One that is older called us.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let older = async {
            let mut channel =
                Channel::greeting(Box::new(TcpStream::connect(&address).await.unwrap()));
            let hello = Hello { protocol: 1, role: Role::Worker, nonce: nonce() };
            channel.send(&hello).await.unwrap();
            let answer: Answer = channel.expect().await.unwrap();
            assert_eq!(answer.protocol, PROTOCOL, "a refusal names the protocol of this side");
            assert!(channel.receive::<Verdict>().await.unwrap().is_none(), "and that is all");
        };
        let answering = async {
            let (stream, from) = listener.accept().await.unwrap();
            let admitted = Arc::new(Admission::of_process().admit(from.ip()).unwrap());
            let connection = Connection { stream, admitted };
            accept(connection, &Secret::default(), &Tls::default(), true).await.err().unwrap()
        };
        let ((), error) = futures::join!(older, answering);
        assert_eq!(error.message(), "a caller of version 1 of the protocol, and this is 2");

        // We called one that is older.
        let older = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut channel = Channel::greeting(Box::new(stream));
            let _: Hello = channel.expect().await.unwrap();
            let answer = Answer { protocol: 1, nonce: nonce(), proof: None, secret: false };
            channel.send(&answer).await.unwrap();
        };
        let (role, secret) = (Role::Client, Secret::default());
        let credentials = Credentials { role, secret, tls: Tls::default() };
        let (called, ()) = futures::join!(connect(&address, &credentials), older);
        let error = called.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.message().ends_with("speaks version 1 of the protocol, and this is 2"));
        assert_eq!(error.hint(), Some("use the same release of anymaster everywhere"));
    }

    #[tokio::test]
    async fn a_driver_is_its_own_application_and_no_other() {
        let cluster = Secret::new(Some("s3cret"));
        let [one, two] = ["one", "two"].map(|id| AppId::new(id).unwrap());
        let key = cluster.of_application(&one).unwrap();
        let (called, answered) =
            meet(Role::Application(one.clone()), key.as_deref(), Some("s3cret")).await;
        assert!(called.is_ok());
        assert_eq!(answered.unwrap(), Role::Application(one));
        for role in [Role::Application(two), Role::Client, Role::Worker] {
            let (called, answered) = meet(role, key.as_deref(), Some("s3cret")).await;
            assert_eq!(called.err().unwrap().kind(), ErrorKind::Unauthenticated);
            assert!(answered.is_err());
        }
        assert_ne!(cluster.token().unwrap(), key);
    }
}
