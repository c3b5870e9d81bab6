//! The surroundings of a command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anymaster_core::conf::Variables;

/// Environment variables and the current directory, as the command line's meaning depends on them.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The variables. What is not UTF-8 in them is U+FFFD, as with Java.
    pub variables: BTreeMap<String, String>,
    /// Where relative paths begin.
    pub current_dir: PathBuf,
    /// Whether the command line is somebody else's: its properties cannot refer to these variables.
    pub for_others: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            variables: variables.collect(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            for_others: false,
        }
    }

    /// What values of properties may refer to (`${env:NAME}`).
    pub fn references(&self) -> Variables {
        match self.for_others {
            true => Variables::default(),
            false => Variables::new(self.variables.clone()),
        }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
