//! How fast executors are asked for, and how many failures are tolerated.

use std::time::Duration;

use crate::Result;
use crate::conf::{Conf, keys};

/// How fast executors are asked for, and how many failures are tolerated. Plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationPolicy {
    /// How many starts are asked for at once.
    pub batch_size: u32,
    /// Least time between two batches.
    pub batch_delay: Duration,
    /// How many executors may be asked for and not yet run.
    pub max_pending: u32,
    /// How many may fail; unset, as in Spark, twice the target and at least 3.
    pub max_failures: Option<u32>,
    /// How long a failure counts; unset, for ever.
    pub failure_window: Option<Duration>,
    /// How long an executor that is to end has before it is made to.
    pub stop_grace: Duration,
    /// How long the cluster has to show an executor whose start it accepted.
    pub start_timeout: Duration,
}

impl Default for AllocationPolicy {
    fn default() -> Self {
        Self {
            batch_size: 1000,
            batch_delay: Duration::ZERO,
            max_pending: u32::MAX,
            max_failures: None,
            failure_window: None,
            stop_grace: Duration::from_secs(10),
            start_timeout: Duration::from_secs(600),
        }
    }
}

impl AllocationPolicy {
    /// Reads it from properties: `spark.executor.maxNumFailures`,
    /// `spark.executor.failuresValidityInterval`, and `spark.anymaster.allocation.*`.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), naming the property.
    pub fn from_conf(conf: &Conf) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            batch_size: conf.read(&keys::ALLOCATION_BATCH_SIZE)?,
            batch_delay: conf.read(&keys::ALLOCATION_BATCH_DELAY)?,
            max_pending: conf.read(&keys::ALLOCATION_MAX_PENDING)?,
            max_failures: conf.read_optional(&keys::EXECUTOR_MAX_FAILURES)?,
            failure_window: conf.read_optional(&keys::EXECUTOR_FAILURES_VALIDITY_INTERVAL)?,
            stop_grace: conf.read(&keys::EXECUTOR_STOP_GRACE)?,
            start_timeout: default.start_timeout,
        })
    }

    /// The failure limit where at most this many executors were wanted: Spark's
    /// `max(3, 2 × executors)` unless it is set.
    pub fn failure_limit(&self, executors: u64) -> u32 {
        self.max_failures.unwrap_or_else(|| {
            u32::try_from(executors.saturating_mul(2)).unwrap_or(u32::MAX).max(3)
        })
    }
}
