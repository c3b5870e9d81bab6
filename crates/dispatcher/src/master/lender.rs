//! Clusters that have no workers of their own: agents offer what they have, for as long as a pass takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, DriverSpec, ExecutorTemplate, ResourceProfile};
use anymaster_core::{LogOptions, LogStream, Result};

use async_trait::async_trait;
use tokio::sync::watch;

use super::amount::Amount;
use crate::wire::Task;

/// A process that is to be placed.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// A driver.
    Driver(&'a DriverSpec),
    /// An executor.
    Executor(&'a ResourceProfile, &'a ExecutorTemplate),
}

/// What one pass left of what an agent offers, and whether an application may use it.
#[derive(Debug, Clone, Copy)]
pub struct Leftover<'a> {
    /// The agent.
    pub agent: &'a str,
    /// What is left.
    pub free: &'a Amount,
    /// Executors of the application failed there too often.
    pub is_left_out: bool,
}

/// Knows offers and agents better than the cluster does.
#[async_trait]
pub trait Lender: fmt::Debug + Send + Sync + 'static {
    /// What a process takes of an offer.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) or
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for what can never be.
    fn need(&self, conf: &Conf, what: What<'_>) -> Result<Amount>;

    /// Whether an application may use what an agent offers in this pass, as far as that is no matter of
    /// how much.
    fn suits(&self, app: &AppId, conf: &Conf, agent: &str, is_driver: bool) -> bool;

    /// An application wants more than a pass had for it; what was left.
    fn unmet(
        &self,
        app: &AppId,
        conf: &Conf,
        need: &Amount,
        is_driver: bool,
        left: &[Leftover<'_>],
    );

    /// Why an application waits, in words, and what to do about it.
    fn why(&self, app: &AppId, need: &Amount) -> String;

    /// The place of a driver in the queue: the highest goes first, and of equals the oldest.
    fn priority(&self, conf: &Conf) -> f64;

    /// Where people find what a process left on its agent.
    fn sandbox(&self, agent: &str, app: &AppId, task: Task, attempt: u32) -> Option<String>;

    /// Where people find how a driver of Spark's went.
    fn history(&self, app: &AppId, attempt: u32) -> Option<String>;

    /// Nothing is left of an application.
    fn forget(&self, app: &AppId);

    /// The output of a process from its agent; `ended` turns to `true` when the process has.
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

/// How a cluster lives of offers.
#[derive(Debug, Clone)]
pub struct Lending {
    /// Who knows about them.
    pub lender: Arc<dyn Lender>,
    /// How many drivers there may be, waiting and running (`spark.mesos.maxDrivers`).
    pub max_drivers: usize,
    /// The longest pause before a supervised driver that failed is started again
    /// (`spark.mesos.cluster.retry.wait.max`).
    pub last_pause: Duration,
    /// How many drivers that ended are remembered (`spark.mesos.retainedDrivers`).
    pub retained: usize,
}

/// Whether offers are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Something waits for one.
    pub is_wanted: bool,
    /// How often something new has come to wait.
    pub times: u64,
}
