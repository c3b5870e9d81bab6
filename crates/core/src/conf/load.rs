//! Where properties come from, and which source wins: a flag, `--conf`, a properties file, the
//! environment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Conf, keys, read_properties};
use crate::{Error, Result};

/// Where a property's value comes from; a later variant wins over an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Computed from other properties, or a default.
    Derived,
    /// An environment variable.
    Environment(&'static str),
    /// A properties file.
    File(PathBuf),
    /// `--conf`, or an option that stands for one.
    Conf,
    /// An option of its own.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Derived => f.write_str("default"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Conf => f.write_str("--conf"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Origin {
    const fn rank(&self) -> u8 {
        match self {
            Self::Derived => 0,
            Self::Environment(_) => 1,
            Self::File(_) => 2,
            Self::Conf => 3,
            Self::Flag(_) => 4,
        }
    }
}

/// Collects properties from several sources.
#[derive(Debug, Default)]
pub struct Layers {
    values: BTreeMap<String, (Origin, String)>,
    /// Properties whose values came by an old name.
    by_old_names: BTreeSet<&'static str>,
    warnings: Vec<String>,
}

/// What [`Layers`] come to.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The winning values.
    pub conf: Conf,
    /// Where each comes from.
    pub origins: BTreeMap<String, Origin>,
    /// What was dropped or renamed, a sentence each.
    pub warnings: Vec<String>,
}

impl Layers {
    /// No sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. It replaces those of weaker sources, and an earlier one of the same source.
    ///
    /// What has a name that Spark gave up has the present one as well, unless that has a value of its
    /// own. A name that does not begin with `spark.` is dropped. Both with a warning.
    pub fn add(&mut self, origin: Origin, key: &str, value: impl Into<String>) {
        if !key.starts_with("spark.") {
            // Spark's words: tools look for them.
            self.warnings.push(format!("Ignoring non-Spark config property: {key}"));
            return;
        }
        let value = value.into();
        match keys::current_name(key) {
            None => {
                if self.by_old_names.remove(key) {
                    self.values.remove(key);
                }
            }
            Some(current) => {
                self.warnings.push(format!("{key} is an old name, read as {current}"));
                if !self.values.contains_key(current) || self.by_old_names.contains(current) {
                    self.by_old_names.insert(current);
                    self.put(origin.clone(), current, value.clone());
                }
            }
        }
        self.put(origin, key, value);
    }

    fn put(&mut self, origin: Origin, key: &str, value: String) {
        let stays = self.values.get(key).is_some_and(|(before, _)| before.rank() > origin.rank());
        if !stays {
            self.values.insert(key.to_owned(), (origin, value));
        }
    }

    /// Adds a properties file: Java properties syntax, UTF-8. As in Spark, what is not UTF-8 is replaced by
    /// U+FFFD; values of which that is true get a warning with their line.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) with the file, and the line where there is one.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let bytes = std::fs::read(path).map_err(|error| {
            Error::invalid(format!("cannot read the properties file {shown}")).with_source(error)
        })?;
        let text = String::from_utf8_lossy(&bytes);
        if matches!(text, Cow::Owned(_)) {
            for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let is_comment = line.trim_ascii_start().starts_with(b"#")
                    || line.trim_ascii_start().starts_with(b"!");
                if !is_comment && std::str::from_utf8(line).is_err() {
                    self.warnings.push(format!(
                        "{shown}, line {}: it is not UTF-8, and has U+FFFD where it is not, as with \
                         Spark; write \\uXXXX or save the file as UTF-8",
                        at + 1
                    ));
                }
            }
        }
        let entries = read_properties(&text)
            .map_err(|error| error.context(format!("properties file {shown}")))?;
        for (key, value) in entries {
            self.add(Origin::File(path.to_owned()), &key, value);
        }
        Ok(())
    }

    /// The value so far.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(_, value)| value.as_str())
    }

    /// Writes the value of a property in another way; its source stays.
    pub fn replace(&mut self, key: &str, value: String) {
        if let Some((_, known)) = self.values.get_mut(key) {
            *known = value;
        }
    }

    /// Takes a property out, whatever its source.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.values.remove(key).map(|(_, value)| value)
    }

    /// The winners.
    pub fn finish(self) -> Loaded {
        let mut loaded = Loaded { warnings: self.warnings, ..Loaded::default() };
        for (key, (origin, value)) in self.values {
            loaded.origins.insert(key.clone(), origin);
            loaded.conf.set(key, value);
        }
        loaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_source_wins_in_any_order_and_the_later_value_within_one() {
        let sources = [
            (Origin::Environment("SPARK_EXECUTOR_MEMORY"), "1g"),
            (Origin::File("f".into()), "2g"),
            (Origin::Conf, "3g"),
            (Origin::Conf, "4g"),
            (Origin::Flag("--executor-memory"), "5g"),
        ];
        for last in 0..sources.len() {
            let mut layers = Layers::new();
            // Strongest first, so that order alone would give the wrong answer.
            for (origin, value) in sources[..=last].iter().rev() {
                layers.add(origin.clone(), "spark.executor.memory", *value);
            }
            let want = if last == 3 { "3g" } else { sources[last].1 };
            let loaded = layers.finish();
            assert_eq!(loaded.conf.get("spark.executor.memory"), Some(want));
            assert_eq!(loaded.origins["spark.executor.memory"], sources[last].0);
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_harm_nobody_in_comments_and_are_named_in_values() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, b"# f\xfcr\nspark.a 1\nspark.b f\xfcr\n").unwrap();
        let mut layers = Layers::new();
        layers.add_file(&file).unwrap();
        let loaded = layers.finish();
        assert_eq!(loaded.conf.get("spark.a"), Some("1"));
        assert_eq!(loaded.conf.get("spark.b"), Some("f\u{fffd}r"));
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert!(loaded.warnings[0].contains("line 3"), "{:?}", loaded.warnings);
    }

    #[test]
    fn old_names_are_read_and_foreign_ones_are_dropped_each_with_a_warning() {
        let mut layers = Layers::new();
        layers.add(Origin::Conf, "spark.yarn.max.executor.failures", "7");
        layers.add(Origin::Conf, "foo.bar", "1");
        layers.add(Origin::Conf, "spark.unknown", "kept");
        let loaded = layers.finish();
        assert_eq!(loaded.conf.get("spark.executor.maxNumFailures"), Some("7"));
        assert_eq!(loaded.conf.get("spark.yarn.max.executor.failures"), Some("7"));
        assert_eq!(loaded.conf.get("spark.unknown"), Some("kept"));
        assert_eq!(
            loaded.warnings,
            [
                "spark.yarn.max.executor.failures is an old name, read as spark.executor.maxNumFailures",
                "Ignoring non-Spark config property: foo.bar",
            ]
        );
    }

    #[test]
    fn a_present_name_wins_over_an_old_one_whatever_it_comes_by() {
        let (old, new) = ("spark.yarn.keytab", "spark.kerberos.keytab");
        for names in [[old, new], [new, old]] {
            let mut layers = Layers::new();
            for name in names {
                let origin = if name == old { Origin::Conf } else { Origin::File("f".into()) };
                layers.add(origin, name, name);
            }
            assert_eq!(layers.finish().conf.get(new), Some(new));
        }
    }
}
