//! Hadoop's RPC (IPC version 9), as a caller without Kerberos speaks it: by name, or with a token.

mod frame;
mod messages;
mod sasl;

use std::sync::PoisonError;
use std::time::Duration;

use anymaster_core::{Backoff, Error, ErrorKind, HostPort, Result};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub use self::frame::Caller;
pub(crate) use self::frame::refusal;
use self::frame::{HEADER, HEADER_SASL, MAX_RESPONSE};
use self::messages::{Sasl, SaslState};
use crate::Token;

/// How long one server has to accept a connection, and to answer a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest message of a server that has proved nothing yet.
const MAX_GREETING: usize = 64 << 10;
/// Between attempts to reach a server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often all servers are tried.
const ROUNDS: usize = 6;

/// A client of one protocol of one service, which may have standbys.
///
/// One connection is kept. A call that finds it broken is repeated on a new one, so that a server may see a
/// call twice.
#[derive(Debug)]
pub struct RpcClient {
    protocol: &'static str,
    servers: Vec<HostPort>,
    identity: Identity,
    client_id: [u8; 16],
    rounds: usize,
    state: Mutex<State>,
}

/// By what a caller is known.
#[derive(Debug)]
enum Identity {
    Name(Caller),
    Token(std::sync::Mutex<Token>),
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// The server that answered last.
    server: usize,
    last_call: i32,
}

#[derive(Debug)]
struct Connection(TcpStream);

impl RpcClient {
    /// A client of the service at these addresses: all but one of them are standbys. Nothing is sent yet.
    pub fn new(protocol: &'static str, servers: Vec<HostPort>, caller: Caller) -> Self {
        Self::of(protocol, servers, Identity::Name(caller))
    }

    /// A client that proves that it has a token (SASL with DIGEST-MD5).
    pub fn with_token(protocol: &'static str, servers: Vec<HostPort>, token: Token) -> Self {
        Self::of(protocol, servers, Identity::Token(token.into()))
    }

    fn of(protocol: &'static str, servers: Vec<HostPort>, identity: Identity) -> Self {
        let (client_id, state) = (rand::random(), Mutex::default());
        Self { protocol, servers, identity, client_id, rounds: ROUNDS, state }
    }

    /// How often all servers are tried before a call fails; six times, unless this says otherwise.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// Uses another token from the next connection on.
    pub fn set_token(&self, new: Token) {
        if let Identity::Token(token) = &self.identity {
            *token.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if no server answers; what the server says otherwise.
    pub async fn call<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<R> {
        let mut state = self.state.lock().await;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempts = self.rounds * self.servers.len().max(1);
        loop {
            attempts -= 1;
            match self.attempt(&mut state, method, request).await {
                Err(error) if attempts > 0 && is_of_connection(&error) => {
                    tracing::info!(%error, method, "a call to Hadoop is repeated");
                    state.server = (state.server + 1) % self.servers.len().max(1);
                    // All of them have been tried: it may be a moment before one is active.
                    if state.server == 0 {
                        backoff.failed(None);
                        backoff.pause().await;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    // The next call asks another one.
                    state.server = (state.server + 1) % self.servers.len().max(1);
                    return Err(error);
                }
                answered => return answered,
            }
        }
    }

    async fn attempt<R: Message + Default>(
        &self,
        state: &mut State,
        method: &str,
        request: &impl Message,
    ) -> Result<R> {
        let server = self.servers.get(state.server).ok_or_else(|| Error::invalid("no server"))?;
        // A call that is dropped takes its connection with it.
        let mut connection = match state.connection.take() {
            Some(connection) => connection,
            None => self.connect(server).await?,
        };
        state.last_call = state.last_call.wrapping_add(1).max(0);
        let id = state.last_call;
        let frame = frame::call(self.protocol, method, self.client_id, id, request);
        let answer =
            timeout(CALL_TIMEOUT, connection.ask(&frame, MAX_RESPONSE)).await.map_err(|_| {
                Error::new(ErrorKind::Timeout, format!("{server} does not answer {method}"))
            })?;
        let answer = answer.map_err(|error| error.context(server))?;
        let (answered, answer) = frame::response(&answer)?;
        // The answer to no call tells why the connection ends.
        if answered != id.cast_unsigned() && answer.is_ok() {
            return Err(Error::protocol(format!("{server} answered another call")));
        }
        if answered == id.cast_unsigned() {
            state.connection = Some(connection);
        }
        answer
    }

    async fn connect(&self, server: &HostPort) -> Result<Connection> {
        let failed = || Error::unavailable(format!("cannot connect to {server}"));
        let host = server.host.trim_matches(['[', ']']);
        let connecting = TcpStream::connect((host, server.port));
        let stream = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| failed())?
            .map_err(|error| failed().with_source(error))?;
        let nodelay = stream.set_nodelay(true);
        let mut connection = Connection(stream);
        nodelay.map_err(|error| failed().with_source(error))?;
        let (mut hello, caller) = match &self.identity {
            Identity::Name(caller) => (HEADER.to_vec(), Some(caller)),
            Identity::Token(token) => {
                let token = token.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let proof = timeout(CALL_TIMEOUT, connection.authenticate(&token));
                proof.await.map_err(|_| failed())?.map_err(|error| error.context(server))?;
                (Vec::new(), None)
            }
        };
        hello.extend(frame::context(self.protocol, self.client_id, caller));
        connection.send(&hello).await?;
        Ok(connection)
    }
}

impl Connection {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).await.map_err(gone)
    }

    /// Proves that we have a token, and has the server prove that it knows it.
    async fn authenticate(&mut self, token: &Token) -> Result<()> {
        let step =
            |state: SaslState| Sasl { version: Some(0), state: state as i32, ..Sasl::default() };
        self.send(&HEADER_SASL).await?;
        let offer = self.sasl(&step(SaslState::Negotiate)).await?;
        let (message, expected) = sasl::respond(&offer, token)?;
        let answer = self.sasl(&message).await?;
        match answer.state() == SaslState::Success && answer.token.as_deref() == Some(&expected) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the server has not proved that it knows the token",
            )),
        }
    }

    async fn sasl(&mut self, message: &Sasl) -> Result<Sasl> {
        let answer = self.ask(&frame::sasl(message), MAX_GREETING).await?;
        frame::response(&answer)?.1
    }

    async fn ask(&mut self, frame: &[u8], longest: usize) -> Result<Vec<u8>> {
        self.send(frame).await?;
        let length = self.0.read_u32().await.map_err(gone)? as usize;
        if length > longest {
            return Err(Error::protocol(format!("an answer of {length} bytes is too long")));
        }
        // What is announced is believed as it comes.
        let mut answer = Vec::new();
        let read = (&mut self.0).take(length as u64).read_to_end(&mut answer).await;
        match read.map_err(gone)? {
            read if read == length => Ok(answer),
            _ => Err(Error::unavailable("the connection ended in the middle of an answer")),
        }
    }
}

fn gone(error: std::io::Error) -> Error {
    Error::unavailable("the connection is broken").with_source(error)
}

fn is_of_connection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotLeader)
}
