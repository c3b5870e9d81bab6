//! Which Spark is in the image: a few objects differ.

use std::path::Path;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};

use crate::keys;
use crate::machine::Machine;

/// The newest Spark whose rules are built in.
const NEWEST: &str = "4.1.1";

/// A version of Spark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    pub(super) major: u32,
}

impl Version {
    /// Given, else that of the submitter's Spark, else the newest.
    pub(super) fn of(conf: &Conf, machine: &Machine) -> Result<Self> {
        if let Some(text) = conf.read_optional(&keys::SPARK_VERSION)? {
            return Self::parse(&text).ok_or_else(|| {
                Error::invalid(format!("spark.anymaster.sparkVersion: {text:?} is not a version"))
                    .with_hint("write for example 3.5.9")
            });
        }
        let installed = machine.env.get("SPARK_HOME").and_then(|home| installed(Path::new(home)));
        Ok(installed.unwrap_or_else(|| Self { text: NEWEST.to_owned(), major: 4 }))
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let major = major.parse().ok()?;
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_label = rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.chars().all(valid)
            && rest.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= crate::names::MAX_LABEL;
        is_label.then(|| Self { text: text.to_owned(), major })
    }
}

/// From the name of Spark's own jar.
fn installed(home: &Path) -> Option<Version> {
    let jars = std::fs::read_dir(home.join("jars")).ok()?;
    jars.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).find_map(|name| {
        let version = name.strip_prefix("spark-core_")?.strip_suffix(".jar")?.split_once('-')?.1;
        Version::parse(version)
    })
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
        assert_eq!(Version::of(&Conf::new(), &machine).unwrap().text, NEWEST);
        machine.env.insert("SPARK_HOME".into(), home.path().display().to_string());
        assert_eq!(Version::of(&Conf::new(), &machine).unwrap().text, "3.5.9");
        let conf = |text| Conf::from_iter([("spark.anymaster.sparkVersion", text)]);
        assert_eq!(Version::of(&conf("4.0.1"), &machine).unwrap().major, 4);
        for bad in ["four", "4", "4.x y", ".1"] {
            assert!(Version::of(&conf(bad), &machine).is_err(), "{bad}");
        }
    }
}
