//! Offers, which last for one scheduling pass (Mesos).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, ResourceProfile};
use anymaster_core::{Error, ErrorKind, Result};

use super::{ProcessSpec, Supply, Words};
use crate::amount::Amount;
use crate::time::Instant;

/// The first pause before a driver is started again; each is twice as long as the one before.
const FIRST_PAUSE: u64 = 1;

/// What a pass has left of what an agent offers, and whether an application may use it.
#[derive(Debug, Clone, Copy)]
pub struct RemainingOffer<'a> {
    /// The agent.
    pub agent: &'a str,
    /// What is left.
    pub free: &'a Amount,
    /// Executors of the application failed there too often.
    pub is_excluded: bool,
}

/// Decides which offers suit which applications. It does no input or output.
pub trait OfferPolicy: fmt::Debug + Send + Sync + 'static {
    /// What a process takes of an offer.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) or
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for what can never be given.
    fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount>;

    /// Whether an application may use what an agent offers in this pass, apart from amounts.
    fn suits(&self, app: &AppId, conf: &Conf, agent: &str, is_driver: bool) -> bool;

    /// An application wants more than a pass had for it; what was left.
    fn unmet(
        &self,
        app: (&AppId, &Conf),
        need: &Amount,
        is_driver: bool,
        left: &[RemainingOffer<'_>],
        now: Instant,
    );

    /// Why an application waits, in words, and what to do about it.
    fn why(&self, app: &AppId, need: &Amount, now: Instant) -> String;

    /// The position of a driver in the queue: the highest goes first, and of equals the oldest.
    fn priority(&self, conf: &Conf) -> f64;

    /// Nothing is left of an application.
    fn forget(&self, app: &AppId);
}

/// How a cluster schedules on offers.
#[derive(Debug, Clone)]
pub struct OfferSettings {
    /// Which offers suit whom.
    pub policy: Arc<dyn OfferPolicy>,
    /// With how many drivers that were launched and have not ended no more are accepted (`spark.mesos.maxDrivers`;
    /// Spark 3.5, `MesosClusterScheduler.isQueueFull`). Those that are queued do not count.
    pub max_drivers: usize,
    /// The longest pause before a supervised driver that failed is started again
    /// (`spark.mesos.cluster.retry.wait.max`).
    pub max_retry_pause: Duration,
    /// How many drivers that ended are remembered (`spark.mesos.retainedDrivers`).
    pub retained: usize,
}

/// The offers of agents.
#[derive(Debug)]
pub(crate) struct Transient(pub(crate) OfferSettings);

impl Supply for Transient {
    fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
        self.0.policy.need(conf, process)
    }

    fn check_shape(&self, _: &str, _: &ResourceProfile) -> Result<()> {
        Ok(())
    }

    fn check_drivers(&self, assigned: usize) -> Result<()> {
        if assigned < self.0.max_drivers {
            return Ok(());
        }
        let message = format!(
            "Already reached maximum submission size: {} drivers are launched",
            self.0.max_drivers
        );
        Err(Error::new(ErrorKind::Quota, message)
            .with_hint("wait until some have ended, or raise spark.mesos.maxDrivers"))
    }

    fn lists_resources(&self) -> bool {
        false
    }

    fn lasts(&self) -> bool {
        false
    }

    fn confirms_drivers(&self) -> bool {
        false
    }

    fn restarts_drivers(&self) -> bool {
        false
    }

    fn reports_by_worker(&self) -> bool {
        false
    }

    fn priority(&self, conf: &Conf) -> f64 {
        self.0.policy.priority(conf)
    }

    fn suits(&self, app: &AppId, conf: &Conf, worker: &str, is_driver: bool) -> bool {
        self.0.policy.suits(app, conf, worker, is_driver)
    }

    fn unmet(
        &self,
        app: (&AppId, &Conf),
        need: &Amount,
        is_driver: bool,
        left: &[RemainingOffer<'_>],
        now: Instant,
    ) {
        self.0.policy.unmet(app, need, is_driver, left, now);
    }

    fn why(&self, app: &AppId, need: &Amount, now: Instant) -> Option<String> {
        Some(self.0.policy.why(app, need, now))
    }

    fn retry_pause(&self, attempt: u32) -> Option<Duration> {
        let doublings = attempt.saturating_sub(1);
        let pause = FIRST_PAUSE.checked_shl(doublings).unwrap_or(u64::MAX);
        Some(Duration::from_secs(pause).min(self.0.max_retry_pause))
    }

    fn forget(&self, app: &AppId) {
        self.0.policy.forget(app);
    }

    fn words(&self) -> Words {
        Words { worker: "agent", supply: "offers", remedy: None }
    }
}
