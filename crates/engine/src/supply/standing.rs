//! Workers that register, and have what they have until they are lost.

use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, ResourceProfile};

use super::{ProcessSpec, RemainingOffer, Supply, Words};
use crate::amount::Amount;
use crate::limits;
use crate::time::Instant;

/// The workers of a standalone cluster.
#[derive(Debug)]
pub(crate) struct Standing;

impl Supply for Standing {
    fn need(&self, _: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
        Ok(Amount::of(process.profile()))
    }

    fn check_shape(&self, who: &str, profile: &ResourceProfile) -> Result<()> {
        limits::whole_cores(who, profile)
    }

    fn check_drivers(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn lists_resources(&self) -> bool {
        true
    }

    fn lasts(&self) -> bool {
        true
    }

    fn confirms_drivers(&self) -> bool {
        true
    }

    fn restarts_drivers(&self) -> bool {
        true
    }

    fn reports_by_worker(&self) -> bool {
        true
    }

    fn priority(&self, _: &Conf) -> f64 {
        0.0
    }

    fn suits(&self, _: &AppId, _: &Conf, _: &str, _: bool) -> bool {
        true
    }

    fn unmet(&self, _: (&AppId, &Conf), _: &Amount, _: bool, _: &[RemainingOffer<'_>], _: Instant) {
    }

    fn why(&self, _: &AppId, _: &Amount, _: Instant) -> Option<String> {
        None
    }

    fn retry_pause(&self, _: u32) -> Option<Duration> {
        None
    }

    fn forget(&self, _: &AppId) {}

    fn words(&self) -> Words {
        Words {
            worker: "worker",
            supply: "a worker",
            remedy: Some(
                "wait until others end, ask for less, or start a worker: anymaster worker URL",
            ),
        }
    }
}
