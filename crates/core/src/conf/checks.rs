//! What Spark's driver refuses as it starts (Spark 3.5, `SparkConf.validateSettings`,
//! `ExecutorAllocationManager.validateSettings`): in a cluster that is minutes later, and where nobody
//! looks.

use super::keys::{self, Key, KeyInfo, Kind, Treatment};
use super::{Conf, refers_to_surroundings};
use crate::{Error, Result};

const TASK_CPUS: Key<u64> = {
    let (name, doc) = ("spark.task.cpus", "How many cores a task takes.");
    let (kind, default, treatment) = (Kind::Count, None, Treatment::Passed);
    Key::<u64>::new(KeyInfo { name, kind, default, doc, since: "0.5.0", old_names: &[], treatment })
};

/// Checks what an application of Spark says of its executors, on any cluster. What refers to an
/// environment is left to the driver: it is its own that counts.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with the property at fault.
pub fn check_executors(conf: &Conf) -> Result<()> {
    for key in ["spark.executor.extraJavaOptions", "spark.executor.defaultJavaOptions"] {
        let Some(options) = conf.get(key) else { continue };
        let (what, hint) = if options.contains("-Dspark") {
            ("set Spark options", "set them with --conf")
        } else if options.contains("-Xmx") {
            ("specify max heap memory settings", "use --executor-memory, or spark.executor.memory")
        } else {
            continue;
        };
        let shown = super::Redaction::from_conf(conf)?.show(key, options).into_owned();
        return Err(Error::invalid(format!("{key} is not allowed to {what} (was '{shown}')."))
            .with_hint(hint));
    }
    positive(conf, &keys::EXECUTOR_MEMORY, "Executor memory", |memory| *memory > 0)?;
    positive(conf, &keys::EXECUTOR_CORES, "Executor cores", |cores| *cores > 0.0)?;
    for key in
        [&keys::EXECUTOR_MEMORY_OVERHEAD, &keys::EXECUTOR_MIN_MEMORY_OVERHEAD, &keys::OFF_HEAP_SIZE]
    {
        known(conf, key)?;
    }
    known(conf, &keys::EXECUTOR_MEMORY_OVERHEAD_FACTOR)?;
    let off_heap = known(conf, &keys::OFF_HEAP_ENABLED)?.flatten().unwrap_or(false);
    if off_heap && known(conf, &keys::OFF_HEAP_SIZE)? == Some(None) {
        return Err(Error::invalid(
            "spark.memory.offHeap.size must be > 0 when spark.memory.offHeap.enabled == true",
        ));
    }
    check_dynamic_allocation(conf)
}

/// Checks that an executor has the cores that a task takes. `default` is how many it has where
/// `spark.executor.cores` does not say; nothing is checked where that depends on the cluster.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with both numbers.
pub fn check_task_cpus(conf: &Conf, default: Option<f64>) -> Result<()> {
    let given = conf.get(keys::EXECUTOR_CORES.info.name).is_some();
    let cores = if given { known(conf, &keys::EXECUTOR_CORES)?.flatten() } else { default };
    match (cores, known(conf, &TASK_CPUS)?.flatten()) {
        (Some(cores), Some(cpus)) if cpus as f64 > cores => Err(Error::invalid(format!(
            "The number of cores per executor (={cores}) has to be >= the number of cpus per task = {cpus}."
        ))
        .with_hint("raise spark.executor.cores, or lower spark.task.cpus")),
        _ => Ok(()),
    }
}

fn check_dynamic_allocation(conf: &Conf) -> Result<()> {
    if known(conf, &keys::DYNAMIC_ALLOCATION)?.flatten() != Some(true) {
        return positive(conf, &keys::EXECUTOR_INSTANCES, "Number of executors", |number| {
            *number > 0
        });
    }
    known(conf, &keys::EXECUTOR_INSTANCES)?;
    known(conf, &keys::DYNAMIC_ALLOCATION_INITIAL)?;
    let (min, max) = (&keys::DYNAMIC_ALLOCATION_MIN, &keys::DYNAMIC_ALLOCATION_MAX);
    let (Some(least), Some(most)) = (known_or_default(conf, min)?, known_or_default(conf, max)?)
    else {
        return Ok(());
    };
    let (min, max) = (min.info.name, max.info.name);
    if most == 0 {
        return Err(Error::invalid(format!("{max} cannot be 0!")));
    }
    if least > most {
        return Err(Error::invalid(format!(
            "{min} ({least}) must be less than or equal to {max} ({most})!"
        )));
    }
    Ok(())
}

/// A value that is the same for whoever reads it: nothing, if it is not; `Some(None)` if it is unset.
fn known<T>(conf: &Conf, key: &Key<T>) -> Result<Option<Option<T>>> {
    match conf.get(key.info.name) {
        Some(text) if refers_to_surroundings(text) && !super::is_read_as_written(key.info.name) => {
            Ok(None)
        }
        _ => conf.read_optional(key).map(Some),
    }
}

fn known_or_default<T>(conf: &Conf, key: &Key<T>) -> Result<Option<T>> {
    Ok(match known(conf, key)? {
        Some(Some(value)) => Some(value),
        Some(None) if key.info.default.is_some() => Some(conf.read(key)?),
        _ => None,
    })
}

fn positive<T>(
    conf: &Conf,
    key: &Key<T>,
    what: &str,
    is_positive: impl Fn(&T) -> bool,
) -> Result<()> {
    match known(conf, key)?.flatten() {
        Some(value) if !is_positive(&value) => {
            let (name, text) = (key.info.name, conf.get(key.info.name).unwrap_or_default());
            Err(Error::invalid(format!("{what} must be a positive number ({name} {text})")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_executors_cannot_have_is_refused_before_there_is_a_driver() {
        for (pairs, words) in [
            (&[("spark.executor.memoryOverhead", "512Mi")][..], "\"512Mi\" is not a size"),
            (&[("spark.executor.memory", "0")], "Executor memory must be a positive number"),
            (&[("spark.executor.cores", "0")], "Executor cores must be a positive number"),
            (&[("spark.executor.instances", "0")], "Number of executors must be a positive number"),
            (&[("spark.executor.extraJavaOptions", "-Xmx2g")], "max heap memory"),
            (&[("spark.executor.defaultJavaOptions", "-Dspark.a=b")], "set Spark options"),
            (&[("spark.memory.offHeap.enabled", "true")], "offHeap.size must be > 0"),
            (
                &[
                    ("spark.dynamicAllocation.enabled", "true"),
                    ("spark.dynamicAllocation.minExecutors", "5"),
                    ("spark.dynamicAllocation.maxExecutors", "2"),
                ],
                "minExecutors (5) must be less than or equal to spark.dynamicAllocation.maxExecutors (2)!",
            ),
            (
                &[
                    ("spark.dynamicAllocation.enabled", "true"),
                    ("spark.dynamicAllocation.maxExecutors", "0"),
                ],
                "cannot be 0!",
            ),
        ] {
            let error = check_executors(&pairs.iter().copied().collect()).unwrap_err();
            assert!(error.message().contains(words), "{pairs:?}: {error}");
        }
        for pairs in [
            &[("spark.executor.memoryOverhead", "${env:OF_THE_DRIVER}")][..],
            &[("spark.executor.instances", "0"), ("spark.dynamicAllocation.enabled", "true")],
        ] {
            check_executors(&pairs.iter().copied().collect()).unwrap();
        }
    }

    #[test]
    fn a_task_takes_no_more_cores_than_an_executor_has() {
        let check = |pairs: &[(&'static str, &'static str)], default| {
            check_task_cpus(&pairs.iter().copied().collect(), default)
        };
        check(&[("spark.executor.cores", "4"), ("spark.task.cpus", "2")], None).unwrap();
        // How many cores an executor has is the cluster's business.
        check(&[("spark.task.cpus", "2")], None).unwrap();
        let error = check(&[("spark.task.cpus", "2")], Some(1.0)).unwrap_err();
        assert!(
            error.message().contains("has to be >= the number of cpus per task = 2"),
            "{error}"
        );
    }
}
