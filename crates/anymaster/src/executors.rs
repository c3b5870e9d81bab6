//! A live view of an application's executors: one watch feeds everyone who wants to know.

use std::fmt;

use futures::StreamExt as _;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::model::{
    AllocationPhase, AllocationStatus, AppId, Application, Applications, Event, ExecutorStatus,
    Status,
};
use crate::{ClusterManager, Error, EventStream, Result, WatchOptions};

/// How many changes a subscriber may be behind.
const BEHIND: usize = 4096;

/// What is known of an application's executors, kept up to date as long as this lives.
pub struct Executors {
    view: watch::Sender<View>,
    changes: broadcast::Sender<ExecutorStatus>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view.borrow();
        f.debug_struct("Executors")
            .field("alive", &view.alive())
            .field("running", &view.running())
            .field("allocation", &view.allocation)
            .field("broken", &view.broken)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct View {
    app: AppId,
    applications: Applications,
    /// What was said since a target was declared last: it stays when a watch begins anew.
    allocation: Option<AllocationStatus>,
    /// Why nothing more is heard.
    broken: Option<String>,
}

impl Executors {
    /// Follows the executors of `app`; returns when their present state is known.
    ///
    /// # Errors
    /// If they can't be watched.
    pub async fn follow(cluster: &dyn ClusterManager, app: &AppId) -> Result<Self> {
        let mut events = cluster.watch(&WatchOptions::of(app)).await?;
        let view = watch::Sender::new(View {
            app: app.clone(),
            applications: Applications::default(),
            allocation: None,
            broken: None,
        });
        let (changes, _) = broadcast::channel(BEHIND);
        loop {
            match events.next().await {
                None => return Err(Error::unavailable(format!("{app} can't be watched"))),
                Some(Err(error)) => return Err(error),
                Some(Ok(event)) => {
                    view.send_modify(|view| drop(view.observe(event)));
                    if view.borrow().applications.is_synced() {
                        break;
                    }
                }
            }
        }
        let task = tokio::spawn(feed(events, view.clone(), changes.clone()));
        Ok(Self { view, changes, task })
    }

    /// Those that are alive now, by their ids.
    pub fn alive(&self) -> Vec<ExecutorStatus> {
        let view = self.view.borrow();
        view.application().into_iter().flat_map(|it| it.executors.values().cloned()).collect()
    }

    /// How many run now.
    pub fn running(&self) -> u64 {
        self.view.borrow().running()
    }

    /// How far the cluster is on the way to the target, as it said last.
    pub fn allocation(&self) -> Option<AllocationStatus> {
        self.view.borrow().allocation.clone()
    }

    /// Every change from now on, each executor's end among them. Who is more than 4096 changes
    /// behind gets [`RecvError::Lagged`](broadcast::error::RecvError::Lagged) and finds the present
    /// state in [`alive`](Self::alive).
    pub fn changes(&self) -> broadcast::Receiver<ExecutorStatus> {
        self.changes.subscribe()
    }

    /// Waits until at least `executors` run.
    ///
    /// # Errors
    /// If the cluster gave the target up, with the reason, or can't be watched any more.
    pub async fn ready(&self, executors: u64) -> Result<()> {
        self.until(|view| {
            if view.running() >= executors {
                return Some(Ok(()));
            }
            view.given_up().map(Err)
        })
        .await
    }

    /// Waits until the cluster gives the target up, because too many executors failed, or can't be
    /// watched any more; says why.
    pub async fn given_up(&self) -> Error {
        match self.until(|view| view.given_up().map(Err)).await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Waits until none is alive.
    ///
    /// # Errors
    /// If the cluster can't be watched any more.
    pub async fn none_left(&self) -> Result<()> {
        self.until(|view| (view.alive() == 0).then_some(Ok(()))).await
    }

    async fn until(&self, mut done: impl FnMut(&View) -> Option<Result<()>>) -> Result<()> {
        let mut outcome = None;
        let mut view = self.view.subscribe();
        // The sender is in `self`: waiting can't fail.
        let _ = view
            .wait_for(|view| {
                let broken = || view.broken.as_ref().map(|why| Err(Error::unavailable(why)));
                let is_synced = view.applications.is_synced();
                outcome = if is_synced { done(view) } else { None }.or_else(broken);
                outcome.is_some()
            })
            .await;
        outcome.unwrap_or(Ok(()))
    }

    /// A target is about to be declared: what was said of the last one no longer counts.
    pub(crate) fn declared(&self) {
        self.view.send_modify(|view| view.allocation = None);
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn feed(
    mut events: EventStream,
    view: watch::Sender<View>,
    changes: broadcast::Sender<ExecutorStatus>,
) {
    let why = loop {
        match events.next().await {
            Some(Ok(event)) => {
                let mut changed = None;
                view.send_modify(|view| changed = view.observe(event));
                if let Some(status) = changed {
                    // Nobody listens: nobody needs to know.
                    let _ = changes.send(status);
                }
            }
            Some(Err(error)) => break error.to_string(),
            None => break "the cluster stopped telling about executors".to_owned(),
        }
    };
    tracing::warn!(%why, "executors are not followed any more");
    view.send_modify(|view| view.broken = Some(why));
}

impl View {
    fn application(&self) -> Option<&Application> {
        self.applications.get(&self.app)
    }

    fn running(&self) -> u64 {
        self.application().map_or(0, Application::running)
    }

    fn alive(&self) -> u64 {
        self.application().map_or(0, Application::alive)
    }

    fn given_up(&self) -> Option<Error> {
        match &self.allocation.as_ref()?.phase {
            AllocationPhase::GivenUp { why } => {
                Some(Error::unavailable(format!("no more executors are started: {why}")))
            }
            _ => None,
        }
    }

    /// Takes in an event; returns the executor that it is about.
    fn observe(&mut self, event: Event) -> Option<ExecutorStatus> {
        let changed = match &event {
            Event::Changed(Status::Executor(status)) => Some(status.clone()),
            Event::Changed(Status::Allocation(allocation)) => {
                self.allocation = Some(allocation.clone());
                None
            }
            _ => None,
        };
        self.applications.observe(event);
        changed
    }
}
