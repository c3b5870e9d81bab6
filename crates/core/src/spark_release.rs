//! Releases of Spark, and what came with which: the one place that is asked.
//!
//! What anymaster makes for a driver, and which options a line may have, follows the release that the
//! driver runs.

use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result};

/// A release of Spark, for example `3.5.9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkRelease {
    text: String,
    number: (u32, u32),
}

/// Something that a release brought, and that those before it do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparkChange {
    /// `--load-spark-defaults`: `spark-defaults.conf` is read beside `--properties-file`.
    LoadSparkDefaults,
    /// `--driver-default-class-path`.
    DefaultClassPathOption,
    /// `--extra-properties-file`.
    ExtraPropertiesFile,
    /// `spark.driver.minMemoryOverhead` in the place of a fixed 384 MiB.
    MinMemoryOverhead,
    /// `{{APP_ID}}` in labels of drivers and executors, and not in annotations alone.
    LabelPlaceholders,
    /// `spark.kubernetes.pyspark.pythonVersion` is no longer read.
    AnyPythonVersion,
    /// Volumes have `options.type` and `mount.subPathExpr`; claims have `label.*` and `annotation.*`.
    VolumeOptions,
    /// Claims are `ReadWriteOncePod` unless `spark.kubernetes.legacy.useReadWriteOnceAccessMode`.
    OncePodClaims,
    /// Driver and service have a port for Spark Connect.
    ConnectPort,
    /// `spark.kubernetes.driver.pod.excludedFeatureSteps`.
    ExcludedFeatureSteps,
    /// Every driver has a network policy, by which nobody else reaches its executors.
    NetworkPolicy,
    /// Containers have `allowPrivilegeEscalation: false`.
    NoPrivilegeEscalation,
    /// The driver's service says the protocol of Spark Connect's port.
    ConnectProtocol,
    /// The driver's service says `publishNotReadyAddresses`.
    ServiceReadiness,
    /// `SPARK_USER` of a driver is the user of `--proxy-user`, whatever the submitter's variable says.
    ProxyUserVariable,
}

impl SparkChange {
    /// Major and minor number of the first release that has it.
    pub const fn came_with(self) -> (u32, u32) {
        match self {
            Self::LoadSparkDefaults
            | Self::DefaultClassPathOption
            | Self::MinMemoryOverhead
            | Self::LabelPlaceholders
            | Self::VolumeOptions
            | Self::OncePodClaims => (4, 0),
            Self::AnyPythonVersion | Self::ConnectPort | Self::ExcludedFeatureSteps => (4, 1),
            Self::ExtraPropertiesFile | Self::NetworkPolicy | Self::ConnectProtocol => (4, 2),
            Self::NoPrivilegeEscalation | Self::ServiceReadiness | Self::ProxyUserVariable => {
                (4, 3)
            }
        }
    }
}

/// The longest that a version may be: it is the value of a label on Kubernetes.
const MAX_LEN: usize = 63;

impl SparkRelease {
    /// The newest one whose rules are known.
    pub const NEWEST: &'static str = "4.3.0";

    /// What came with the newest one is assumed of those after it.
    const NEWEST_NUMBER: (u32, u32) = (4, 3);

    /// The newest one whose rules are known.
    pub fn newest() -> Self {
        Self { text: Self::NEWEST.to_owned(), number: Self::NEWEST_NUMBER }
    }

    /// The one that is installed in a `SPARK_HOME`, by the name of its own jar.
    pub fn installed(home: &Path) -> Option<Self> {
        let jars = std::fs::read_dir(home.join("jars")).ok()?;
        jars.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find_map(|name| Self::of_core(&name))
    }

    /// The one that a jar is the core of, by its name: `spark-core_2.12-3.5.9.jar`.
    pub fn of_core(jar: &str) -> Option<Self> {
        let version = jar.strip_prefix("spark-core_")?.strip_suffix(".jar")?.split_once('-')?.1;
        version.parse().ok()
    }

    /// Its major and its minor number.
    pub const fn number(&self) -> (u32, u32) {
        self.number
    }

    /// As it is written, with all its parts.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this release has it.
    pub fn has(&self, change: SparkChange) -> bool {
        self.number >= change.came_with()
    }

    /// Whether it came before another, apart from mends.
    pub fn precedes(&self, other: &Self) -> bool {
        self.number < other.number
    }

    /// What is to be said of a release that is newer than [`NEWEST`](Self::NEWEST), if this is one.
    pub fn warning(&self) -> Option<String> {
        (self.number > Self::NEWEST_NUMBER).then(|| {
            format!(
                "Spark {self} is newer than {}, the newest whose rules are known: it is treated as that",
                Self::NEWEST
            )
        })
    }
}

impl std::fmt::Display for SparkRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SparkRelease {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (major, rest) = text.split_once('.')?;
            let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let is_label = rest.chars().all(valid)
                && rest.ends_with(|c: char| c.is_ascii_alphanumeric())
                && text.len() <= MAX_LEN;
            let number = (major.parse().ok()?, minor.parse().ok()?);
            is_label.then(|| Self { text: text.to_owned(), number })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a version of Spark"))
                .with_hint("write for example 3.5.9")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> SparkRelease {
        text.parse().unwrap()
    }

    #[test]
    fn each_release_has_what_came_with_it_and_before() {
        for (text, ports, policy, options) in [
            ("3.5.9", false, false, false),
            ("4.0.5", false, false, true),
            ("4.1.4", true, false, true),
            ("4.2.1", true, true, true),
            ("4.3.0", true, true, true),
            ("4.10.0-SNAPSHOT", true, true, true),
            ("5.0.0", true, true, true),
        ] {
            let release = release(text);
            assert_eq!(release.has(SparkChange::ConnectPort), ports, "{text}");
            assert_eq!(release.has(SparkChange::NetworkPolicy), policy, "{text}");
            assert_eq!(release.has(SparkChange::VolumeOptions), options, "{text}");
        }
    }

    #[test]
    fn a_release_that_is_too_new_is_said_by_name() {
        assert_eq!(release("4.3.7").warning(), None);
        assert_eq!(SparkRelease::newest(), release(SparkRelease::NEWEST));
        assert!(release("4.4.0").warning().unwrap().contains("Spark 4.4.0 is newer than 4.3.0"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in ["four", "4", "4.", "4.x", "4.1 y", ".1", "4.1-", ""] {
            assert!(bad.parse::<SparkRelease>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_release_is_in_the_name_of_the_core() {
        for (jar, want) in [
            ("spark-core_2.12-3.5.9.jar", Some((3, 5))),
            ("spark-core_2.13-4.1.0-SNAPSHOT.jar", Some((4, 1))),
            ("spark-core_2.12-3.5.0.3.5.7171000.0-3.jar", Some((3, 5))),
            ("spark-core_2.12-core.jar", None),
            ("spark-sql_2.12-3.5.9.jar", None),
        ] {
            assert_eq!(SparkRelease::of_core(jar).map(|release| release.number()), want, "{jar}");
        }
    }
}
