//! What a daemon that schedules on offers knows of agents besides offers.

use std::fmt;
use std::sync::Arc;

use anymaster_core::model::AppId;
use anymaster_core::{LogOptions, LogStream, Result};
use anymaster_engine::{OfferSettings, Task};
use async_trait::async_trait;
use tokio::sync::watch;

/// Access to what processes leave on agents.
#[async_trait]
pub trait AgentAccess: fmt::Debug + Send + Sync + 'static {
    /// The URL of what a process left on its agent.
    fn sandbox(&self, agent: &str, app: &AppId, task: Task, attempt: u32) -> Option<String>;

    /// The URL of the history of a Spark driver.
    fn history(&self, app: &AppId, attempt: u32) -> Option<String>;

    /// The output of a process from its agent; `ended` turns to `true` when the process has ended.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the agent cannot be asked.
    async fn output(
        &self,
        agent: &str,
        subject: (&AppId, Task, u32),
        options: &LogOptions,
        ended: watch::Receiver<bool>,
    ) -> Result<LogStream>;
}

/// How a daemon schedules on offers.
#[derive(Debug, Clone)]
pub struct Offers {
    /// Which offers suit whom.
    pub settings: OfferSettings,
    /// What processes leave on agents.
    pub agents: Arc<dyn AgentAccess>,
}
