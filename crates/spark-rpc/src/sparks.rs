//! Which Spark an executor runs: that of its driver. What they say to each other is serialised by Java,
//! and differs between releases.

use std::path::{Path, PathBuf};

use anymaster_core::model::SparkVersions;
use anymaster_core::{Error, Result};
use anymaster_spark::SparkHome;
use anymaster_spark_wire::{Release, ReleaseLine};

use crate::executor_command::SparkInstallation;
use crate::keys::SPARK_HOMES;

/// The property by which an application says which Spark its executors run.
const OF_APPLICATION: &str = "spark.executorEnv.SPARK_HOME";

/// Where executors find their Spark.
#[derive(Debug, Clone)]
pub enum Sparks {
    /// In directories of this machine, where executors run.
    ThisMachine {
        /// The directories.
        homes: Vec<PathBuf>,
        /// The program `java`.
        java: PathBuf,
    },
    /// At one place wherever they run, as in an image. It is up to the image that it is the right one.
    Elsewhere(SparkInstallation),
    /// On machines that tell the cluster which ones they have.
    OfMachines,
}

impl Sparks {
    /// The Spark for the executors of a driver of this release. `home`: the one that the application names.
    ///
    /// # Errors
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) if there is none of that release, or if it
    /// is not clear which one is meant.
    pub(crate) fn find(&self, release: Release, home: Option<&str>) -> Result<SparkInstallation> {
        let (homes, java) = match self {
            Self::Elsewhere(spark) => {
                return Ok(home.map_or_else(|| spark.clone(), SparkInstallation::at));
            }
            Self::OfMachines => {
                let of_machine = || SparkInstallation::of_machine(versions(release));
                return Ok(home.map_or_else(of_machine, SparkInstallation::at));
            }
            Self::ThisMachine { homes, java } => (homes, java),
        };
        if let Some(home) = home {
            return Ok(installation(&SparkHome::of(home.into()), java));
        }
        let known: Vec<_> = homes.iter().cloned().map(SparkHome::of).collect();
        let fits = |home: &&SparkHome| {
            home.scala == release.scala
                && release.line.is_none_or(|line| line_of(home) == Some(line))
        };
        let mut fitting: Vec<_> = known.iter().filter(fits).collect();
        fitting.dedup_by(|one, other| one.release == other.release);
        match fitting.as_slice() {
            [one] => Ok(installation(one, java)),
            [] => Err(Error::unsupported(format!(
                "the driver runs Spark {}, and there is none of that release for its executors; \
                 there is {}",
                words(release),
                list(known.iter()),
            ))
            .with_hint(format!("set {} of the gateway", SPARK_HOMES.info.name))),
            several => Err(Error::unsupported(format!(
                "the driver runs Spark {}, and there are several of that line: {}",
                words(release),
                list(several.iter().copied()),
            ))
            .with_hint(format!("set {OF_APPLICATION} of the application to one of them"))),
        }
    }
}

/// The releases that are the same as this one for executors.
fn versions(release: Release) -> SparkVersions {
    let (from, to) = match release.line {
        Some(ReleaseLine::V3) => ((3, 4), (3, u32::MAX)),
        Some(ReleaseLine::V4_0) => ((4, 0), (4, 0)),
        Some(ReleaseLine::V4_1) => ((4, 1), (4, u32::MAX)),
        _ => ((3, 4), (u32::MAX, u32::MAX)),
    };
    SparkVersions::new(release.scala, from, to)
}

fn line_of(home: &SparkHome) -> Option<ReleaseLine> {
    ReleaseLine::of_version(home.release.as_ref()?.as_str())
}

fn words(release: Release) -> String {
    match release.line {
        Some(line) => format!("{} (Scala {})", line.as_str(), release.scala),
        None => format!("of an unknown release (Scala {})", release.scala),
    }
}

fn list<'a>(homes: impl Iterator<Item = &'a SparkHome>) -> String {
    let name = |home: &SparkHome| match &home.release {
        Some(release) => format!("{release} in {}", home.path.display()),
        None => format!("no Spark in {}", home.path.display()),
    };
    let names: Vec<_> = homes.map(name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn installation(home: &SparkHome, java: &Path) -> SparkInstallation {
    let text = |path: &Path| path.display().to_string();
    let class_path = vec![home.executor_class_path()];
    let (home, java) = (text(&home.path), vec![text(java)]);
    SparkInstallation { home, java, class_path, versions: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(scala: &'static str, line: Option<ReleaseLine>) -> Release {
        Release { scala, line }
    }

    fn homes(dir: &Path, versions: &[&str]) -> Vec<PathBuf> {
        let make = |version: &&str| {
            let home = dir.join(version);
            std::fs::create_dir_all(home.join("jars")).unwrap();
            let scala = if version.starts_with('3') { "2.12" } else { "2.13" };
            std::fs::write(home.join(format!("jars/spark-core_{scala}-{version}.jar")), "")
                .unwrap();
            home
        };
        versions.iter().map(make).collect()
    }

    #[test]
    fn executors_run_the_release_of_their_driver() {
        let dir = std::env::temp_dir().join(format!("anymaster-sparks-{}", std::process::id()));
        let homes = homes(&dir, &["3.5.9", "4.0.5", "4.1.4"]);
        let sparks = |homes: &[PathBuf]| Sparks::ThisMachine {
            homes: homes.to_vec(),
            java: "/usr/bin/java".into(),
        };
        let find = |homes: &[PathBuf], release| sparks(homes).find(release, None);
        for (release, wanted) in [
            (release("2.12", Some(ReleaseLine::V3)), "3.5.9"),
            (release("2.13", Some(ReleaseLine::V4_0)), "4.0.5"),
            (release("2.13", Some(ReleaseLine::V4_1)), "4.1.4"),
        ] {
            assert!(find(&homes, release).unwrap().home.ends_with(wanted));
        }
        // Of Scala 2.13, and of a line that is not known: it may be either.
        let unknown = find(&homes, release("2.13", None)).unwrap_err();
        assert!(unknown.message().contains("4.0.5 in "), "{unknown}");
        assert!(unknown.hint().unwrap().contains(OF_APPLICATION));
        let none = find(&homes[..1], release("2.13", Some(ReleaseLine::V4_0))).unwrap_err();
        assert!(none.message().contains("runs Spark 4.0") && none.message().contains("3.5.9 in "));
        // Where machines know it, it is named by what is the same as its driver's.
        let of_machines =
            Sparks::OfMachines.find(release("2.13", Some(ReleaseLine::V4_1)), None).unwrap();
        assert_eq!(of_machines.versions.unwrap().to_string(), "4.1 or later (Scala 2.13)");
        let named = sparks(&[]).find(release("2.13", None), Some("/opt/mine")).unwrap();
        assert_eq!(named.home, "/opt/mine");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
