//! Maps Spark's `spark.kubernetes.allocation.*` properties (`ExecutorPodsAllocator`) to an
//! [`AllocationPolicy`].

use anymaster_core::conf::Conf;
use anymaster_core::reconcile::AllocationPolicy;
use anymaster_core::{Error, Result};

use crate::keys;

/// How fast executors are requested, and how long they may take to start.
///
/// Spark's properties take precedence over `spark.anymaster.allocation.*`. Without them, only the
/// API server's responses limit the rate, and not Spark's default of five per second.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) or
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported), naming the property.
pub(crate) fn policy(conf: &Conf) -> Result<AllocationPolicy> {
    let allocator = conf.read(&keys::ALLOCATION_PODS_ALLOCATOR)?;
    if allocator != "direct" {
        return Err(Error::unsupported(format!(
            "{}: executors are not made by {allocator:?}",
            keys::ALLOCATION_PODS_ALLOCATOR.info.name
        ))
        .with_hint("leave it out: pods are created one by one, several at once"));
    }
    let mut policy = AllocationPolicy::from_conf(conf)?;
    if let Some(size) = conf.read_optional(&keys::ALLOCATION_BATCH_SIZE)? {
        policy.batch_size = size.max(1);
    }
    if let Some(delay) = conf.read_optional(&keys::ALLOCATION_BATCH_DELAY)? {
        policy.batch_delay = delay;
    }
    if let Some(pending) = conf.read_optional(&keys::ALLOCATION_MAX_PENDING_PODS)? {
        policy.max_pending = pending;
    }
    policy.start_timeout =
        conf.read(&keys::ALLOCATION_EXECUTOR_TIMEOUT)?.max(5 * policy.batch_delay);
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sparks_allocation_properties_are_read() {
        let policy_of = |pairs: &[(&str, &str)]| policy(&pairs.iter().copied().collect());
        assert_eq!(policy_of(&[]).unwrap(), AllocationPolicy::default());
        let spark = policy_of(&[
            ("spark.kubernetes.allocation.batch.size", "5"),
            ("spark.kubernetes.allocation.batch.delay", "200s"),
            ("spark.kubernetes.allocation.maxPendingPods", "7"),
            ("spark.anymaster.allocation.batchSize", "9"),
        ])
        .unwrap();
        assert_eq!((spark.batch_size, spark.max_pending), (5, 7));
        assert_eq!(spark.start_timeout, Duration::from_secs(1000));
        let error = policy_of(&[("spark.kubernetes.allocation.pods.allocator", "statefulset")]);
        assert!(error.unwrap_err().message().contains("statefulset"));
    }
}
