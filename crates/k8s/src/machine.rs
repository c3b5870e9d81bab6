//! What the submitter's machine contributes to a driver's objects.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Variables, places};
use anymaster_core::{Error, Result};

use crate::keys;

/// What the submitter's machine contributes to a driver's objects.
#[derive(Clone, Default)]
pub struct Machine {
    /// `SPARK_USER`.
    pub user: String,
    /// Environment variables. Spark reads a few of them at submission: `SPARK_LOCAL_DIRS`,
    /// `PYSPARK_PYTHON`, `SPARK_CONF_DIR`, `HADOOP_CONF_DIR` … What is not UTF-8 is U+FFFD, as with Java.
    pub env: BTreeMap<String, String>,
    /// Where relative paths begin.
    pub current_dir: PathBuf,
    /// Properties may name no files of this machine: the submission is somebody else's.
    pub for_others: bool,
    /// Files that are elsewhere, by their URLs: they were read beforehand.
    pub fetched: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Machine {
    /// The one that this process runs on.
    pub fn of_process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let env: BTreeMap<String, String> = variables.collect();
        let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { user: user(&env), env, current_dir, ..Self::default() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What properties may refer to: nobody's environment, if they are somebody else's.
    pub(crate) fn variables(&self) -> Variables {
        let variables = match self.for_others {
            true => Variables::default(),
            false => Variables::new(self.env.clone()),
        };
        variables.with_table(keys::TABLE)
    }

    /// A file that a property or variable names, by its path or as a `file:` URI.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        let path =
            text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
        self.current_dir.join(path)
    }

    /// Refuses a property that names a file of this machine, when the submission is somebody else's.
    pub(crate) fn check_owner(&self, property: &str, path: &str) -> Result<()> {
        if !self.for_others {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{property}: {} would be a file of the service's machine, which is not read for others",
            places(path)
        ))
        .with_hint("put it where the driver can fetch it; write local:// before the path if it is in the image"))
    }

    /// Reads a file that a property names.
    pub(crate) fn read(&self, property: &str, path: &str) -> Result<Vec<u8>> {
        self.check_owner(property, path)?;
        if let Some(content) = self.fetched.get(path) {
            return Ok(content.clone());
        }
        let path = self.path(path);
        std::fs::read(&path).map_err(|error| {
            Error::invalid(format!("{property}: cannot read {}", path.display())).with_source(error)
        })
    }

    /// The regular files of a directory, sorted by name. `what` names it in errors.
    pub(crate) fn files_in(what: &str, directory: &Path) -> Result<Vec<(String, PathBuf)>> {
        let unreadable = |error| {
            Error::invalid(format!("{what}: cannot read {}", directory.display()))
                .with_source(error)
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if let Some(name) = name.filter(|_| path.is_file()) {
                files.push((name, path));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// A file as text. Bytes that are not UTF-8 are replaced, as with Spark, but not without a warning.
pub(crate) fn text(name: impl fmt::Display, bytes: Vec<u8>, warnings: &mut Vec<String>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        warnings.push(format!(
            "{name} is not UTF-8: it is read with U+FFFD in the place of what is not"
        ));
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

/// As Spark and Hadoop find it: from the environment, else the operating system's.
fn user(env: &BTreeMap<String, String>) -> String {
    let id = rustix::process::getuid().as_raw();
    let variable = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    // Empty is a value for Spark: that nobody is named.
    env.get("SPARK_USER")
        .cloned()
        .or_else(|| variable("HADOOP_USER_NAME"))
        .or_else(|| named(Path::new("/etc/passwd"), id))
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| id.to_string())
}

fn named(passwd: &Path, id: u32) -> Option<String> {
    // One name that is not UTF-8 hides no other.
    let bytes = std::fs::read(passwd).ok()?;
    String::from_utf8_lossy(&bytes).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"root:x:0:0:::\nm\xfcller:x:9:9:::\nspark:x:185:0:::\n")
            .unwrap();
        assert_eq!(named(file.path(), 185).as_deref(), Some("spark"));
        assert_eq!(named(file.path(), 7), None);
    }

    #[test]
    fn debug_shows_no_environment() {
        let mut machine = Machine { user: "u".into(), ..Machine::default() };
        machine.env.insert("AWS_SECRET".into(), "hidden".into());
        assert!(!format!("{machine:?}").contains("hidden"));
    }
}
