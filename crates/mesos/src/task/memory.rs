//! How much memory Spark's own processes take.

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::conf::keys as core;

use super::Role;
use crate::keys;

/// The least overhead, in MiB.
const LEAST: u64 = 384;

/// Memory in MiB with its overhead, which is added once: for Spark's own drivers and executors. Programs
/// that are not Spark take what their profile says.
///
/// For executors as Spark 3.5 (`MesosSchedulerUtils.executorMemory`): `spark.mesos.executor.memoryOverhead`,
/// or a share of the memory, at least 384 MiB; `spark.executor.memoryOverhead` does not count. For drivers
/// `spark.mesos.driver.memoryOverhead`, or `spark.driver.memoryOverhead`, or that share. Spark's own
/// dispatcher adds both of these, one to the other, and gives drivers the first one as heap.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a property that cannot be read.
pub fn memory_with_overhead(conf: &Conf, mib: u64, role: Role) -> Result<u64> {
    let (overhead, factor) = match role {
        Role::Executor => (
            conf.read_optional(&keys::EXECUTOR_MEMORY_OVERHEAD)?,
            &core::EXECUTOR_MEMORY_OVERHEAD_FACTOR,
        ),
        Role::Driver => {
            let own = conf.read_optional(&keys::DRIVER_MEMORY_OVERHEAD)?;
            let overhead = match own {
                Some(_) => own,
                None => conf.read_optional(&core::DRIVER_MEMORY_OVERHEAD)?,
            };
            (overhead, &core::DRIVER_MEMORY_OVERHEAD_FACTOR)
        }
    };
    let overhead = match overhead {
        Some(overhead) => overhead,
        // Whole MiB are enough; `as` cuts at the ends of the range.
        None => ((mib as f64 * conf.read(factor)?) as u64).max(LEAST),
    };
    Ok(mib.saturating_add(overhead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_added_once() {
        let of = |pairs: &[(&str, &str)], mib, role| {
            memory_with_overhead(&pairs.iter().copied().collect(), mib, role)
        };
        assert_eq!(of(&[], 1024, Role::Driver).unwrap(), 1408);
        assert_eq!(of(&[], 10_240, Role::Executor).unwrap(), 11_264);
        let set = [
            ("spark.executor.memoryOverhead", "1"),
            ("spark.mesos.executor.memoryOverhead", "100"),
            ("spark.driver.memoryOverhead", "7"),
        ];
        assert_eq!(of(&set[..1], 1024, Role::Executor).unwrap(), 1408);
        assert_eq!(of(&set, 1024, Role::Executor).unwrap(), 1124);
        assert_eq!(of(&set, 1024, Role::Driver).unwrap(), 1031);
        let own = [("spark.mesos.driver.memoryOverhead", "1g"), set[2]];
        assert_eq!(of(&own, 1024, Role::Driver).unwrap(), 2048);
        let bad = [("spark.mesos.executor.memoryOverhead", "much")];
        assert!(of(&bad, 1, Role::Executor).unwrap_err().message().contains(bad[0].0));
    }
}
