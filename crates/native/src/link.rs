//! Connections to the master that leads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::{Backoff, Error, ErrorKind, HostPort, Result};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::wire::{Channel, Credentials, Reply, Request, connect};

/// How long a master is looked for before the error is final; and one of several, which may have to be
/// elected first.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// The first pause between two rounds.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);

/// How the masters are reached.
#[derive(Debug)]
pub(super) struct Link {
    /// What they are: `master` or `dispatcher`.
    daemon: &'static str,
    masters: Vec<HostPort>,
    credentials: Credentials,
    /// The connection of the last call, for the next one; a call that comes meanwhile has one of its own.
    idle: Mutex<Option<Channel>>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel")
    }
}

impl Link {
    pub(super) fn new(
        daemon: &'static str,
        masters: Vec<HostPort>,
        credentials: Credentials,
    ) -> Self {
        Self { daemon, masters, credentials, idle: Mutex::default() }
    }

    pub(super) fn masters(&self) -> &[HostPort] {
        &self.masters
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, again and again while no master can answer it. It must be one that may run twice.
    pub(super) async fn call(&self, call: &Request) -> Result<Reply> {
        let mut channel = self.idle().take();
        let mut retries = RetryPolicy::new(&self.masters);
        loop {
            let span = debug_span!("rpc", method = call.method(), peer = self.daemon);
            let error = match self.once(&mut channel, call).instrument(span).await {
                Ok(Reply::Failed(fault)) => fault.into_error(),
                Ok(reply) => {
                    *self.idle() = channel;
                    return Ok(reply);
                }
                Err(error) => error,
            };
            retries.next(error).await?;
        }
    }

    async fn once(&self, channel: &mut Option<Channel>, call: &Request) -> Result<Reply> {
        // Taken out: whoever drops this in the middle does not leave half a message.
        if let Some(open) = channel.take() {
            match ask(open, call, channel).await {
                // A master closes what is idle for long.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "an old connection is of no use any more");
                }
                asked => return asked,
            }
        }
        ask(self.connect().await?, call, channel).await
    }

    /// Makes a call on a connection of its own, for what follows the answer.
    pub(super) async fn open(&self, call: &Request) -> Result<(Reply, Channel)> {
        let mut channel = self.connect().await?;
        channel.send(call).await?;
        match channel.expect().await? {
            Reply::Failed(fault) => Err(fault.into_error()),
            reply => Ok((reply, channel)),
        }
    }

    /// As [`open`](Self::open), again and again while no master can answer.
    pub(super) async fn open_patiently(&self, call: &Request) -> Result<(Reply, Channel)> {
        let mut retries = RetryPolicy::new(&self.masters);
        loop {
            match self.open(call).await {
                Ok(opened) => return Ok(opened),
                Err(error) => retries.next(error).await?,
            }
        }
    }

    /// A connection to a master: the first that answers.
    async fn connect(&self) -> Result<Channel> {
        let mut last: Option<Error> = None;
        for master in &self.masters {
            match connect(&master.to_string(), &self.credentials).await {
                Ok(channel) => return Ok(channel),
                Err(error) => {
                    last = Some(match last {
                        Some(before) if weight(&before) > weight(&error) => before,
                        _ => error,
                    });
                }
            }
        }
        let error = last.unwrap_or_else(|| Error::invalid("a master URL without a master"));
        Err(match error.hint() {
            Some(_) => error,
            None => error
                .with_hint(format!("is the {0} running? anymaster {0} starts one", self.daemon)),
        })
    }
}

/// Makes a call on a connection, which is put back when it is answered.
async fn ask(mut open: Channel, call: &Request, back: &mut Option<Channel>) -> Result<Reply> {
    open.send(call).await?;
    let reply = open.expect().await?;
    *back = Some(open);
    Ok(reply)
}

/// Which of the errors of several masters says most: one that knows us will know who leads.
fn weight(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::NotLeader => 2,
        ErrorKind::Unauthenticated => 1,
        _ => 0,
    }
}

/// How often and for how long a call is tried again.
struct RetryPolicy {
    time: Duration,
    deadline: Instant,
    backoff: Backoff,
    has_said: bool,
}

impl RetryPolicy {
    fn new(masters: &[HostPort]) -> Self {
        let time = PATIENCE[usize::from(masters.len() > 1)];
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        Self { time, deadline: Instant::now() + time, backoff, has_said: false }
    }

    /// Waits before another try; or gives the error back, if it is final.
    async fn next(&mut self, error: Error) -> Result<()> {
        let may_help = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::NotLeader | ErrorKind::Timeout
        );
        if !may_help || Instant::now() + self.backoff.failed(None) > self.deadline {
            return Err(error);
        }
        if std::mem::replace(&mut self.has_said, true) {
            tracing::info!(%error, "trying again");
        } else {
            tracing::warn!("{error}; trying again for {} s", self.time.as_secs());
        }
        self.backoff.pause().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::AppId;
    use anymaster_net::{Admission, Connection, Tls};
    use tokio::net::TcpListener;

    use super::*;
    use crate::wire::{Arrival, Role, Secret, accept};

    /// Somebody with this secret, who leads or not.
    async fn master(secret: &'static str, leads: bool) -> HostPort {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let admission = Admission::of_process();
            while let Ok((stream, from)) = listener.accept().await {
                let admitted = admission.admit(from.ip()).unwrap().into();
                let stream = Connection { stream, admitted };
                // It is the caller whom the test asks.
                let _ = accept(stream, &Secret::new(Some(secret)), &Tls::default(), leads).await;
            }
        });
        HostPort { host: "127.0.0.1".to_owned(), port }
    }

    async fn connected(masters: &[&HostPort]) -> Result<Channel> {
        let secret = Secret::new(Some("ours"));
        let credentials = Credentials { role: Role::Client, secret, tls: Tls::default() };
        let masters = masters.iter().copied().cloned().collect();
        Link::new("master", masters, credentials).connect().await
    }

    /// The port of a master without a secret, and a link to it.
    async fn open_master() -> (TcpListener, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (secret, tls) = (Secret::default(), Tls::default());
        let credentials = Credentials { role: Role::Client, secret, tls };
        let masters = vec![HostPort { host: "127.0.0.1".to_owned(), port }];
        (listener, Link::new("master", masters, credentials))
    }

    /// The next connection, when its client has asked something.
    async fn asked(listener: &TcpListener) -> Channel {
        let (stream, from) = listener.accept().await.unwrap();
        let admitted = Admission::of_process().admit(from.ip()).unwrap().into();
        let connection = Connection { stream, admitted };
        let arrival = accept(connection, &Secret::default(), &Tls::default(), true).await;
        let Arrival::Known(_, mut channel) = arrival.unwrap() else { panic!("HTTP") };
        channel.expect::<Request>().await.unwrap();
        *channel
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_nobody_asked_is_replaced_without_a_word() {
        let (listener, link) = open_master().await;
        let call = Request::Diagnose { app: AppId::new("app").unwrap() };
        // It answers one call on each connection.
        let answering = tokio::spawn(async move {
            for _ in 0..2 {
                let mut channel = asked(&listener).await;
                channel.send(&Reply::Done).await.unwrap();
            }
        });
        let mut channel = None;
        for _ in 0..2 {
            // No pause, and no warning: these are for masters that cannot be reached.
            let reply = link.once(&mut channel, &call).await.unwrap();
            assert!(matches!(reply, Reply::Done));
        }
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_does_not_wait_for_one_that_is_not_answered() {
        let (listener, link) = open_master().await;
        let call = Request::Diagnose { app: AppId::new("app").unwrap() };
        // It answers what it is asked second.
        let answering = tokio::spawn(async move {
            let mut silent = Vec::new();
            for number in 0..2 {
                let mut channel = asked(&listener).await;
                match number {
                    0 => silent.push(channel),
                    _ => channel.send(&Reply::Done).await.unwrap(),
                }
            }
            silent
        });
        let mut first = std::pin::pin!(link.call(&call));
        let second = async {
            // When the first one has its connection.
            tokio::task::yield_now().await;
            link.call(&call).await
        };
        tokio::select! {
            biased;
            answered = &mut first => panic!("{answered:?}"),
            answered = second => assert!(matches!(answered.unwrap(), Reply::Done)),
        }
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_master_that_was_started_wrongly_does_not_hide_the_others() {
        let [wrong, leads, waits] =
            [master("theirs", true).await, master("ours", true).await, master("ours", false).await];
        assert!(connected(&[&wrong, &leads]).await.is_ok());
        let kind = async |masters: &[&HostPort]| connected(masters).await.err().unwrap().kind();
        assert_eq!(kind(&[&wrong]).await, ErrorKind::Unauthenticated);
        assert_eq!(kind(&[&waits, &wrong]).await, ErrorKind::NotLeader);
        assert_eq!(kind(&[&wrong, &waits]).await, ErrorKind::NotLeader);
        let gone = HostPort { host: "127.0.0.1".to_owned(), port: 1 };
        assert_eq!(kind(&[&wrong, &gone]).await, ErrorKind::Unauthenticated);
    }
}
