//! Whether this master leads: it takes its seat with what it knows, and leaves it when another leads.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::{Cluster, Policy};
use super::election::{Election, Term};
use super::shared::Shared;
use super::store::Store;

/// The pause before leading is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the master that leads is found, by those who serve its connections.
#[derive(Debug)]
pub(super) struct Seat {
    leading: watch::Sender<Option<Arc<Shared>>>,
    policy: Policy,
}

impl Seat {
    pub(super) fn new(policy: Policy) -> Self {
        Self { leading: watch::Sender::new(None), policy }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The cluster, if this master leads it.
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

    /// Takes the seat, with what is kept.
    async fn take(&self, term: &Term) -> Result<Arc<Shared>> {
        let mut policy = self.policy.clone();
        policy.max_record = term.store.as_ref().map_or(usize::MAX, |store| store.max_record());
        let mut cluster = Cluster::new(policy);
        if let Some(store) = &term.store {
            cluster.keep();
            cluster.recover(store.load().await?, Instant::now())?;
        }
        let shared = Arc::new(Shared::new(cluster, term.store.clone()));
        self.leading.send_replace(Some(Arc::clone(&shared)));
        Ok(shared)
    }

    /// Takes the seat of the only master there is.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub(super) async fn take_alone(&self, store: Option<Arc<dyn Store>>) -> Result<()> {
        self.take(&Term::alone(store)).await.map(|_| ())
    }

    /// Leads whenever it is this master's turn; says why that cannot go on.
    pub(super) async fn keep(&self, election: &Election) -> Error {
        if let Some(shared) = self.leading() {
            // Alone.
            shared.keep().await;
        }
        loop {
            let term = match election.win().await {
                Ok(term) => term,
                Err(error) => return error,
            };
            let shared = match self.take(&term).await {
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
                () = shared.keep() => {}
                why = term.lost() => tracing::error!("Leadership has been revoked: {why}"),
            }
            self.leading.send_replace(None);
        }
    }
}
