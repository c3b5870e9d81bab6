//! Spark's properties of dynamic allocation.

use std::time::Duration;

use crate::conf::{Conf, keys};
use crate::{Error, Result};

/// How many executors an application may have, and how soon their number changes. Plain data; what is counted
/// is counted for each resource profile.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DynamicAllocationPolicy {
    /// The least number of executors.
    pub min: u32,
    /// The greatest number of executors.
    pub max: u32,
    /// How many there are before the application has reported any work.
    pub initial: u32,
    /// How long work has to wait before executors are added for it.
    pub backlog_timeout: Duration,
    /// How long work has to wait before more of them are added.
    pub sustained_backlog_timeout: Duration,
    /// How long an executor is idle before it is removed.
    pub idle_timeout: Duration,
    /// The same of one that holds cached data; unset, it is kept.
    pub cached_idle_timeout: Option<Duration>,
    /// The same of one that holds what other executors may still read (Spark's shuffle files); unset, it is
    /// kept.
    pub shuffle_timeout: Option<Duration>,
    /// Which part of the executors that would do all work at once there should be: more than 0, at most 1.
    pub ratio: f64,
}

impl Default for DynamicAllocationPolicy {
    /// Spark's defaults.
    fn default() -> Self {
        Self {
            min: 0,
            max: i32::MAX as u32,
            initial: 0,
            backlog_timeout: Duration::from_secs(1),
            sustained_backlog_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            cached_idle_timeout: None,
            shuffle_timeout: None,
            ratio: 1.0,
        }
    }
}

impl DynamicAllocationPolicy {
    /// Reads `spark.dynamicAllocation.*`, with Spark's defaults (Spark 3.5, `ExecutorAllocationManager`); `None`
    /// unless `spark.dynamicAllocation.enabled` is set.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), naming the property.
    pub fn from_conf(conf: &Conf) -> Result<Option<Self>> {
        if !conf.read(&keys::DYNAMIC_ALLOCATION)? {
            return Ok(None);
        }
        let min = conf.read(&keys::DYNAMIC_ALLOCATION_MIN)?;
        let max = conf.read(&keys::DYNAMIC_ALLOCATION_MAX)?;
        let (min_name, max_name) =
            (keys::DYNAMIC_ALLOCATION_MIN.info.name, keys::DYNAMIC_ALLOCATION_MAX.info.name);
        if max == 0 {
            return Err(Error::invalid(format!("{max_name} cannot be 0!")));
        }
        if min > max {
            return Err(Error::invalid(format!(
                "{min_name} ({min}) must be less than or equal to {max_name} ({max})!"
            )));
        }
        let initial = conf.read_optional(&keys::DYNAMIC_ALLOCATION_INITIAL)?.unwrap_or(min);
        let instances = conf.read_optional(&keys::EXECUTOR_INSTANCES)?.unwrap_or(0);
        let backlog_timeout = positive(conf, &keys::DYNAMIC_ALLOCATION_BACKLOG_TIMEOUT)?;
        let sustained = &keys::DYNAMIC_ALLOCATION_SUSTAINED_BACKLOG_TIMEOUT;
        let sustained_backlog_timeout = match conf.get(sustained.info.name) {
            Some(_) => positive(conf, sustained)?,
            None => backlog_timeout,
        };
        let ratio = conf.read(&keys::DYNAMIC_ALLOCATION_RATIO)?;
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(Error::invalid(format!(
                "{} must be > 0 and <= 1.0",
                keys::DYNAMIC_ALLOCATION_RATIO.info.name
            )));
        }
        Ok(Some(Self {
            min,
            max,
            // Spark warns of a start outside of the bounds, and starts there all the same.
            initial: min.max(initial).max(instances).min(max),
            backlog_timeout,
            sustained_backlog_timeout,
            idle_timeout: conf.read(&keys::DYNAMIC_ALLOCATION_IDLE_TIMEOUT)?,
            cached_idle_timeout: conf
                .read_optional(&keys::DYNAMIC_ALLOCATION_CACHED_IDLE_TIMEOUT)?,
            shuffle_timeout: conf.read_optional(&keys::DYNAMIC_ALLOCATION_SHUFFLE_TIMEOUT)?,
            ratio,
        }))
    }
}

fn positive(conf: &Conf, key: &keys::Key<Duration>) -> Result<Duration> {
    let time = conf.read(key)?;
    if time.is_zero() {
        return Err(Error::invalid(format!("{} must be > 0!", key.info.name)));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(pairs: &[(&str, &str)]) -> Result<Option<DynamicAllocationPolicy>> {
        let enabled = [("spark.dynamicAllocation.enabled", "true")];
        DynamicAllocationPolicy::from_conf(&enabled.iter().chain(pairs).copied().collect())
    }

    #[test]
    fn properties_have_sparks_defaults() {
        assert_eq!(DynamicAllocationPolicy::from_conf(&Conf::new()).unwrap(), None);
        assert_eq!(policy(&[]).unwrap(), Some(DynamicAllocationPolicy::default()));
        let set = policy(&[
            ("spark.dynamicAllocation.minExecutors", "2"),
            ("spark.dynamicAllocation.maxExecutors", "9"),
            ("spark.executor.instances", "4"),
            ("spark.dynamicAllocation.schedulerBacklogTimeout", "3s"),
            ("spark.dynamicAllocation.cachedExecutorIdleTimeout", "5min"),
        ]);
        let set = set.unwrap().unwrap();
        assert_eq!((set.min, set.initial, set.max), (2, 4, 9));
        assert_eq!(set.sustained_backlog_timeout, Duration::from_secs(3));
        assert_eq!(set.cached_idle_timeout, Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_spark_refuses_is_refused_in_its_words() {
        for (key, value, words) in [
            ("maxExecutors", "0", "spark.dynamicAllocation.maxExecutors cannot be 0!"),
            ("schedulerBacklogTimeout", "0", "schedulerBacklogTimeout must be > 0!"),
            ("executorAllocationRatio", "0", "executorAllocationRatio must be > 0 and <= 1.0"),
            ("executorAllocationRatio", "1.5", "executorAllocationRatio must be > 0 and <= 1.0"),
        ] {
            let error = policy(&[(&format!("spark.dynamicAllocation.{key}"), value)]).unwrap_err();
            assert!(error.message().ends_with(words), "{error}");
        }
        let pairs = [
            ("spark.dynamicAllocation.minExecutors", "3"),
            ("spark.dynamicAllocation.maxExecutors", "2"),
        ];
        let error = policy(&pairs).unwrap_err();
        assert!(
            error.message().contains("minExecutors (3) must be less than or equal to"),
            "{error}"
        );
    }
}
