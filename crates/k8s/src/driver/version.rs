//! Which Spark is in the image: objects and options differ.

use std::path::Path;

use anymaster_core::conf::Conf;
use anymaster_core::{Result, SparkRelease};

use crate::keys;
use crate::machine::Machine;

/// The release whose rules a driver's objects follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) release: SparkRelease,
    /// Nothing says it: it is the newest that is known.
    pub(super) is_assumed: bool,
}

impl Version {
    /// Given, else that of the submitter's Spark, else the newest.
    pub(super) fn of(conf: &Conf, machine: &Machine) -> Result<Self> {
        let given = conf.read_optional(&keys::SPARK_VERSION)?;
        let given = given.map(|text| text.parse::<SparkRelease>()).transpose();
        let given = given.map_err(|error| error.context(keys::SPARK_VERSION.info.name))?;
        let known =
            given.or_else(|| SparkRelease::installed(Path::new(machine.get("SPARK_HOME")?)));
        let is_assumed = known.is_none();
        Ok(Self { release: known.unwrap_or_else(SparkRelease::newest), is_assumed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_wins_over_the_installation() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("jars")).unwrap();
        std::fs::write(home.path().join("jars/spark-core_2.12-3.5.9.jar"), "").unwrap();
        let mut machine = Machine::default();
        let assumed = Version::of(&Conf::new(), &machine).unwrap();
        assert!(assumed.is_assumed && assumed.release == SparkRelease::newest());
        machine.env.insert("SPARK_HOME".into(), home.path().display().to_string());
        let installed = Version::of(&Conf::new(), &machine).unwrap();
        assert_eq!((installed.release.as_str(), installed.is_assumed), ("3.5.9", false));
        let conf = |text| Conf::from_iter([("spark.anymaster.sparkVersion", text)]);
        assert_eq!(Version::of(&conf("4.0.1"), &machine).unwrap().release.as_str(), "4.0.1");
        let error = Version::of(&conf("four"), &machine).unwrap_err();
        assert!(error.message().contains("spark.anymaster.sparkVersion"), "{error}");
    }
}
