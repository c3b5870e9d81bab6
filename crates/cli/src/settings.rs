//! What the user set once for all runs: `~/.config/anymaster/config.toml` and `ANYMASTER_*`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use config::{Config, File, FileFormat, Map};
use serde::Deserialize;

use crate::log::LogFormat;
use crate::printer::Format;

/// The part of `--help` and the man page about settings.
pub(crate) const HELP: &str = "\
Settings, in ~/.config/anymaster/config.toml or the environment (which wins):
  master     ANYMASTER_MASTER     master URL when none is given
  state_dir  ANYMASTER_STATE_DIR  where local applications are kept
  output     ANYMASTER_OUTPUT     text, wide, json or yaml
  log        ANYMASTER_LOG        what is logged to standard error, for example debug
  log_format ANYMASTER_LOG_FORMAT text or json
ANYMASTER_CONFIG names another file.";

/// The settings that an environment variable sets. Others with our prefix have other purposes.
const NAMES: [&str; 5] = ["master", "state_dir", "output", "log", "log_format"];

/// What the user set. Plain data; a flag wins over it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The master URL when none is given.
    pub(crate) master: Option<String>,
    /// Where backends keep state between runs.
    pub(crate) state_dir: Option<PathBuf>,
    /// How data is shown when no `-o` is given.
    pub(crate) output: Option<Format>,
    /// A filter for log lines.
    pub(crate) log: Option<String>,
    /// How log lines are written.
    pub(crate) log_format: Option<LogFormat>,
}

impl Settings {
    /// Reads the user's file, where there is one, and the environment.
    ///
    /// # Errors
    /// A file that cannot be read or has an unknown name, or a value that is not one.
    pub(crate) fn load(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = variable("ANYMASTER_CONFIG").map(PathBuf::from);
        let required = named.is_some();
        let file = named.or_else(|| {
            user_directory(&variable, "XDG_CONFIG_HOME", ".config")
                .map(|directory| directory.join("config.toml"))
        });

        let mut sources = Config::builder();
        if let Some(file) = &file {
            let source = File::from(file.as_path()).format(FileFormat::Toml).required(required);
            sources = sources.add_source(source);
        }
        let mut environment = Map::new();
        for name in NAMES {
            let upper = format!("ANYMASTER_{}", name.to_uppercase());
            if let Some(value) = variable(&upper) {
                let value = value.into_string().map_err(|value| {
                    Error::invalid(format!("{upper} is not valid UTF-8: {}", value.display()))
                })?;
                environment.insert(upper, value);
            }
        }
        let source =
            config::Environment::with_prefix("ANYMASTER").source(Some(environment)).separator("__");
        sources.add_source(source.prefix_separator("_")).build().map_or_else(
            |error| Err(invalid(error, file.as_deref())),
            |values| values.try_deserialize().map_err(|error| invalid(error, file.as_deref())),
        )
    }

    /// Where backends keep state between runs.
    ///
    /// # Errors
    /// If nothing says where the user's home is.
    pub(crate) fn state_dir(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        if let Some(directory) = &self.state_dir {
            return Ok(directory.clone());
        }
        anymaster_core::default_state_dir(variable)
    }
}

/// The properties that hold for all, where there are any: `spark-defaults.conf` of `SPARK_CONF_DIR`, or of
/// `SPARK_HOME/conf`.
pub(crate) fn spark_defaults() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let dir = variable("SPARK_CONF_DIR").map(PathBuf::from);
    let dir = dir.or_else(|| Some(Path::new(&variable("SPARK_HOME")?).join("conf")))?;
    Some(dir.join("spark-defaults.conf")).filter(|file| file.is_file())
}

fn user_directory(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    variable(name)
        .and_then(absolute)
        .or_else(|| Some(variable("HOME").and_then(absolute)?.join(below_home)))
        .map(|directory| directory.join("anymaster"))
}

fn invalid(error: config::ConfigError, file: Option<&Path>) -> Error {
    let place = file.map_or_else(|| "the environment".into(), |file| file.display().to_string());
    Error::invalid(format!("the settings in {place} or ANYMASTER_* cannot be used"))
        .with_source(error)
        .with_hint(format!("known settings: {}", NAMES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Settings> {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::create_dir(directory.path().join("anymaster")).unwrap();
            std::fs::write(directory.path().join("anymaster/config.toml"), text).unwrap();
        }
        Settings::load(|name| match name {
            "XDG_CONFIG_HOME" => Some(directory.path().into()),
            name => environment.iter().find(|(key, _)| *key == name).map(|(_, v)| v.into()),
        })
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "master = 'local[2]'\noutput = 'json'\n";
        let settings = load(
            Some(file),
            &[
                ("ANYMASTER_MASTER", "local[3]"),
                ("ANYMASTER_STATE_DIR", "/s"),
                ("ANYMASTER_APPLICATION_ID", "not a setting"),
            ],
        )
        .unwrap();
        let expected = Settings {
            master: Some("local[3]".into()),
            state_dir: Some("/s".into()),
            output: Some(Format::Json),
            log: None,
            log_format: None,
        };
        assert_eq!(settings, expected);
        assert_eq!(load(None, &[]).unwrap(), Settings::default());
    }

    #[test]
    fn mistakes_are_named() {
        let error = load(Some("mastre = 'local'"), &[]).unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("mastre"), "{error}");
        let error = load(None, &[("ANYMASTER_OUTPUT", "xml")]).unwrap_err().to_string();
        assert!(error.contains("xml"), "{error}");
        let error = load(None, &[("ANYMASTER_CONFIG", "/no/such.toml")]).unwrap_err().to_string();
        assert!(error.contains("/no/such.toml"), "{error}");
    }

    #[test]
    fn the_state_directory_is_the_users() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let settings = Settings::default();
        assert_eq!(settings.state_dir(home).unwrap(), Path::new("/home/u/.local/state/anymaster"));
        assert!(settings.state_dir(|_| None).unwrap_err().hint().unwrap().contains("STATE_DIR"));
    }
}
