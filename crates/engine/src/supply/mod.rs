//! Where resources come from. *Standing* supply are workers, which register and have what they have until they are
//! lost. *Transient* supply are offers (Mesos), which last for one scheduling pass. The engine asks one [`Supply`]
//! and does not know which kind it is.

mod standing;
mod transient;

use std::fmt;
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, DriverSpec, ExecutorTemplate, ResourceProfile};

pub(crate) use self::standing::Standing;
pub(crate) use self::transient::Transient;
pub use self::transient::{OfferPolicy, OfferSettings, RemainingOffer};
use crate::amount::Amount;
use crate::time::Instant;

/// A process that has to be placed.
#[derive(Debug, Clone, Copy)]
pub enum ProcessSpec<'a> {
    /// A driver.
    Driver(&'a DriverSpec),
    /// An executor.
    Executor(&'a ResourceProfile, &'a ExecutorTemplate),
}

impl<'a> ProcessSpec<'a> {
    /// Its resources.
    pub fn profile(self) -> &'a ResourceProfile {
        match self {
            Self::Driver(spec) => &spec.resources,
            Self::Executor(profile, _) => profile,
        }
    }
}

/// Whether offers are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Something waits for one.
    pub is_wanted: bool,
    /// How often something new has begun to wait.
    pub times: u64,
}

/// A kind of supply: what the engine has to know to schedule on it.
pub(crate) trait Supply: fmt::Debug + Send {
    /// What a process takes.
    ///
    /// # Errors
    /// For what can never be given.
    fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount>;

    /// Refuses shapes that no worker gives. `who`: the process, for people.
    fn check_shape(&self, who: &str, profile: &ResourceProfile) -> Result<()>;

    /// Refuses another submitted driver if too many were given to a worker and have not ended: `assigned` of them.
    fn check_drivers(&self, assigned: usize) -> Result<()>;

    /// Whether registered workers list all resources that they can give.
    fn lists_resources(&self) -> bool;

    /// Whether what is free stays free until it is given. If not, it is there for one pass only, for which it was
    /// offered.
    fn lasts(&self) -> bool;

    /// Whether a worker starts a driver only after it has got a confirmation.
    fn confirms_drivers(&self) -> bool;

    /// Whether workers start supervised drivers again that fail. If not, the engine places them again.
    fn restarts_drivers(&self) -> bool;

    /// Whether a worker that registers reports all its processes. If not, all agents are reported together, and
    /// whoever does that knows which applications they were told of.
    fn reports_by_worker(&self) -> bool;

    /// The position of a driver in the queue: the highest goes first, and of equals the oldest.
    fn priority(&self, conf: &Conf) -> f64;

    /// Whether an application may use what a worker has, apart from amounts.
    fn suits(&self, app: &AppId, conf: &Conf, worker: &str, is_driver: bool) -> bool;

    /// Records that an application wants more than a pass had for it, and what was left. `free`: by worker, with
    /// whether the worker is excluded for the application.
    fn unmet(
        &self,
        app: (&AppId, &Conf),
        need: &Amount,
        is_driver: bool,
        left: &[RemainingOffer<'_>],
        now: Instant,
    );

    /// Why an application waits, in words; `None` if that follows from what workers have left.
    fn why(&self, app: &AppId, need: &Amount, now: Instant) -> Option<String>;

    /// The pause before a driver is started again as this attempt; `None` if there is none, and it is not counted
    /// as an attempt.
    fn retry_pause(&self, attempt: u32) -> Option<Duration>;

    /// Forgets an application.
    fn forget(&self, app: &AppId);

    /// What people call a worker, and what a driver waits for.
    fn words(&self) -> Words;
}

/// What people call things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// A worker.
    pub(crate) worker: &'static str,
    /// For what a driver waits.
    pub(crate) supply: &'static str,
    /// What to do about a driver that waits.
    pub(crate) remedy: Option<&'static str>,
}
