//! Tells what happens to drivers and executors: one watch on the API server, however many there are.
//!
//! A list, page by page, and from there a watch with bookmarks; a watch that breaks off, that is silent
//! for longer than the server may be, or that expires, is begun again where it was, or by a list.

mod feed;
mod known;
mod messages;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use anymaster_core::model::{AppId, Cursor, Event};
use anymaster_core::{Error, ErrorKind, EventStream, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchParams};

pub(crate) use self::feed::Feed;
pub(crate) use self::known::Known;
use self::wire::Change;
use crate::call::Backoff;
use crate::config::Connection;
use crate::error::translate;
use crate::pods::{APP_LABEL, ROLE_LABEL};

/// How often in a row the API server may not know us: a token that was replaced is read again within
/// a minute, and pauses grow to some seconds.
const MAX_REFUSALS: u32 = 12;

/// How long the server may be silent beyond the time after which it ends a watch by itself.
const SLACK: Duration = Duration::from_secs(5);

/// A watch is begun again no sooner than this, however short the patience.
const LEAST_PATIENCE: Duration = Duration::from_secs(6);

/// The pods of one application, or of all.
pub(crate) fn selector(app: Option<&AppId>, drivers_only: bool) -> String {
    let roles = if drivers_only { "driver" } else { "driver,executor" };
    match app {
        Some(app) => format!("{APP_LABEL}={app},{ROLE_LABEL} in ({roles})"),
        None => format!("{ROLE_LABEL} in ({roles})"),
    }
}

/// The executors of one application.
pub(crate) fn executors(app: &AppId) -> String {
    format!("{APP_LABEL}={app},{ROLE_LABEL}=executor")
}

/// What is watched, and how.
pub(crate) struct Watched {
    pub(crate) connection: Connection,
    pub(crate) api: Api<Pod>,
    pub(crate) selector: String,
    /// How long a watch may be silent before it is taken for dead.
    pub(crate) patience: Duration,
}

impl Watched {
    /// Begins a watch. Interruptions are mended; what cannot be ends the stream.
    ///
    /// Returns when the state as it is has come in: whatever happens from then on is told.
    pub(crate) async fn open(self, known: Known) -> Result<EventStream> {
        let mut watch = Watch::new(self, known);
        let mut state = Vec::new();
        while let Some(event) = watch.next().await {
            let event = event?;
            let is_whole = matches!(event, Event::Synced(_));
            state.push(Ok(event));
            if is_whole {
                break;
            }
        }
        Ok(stream::iter(state).chain(watch.stream()).boxed())
    }

    /// Goes on from a place, if it is one; the API server knows places for some minutes.
    pub(crate) fn resume(self, known: Known, from: &Cursor) -> Option<EventStream> {
        let is_place = !from.0.is_empty() && from.0.bytes().all(|byte| byte.is_ascii_digit());
        is_place.then(|| {
            let mut watch = Watch::new(self, known);
            watch.place = Some(from.0.clone());
            watch.ready.push_back(Event::Synced(from.clone()));
            watch.stream()
        })
    }
}

/// The same events, unless nothing is known of the application.
pub(crate) async fn of_somebody(app: &AppId, mut events: EventStream) -> Result<EventStream> {
    let mut state = Vec::new();
    while let Some(event) = events.next().await {
        let is_whole = matches!(event, Ok(Event::Synced(_)) | Err(_));
        state.push(event);
        if is_whole {
            break;
        }
    }
    if !state.iter().any(|event| matches!(event, Ok(Event::Changed(_)) | Err(_))) {
        return Err(Error::not_found(format!("there is no application {app}")));
    }
    Ok(stream::iter(state).chain(events).boxed())
}

type Changes = BoxStream<'static, kube::Result<Change>>;

struct Watch {
    watched: Watched,
    known: Known,
    ready: VecDeque<Event>,
    /// Up to where all was seen; without it, a list is next.
    place: Option<String>,
    changes: Option<Changes>,
    backoff: Backoff,
    refusals: u32,
    is_broken: bool,
}

impl Watch {
    fn new(mut watched: Watched, known: Known) -> Self {
        watched.patience = watched.patience.max(LEAST_PATIENCE);
        Self {
            watched,
            known,
            ready: VecDeque::new(),
            place: None,
            changes: None,
            backoff: Backoff::default(),
            refusals: 0,
            is_broken: false,
        }
    }

    fn stream(self) -> EventStream {
        stream::unfold(self, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        })
        .boxed()
    }

    /// The next event. After an error there is none.
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_broken {
                return None;
            }
            if let Some(error) = self.advance().await {
                self.is_broken = true;
                return Some(Err(error));
            }
        }
    }

    /// One step towards the next events, or the error to end with.
    async fn advance(&mut self) -> Option<Error> {
        let error = self.step().await.err()?;
        self.check(error)
    }

    async fn step(&mut self) -> Result<(), kube::Error> {
        let Some(place) = self.place.clone() else { return self.list().await };
        let Some(changes) = &mut self.changes else {
            self.backoff.pause().await;
            let seconds = self.watched.patience.saturating_sub(SLACK).as_secs();
            let params = WatchParams::default()
                .labels(&self.watched.selector)
                .timeout(u32::try_from(seconds.min(290)).unwrap_or(290));
            let Watched { connection, api, .. } = &self.watched;
            let opened = wire::watch(&connection.client, api.resource_url(), &params, &place);
            let changes = tokio::time::timeout(self.watched.connection.timeout, opened)
                .await
                .map_err(|_| kube::Error::Service("the API server is silent".into()))??;
            self.changes = Some(changes);
            return Ok(());
        };
        match tokio::time::timeout(self.watched.patience, changes.next()).await {
            Ok(Some(Ok(change))) => {
                self.take_in(change);
                Ok(())
            }
            Ok(Some(Err(error))) => {
                self.changes = None;
                Err(error)
            }
            // The server ends a watch now and then.
            Ok(None) => {
                self.changes = None;
                Ok(())
            }
            Err(_) => {
                tracing::info!("the watch on pods is silent, and is begun again");
                self.changes = None;
                Ok(())
            }
        }
    }

    async fn list(&mut self) -> Result<(), kube::Error> {
        self.backoff.pause().await;
        let Watched { api, selector, connection, .. } = &self.watched;
        let mut params = ListParams::default().labels(selector).limit(500);
        self.known.restart();
        let mut events = vec![Event::Restarted];
        let place = loop {
            let page = wire::list(&connection.client, api.resource_url(), &params);
            let page = tokio::time::timeout(connection.timeout, page)
                .await
                .map_err(|_| kube::Error::Service("the API server is silent".into()))??;
            for pod in page.pods {
                self.known.listed(&pod, &mut events);
            }
            match page.more {
                Some(token) => params.continue_token = Some(token),
                None => break page.version,
            }
        };
        self.known.complete(&mut events);
        self.ready.extend(events);
        self.ready.push_back(Event::Synced(Cursor(place.clone())));
        self.place = Some(place);
        self.backoff.reset();
        self.refusals = 0;
        Ok(())
    }

    fn take_in(&mut self, change: Change) {
        self.backoff.reset();
        self.refusals = 0;
        let mut events = Vec::new();
        let place = match change {
            Change::Set(pod) => {
                self.known.changed(&pod, &mut events);
                pod.metadata.resource_version
            }
            Change::Deleted(pod) => {
                self.known.deleted(&pod, &mut events);
                pod.metadata.resource_version
            }
            Change::Bookmark(version) => Some(version),
        };
        self.place = place.or(self.place.take());
        if !events.is_empty() {
            self.ready.extend(events);
            self.ready.push_back(Event::Synced(Cursor(self.place.clone().unwrap_or_default())));
        }
    }

    /// An error to end with, or nothing if it is worth another try.
    fn check(&mut self, error: kube::Error) -> Option<Error> {
        let is_expired = matches!(&error, kube::Error::Api(status) if status.code == 410);
        let error = translate("watch pods", error);
        let is_refusal = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied);
        self.refusals = if is_refusal { self.refusals + 1 } else { 0 };
        if is_expired {
            self.place = None;
        }
        // The first answer counts; later ones may come in the middle of a change of tokens or rules.
        let is_begun = self.known.is_begun();
        let is_nonsense = error.kind() == ErrorKind::Protocol && !is_expired;
        if is_refusal && self.refusals >= MAX_REFUSALS || !is_begun && (is_refusal || is_nonsense) {
            return Some(error);
        }
        tracing::info!(%error, "watching again");
        self.backoff.failed(error.retry_after());
        None
    }
}
