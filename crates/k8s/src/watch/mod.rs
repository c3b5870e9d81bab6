//! Watches pods and turns them into events of drivers and executors, with one watch on the API
//! server.
//!
//! A paged list, then a watch with bookmarks from its resource version. A watch that breaks off or
//! is silent for too long is reopened at the last resource version; one that has expired (410)
//! starts with a new list.

mod messages;
mod shared_informer;
mod status_cache;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use anymaster_core::model::{AppId, Cursor, Event};
use anymaster_core::{Backoff, Error, ErrorKind, EventStream, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchParams};

pub(crate) use self::shared_informer::SharedInformer;
pub(crate) use self::status_cache::StatusCache;
use self::wire::Change;
use crate::api_call;
use crate::config::Connection;
use crate::error::translate;
use crate::pods::{APP_LABEL, ROLE_LABEL};

/// How many consecutive 401 or 403 responses are retried: a rotated token is read again within a
/// minute, and the back-off grows to some seconds.
const MAX_AUTH_FAILURES: u32 = 12;

/// The idle timeout minus the server-side timeout of a watch.
const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// The least idle timeout.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// The label selector of drivers and executors, of one application or of all.
pub(crate) fn selector(app: Option<&AppId>, drivers_only: bool) -> String {
    let roles = if drivers_only { "driver" } else { "driver,executor" };
    match app {
        Some(app) => format!("{APP_LABEL}={app},{ROLE_LABEL} in ({roles})"),
        None => format!("{ROLE_LABEL} in ({roles})"),
    }
}

/// The label selector of the executors of one application.
pub(crate) fn executors(app: &AppId) -> String {
    format!("{APP_LABEL}={app},{ROLE_LABEL}=executor")
}

/// What to watch, and how.
pub(crate) struct WatchSpec {
    pub(crate) connection: Connection,
    pub(crate) api: Api<Pod>,
    pub(crate) selector: String,
    /// How long a watch may be silent before it is reopened.
    pub(crate) idle_timeout: Duration,
}

impl WatchSpec {
    /// Opens a watch that survives interruptions; an error that cannot be retried ends the stream.
    ///
    /// Returns when the initial state is complete: every later change is in the stream.
    pub(crate) async fn open(self, cache: StatusCache) -> Result<EventStream> {
        let mut watch = Watch::new(self, cache);
        let mut state = Vec::new();
        while let Some(event) = watch.next().await {
            let event = event?;
            let is_synced = matches!(event, Event::Synced(_));
            state.push(Ok(event));
            if is_synced {
                break;
            }
        }
        Ok(stream::iter(state).chain(watch.stream()).boxed())
    }

    /// Resumes from a cursor, if it is a resource version; the API server keeps these for some
    /// minutes.
    pub(crate) fn resume(self, cache: StatusCache, from: &Cursor) -> Option<EventStream> {
        let is_resource_version =
            !from.0.is_empty() && from.0.bytes().all(|byte| byte.is_ascii_digit());
        is_resource_version.then(|| {
            let mut watch = Watch::new(self, cache);
            watch.resource_version = Some(from.0.clone());
            watch.ready.push_back(Event::Synced(from.clone()));
            watch.stream()
        })
    }
}

/// The same events, or `NotFound` if the initial state has nothing of the application.
pub(crate) async fn require_existing(app: &AppId, mut events: EventStream) -> Result<EventStream> {
    let mut state = Vec::new();
    while let Some(event) = events.next().await {
        let is_synced = matches!(event, Ok(Event::Synced(_)) | Err(_));
        state.push(event);
        if is_synced {
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
    spec: WatchSpec,
    cache: StatusCache,
    ready: VecDeque<Event>,
    /// The last resource version seen; without it, a list is next.
    resource_version: Option<String>,
    changes: Option<Changes>,
    backoff: Backoff,
    auth_failures: u32,
    has_failed: bool,
}

impl Watch {
    fn new(mut spec: WatchSpec, cache: StatusCache) -> Self {
        spec.idle_timeout = spec.idle_timeout.max(MIN_IDLE_TIMEOUT);
        Self {
            spec,
            cache,
            ready: VecDeque::new(),
            resource_version: None,
            changes: None,
            backoff: api_call::backoff(),
            auth_failures: 0,
            has_failed: false,
        }
    }

    fn stream(self) -> EventStream {
        stream::unfold(self, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        })
        .boxed()
    }

    /// The next event; `None` after an error.
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.has_failed {
                return None;
            }
            if let Some(error) = self.advance().await {
                self.has_failed = true;
                return Some(Err(error));
            }
        }
    }

    /// Makes one step towards the next events. Returns the error that ends the watch, if any.
    async fn advance(&mut self) -> Option<Error> {
        let error = self.step().await.err()?;
        self.check(error)
    }

    async fn step(&mut self) -> Result<(), kube::Error> {
        let Some(resource_version) = self.resource_version.clone() else {
            return self.list().await;
        };
        let Some(changes) = &mut self.changes else {
            self.backoff.pause().await;
            let seconds = self.spec.idle_timeout.saturating_sub(IDLE_MARGIN).as_secs();
            let params = WatchParams::default()
                .labels(&self.spec.selector)
                .timeout(u32::try_from(seconds.min(290)).unwrap_or(290));
            let WatchSpec { connection, api, .. } = &self.spec;
            let opened =
                wire::watch(&connection.client, api.resource_url(), &params, &resource_version);
            let changes = tokio::time::timeout(self.spec.connection.timeout, opened)
                .await
                .map_err(|_| kube::Error::Service("the API server does not respond".into()))??;
            self.changes = Some(changes);
            return Ok(());
        };
        match tokio::time::timeout(self.spec.idle_timeout, changes.next()).await {
            Ok(Some(Ok(change))) => {
                self.apply(change);
                Ok(())
            }
            Ok(Some(Err(error))) => {
                self.changes = None;
                Err(error)
            }
            // The server ends watches regularly.
            Ok(None) => {
                self.changes = None;
                Ok(())
            }
            Err(_) => {
                tracing::info!("the watch on pods is silent and is reopened");
                self.changes = None;
                Ok(())
            }
        }
    }

    async fn list(&mut self) -> Result<(), kube::Error> {
        self.backoff.pause().await;
        let WatchSpec { api, selector, connection, .. } = &self.spec;
        let mut params = ListParams::default().labels(selector).limit(500);
        self.cache.begin_list();
        let mut events = vec![Event::Restarted];
        let resource_version = loop {
            let page = wire::list(&connection.client, api.resource_url(), &params);
            let page = tokio::time::timeout(connection.timeout, page)
                .await
                .map_err(|_| kube::Error::Service("the API server does not respond".into()))??;
            for pod in page.pods {
                self.cache.list_item(&pod, &mut events);
            }
            match page.continue_token {
                Some(token) => params.continue_token = Some(token),
                None => break page.resource_version,
            }
        };
        self.cache.end_list(&mut events);
        self.ready.extend(events);
        self.ready.push_back(Event::Synced(Cursor(resource_version.clone())));
        self.resource_version = Some(resource_version);
        self.backoff.reset();
        self.auth_failures = 0;
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        self.backoff.reset();
        self.auth_failures = 0;
        let mut events = Vec::new();
        let resource_version = match change {
            Change::Applied(pod) => {
                self.cache.apply_pod(&pod, &mut events);
                pod.metadata.resource_version
            }
            Change::Deleted(pod) => {
                self.cache.apply_deletion(&pod, &mut events);
                pod.metadata.resource_version
            }
            Change::Bookmark(resource_version) => Some(resource_version),
        };
        self.resource_version = resource_version.or(self.resource_version.take());
        if !events.is_empty() {
            self.ready.extend(events);
            self.ready.push_back(Event::Synced(Cursor(
                self.resource_version.clone().unwrap_or_default(),
            )));
        }
    }

    /// The error that ends the watch, or `None` if it is retried.
    fn check(&mut self, error: kube::Error) -> Option<Error> {
        let is_expired = matches!(&error, kube::Error::Api(status) if status.code == 410);
        let error = translate("watch pods", error);
        let is_auth_failure =
            matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied);
        self.auth_failures = if is_auth_failure { self.auth_failures + 1 } else { 0 };
        if is_expired {
            self.resource_version = None;
        }
        // The first response counts; later ones may come while tokens or roles are being changed.
        let has_synced = self.cache.has_synced();
        let is_protocol_error = error.kind() == ErrorKind::Protocol && !is_expired;
        if is_auth_failure && self.auth_failures >= MAX_AUTH_FAILURES
            || !has_synced && (is_auth_failure || is_protocol_error)
        {
            return Some(error);
        }
        tracing::info!(%error, "retrying the watch");
        self.backoff.failed(error.retry_after());
        None
    }
}
