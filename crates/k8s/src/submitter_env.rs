//! The environment of the submitter that a driver's objects depend on: user, variables, files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Variables, places};
use anymaster_core::{Error, Result, user_name};

use crate::keys;

/// The environment of the submitter that a driver's objects depend on: user, variables, files.
#[derive(Clone, Default)]
pub struct SubmitterEnv {
    /// `SPARK_USER`.
    pub user: String,
    /// Environment variables. Spark reads a few of them at submission: `SPARK_LOCAL_DIRS`,
    /// `PYSPARK_PYTHON`, `SPARK_CONF_DIR`, `HADOOP_CONF_DIR` … What is not UTF-8 is U+FFFD, as with Java.
    pub vars: BTreeMap<String, String>,
    /// The directory that relative paths refer to.
    pub current_dir: PathBuf,
    /// The submission comes from another user: properties must not read files of this machine.
    pub multi_tenant: bool,
    /// The contents of remote files that were fetched beforehand, by URL.
    pub fetched: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SubmitterEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitterEnv").field("user", &self.user).finish_non_exhaustive()
    }
}

impl SubmitterEnv {
    /// The environment of this process.
    pub fn from_process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let vars: BTreeMap<String, String> = variables.collect();
        let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { user: user(&vars), vars, current_dir, ..Self::default() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variables that properties may refer to: none, if the submission comes from another user.
    pub(crate) fn variables(&self) -> Variables {
        let variables = match self.multi_tenant {
            true => Variables::default(),
            false => Variables::new(self.vars.clone()),
        };
        variables.with_table(keys::TABLE)
    }

    /// The path of a file that a property or variable names, as a path or a `file:` URI.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        let path =
            text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
        self.current_dir.join(path)
    }

    /// Refuses a property that names a file of this machine if the submission comes from another
    /// user.
    pub(crate) fn check_owner(&self, property: &str, path: &str) -> Result<()> {
        if !self.multi_tenant {
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

/// Decodes a file as UTF-8. Invalid bytes are replaced, as with Spark, with a warning.
pub(crate) fn text(name: impl fmt::Display, bytes: Vec<u8>, warnings: &mut Vec<String>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        warnings.push(format!("{name} is not UTF-8: invalid bytes are read as U+FFFD"));
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

/// The user as Spark and Hadoop determine it: from the environment, else from the operating system.
fn user(env: &BTreeMap<String, String>) -> String {
    let id = rustix::process::getuid().as_raw();
    let variable = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    // Spark uses an empty value as it is.
    env.get("SPARK_USER")
        .cloned()
        .or_else(|| variable("HADOOP_USER_NAME"))
        .or_else(|| user_name(id))
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_environment() {
        let mut submitter = SubmitterEnv { user: "u".into(), ..SubmitterEnv::default() };
        submitter.vars.insert("AWS_SECRET".into(), "hidden".into());
        assert!(!format!("{submitter:?}").contains("hidden"));
    }
}
