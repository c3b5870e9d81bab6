//! The environment in which a command line is interpreted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anymaster_core::conf::Variables;

/// Environment variables and the current directory, on which the meaning of a command line depends.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The variables. Invalid UTF-8 is replaced with U+FFFD, as with Java.
    pub variables: BTreeMap<String, String>,
    /// The directory that relative paths refer to.
    pub current_dir: PathBuf,
    /// Whether the command line comes from another user: its properties cannot refer to these
    /// variables.
    pub multi_tenant: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            variables: variables.collect(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            multi_tenant: false,
        }
    }

    /// The variables that properties may refer to (`${env:NAME}`).
    pub fn references(&self) -> Variables {
        match self.multi_tenant {
            true => Variables::default(),
            false => Variables::new(self.variables.clone()),
        }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
