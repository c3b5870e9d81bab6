//! One watch on the API server for all those in a process who want to know the same.

use std::collections::VecDeque;
use std::sync::Arc;

use anymaster_core::model::{Cursor, Event};
use anymaster_core::{Error, EventStream, Result};
use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{Known, Watch, Watched};

/// How many events a listener may be behind. One that is further behind begins anew, with the state
/// as it is.
const BACKLOG: usize = 4_096;
/// How many listeners may wait to be let in; more wait for that.
const QUEUE: usize = 16;

/// A watch with listeners. It ends when nobody listens and nobody has it any more.
#[derive(Debug)]
pub(crate) struct Feed {
    requests: mpsc::Sender<oneshot::Sender<Result<Admission>>>,
    task: AbortHandle,
}

/// The state as it is, and what follows it.
struct Admission {
    state: VecDeque<Event>,
    events: broadcast::Receiver<Result<Event>>,
}

impl Feed {
    pub(crate) fn open(watched: Watched, known: Known) -> Arc<Self> {
        let (requests, wanted) = mpsc::channel(QUEUE);
        let task = tokio::spawn(pump(Watch::new(watched, known), wanted)).abort_handle();
        Arc::new(Self { requests, task })
    }

    /// Whether it is of no use any more: its watch has failed for good.
    pub(crate) fn is_over(&self) -> bool {
        self.requests.is_closed()
    }

    /// The state as it is, and whatever happens from then on.
    pub(crate) async fn listen(self: Arc<Self>) -> Result<EventStream> {
        let admission = self.admit().await?;
        Ok(stream::unfold(Some((self, admission)), |listener| async move {
            let (feed, mut admission) = listener?;
            match feed.next(&mut admission).await? {
                Ok(event) => Some((Ok(event), Some((feed, admission)))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    async fn next(&self, admission: &mut Admission) -> Option<Result<Event>> {
        loop {
            if let Some(event) = admission.state.pop_front() {
                return Some(Ok(event));
            }
            match admission.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => match self.admit().await {
                    Ok(anew) => *admission = anew,
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }

    async fn admit(&self) -> Result<Admission> {
        let over = || Error::unavailable("the watch on pods has ended");
        let (reply, admission) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| over())?;
        admission.await.map_err(|_| over())?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what happens, and lets listeners in when the state is whole.
async fn pump(mut watch: Watch, mut wanted: mpsc::Receiver<oneshot::Sender<Result<Admission>>>) {
    let events = broadcast::Sender::new(BACKLOG);
    loop {
        while let Some(event) = watch.ready.pop_front() {
            // An error: nobody listens yet.
            let _ = events.send(Ok(event));
        }
        let error = tokio::select! {
            // Lists, and the opening of a watch, are not broken off by those who come.
            Some(reply) = wanted.recv(), if watch.changes.is_some() => {
                let mut state: VecDeque<_> = watch.known.again().into();
                state.push_back(Event::Synced(Cursor(watch.place.clone().unwrap_or_default())));
                // An error: they have lost interest.
                let _ = reply.send(Ok(Admission { state, events: events.subscribe() }));
                None
            }
            error = watch.advance() => error,
        };
        if let Some(error) = error {
            wanted.close();
            while let Some(reply) = wanted.recv().await {
                let _ = reply.send(Err(error.clone()));
            }
            let _ = events.send(Err(error));
            return;
        }
    }
}
