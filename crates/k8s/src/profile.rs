//! The default resource profile of executors on Kubernetes, computed as Spark does.

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::{self, Key, KeyInfo};
use anymaster_core::model::ResourceProfile;

/// The Kubernetes-specific fallback of
/// [`EXECUTOR_MEMORY_OVERHEAD_FACTOR`](keys::EXECUTOR_MEMORY_OVERHEAD_FACTOR).
const OVERHEAD_FACTOR: Key<f64> = Key::<f64>::new(KeyInfo {
    name: "spark.kubernetes.memoryOverheadFactor",
    ..keys::EXECUTOR_MEMORY_OVERHEAD_FACTOR.info
});

/// As [`ResourceProfile::of_executors`]; `spark.kubernetes.memoryOverheadFactor` is the default of
/// the common factor, and `spark.memory.offHeap.size` is added if off-heap memory is enabled (Spark
/// 3.5, `BasicExecutorFeatureStep`).
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property.
pub(crate) fn of_executors(conf: &Conf) -> Result<ResourceProfile> {
    let mut conf = conf.clone();
    let common = keys::EXECUTOR_MEMORY_OVERHEAD_FACTOR;
    if conf.read_optional(&common)?.is_none()
        && let Some(factor) = conf.read_optional(&OVERHEAD_FACTOR)?
    {
        conf.set(common.info.name, factor.to_string());
    }
    let mut profile = ResourceProfile::of_executors(&conf)?;
    if conf.read(&keys::OFF_HEAP_ENABLED)? {
        let off_heap_mib = conf.read(&keys::OFF_HEAP_SIZE)? >> 20;
        profile.overhead_mib = profile.overhead_mib.saturating_add(off_heap_mib);
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_the_heap_is_sparks() {
        let limit = |more: &[(&str, &str)]| {
            let mut conf: Conf = more.iter().copied().collect();
            conf.set("spark.executor.memory", "10g");
            of_executors(&conf).unwrap().memory_limit_mib()
        };
        assert_eq!(limit(&[]), 11 * 1024);
        let factor = ("spark.kubernetes.memoryOverheadFactor", "0.5");
        assert_eq!(limit(&[factor]), 15 * 1024);
        let own = ("spark.executor.memoryOverheadFactor", "0.2");
        assert_eq!(limit(&[factor, own]), 12 * 1024);
        let overhead = ("spark.executor.memoryOverhead", "1g");
        let size = ("spark.memory.offHeap.size", "2g");
        let enabled = ("spark.memory.offHeap.enabled", "true");
        assert_eq!(limit(&[factor, overhead, size]), 11 * 1024);
        assert_eq!(limit(&[overhead, size, enabled]), 13 * 1024);
    }
}
