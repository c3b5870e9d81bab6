//! Tells what happens to drivers and executors: one watch on the API server, however many there are.

use std::collections::HashMap;

use anymaster_core::model::{AppId, Cursor, Event, Status};
use anymaster_core::{Error, EventStream, Result};
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Api, ResourceExt as _};

use crate::driver::{APP_LABEL, ROLE_LABEL};
use crate::error::translate;
use crate::pod;

/// How often in a row the API server may not know us: a token that was replaced is read again within
/// a minute, and pauses grow to half a minute.
const MAX_REFUSALS: u32 = 8;

/// The pods of one application, or of all.
pub(crate) fn selector(app: Option<&AppId>, drivers_only: bool) -> String {
    let roles = if drivers_only { "driver" } else { "driver,executor" };
    match app {
        Some(app) => format!("{APP_LABEL}={app},{ROLE_LABEL} in ({roles})"),
        None => format!("{ROLE_LABEL} in ({roles})"),
    }
}

/// Watches pods. Interruptions are mended here; what cannot be ends the stream.
///
/// Returns when the state as it is has come in: whatever happens from then on is told.
pub(crate) async fn watch(api: Api<Pod>, selector: &str) -> Result<EventStream> {
    let mut changes = changes(api, selector);
    let mut state = Vec::new();
    while let Some(event) = changes.next().await {
        let event = event?;
        let is_whole = matches!(event, Event::Synced(_));
        state.push(Ok(event));
        if is_whole {
            break;
        }
    }
    Ok(stream::iter(state).chain(changes).boxed())
}

fn changes(api: Api<Pod>, selector: &str) -> EventStream {
    let config = Config::default().labels(selector);
    let pods = watcher(api, config).default_backoff();
    let changes =
        stream::unfold((Box::pin(pods), Known::default()), |(mut pods, mut known)| async move {
            let events = loop {
                match pods.next().await? {
                    Ok(event) => {
                        known.refusals = 0;
                        break known.take_in(event).into_iter().map(Ok).collect::<Vec<_>>();
                    }
                    Err(error) => {
                        if let Some(error) = known.check(error) {
                            break vec![Err(error)];
                        }
                    }
                }
            };
            Some((stream::iter(events), (pods, known)))
        });
    let mut failed = false;
    changes
        .flatten()
        .take_while(move |event| {
            let go_on = !failed;
            failed |= event.is_err();
            futures::future::ready(go_on)
        })
        .boxed()
}

/// What was told so far, by the pods' uids.
#[derive(Default)]
struct Known {
    live: HashMap<String, Status>,
    /// Those of the list that is coming in.
    listed: Option<HashMap<String, Status>>,
    refusals: u32,
}

impl Known {
    fn take_in(&mut self, event: watcher::Event<Pod>) -> Vec<Event> {
        match event {
            watcher::Event::Init => {
                self.listed = Some(HashMap::new());
                vec![Event::Restarted]
            }
            watcher::Event::InitApply(pod) => {
                let Some(status) = pod::status(&pod) else { return Vec::new() };
                let uid = pod.uid().unwrap_or_default();
                self.listed.get_or_insert_default().insert(uid, status.clone());
                vec![Event::Changed(status)]
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let before = std::mem::take(&mut self.live);
                // What was there and is no more has gone while nobody looked.
                let gone = before.into_iter().filter(|(uid, _)| !listed.contains_key(uid));
                let mut events: Vec<_> = gone
                    .map(|(_, status)| Event::Changed(pod::gone(status, Timestamp::now())))
                    .collect();
                self.live = listed.into_iter().filter(|(_, status)| !is_over(status)).collect();
                events.push(synced());
                events
            }
            watcher::Event::Apply(pod) => {
                let Some(status) = pod::status(&pod) else { return Vec::new() };
                let uid = pod.uid().unwrap_or_default();
                if self.live.get(&uid) == Some(&status) {
                    return Vec::new();
                }
                if is_over(&status) {
                    self.live.remove(&uid);
                } else {
                    self.live.insert(uid, status.clone());
                }
                vec![Event::Changed(status), synced()]
            }
            watcher::Event::Delete(pod) => {
                let uid = pod.uid().unwrap_or_default();
                // An end that was told already is not told again.
                let Some(_) = self.live.remove(&uid) else { return Vec::new() };
                let Some(status) = pod::status_when_gone(&pod, Timestamp::now()) else {
                    return Vec::new();
                };
                vec![Event::Changed(status), synced()]
            }
        }
    }

    /// An error to end with, or nothing if it is worth another try.
    fn check(&mut self, error: watcher::Error) -> Option<Error> {
        let error = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error,
            watcher::Error::WatchError(status) => kube::Error::Api(status),
            watcher::Error::NoResourceVersion => {
                return Some(Error::protocol("the API server cannot watch pods"));
            }
        };
        let is_refusal = matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
            || matches!(error, kube::Error::Auth(_));
        self.refusals = if is_refusal { self.refusals + 1 } else { 0 };
        let error = translate("watch pods", error);
        // The first answer counts; later ones may come in the middle of a change of tokens or rules.
        let first = self.live.is_empty() && self.listed.is_none();
        if is_refusal && (first || self.refusals >= MAX_REFUSALS) {
            return Some(error);
        }
        tracing::info!(%error, "watching again");
        None
    }
}

fn is_over(status: &Status) -> bool {
    status.state().is_some_and(|state| state.is_ended())
}

/// A watch always begins anew: the API server forgets places within minutes.
fn synced() -> Event {
    Event::Synced(Cursor(String::new()))
}
