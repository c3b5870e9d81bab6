//! Keeps a framework subscribed: finds the leading master, subscribes, hears heartbeats, begins again
//! whenever a connection or a master is gone, and asks after each time what has become of its tasks.

use std::fmt;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
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

/// How many events wait for who takes them; the master's stream is not read on meanwhile.
const WAITING: usize = 64;
/// How long an answer to a call may take, and the beginning of a subscription.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before another attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many heartbeats may be missed.
const MISSED: f64 = 2.5;
/// How often one master may send us on to another.
const REDIRECTS: usize = 5;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Which connection a call belongs to.
const STREAM_ID: &str = "Mesos-Stream-Id";

/// What a framework hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// It is subscribed, at this master; all offers from before are void. What has become of its tasks is
    /// asked, and comes as [`Event::Update`]s without a `uuid`.
    Subscribed {
        /// Its id: the same one again, unless it is new.
        framework: Id,
        /// Where the master is.
        master: HostPort,
    },
    /// It is not, for now: it is being tried. All offers are void.
    Disconnected {
        /// In words.
        why: String,
    },
    /// Offers to take or to decline.
    Offers(Vec<Offer>),
    /// An offer is void.
    Rescinded(Id),
    /// Something has become of a task. To be [acknowledged](Scheduler::acknowledge) when it is safe.
    Update(TaskStatus),
    /// An agent is gone, if no executor is named.
    Failure {
        /// The agent.
        agent: Option<Id>,
        /// Its executor that is gone.
        executor: Option<Id>,
    },
    /// The master refuses this framework for good; nothing follows.
    Over(Error),
}

/// A framework.
#[derive(Debug, Clone)]
pub struct Options {
    /// The masters.
    pub master: MesosMaster,
    /// Who it is. With an id, it takes the place of the scheduler that has it.
    pub framework: FrameworkInfo,
    /// How it is known.
    pub credentials: Option<Credentials>,
}

/// A scheduler's side of its framework; without it, nobody is subscribed any more, and what runs goes on
/// for the framework's `failover_timeout`.
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

/// A connection on which calls can be made.
#[derive(Debug, Clone, PartialEq)]
struct Subscription {
    framework: Id,
    master: HostPort,
    stream: String,
}

impl Scheduler {
    /// Subscribes, and keeps at it. What is heard comes out of the receiver.
    ///
    /// # Errors
    /// If there can be no HTTP client.
    pub fn start(options: Options) -> Result<(Self, mpsc::Receiver<Event>)> {
        let http = Http::new(options.credentials)?;
        let (events, heard) = mpsc::channel(WAITING);
        let (current, now) = watch::channel(None);
        let keeper = Keeper {
            http: http.clone(),
            leader: Leader::new(options.master),
            framework: options.framework,
            events,
            current,
        };
        let keeping = tokio::spawn(keeper.keep()).abort_handle();
        Ok((Self { http, now, keeping }, heard))
    }

    /// The framework's id, once it has one.
    pub fn framework(&self) -> Option<Id> {
        self.now.borrow().as_ref().map(|now| now.framework.clone())
    }

    /// Says something to the master. What it is about may be void by then: the events say.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) while the framework is not subscribed, and if the master
    /// does not answer; [`InvalidSpec`](ErrorKind::InvalidSpec) if it does not understand.
    pub async fn call(&self, call: &Call) -> Result<()> {
        let now = self.now.borrow().clone();
        let now = now.ok_or_else(|| {
            Error::unavailable("the framework is not subscribed to a Mesos master now")
        })?;
        self.http.call(&now, call).await
    }

    /// Tells the master that an update is safe with us; one that was only told again needs none.
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
        let client = crate::http::client(PATIENCE)?;
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
        let request = self.post(&now.master, body).header(STREAM_ID, &now.stream).timeout(PATIENCE);
        let response = request.send().await.map_err(|error| unreachable(&now.master, error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            _ => Err(refused(&now.master, response).await),
        }
    }

    /// Subscribes at a master, or at the one that it sends us to.
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
            let response = match tokio::time::timeout(PATIENCE, sending).await {
                Ok(response) => response.map_err(|error| unreachable(&master, error))?,
                Err(_) => {
                    let message = format!("Mesos master {master} does not answer");
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
            };
            if response.status() == StatusCode::TEMPORARY_REDIRECT {
                master = elsewhere(&response)?;
                continue;
            }
            return match response.status() {
                StatusCode::OK => Ok((master, response)),
                _ => Err(refused(&master, response).await),
            };
        }
        Err(Error::unavailable(format!(
            "Mesos masters send each other's frameworks round: {master}"
        )))
    }
}

/// Where a master that does not lead sends us: `//host:port/api/v1/scheduler`.
fn elsewhere(response: &Response) -> Result<HostPort> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let place = location.and_then(|location| location.split_once("//")).map(|(_, rest)| rest);
    let place = place.and_then(|rest| rest.split('/').next()?.rsplit_once(':'));
    match place.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => Ok(HostPort { host: host.to_owned(), port }),
        None => Err(Error::protocol("a Mesos master sends us elsewhere, and does not say where")),
    }
}

fn unreachable(master: &HostPort, error: reqwest::Error) -> Error {
    Error::unavailable(format!("cannot reach Mesos master {master}")).with_source(error)
}

/// What a master's refusal means.
async fn refused(master: &HostPort, response: Response) -> Error {
    let status = response.status();
    let said = response.text().await.unwrap_or_default();
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        // Of another connection than the present one, or of a framework that is gone.
        StatusCode::FORBIDDEN if said.contains("subscribed") => ErrorKind::Unavailable,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::SERVICE_UNAVAILABLE => ErrorKind::NotLeader,
        // It listens before it knows what to answer.
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

/// What keeps a framework subscribed.
struct Keeper {
    http: Http,
    leader: Leader,
    framework: FrameworkInfo,
    events: mpsc::Sender<Event>,
    current: watch::Sender<Option<Subscription>>,
}

/// Nobody takes events any more.
struct Unheard;

impl Keeper {
    /// Until nobody hears it any more, or the master does not want it.
    async fn keep(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let error = match self.once(&mut pause).await {
                Ok(Unheard) => return,
                Err(error) => error,
            };
            self.current.send_replace(None);
            let is_final = matches!(
                error.kind(),
                ErrorKind::Unauthenticated | ErrorKind::Denied | ErrorKind::InvalidSpec
            );
            if is_final {
                // An error: nobody hears it.
                let _ = self.events.send(Event::Over(error)).await;
                return;
            }
            tracing::info!("not subscribed: {error}");
            let why = error.to_string();
            if self.events.send(Event::Disconnected { why }).await.is_err() {
                return;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Subscribes, and hears the master until that ends.
    async fn once(&mut self, pause: &mut Duration) -> Result<Unheard> {
        let master = self.leader.find().await?;
        let (master, response) = self.http.subscribe(&master, &self.framework).await?;
        let stream = response.headers().get(STREAM_ID).and_then(|id| id.to_str().ok());
        let stream = stream.unwrap_or_default().to_owned();
        let bytes = response.bytes_stream().map_err(std::io::Error::other);
        let mut records = FramedRead::new(StreamReader::new(bytes), Records(RecordIo::default()));
        // Until it says how often it will be heard of.
        let mut silence = PATIENCE;
        loop {
            let record = match tokio::time::timeout(silence, records.next()).await {
                Ok(Some(record)) => record.map_err(|Failed(error)| error)?,
                Ok(None) => {
                    return Err(Error::unavailable(format!("Mesos master {master} hung up")));
                }
                Err(_) => {
                    return Err(Error::unavailable(format!(
                        "Mesos master {master} was silent for {:.0} s",
                        silence.as_secs_f64()
                    )));
                }
            };
            let message: Message = serde_json::from_slice(&record).map_err(|error| {
                Error::protocol(format!("Mesos master {master} says what is not understood"))
                    .with_source(error)
            })?;
            let event = match message {
                Message::Subscribed { subscribed } => {
                    let Subscribed { framework_id, heartbeat_interval_seconds } = subscribed;
                    if let Some(seconds) = heartbeat_interval_seconds {
                        silence = Duration::from_secs_f64((seconds * MISSED).clamp(1.0, 600.0));
                    }
                    *pause = PAUSES.0;
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
                        return Ok(Unheard);
                    }
                    // Updates may have been lost on the way to who was here before.
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
                return Ok(Unheard);
            }
        }
    }
}

/// [`RecordIo`] with the error that [`FramedRead`] needs.
struct Records(RecordIo);

/// An error of the stream or of what is in it.
struct Failed(Error);

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(Error::unavailable("the master's stream broke off").with_source(error))
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
