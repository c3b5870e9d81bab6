//! What the submitter's machine contributes to a driver's objects.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};

/// What the submitter's machine contributes to a driver's objects.
#[derive(Clone, Default)]
pub struct Machine {
    /// `SPARK_USER`.
    pub user: String,
    /// Environment variables. Spark reads a few of them at submission: `SPARK_LOCAL_DIRS`,
    /// `PYSPARK_PYTHON`, `SPARK_CONF_DIR`, `HADOOP_CONF_DIR` …
    pub env: BTreeMap<String, String>,
    /// Where relative paths begin.
    pub current_dir: PathBuf,
    /// Properties may name no files of this machine: the submission is somebody else's.
    pub for_others: bool,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Machine {
    /// The one that this process runs on.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(utf8).collect();
        let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { user: user(&env), env, current_dir, for_others: false }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
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
            "{property}: {path} would be a file of the service's machine, which is not read for others"
        ))
        .with_hint("put it where the driver can fetch it; write local:// before the path if it is in the image"))
    }

    /// Reads a file that a property names.
    pub(crate) fn read(&self, property: &str, path: &str) -> Result<Vec<u8>> {
        self.check_owner(property, path)?;
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
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            if let Some(name) = name.filter(|_| path.is_file()) {
                files.push((name, path));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// As Spark and Hadoop find it: from the environment, else the operating system's.
fn user(env: &BTreeMap<String, String>) -> String {
    let id = rustix::process::getuid().as_raw();
    let variable = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    variable("SPARK_USER")
        .or_else(|| variable("HADOOP_USER_NAME"))
        .or_else(|| named(Path::new("/etc/passwd"), id))
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| id.to_string())
}

fn named(passwd: &Path, id: u32) -> Option<String> {
    let text = std::fs::read_to_string(passwd).ok()?;
    text.lines().find_map(|line| {
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
        std::fs::write(file.path(), "root:x:0:0:::\nspark:x:185:0:::\n").unwrap();
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
