//! A scheduler driver for the v1 scheduler API: finds the leading master, subscribes, watches heartbeats,
//! resubscribes after failures of connections or masters, and reconciles all tasks after each subscription.

use std::fmt;
use std::time::Duration;

use anymaster_core::{Backoff, Error, ErrorKind, HostPort, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::codec::FramedRead;
use tokio_util::io::StreamReader;

use crate::credentials::Credentials;
use crate::leader::Leader;
use crate::master_url::MesosMaster;
use crate::model::{
    Acknowledge, Call, FrameworkInfo, Id, Message, Offer, Reconcile, Subscribed, TaskStatus,
};
use crate::recordio::RecordIo;

/// The capacity of the event channel; while it is full, the master's stream is not read.
const EVENT_CAPACITY: usize = 64;
/// The time-out of calls, and of the first event of a subscription.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause before another attempt to subscribe.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);
/// After how many heartbeat intervals without an event the connection counts as broken.
const MISSED: f64 = 2.5;
/// The largest number of redirects to other masters.
const REDIRECTS: usize = 5;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The header that identifies the subscription of a call.
const STREAM_ID: &str = "Mesos-Stream-Id";

/// An event for a framework.
#[derive(Debug, Clone)]
pub enum Event {
    /// The framework is subscribed; all earlier offers are invalid. Its tasks are being reconciled: their states
    /// follow as [`Event::Update`]s without a `uuid`.
    Subscribed {
        /// The framework id, which stays the same across subscriptions.
        framework: Id,
        /// The address of the master.
        master: HostPort,
    },
    /// The connection was lost and is being re-established. All offers are invalid.
    Disconnected {
        /// The reason.
        why: String,
    },
    /// Offers to accept or to decline.
    Offers(Vec<Offer>),
    /// An offer is not valid any more.
    Rescinded(Id),
    /// A status update of a task. To be [acknowledged](Scheduler::acknowledge) when it is durable.
    Update(TaskStatus),
    /// An executor was terminated or, if none is named, an agent was removed.
    Failure {
        /// The agent.
        agent: Option<Id>,
        /// The executor.
        executor: Option<Id>,
    },
    /// The master refuses the framework for good. This is the last event.
    Over(Error),
}

/// How to subscribe a framework.
#[derive(Debug, Clone)]
pub struct Options {
    /// The masters.
    pub master: MesosMaster,
    /// The framework. With an id, it takes over from the scheduler that is subscribed with it.
    pub framework: FrameworkInfo,
    /// Its credentials, if masters require authentication.
    pub credentials: Option<Credentials>,
}

/// The scheduler of a framework. Dropping it ends the subscription; tasks go on for the framework's
/// `failover_timeout`.
pub struct Scheduler {
    http: Http,
    now: watch::Receiver<Option<Subscription>>,
    keeping: AbortHandle,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("now", &*self.now.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// A subscription, for which calls can be made.
#[derive(Debug, Clone, PartialEq)]
struct Subscription {
    framework: Id,
    master: HostPort,
    stream: String,
}

impl Scheduler {
    /// Subscribes, and resubscribes after failures. Events arrive at the receiver.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn start(options: Options) -> Result<(Self, mpsc::Receiver<Event>)> {
        let http = Http::new(options.credentials)?;
        let (events, heard) = mpsc::channel(EVENT_CAPACITY);
        let (current, now) = watch::channel(None);
        let subscriber = Subscriber {
            http: http.clone(),
            leader: Leader::new(options.master),
            framework: options.framework,
            events,
            current,
        };
        let keeping = tokio::spawn(subscriber.run()).abort_handle();
        Ok((Self { http, now, keeping }, heard))
    }

    /// The framework's id, once it has one.
    pub fn framework(&self) -> Option<Id> {
        self.now.borrow().as_ref().map(|now| now.framework.clone())
    }

    /// Makes a call to the master. Success means that it was received; results arrive as events.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) while the framework is not subscribed, and if the master
    /// does not answer; [`InvalidSpec`](ErrorKind::InvalidSpec) if it refuses the call as malformed.
    pub async fn call(&self, call: &Call) -> Result<()> {
        let now = self.now.borrow().clone();
        let now = now.ok_or_else(|| {
            Error::unavailable("the framework is not subscribed to a Mesos master now")
        })?;
        self.http.call(&now, call).await
    }

    /// Acknowledges an update. Updates without a `uuid` need no acknowledgement.
    ///
    /// # Errors
    /// As [`call`](Self::call); the master will send it again.
    pub async fn acknowledge(&self, status: &TaskStatus) -> Result<()> {
        let (Some(uuid), Some(agent_id)) = (&status.uuid, &status.agent_id) else { return Ok(()) };
        let acknowledge = Acknowledge {
            agent_id: agent_id.clone(),
            task_id: status.task_id.clone(),
            uuid: uuid.clone(),
        };
        self.call(&Call::Acknowledge { acknowledge }).await
    }
}

/// Requests to masters.
#[derive(Clone)]
struct Http {
    client: Client,
    credentials: Option<Credentials>,
}

impl Http {
    fn new(credentials: Option<Credentials>) -> Result<Self> {
        let client = crate::http::client(TIMEOUT)?;
        Ok(Self { client, credentials })
    }

    fn post(&self, master: &HostPort, body: Vec<u8>) -> reqwest::RequestBuilder {
        let url = format!("http://{master}/api/v1/scheduler");
        let request = self.client.post(url).header(CONTENT_TYPE, JSON).header(ACCEPT, JSON);
        let request = match &self.credentials {
            Some(Credentials { principal, secret }) => {
                request.basic_auth(principal, secret.as_deref())
            }
            None => request,
        };
        request.body(body)
    }

    async fn call(&self, now: &Subscription, call: &Call) -> Result<()> {
        #[derive(Serialize)]
        struct WithId<'a> {
            framework_id: &'a Id,
            #[serde(flatten)]
            call: &'a Call,
        }
        let body = WithId { framework_id: &now.framework, call };
        let body = serde_json::to_vec(&body).map_err(|error| {
            Error::protocol("a call to Mesos cannot be written as JSON").with_source(error)
        })?;
        let request = self.post(&now.master, body).header(STREAM_ID, &now.stream).timeout(TIMEOUT);
        let response = request.send().await.map_err(|error| unreachable(&now.master, error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            _ => Err(refused(&now.master, response).await),
        }
    }

    /// Subscribes at a master, or at the one to which it redirects.
    async fn subscribe(
        &self,
        master: &HostPort,
        framework: &FrameworkInfo,
    ) -> Result<(HostPort, Response)> {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework}});
        if let Some(id) = &framework.id {
            call["framework_id"] = json!(id);
        }
        let body = serde_json::to_vec(&call).map_err(|error| {
            Error::protocol("a framework cannot be written as JSON").with_source(error)
        })?;
        let mut master = master.clone();
        for _ in 0..REDIRECTS {
            let sending = self.post(&master, body.clone()).send();
            let response = match tokio::time::timeout(TIMEOUT, sending).await {
                Ok(response) => response.map_err(|error| unreachable(&master, error))?,
                Err(_) => {
                    let message = format!("Mesos master {master} does not answer");
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
            };
            if response.status() == StatusCode::TEMPORARY_REDIRECT {
                master = redirect_target(&response)?;
                continue;
            }
            return match response.status() {
                StatusCode::OK => Ok((master, response)),
                _ => Err(refused(&master, response).await),
            };
        }
        Err(Error::unavailable(format!("too many redirects between Mesos masters: {master}")))
    }
}

/// The target of a redirect to the leading master: `//host:port/api/v1/scheduler`.
fn redirect_target(response: &Response) -> Result<HostPort> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let place = location.and_then(|location| location.split_once("//")).map(|(_, rest)| rest);
    let place = place.and_then(|rest| rest.split('/').next()?.rsplit_once(':'));
    match place.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => Ok(HostPort { host: host.to_owned(), port }),
        None => Err(Error::protocol("a Mesos master redirects without a location")),
    }
}

fn unreachable(master: &HostPort, error: reqwest::Error) -> Error {
    Error::unavailable(format!("cannot reach Mesos master {master}")).with_source(error)
}

/// The error for a response with an error status.
async fn refused(master: &HostPort, response: Response) -> Error {
    let status = response.status();
    let said = response.text().await.unwrap_or_default();
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        // The call is of an earlier subscription, or the framework is not subscribed.
        StatusCode::FORBIDDEN if said.contains("subscribed") => ErrorKind::Unavailable,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::SERVICE_UNAVAILABLE => ErrorKind::NotLeader,
        // A starting master listens before its routes are installed.
        StatusCode::NOT_FOUND => ErrorKind::Unavailable,
        status if status.is_client_error() => ErrorKind::InvalidSpec,
        _ => ErrorKind::Unavailable,
    };
    let said = said.trim();
    let error = Error::new(kind, format!("Mesos master {master} refuses: {said} ({status})"));
    match kind {
        ErrorKind::Unauthenticated => {
            error.with_hint("set spark.mesos.principal and spark.mesos.secret")
        }
        _ => error,
    }
}

/// The task that keeps a framework subscribed.
struct Subscriber {
    http: Http,
    leader: Leader,
    framework: FrameworkInfo,
    events: mpsc::Sender<Event>,
    current: watch::Sender<Option<Subscription>>,
}

/// The receiver of events was dropped.
struct ReceiverDropped;

impl Subscriber {
    /// Runs until the receiver is dropped or the master refuses the framework for good.
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let error = match self.once(&mut backoff).await {
                Ok(ReceiverDropped) => return,
                Err(error) => error,
            };
            self.current.send_replace(None);
            let is_final = matches!(
                error.kind(),
                ErrorKind::Unauthenticated | ErrorKind::Denied | ErrorKind::InvalidSpec
            );
            if is_final {
                // Fails only if the receiver was dropped.
                let _ = self.events.send(Event::Over(error)).await;
                return;
            }
            tracing::info!("not subscribed: {error}");
            let why = error.to_string();
            if self.events.send(Event::Disconnected { why }).await.is_err() {
                return;
            }
            backoff.failed(None);
            backoff.pause().await;
        }
    }

    /// Subscribes, and passes on events until the connection ends.
    async fn once(&mut self, backoff: &mut Backoff) -> Result<ReceiverDropped> {
        let master = self.leader.find().await?;
        let (master, response) = self.http.subscribe(&master, &self.framework).await?;
        let stream = response.headers().get(STREAM_ID).and_then(|id| id.to_str().ok());
        let stream = stream.unwrap_or_default().to_owned();
        let bytes = response.bytes_stream().map_err(std::io::Error::other);
        let mut records = FramedRead::new(StreamReader::new(bytes), Records(RecordIo::default()));
        // Until the master announces its heartbeat interval.
        let mut silence = TIMEOUT;
        loop {
            let record = match tokio::time::timeout(silence, records.next()).await {
                Ok(Some(record)) => record.map_err(|Failed(error)| error)?,
                Ok(None) => {
                    return Err(Error::unavailable(format!(
                        "Mesos master {master} closed the connection"
                    )));
                }
                Err(_) => {
                    return Err(Error::unavailable(format!(
                        "Mesos master {master} sent no heartbeat for {:.0} s",
                        silence.as_secs_f64()
                    )));
                }
            };
            let message: Message = serde_json::from_slice(&record).map_err(|error| {
                Error::protocol(format!("cannot parse an event of Mesos master {master}"))
                    .with_source(error)
            })?;
            let event = match message {
                Message::Subscribed { subscribed } => {
                    let Subscribed { framework_id, heartbeat_interval_seconds } = subscribed;
                    if let Some(seconds) = heartbeat_interval_seconds {
                        silence = Duration::from_secs_f64((seconds * MISSED).clamp(1.0, 600.0));
                    }
                    backoff.reset();
                    let now = Subscription {
                        framework: framework_id.clone(),
                        master: master.clone(),
                        stream: stream.clone(),
                    };
                    self.framework.id = Some(framework_id.clone());
                    self.current.send_replace(Some(now.clone()));
                    let subscribed =
                        Event::Subscribed { framework: framework_id, master: master.clone() };
                    if self.events.send(subscribed).await.is_err() {
                        return Ok(ReceiverDropped);
                    }
                    // Implicit reconciliation: updates to an earlier subscription may have been lost.
                    let all = Call::Reconcile { reconcile: Reconcile::default() };
                    self.http.call(&now, &all).await?;
                    continue;
                }
                Message::Offers { offers } => Event::Offers(offers.offers),
                Message::Rescind { rescind } => Event::Rescinded(rescind.offer_id),
                Message::Update { update } => Event::Update(update.status),
                Message::Failure { failure } => {
                    Event::Failure { agent: failure.agent_id, executor: failure.executor_id }
                }
                Message::Error { error } => {
                    // For example "Framework has been removed", or "Framework failed over".
                    return Err(Error::new(
                        ErrorKind::Denied,
                        format!("Mesos master {master}: {}", error.message),
                    ));
                }
                Message::Heartbeat | Message::Other => continue,
            };
            if self.events.send(event).await.is_err() {
                return Ok(ReceiverDropped);
            }
        }
    }
}

/// [`RecordIo`] with the error that [`FramedRead`] needs.
struct Records(RecordIo);

/// An error of the stream or of its content.
struct Failed(Error);

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(Error::unavailable("the master's stream was interrupted").with_source(error))
    }
}

impl tokio_util::codec::Decoder for Records {
    type Item = bytes::BytesMut;
    type Error = Failed;

    fn decode(
        &mut self,
        bytes: &mut bytes::BytesMut,
    ) -> std::result::Result<Option<Self::Item>, Failed> {
        self.0.decode(bytes).map_err(Failed)
    }

    fn decode_eof(
        &mut self,
        bytes: &mut bytes::BytesMut,
    ) -> std::result::Result<Option<Self::Item>, Failed> {
        self.0.decode_eof(bytes).map_err(Failed)
    }
}
