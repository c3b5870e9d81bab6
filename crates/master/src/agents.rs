//! The agents of a cluster that schedules on offers, for the framework that receives these.

use std::sync::Arc;

use anymaster_core::Result;
use anymaster_core::model::{AppId, Outcome};
use anymaster_engine::{
    Amount, Demand, Engine, Order, Task, TaskReport, WorkerInfo, WorkerMessage,
};
use tokio::sync::{mpsc, watch};

use super::leadership::Leadership;
use super::routes::OrderQueue;
use super::shared::Shared;

/// An order, and the agent that is meant.
pub type AgentOrder = (Arc<str>, Order);

/// When this daemon leads.
#[derive(Debug, Clone)]
pub struct LeadershipWatch(pub(super) Arc<Leadership>);

impl LeadershipWatch {
    /// Waits until it leads; the agents of the cluster, and the orders for them.
    pub async fn next(&self) -> (Agents, mpsc::UnboundedReceiver<AgentOrder>) {
        let mut changes = self.0.changes();
        let shared = loop {
            if let Some(shared) = self.0.leading() {
                break shared;
            }
            // The sender is in `self`: it is not dropped meanwhile.
            let _ = changes.changed().await;
        };
        let (orders, queue) = mpsc::unbounded_channel();
        (Agents { leadership: Arc::clone(&self.0), shared, orders }, queue)
    }
}

/// The cluster's agents, for as long as this daemon leads it.
#[derive(Debug, Clone)]
pub struct Agents {
    leadership: Arc<Leadership>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<AgentOrder>,
}

impl Agents {
    /// Waits until this daemon does not lead any more.
    pub async fn over(&self) {
        // It never ends otherwise.
        let _ = self.leadership.while_leading(&self.shared, std::future::pending()).await;
    }

    /// Changes with whether offers are wanted.
    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.shared.demand()
    }

    /// Registers an agent, with the processes of ours that run there.
    pub fn register(&self, agent: WorkerInfo, reports: Vec<TaskReport>) {
        let queue = OrderQueue::Agents(agent.id.as_str().into(), self.orders.clone());
        self.shared.register(agent, reports, false, queue);
    }

    /// All that runs on agents has been reported.
    pub fn recovered(&self) {
        self.shared.change(Engine::agents_recovered);
        self.shared.set_timer();
    }

    /// The state of a process on an agent has changed. When this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn report(&self, agent: &str, report: TaskReport) -> Result<()> {
        self.commit(|engine| engine.on_worker_message(agent, WorkerMessage::Report(report))).await
    }

    /// A process can never be started, wherever it is placed. When this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn cannot_start(
        &self,
        agent: &str,
        app: &AppId,
        task: Task,
        outcome: Outcome,
    ) -> Result<()> {
        self.commit(|engine| engine.cannot_start(agent, app, task, outcome)).await
    }

    async fn commit(&self, change: impl FnOnce(&mut Engine)) -> Result<()> {
        let change = |engine: &mut Engine| {
            change(engine);
            Ok(())
        };
        self.shared.commit(change).await?;
        self.shared.set_timer();
        Ok(())
    }

    /// Runs a scheduling pass on what is offered: the orders are in the queue when this returns, and survive the
    /// daemon.
    ///
    /// # Errors
    /// If they cannot be stored: then there are orders nevertheless.
    pub async fn offer(&self, offers: Vec<(String, Amount)>) -> Result<()> {
        self.shared.offer(offers).await
    }

    /// How often the driver of an application was started again; `None` if it has ended, or is unknown.
    pub fn attempts(&self, app: &AppId) -> Option<u32> {
        self.shared.read(|engine| engine.attempts(app))
    }

    /// An agent makes no offers any more.
    pub fn forget(&self, agent: &str) {
        self.shared.change(|engine| engine.forget_agent(agent));
    }

    /// Stores what was reported and could not be stored; when this returns, that survives the daemon.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn flush(&self) -> Result<()> {
        self.shared.commit(|_| Ok(())).await
    }

    /// The record of this name.
    pub fn record(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.read(|engine| engine.extension(name).map(<[u8]>::to_vec))
    }

    /// Stores a record under this name.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn set_record(&self, name: &str, value: Vec<u8>) -> Result<()> {
        self.shared
            .commit(|engine| {
                engine.set_extension(name, value);
                Ok(())
            })
            .await
    }
}
