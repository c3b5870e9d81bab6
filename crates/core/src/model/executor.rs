//! What an application wants: executors of one or more shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CommandLine, ExecutorId, ProfileId};
use crate::conf::{Conf, keys};
use crate::{Error, Result, SparkRelease};

/// The shape of a process: what it is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceProfile {
    /// CPU cores. Backends that have only whole ones refuse fractions.
    pub cores: f64,
    /// Memory in MiB, as the program is told it.
    pub memory_mib: u64,
    /// Memory in MiB on top of `memory_mib` that the process may use before it is ended.
    pub overhead_mib: u64,
    /// Other resources by Spark's name (`gpu`), in whole units.
    pub extra: BTreeMap<String, u64>,
}

impl ResourceProfile {
    /// Cores and memory, without overhead or other resources.
    pub fn new(cores: f64, memory_mib: u64) -> Self {
        Self { cores, memory_mib, overhead_mib: 0, extra: BTreeMap::new() }
    }

    /// With so many MiB that the process may use on top of its memory.
    #[must_use]
    pub fn with_overhead(mut self, mib: u64) -> Self {
        self.overhead_mib = mib;
        self
    }

    /// With `amount` units of another resource (`gpu`).
    #[must_use]
    pub fn with_extra(mut self, name: impl Into<String>, amount: u64) -> Self {
        self.extra.insert(name.into(), amount);
        self
    }

    /// The shape of executors that properties ask for: `spark.executor.cores`, `.memory`,
    /// `.memoryOverhead` (Spark 3.5: a tenth of the memory, at least 384 MiB, unless it is set) and
    /// `.resource.NAME.amount`. Where a kind of cluster has rules of its own,
    /// [`BackendInfo::executor_profile`](crate::BackendInfo::executor_profile) has them.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), naming the property.
    pub fn of_executors(conf: &Conf) -> Result<Self> {
        let cores = conf.read(&keys::EXECUTOR_CORES)?;
        let memory_mib = conf.read(&keys::EXECUTOR_MEMORY)?;
        for (key, is_zero) in [
            (&keys::EXECUTOR_CORES.info, cores == 0.0),
            (&keys::EXECUTOR_MEMORY.info, memory_mib == 0),
        ] {
            if is_zero {
                return Err(Error::invalid(format!("{} must be more than 0", key.name)));
            }
        }
        let overhead_mib = executor_overhead_mib(conf, memory_mib)?;
        let mut extra = BTreeMap::new();
        for (rest, amount) in conf.with_prefix("spark.executor.resource.") {
            if let Some(name) = rest.strip_suffix(".amount") {
                let amount = amount.trim().parse().map_err(|_| {
                    Error::invalid(format!(
                        "spark.executor.resource.{rest}: {amount:?} is not a whole number"
                    ))
                })?;
                extra.insert(name.to_owned(), amount);
            }
        }
        Ok(Self { cores, memory_mib, overhead_mib, extra })
    }

    /// The memory in MiB at which the process is ended: memory and overhead.
    pub fn memory_limit_mib(&self) -> u64 {
        self.memory_mib.saturating_add(self.overhead_mib)
    }
}

fn executor_overhead_mib(conf: &Conf, memory_mib: u64) -> Result<u64> {
    if let Some(overhead) = conf.read_optional(&keys::EXECUTOR_MEMORY_OVERHEAD)? {
        return Ok(overhead);
    }
    let factor = conf.read(&keys::EXECUTOR_MEMORY_OVERHEAD_FACTOR)?;
    // Whole MiB are enough; `as` cuts at the ends of the range.
    let share = (memory_mib as f64 * factor) as u64;
    Ok(share.max(conf.read(&keys::EXECUTOR_MIN_MEMORY_OVERHEAD)?))
}

impl Default for ResourceProfile {
    /// Spark's defaults: one core, 1 GiB.
    fn default() -> Self {
        Self::new(1.0, 1024)
    }
}

/// How an executor is started, for all of them alike.
///
/// `{{executor.id}}` and the other [placeholders](crate::native) in arguments and environment are
/// replaced for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorTemplate {
    /// What it runs.
    pub command: CommandLine,
    /// Environment variables in addition to those of the cluster.
    pub env: BTreeMap<String, String>,
    /// Where it starts; its own directory when unset.
    pub working_dir: Option<PathBuf>,
    /// The Spark that it needs where it runs: only machines that have one of these releases run it, and
    /// `{{spark.home}}`, `{{spark.java}}` and `{{spark.classpath}}` stand for what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<SparkVersions>,
}

/// Releases of Spark that are the same for what needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SparkVersions {
    /// The binary version of Scala: `2.12` or `2.13`.
    pub scala: String,
    /// The major and minor number of the first one.
    pub from: (u32, u32),
    /// Of the last one.
    pub to: (u32, u32),
}

impl SparkVersions {
    /// All from one release to another, built for this Scala.
    pub fn new(scala: impl Into<String>, from: (u32, u32), to: (u32, u32)) -> Self {
        Self { scala: scala.into(), from, to }
    }

    /// Whether a release that was built for this Scala is one of them.
    pub fn include(&self, release: &SparkRelease, scala: &str) -> bool {
        self.scala == scala && (self.from..=self.to).contains(&release.number())
    }
}

impl fmt::Display for SparkVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scala, from, to } = self;
        write!(f, "{}.{}", from.0, from.1)?;
        if to.1 == u32::MAX {
            f.write_str(" or later")?;
        } else if to != from {
            write!(f, " to {}.{}", to.0, to.1)?;
        }
        write!(f, " (Scala {scala})")
    }
}

impl ExecutorTemplate {
    /// Runs `command` in the executor's own directory, with the usual environment.
    pub fn new(command: CommandLine) -> Self {
        Self { command, env: BTreeMap::new(), working_dir: None, spark: None }
    }

    /// Refuses the need for a Spark, where machines do not say which one they have.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if one is needed.
    pub fn refuse_spark(&self) -> Result<()> {
        match &self.spark {
            None => Ok(()),
            Some(versions) => Err(Error::unsupported(format!(
                "executors need Spark {versions}, and the machines of this cluster do not say which Spark \
                 they have"
            ))
            .with_hint("give executors an image or a directory with that Spark")),
        }
    }

    /// Adds the environment variables that properties give executors: `spark.executorEnv.NAME`.
    #[must_use]
    pub fn env_of(mut self, conf: &Conf) -> Self {
        let variables = conf.with_prefix("spark.executorEnv.");
        self.env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }
}

/// How many executors of each profile an application wants in total. Declared, never added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorTarget {
    /// How each executor is started.
    pub template: ExecutorTemplate,
    /// The profiles and their counts; a profile that is not named has the target 0.
    pub profiles: BTreeMap<ProfileId, ProfileTarget>,
    /// Executors that are to end and do not count: the application has chosen which ones it gives up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unwanted: BTreeSet<ExecutorId>,
}

/// One line of an [`ExecutorTarget`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProfileTarget {
    /// The shape. It does not change for a given id.
    pub profile: ResourceProfile,
    /// How many should exist.
    pub executors: u32,
}

impl ExecutorTarget {
    /// `executors` of the default profile (id 0) in this shape.
    pub fn new(template: ExecutorTemplate, profile: ResourceProfile, executors: u32) -> Self {
        let profiles = BTreeMap::from([(ProfileId(0), ProfileTarget { profile, executors })]);
        Self { template, profiles, unwanted: BTreeSet::new() }
    }

    /// Adds or replaces a profile.
    #[must_use]
    pub fn with_profile(mut self, id: ProfileId, profile: ResourceProfile, executors: u32) -> Self {
        self.profiles.insert(id, ProfileTarget { profile, executors });
        self
    }

    /// The sum over all profiles.
    pub fn total(&self) -> u64 {
        self.profiles.values().map(|profile| u64::from(profile.executors)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_the_heap_is_sparks() {
        let limit = |more: &[(&str, &str)]| {
            let mut conf: Conf = more.iter().copied().collect();
            conf.set("spark.executor.memory", "10g");
            ResourceProfile::of_executors(&conf).unwrap().memory_limit_mib()
        };
        assert_eq!(limit(&[]), 11 * 1024);
        assert_eq!(limit(&[("spark.executor.memoryOverheadFactor", "0.2")]), 12 * 1024);
        assert_eq!(limit(&[("spark.executor.memoryOverhead", "2g")]), 12 * 1024);
        assert_eq!(limit(&[("spark.memory.offHeap.size", "2g")]), 11 * 1024);
    }
}
