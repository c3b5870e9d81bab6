//! Memory, cores and other resources of the driver, and whether the cluster has room for the executors.

use anymaster_core::conf::keys as core;
use anymaster_core::model::{ResourceProfile, SparkLanguage};
use anymaster_core::{Error, Result, SparkChange};

use super::Application;
use crate::keys::{self, PYSPARK_MEMORY};
use crate::proto::{Resource, ResourceInformation};

/// Where a release has no property for it.
const MIN_OVERHEAD_MIB: u64 = 384;
const SETTINGS: &str = "Please check the values of 'yarn.scheduler.maximum-allocation-mb' and/or \
                        'yarn.nodemanager.resource.memory-mb'.";

/// What the driver's container has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resources {
    /// The heap in MiB.
    pub(crate) heap_mib: u64,
    pub(crate) container: Resource,
    /// The names of the resources beside memory and cores.
    pub(crate) others: Vec<String>,
}

/// The driver's resources, by properties.
pub(crate) fn resources(application: &Application<'_>, maximum: &Resource) -> Result<Resources> {
    let conf = &application.conf;
    let max = maximum.memory.and_then(|memory| u64::try_from(memory).ok()).unwrap_or(u64::MAX);
    let too_large = |what: String| {
        let threshold = format!("is above the max threshold ({max} MB) of this cluster!");
        Err(Error::invalid(format!("{what} {threshold} {SETTINGS}")))
    };
    let (heap, overhead) = driver_memory(application)?;
    let profile = ResourceProfile::of_executors(conf)?;
    let (memory, executor_overhead) = (profile.memory_mib, profile.overhead_mib);
    let off_heap = match conf.read(&core::OFF_HEAP_ENABLED)? {
        true => conf.read(&core::OFF_HEAP_SIZE)? >> 20,
        false => 0,
    };
    let python = match application.job.language {
        SparkLanguage::Python => conf.read_optional(&PYSPARK_MEMORY)?.unwrap_or(0),
        _ => 0,
    };
    let executor = memory.saturating_add(executor_overhead).saturating_add(off_heap + python);
    if executor > max {
        return too_large(format!(
            "Required executor memory ({memory} MB), offHeap memory ({off_heap}) MB, overhead \
             ({executor_overhead} MB), and PySpark memory ({python} MB)"
        ));
    }
    if heap.saturating_add(overhead) > max {
        return too_large(format!("Required AM memory ({heap}+{overhead} MB)"));
    }
    let cores = conf.read(&core::DRIVER_CORES)?;
    if cores.fract() != 0.0 || cores < 1.0 {
        return Err(Error::invalid(format!(
            "spark.driver.cores: {cores} is not a number of cores of YARN"
        ))
        .with_hint("YARN has whole cores only"));
    }
    let others = others(application)?;
    let names = others.iter().map(|other| other.key.clone()).collect();
    let container = Resource {
        memory: Some(i64::try_from(heap.saturating_add(overhead)).unwrap_or(i64::MAX)),
        // `as` cuts at the ends of the range.
        virtual_cores: Some(cores as i32),
        others,
    };
    Ok(Resources { heap_mib: heap, container, others: names })
}

/// The heap of the driver and the memory beyond it, in MiB.
fn driver_memory(application: &Application<'_>) -> Result<(u64, u64)> {
    let conf = &application.conf;
    let heap = conf.read(&core::DRIVER_MEMORY)?;
    if let Some(overhead) = conf.read_optional(&core::DRIVER_MEMORY_OVERHEAD)? {
        return Ok((heap, overhead));
    }
    let least = match application.release().has(SparkChange::MinMemoryOverhead) {
        true => conf.read(&core::DRIVER_MIN_MEMORY_OVERHEAD)?,
        false => MIN_OVERHEAD_MIB,
    };
    let factor = conf.read(&core::DRIVER_MEMORY_OVERHEAD_FACTOR)?;
    // `as` cuts at the ends of the range.
    Ok((heap, ((heap as f64 * factor) as u64).max(least)))
}

/// Resources of the driver beside memory and cores: those by YARN's names, and those by Spark's (Spark 3.5,
/// `ResourceRequestHelper`).
fn others(application: &Application<'_>) -> Result<Vec<ResourceInformation>> {
    let conf = &application.conf;
    let mut all = std::collections::BTreeMap::new();
    for (rest, amount) in conf.with_prefix("spark.driver.resource.") {
        let Some(name) = rest.strip_suffix(".amount") else { continue };
        let name = match name {
            "gpu" => conf.read(&keys::GPU_NAME)?,
            "fpga" => conf.read(&keys::FPGA_NAME)?,
            other => other.to_owned(),
        };
        all.insert(name, (format!("spark.driver.resource.{rest}"), amount));
    }
    for (rest, amount) in conf.with_prefix("spark.yarn.driver.resource.") {
        let name = rest.strip_suffix(".amount").unwrap_or(rest);
        if matches!(name, "memory" | "memory-mb" | "mb" | "cores" | "vcores" | "cpu-vcores") {
            return Err(Error::invalid(format!(
                "spark.yarn.driver.resource.{rest}: memory and cores have properties of their own"
            ))
            .with_hint("set spark.driver.memory and spark.driver.cores"));
        }
        all.insert(name.to_owned(), (format!("spark.yarn.driver.resource.{rest}"), amount));
    }
    all.into_iter().map(|(key, (property, amount))| information(key, &property, amount)).collect()
}

/// An amount with or without a unit: `2`, `10G`.
fn information(key: String, property: &str, amount: &str) -> Result<ResourceInformation> {
    let digits = amount.find(|char: char| !char.is_ascii_digit()).unwrap_or(amount.len());
    let (number, units) = amount.split_at(digits);
    let value = number.parse().map_err(|_| {
        Error::invalid(format!("{property}: {amount:?} is not an amount, for example 2 or 10G"))
    })?;
    Ok(ResourceInformation { key, value: Some(value), units: Some(units.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{application, job};
    use super::*;

    fn maximum(memory: i64) -> Resource {
        Resource { memory: Some(memory), ..Resource::default() }
    }

    fn of(properties: &[(&str, &str)]) -> Result<Resources> {
        let job = job();
        resources(&application(&job, properties)?, &maximum(8192))
    }

    #[test]
    fn the_driver_has_its_heap_and_an_overhead() {
        let container = |properties: &[(&str, &str)]| {
            let found = of(properties).unwrap();
            (
                found.heap_mib,
                found.container.memory.unwrap(),
                found.container.virtual_cores.unwrap(),
            )
        };
        assert_eq!(container(&[]), (1024, 1408, 1));
        let large = [("spark.driver.memory", "5g"), ("spark.driver.cores", "2")];
        assert_eq!(container(&large), (5120, 5632, 2));
        let set = [("spark.driver.memory", "512m"), ("spark.driver.memoryOverhead", "100m")];
        assert_eq!(container(&set), (512, 612, 1));
    }

    #[test]
    fn what_the_cluster_has_no_room_for_is_refused_in_sparks_words() {
        let error = of(&[("spark.driver.memory", "8g")]).unwrap_err();
        assert!(
            error.message().starts_with("Required AM memory (8192+819 MB) is above"),
            "{error}"
        );
        let error = of(&[("spark.executor.memory", "8g")]).unwrap_err();
        let words = "Required executor memory (8192 MB), offHeap memory (0) MB, overhead (819 MB), and \
                     PySpark memory (0 MB) is above the max threshold (8192 MB) of this cluster! Please";
        assert!(error.message().starts_with(words), "{error}");
        assert!(of(&[("spark.driver.cores", "0.5")]).unwrap_err().message().contains("0.5"));
    }

    #[test]
    fn other_resources_have_yarns_names() {
        let others = |properties: &[(&str, &str)]| {
            let all = of(properties)?.container.others;
            Ok::<_, Error>(
                all.into_iter().map(|it| (it.key, it.value.unwrap())).collect::<Vec<_>>(),
            )
        };
        let gpu = [("spark.driver.resource.gpu.amount", "2")];
        assert_eq!(others(&gpu).unwrap(), [("yarn.io/gpu".to_owned(), 2)]);
        let own = [("spark.yarn.driver.resource.acceleratorX.amount", "3")];
        assert_eq!(others(&own).unwrap(), [("acceleratorX".to_owned(), 3)]);
        assert!(others(&[("spark.yarn.driver.resource.memory.amount", "3")]).is_err());
        assert!(others(&[("spark.driver.resource.gpu.amount", "many")]).is_err());
    }
}
