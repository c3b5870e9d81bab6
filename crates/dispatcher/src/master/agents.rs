//! The agents of a cluster that lives of offers, for who brings these.

use std::sync::Arc;

use anymaster_core::Result;
use anymaster_core::model::{AppId, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::amount::Amount;
use super::cluster::{Link, Messages};
use super::lender::Demand;
use super::seat::Seat;
use super::shared::Shared;
use crate::wire::{FromWorker, Held, Task, ToWorker, WorkerInfo};

/// What is to be done on an agent.
pub type Order = (Arc<str>, ToWorker);

/// When this daemon leads, and which cluster.
#[derive(Debug, Clone)]
pub struct Terms(pub(super) Arc<Seat>);

impl Terms {
    /// Waits until it leads.
    pub async fn next(&self) -> (Agents, mpsc::UnboundedReceiver<Order>) {
        let mut changes = self.0.changes();
        let shared = loop {
            if let Some(shared) = self.0.leading() {
                break shared;
            }
            // The sender is in `self`: there is no error to be had.
            let _ = changes.changed().await;
        };
        let (orders, queue) = mpsc::unbounded_channel();
        (Agents { seat: Arc::clone(&self.0), shared, orders }, queue)
    }
}

/// The cluster's agents, for as long as this daemon leads it.
#[derive(Debug, Clone)]
pub struct Agents {
    seat: Arc<Seat>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Agents {
    /// Waits until this daemon does not lead any more.
    pub async fn over(&self) {
        // It never ends otherwise.
        let _ = self.seat.while_leading(&self.shared, std::future::pending()).await;
    }

    /// Changes with whether offers are wanted.
    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.shared.read(|cluster| cluster.demand())
    }

    /// An agent, with what of ours runs there.
    pub fn register(&self, agent: WorkerInfo, held: Vec<Held>) {
        let messages = Messages::Shared(agent.id.as_str().into(), self.orders.clone());
        let link = Link { session: self.shared.new_session(), messages };
        self.shared.change(|cluster| cluster.register(agent, held, false, link, Instant::now()));
    }

    /// All of what runs has been told.
    pub fn restored(&self) {
        self.shared.change(|cluster| cluster.restored(Instant::now()));
        self.shared.set_clock();
    }

    /// Something has become of a process on an agent. When this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub async fn changed(&self, agent: &str, held: Held) -> Result<()> {
        let heard = FromWorker::Changed(held);
        self.shared
            .commit(|cluster| {
                cluster.heard(agent, heard, Instant::now());
                Ok(())
            })
            .await?;
        self.shared.set_clock();
        Ok(())
    }

    /// A process can never be started, wherever it is placed. When this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub async fn cannot_start(
        &self,
        agent: &str,
        app: &AppId,
        task: Task,
        outcome: Outcome,
    ) -> Result<()> {
        self.shared
            .commit(|cluster| {
                cluster.cannot_start(agent, app, task, outcome, Instant::now());
                Ok(())
            })
            .await?;
        self.shared.set_clock();
        Ok(())
    }

    /// Shares out what is offered: orders are in the queue when this returns, and survive the daemon.
    /// Whether there is anything that wants more.
    ///
    /// # Errors
    /// If it cannot be written down: then there are orders nevertheless.
    pub async fn offer(&self, offers: Vec<(String, Amount)>) -> Result<()> {
        self.shared.offer(offers).await
    }

    /// How often the driver of an application was started again; `None`: it has ended, or nobody knows it.
    pub fn attempts(&self, app: &AppId) -> Option<u32> {
        self.shared.read(|cluster| cluster.attempts(app))
    }

    /// An agent makes no offers any more.
    pub fn forget(&self, agent: &str) {
        self.shared.change(|cluster| cluster.forget_agent(agent));
    }

    /// Writes down what was told and could not be written; when this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub async fn written(&self) -> Result<()> {
        self.shared.commit(|_| Ok(())).await
    }

    /// Something that was kept under this name.
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.read(|cluster| cluster.beside(name).map(<[u8]>::to_vec))
    }

    /// Keeps something under this name.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub async fn keep(&self, name: &str, value: Vec<u8>) -> Result<()> {
        self.shared
            .commit(|cluster| {
                cluster.keep_beside(name, value);
                Ok(())
            })
            .await
    }
}
