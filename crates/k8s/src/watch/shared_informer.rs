//! A shared informer: one watch on the API server for all subscribers in this process.

use std::collections::VecDeque;
use std::sync::Arc;

use anymaster_core::model::{Cursor, Event};
use anymaster_core::{Error, EventStream, Result};
use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{StatusCache, Watch, WatchSpec};

/// How many events a subscriber may lag. One that lags further restarts with the current state.
const BACKLOG: usize = 4_096;
/// How many subscriptions may be queued; further subscribers wait.
const QUEUE: usize = 16;

/// A watch with subscribers. It ends when all subscribers and handles are dropped.
#[derive(Debug)]
pub(crate) struct SharedInformer {
    requests: mpsc::Sender<oneshot::Sender<Result<Subscription>>>,
    task: AbortHandle,
}

/// The current state, and the events after it.
struct Subscription {
    state: VecDeque<Event>,
    events: broadcast::Receiver<Result<Event>>,
}

impl SharedInformer {
    pub(crate) fn open(spec: WatchSpec, cache: StatusCache) -> Arc<Self> {
        let (requests, subscribers) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(Watch::new(spec, cache), subscribers)).abort_handle();
        Arc::new(Self { requests, task })
    }

    /// Whether the watch has failed for good.
    pub(crate) fn is_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// The current state, followed by all later events.
    pub(crate) async fn subscribe(self: Arc<Self>) -> Result<EventStream> {
        let subscription = self.request_subscription().await?;
        Ok(stream::unfold(Some((self, subscription)), |subscriber| async move {
            let (informer, mut subscription) = subscriber?;
            match informer.next(&mut subscription).await? {
                Ok(event) => Some((Ok(event), Some((informer, subscription)))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    async fn next(&self, subscription: &mut Subscription) -> Option<Result<Event>> {
        loop {
            if let Some(event) = subscription.state.pop_front() {
                return Some(Ok(event));
            }
            match subscription.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => match self.request_subscription().await {
                    Ok(renewed) => *subscription = renewed,
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }

    async fn request_subscription(&self) -> Result<Subscription> {
        let closed = || Error::unavailable("the watch on pods has ended");
        let (reply, subscription) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| closed())?;
        subscription.await.map_err(|_| closed())?
    }
}

impl Drop for SharedInformer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Broadcasts events, and answers subscriptions while the state is complete.
async fn run(
    mut watch: Watch,
    mut subscribers: mpsc::Receiver<oneshot::Sender<Result<Subscription>>>,
) {
    let events = broadcast::Sender::new(BACKLOG);
    loop {
        while let Some(event) = watch.ready.pop_front() {
            // An error means that there are no subscribers.
            let _ = events.send(Ok(event));
        }
        let error = tokio::select! {
            // Subscriptions wait while the watch is listing or being opened.
            Some(reply) = subscribers.recv(), if watch.changes.is_some() => {
                let mut state: VecDeque<_> = watch.cache.replay().into();
                state.push_back(Event::Synced(Cursor(watch.resource_version.clone().unwrap_or_default())));
                // An error means that the subscriber is gone.
                let _ = reply.send(Ok(Subscription { state, events: events.subscribe() }));
                None
            }
            error = watch.advance() => error,
        };
        if let Some(error) = error {
            subscribers.close();
            while let Some(reply) = subscribers.recv().await {
                let _ = reply.send(Err(error.clone()));
            }
            let _ = events.send(Err(error));
            return;
        }
    }
}
