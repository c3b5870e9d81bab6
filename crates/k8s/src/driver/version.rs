//! Determines the Spark release of the image, on which objects and options depend.

use std::path::Path;

use anymaster_core::conf::Conf;
use anymaster_core::{Result, SparkRelease};

use crate::keys;
use crate::submitter_env::SubmitterEnv;

/// The release whose rules apply to a driver's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) release: SparkRelease,
    /// The release is unknown, and assumed to be the newest supported one.
    pub(super) is_assumed: bool,
}

impl Version {
    /// The configured release, else that of the submitter's `SPARK_HOME`, else the newest.
    pub(super) fn of(conf: &Conf, submitter: &SubmitterEnv) -> Result<Self> {
        let given = conf.read_optional(&keys::SPARK_VERSION)?;
        let given = given.map(|text| text.parse::<SparkRelease>()).transpose();
        let given = given.map_err(|error| error.context(keys::SPARK_VERSION.info.name))?;
        let known =
            given.or_else(|| SparkRelease::installed(Path::new(submitter.get("SPARK_HOME")?)));
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
        let mut submitter = SubmitterEnv::default();
        let assumed = Version::of(&Conf::new(), &submitter).unwrap();
        assert!(assumed.is_assumed && assumed.release == SparkRelease::newest());
        submitter.vars.insert("SPARK_HOME".into(), home.path().display().to_string());
        let installed = Version::of(&Conf::new(), &submitter).unwrap();
        assert_eq!((installed.release.as_str(), installed.is_assumed), ("3.5.9", false));
        let conf = |text| Conf::from_iter([("spark.anymaster.sparkVersion", text)]);
        assert_eq!(Version::of(&conf("4.0.1"), &submitter).unwrap().release.as_str(), "4.0.1");
        let error = Version::of(&conf("four"), &submitter).unwrap_err();
        assert!(error.message().contains("spark.anymaster.sparkVersion"), "{error}");
    }
}
