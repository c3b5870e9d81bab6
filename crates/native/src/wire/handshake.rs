//! How a connection begins: both sides say what the greeting has them say.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{Admitted, Connection, Stream, Tls};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::channel::Channel;
use super::greeting::{Callee, Caller, IS_IT_OURS, Role};
use super::secret::Secret;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// Speaks Spark's RPC.
    SparkRpc(Stream),
}

async fn in_time<T>(handshake: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, handshake).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "the other side does not finish the handshake"))
    })
}

/// Calls somebody at `HOST:PORT`.
///
/// # Errors
/// If it cannot be reached, or one of the two does not know the other.
pub async fn connect(address: &str, credentials: &Credentials) -> Result<Channel> {
    let Credentials { role, secret, tls } = credentials;
    let calling = async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Error::unavailable(format!("cannot reach {address}")).with_source(error)
        })?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let stream = tls.connect(host, stream).await?;
        call(stream, role, secret).await.map_err(|error| error.context(address))
    };
    in_time(calling).await
}

/// Of an answer that cannot be a message: TLS begins so, and HTTP.
fn from_another(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Protocol => error.with_hint(IS_IT_OURS),
        _ => error,
    }
}

async fn call(stream: Stream, role: &Role, secret: &Secret) -> Result<Channel> {
    let mut channel = Channel::greeting(stream);
    let caller = Caller::new(role, secret)?;
    channel.send_plain(caller.hello()).await?;
    let answer = channel.expect_plain().await.map_err(from_another)?;
    let (proof, caller) = caller.answered(&answer)?;
    channel.send_plain(&proof).await?;
    let established = caller.verdict(&channel.expect_plain().await?)?;
    channel.established(established, None)
}

/// Takes in somebody who came. `leads`: whether they can be served.
///
/// # Errors
/// If they do not know the secret, or cannot be served.
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
///
/// # Errors
/// As for [`accept`].
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
    // Spark's frames begin with their length in eight bytes, ours in four.
    let is_spark_rpc = begin == [0; 4];
    let (reader, writer) = tokio::io::split(stream);
    let stream = Box::new(tokio::io::join(Cursor::new(begin).chain(reader), writer));
    if is_http {
        return Ok(Arrival::Http(stream));
    }
    if is_spark_rpc {
        return Ok(Arrival::SparkRpc(stream));
    }
    let mut channel = Channel::greeting(stream);
    let callee = match Callee::new(&channel.expect_plain().await?, secret)? {
        Callee::Waits(answer, callee) => {
            channel.send_plain(&answer).await?;
            callee
        }
        Callee::Refuses(answer, error) => {
            channel.send_plain(&answer).await?;
            return Err(error);
        }
    };
    let role = callee.role().clone();
    let (verdict, established) = callee.proof(&channel.expect_plain().await?, leads)?;
    if matches!(&established, Err(error) if error.kind() == ErrorKind::Unauthenticated) {
        admitted.authentication_failed(&format!("proof of the secret, as {role}")).await;
    }
    channel.send_plain(&verdict).await?;
    Ok(Arrival::Known(role, Box::new(channel.established(established?, Some(admitted))?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anymaster_core::model::AppId;
    use anymaster_net::Admission;
    use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
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
            // Messages pass both ways, and are sealed on the way.
            for _ in 0..3 {
                let text: String = channel.expect().await?;
                channel.send(&format!("{text}!")).await?;
            }
            Ok(role)
        };
        let calling = async {
            let mut channel = connect(&address, &credentials).await?;
            assert_eq!(channel.version(), 3);
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

    /// Passes on what one side says to the other, and keeps it.
    async fn listen(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        heard: &Mutex<Vec<u8>>,
    ) {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            heard.lock().unwrap().extend_from_slice(&piece[..length]);
            to.write_all(&piece[..length]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn whoever_listens_reads_no_message_with_a_secret_or_without() {
        for secret in [None, Some("s3cret")].map(Secret::new) {
            let [(caller, ours), (theirs, callee)]: [(DuplexStream, DuplexStream); 2] =
                [(); 2].map(|()| tokio::io::duplex(64 << 10));
            let heard = Mutex::default();
            let (from_caller, to_caller) = tokio::io::split(ours);
            let (from_callee, to_callee) = tokio::io::split(theirs);
            let listening = async {
                tokio::join!(
                    listen(from_caller, to_callee, &heard),
                    listen(from_callee, to_caller, &heard)
                )
            };
            let talking = async {
                let admission = Admission::of_process();
                let admitted = Arc::new(admission.admit([127, 0, 0, 1].into()).unwrap());
                let (called, arrival) = tokio::join!(
                    call(Box::new(caller), &Role::Worker, &secret),
                    greet(Box::new(callee), &admitted, &secret, true)
                );
                let Arrival::Known(_, mut channel) = arrival.unwrap() else { panic!("HTTP") };
                let mut called = called.unwrap();
                channel.send(&"the key of the application").await.unwrap();
                let text: String = called.expect().await.unwrap();
                called.send(&text).await.unwrap();
                assert_eq!(channel.expect::<String>().await.unwrap(), "the key of the application");
            };
            tokio::select! {
                _ = listening => panic!("nobody has hung up"),
                () = talking => {}
            }
            let heard = String::from_utf8_lossy(&heard.into_inner().unwrap()).into_owned();
            assert!(heard.contains("protocol"), "the handshake was heard");
            assert!(!heard.contains("key of") && !heard.contains("s3cret"), "{heard}");
        }
    }
}
