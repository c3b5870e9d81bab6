//! Spark's properties: where they come from, what they mean, which are secret.

mod checks;
pub mod keys;
mod load;
mod properties;
mod redact;
mod size;
mod substitute;
mod time;
mod unknown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use checks::{check_executors, check_task_cpus};
pub use load::{Layers, Loaded, Origin};
pub use properties::{read_properties, write_properties};
pub use redact::{REDACTED, Redaction, places};
pub use size::{BadQuantity, SizeUnit, parse_size};
pub use substitute::{Variables, is_read_as_written, refers_to_surroundings};
pub use time::{TimeUnit, parse_time};
pub use unknown::probably_meant;

/// A set of properties (`spark.*`), sorted by name. `Debug` shows no secret. Two are equal whatever
/// their references are to.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conf {
    entries: BTreeMap<String, String>,
    #[serde(skip)]
    variables: Variables,
}

impl PartialEq for Conf {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Conf {}

impl Conf {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a property as it was written.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// Sets a property, whatever it was before.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.entries.insert(key.into(), value.into());
    }

    /// Sets a property unless it is set.
    pub fn set_default(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.entries.entry(key.into()).or_insert_with(|| value.into());
    }

    /// Removes a property and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.entries.remove(key)
    }

    /// All properties, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The properties whose names begin with `prefix`, without it.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.entries
            .range(prefix.to_owned()..)
            .map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Conf {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self { entries: entries.collect(), variables: Variables::default() }
    }
}
