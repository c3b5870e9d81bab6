//! Whether this master leads: it takes over what is stored, and stops when another leads.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_engine::{Engine, Settings};
use tokio::sync::watch;

use super::agent_access::AgentAccess;
use super::election::{Election, Term};
use super::shared::{Clock, Shared};
use super::store::Store;

/// The pause before leading is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A daemon, and where it is reached.
#[derive(Debug)]
pub(super) struct Daemon {
    /// The master URL.
    pub(super) master: String,
    /// Where it listens: `HOST:PORT`.
    pub(super) address: String,
    /// The URL of Spark's submission protocol.
    pub(super) rest: Option<String>,
    /// The URL of the page.
    pub(super) web: String,
    /// The agents, if it schedules on offers.
    pub(super) agents: Option<Arc<dyn AgentAccess>>,
    /// What the engine is told.
    pub(super) settings: Settings,
}

impl Daemon {
    /// Whether it is a dispatcher for agents, and not a master of workers.
    pub(super) fn is_dispatcher(&self) -> bool {
        self.agents.is_some()
    }
}

/// Where the engine of the master that leads is found, by those who serve its connections.
#[derive(Debug)]
pub(super) struct Leadership {
    leading: watch::Sender<Option<Arc<Shared>>>,
    daemon: Daemon,
}

impl Leadership {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self { leading: watch::Sender::new(None), daemon }
    }

    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The engine, if this master leads it.
    pub(super) fn leading(&self) -> Option<Arc<Shared>> {
        self.leading.borrow().clone()
    }

    /// As [`leading`](Self::leading), in words if it does not.
    pub(super) fn lead(&self) -> Result<Arc<Shared>> {
        self.leading().ok_or_else(|| {
            Error::new(ErrorKind::NotLeader, "Current state is not alive: STANDBY.")
                .with_hint("ask the master that leads")
        })
    }

    /// Changes with who leads.
    pub(super) fn changes(&self) -> watch::Receiver<Option<Arc<Shared>>> {
        self.leading.subscribe()
    }

    /// Serves somebody for as long as this master leads.
    pub(super) async fn while_leading(
        &self,
        shared: &Arc<Shared>,
        serving: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut changes = self.changes();
        let is_other =
            |now: &Option<Arc<Shared>>| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, shared));
        tokio::select! {
            served = serving => served,
            // An error: the daemon ends.
            _ = changes.wait_for(is_other) => Ok(()),
        }
    }

    /// Begins to lead, with what is stored.
    async fn assume(&self, term: &Term) -> Result<Arc<Shared>> {
        let mut settings = self.daemon.settings.clone();
        settings.max_record = term.store.as_ref().map_or(usize::MAX, |store| store.max_record());
        let clock = Clock::start();
        let mut engine = Engine::new(settings, rand::random(), clock.now());
        if let Some(store) = &term.store {
            engine.persist();
            let records = store.load().await?;
            engine.at(clock.now()).recover(records)?;
        }
        let shared = Arc::new(Shared::new(engine, clock, term.store.clone()));
        self.leading.send_replace(Some(Arc::clone(&shared)));
        Ok(shared)
    }

    /// Begins to lead as the only master there is.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub(super) async fn assume_alone(&self, store: Option<Arc<dyn Store>>) -> Result<Arc<Shared>> {
        self.assume(&Term::alone(store)).await
    }

    /// Leads whenever this master is elected; returns why that cannot go on.
    pub(super) async fn run(&self, election: &Election) -> Error {
        if let Some(shared) = self.leading() {
            // Alone.
            shared.run().await;
        }
        loop {
            let term = match election.win().await {
                Ok(term) => term,
                Err(error) => return error,
            };
            let shared = match self.assume(&term).await {
                Ok(shared) => shared,
                // What is kept there will not change by itself.
                Err(error) if !error.kind().is_retryable() => return error,
                Err(error) => {
                    tracing::warn!("cannot lead: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            tracing::info!("I have been elected leader! New state: ALIVE");
            tokio::select! {
                () = shared.run() => {}
                why = term.lost() => tracing::error!("Leadership has been revoked: {why}"),
            }
            self.leading.send_replace(None);
        }
    }
}
