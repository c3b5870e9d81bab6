//! What a native driver and its executors find in their environment, and the placeholders in their
//! command lines. The same on every backend.
//!
//! | placeholder | replaced by |
//! |---|---|
//! | `{{app.id}}` | the application's id |
//! | `{{driver.host}}`, `{{driver.port}}` | where executors reach the driver |
//! | `{{executor.id}}`, `{{executor.cores}}`, `{{executor.memory}}` (MiB), `{{executor.profile}}` | of this executor |
//! | `{{executor.host}}` | this executor's own address, as others reach it |
//! | `{{executor.port}}`, `{{executor.port.NAME}}` | a free port on the executor's host; each `NAME` another one |
//! | `{{work.dir}}` | this process' own directory |
//! | `{{spark.home}}`, `{{spark.java}}`, `{{spark.classpath}}` | the [Spark](crate::model::ExecutorTemplate::spark) of the executor's machine: its directory, the program `java`, its jars |

use std::collections::BTreeMap;

use crate::model::{AppId, ExecutorId, ProfileId, ResourceProfile};
use crate::{Error, Result};

/// The master URL with which the application was submitted.
pub const ENV_MASTER: &str = "ANYMASTER_MASTER";
/// The application's id.
pub const ENV_APPLICATION_ID: &str = "ANYMASTER_APPLICATION_ID";
/// Where executors reach the driver: a host name or an address.
pub const ENV_DRIVER_HOST: &str = "ANYMASTER_DRIVER_HOST";
/// Where executors reach the driver: a TCP port that is kept free for it.
pub const ENV_DRIVER_PORT: &str = "ANYMASTER_DRIVER_PORT";
/// A file, readable by the user only, with a secret that driver and executors share.
pub const ENV_SECRET_FILE: &str = "ANYMASTER_SECRET_FILE";
/// The executor's id; unset in a driver.
pub const ENV_EXECUTOR_ID: &str = "ANYMASTER_EXECUTOR_ID";
/// The executor's cores, a whole number or a fraction.
pub const ENV_EXECUTOR_CORES: &str = "ANYMASTER_EXECUTOR_CORES";
/// The executor's memory in MiB, without overhead.
pub const ENV_EXECUTOR_MEMORY_MIB: &str = "ANYMASTER_EXECUTOR_MEMORY_MIB";
/// The id of the executor's resource profile.
pub const ENV_EXECUTOR_PROFILE: &str = "ANYMASTER_EXECUTOR_PROFILE";
/// The `anymaster` program that started this process, where there is one.
pub const ENV_PROGRAM: &str = "ANYMASTER_PROGRAM";
/// The application's properties: a Java properties file, readable by the user only.
pub const ENV_PROPERTIES_FILE: &str = "ANYMASTER_PROPERTIES_FILE";

/// All of them.
pub const ENV_NAMES: [&str; 11] = [
    ENV_MASTER,
    ENV_APPLICATION_ID,
    ENV_DRIVER_HOST,
    ENV_DRIVER_PORT,
    ENV_SECRET_FILE,
    ENV_EXECUTOR_ID,
    ENV_EXECUTOR_CORES,
    ENV_EXECUTOR_MEMORY_MIB,
    ENV_EXECUTOR_PROFILE,
    ENV_PROGRAM,
    ENV_PROPERTIES_FILE,
];

/// The environment of an executor, as far as it does not depend on where it runs.
pub fn executor_env(
    app: &AppId,
    id: ExecutorId,
    profile_id: ProfileId,
    profile: &ResourceProfile,
) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (ENV_APPLICATION_ID, app.to_string()),
        (ENV_EXECUTOR_ID, id.to_string()),
        (ENV_EXECUTOR_CORES, profile.cores.to_string()),
        (ENV_EXECUTOR_MEMORY_MIB, profile.memory_mib.to_string()),
        (ENV_EXECUTOR_PROFILE, profile_id.to_string()),
    ])
}

/// What stands in a command line or in a variable for something that is known when its process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder<'a> {
    /// `{{app.id}}`
    AppId,
    /// `{{driver.host}}`
    DriverHost,
    /// `{{driver.port}}`
    DriverPort,
    /// `{{work.dir}}`
    WorkDir,
    /// `{{executor.id}}`
    ExecutorId,
    /// `{{executor.cores}}`
    ExecutorCores,
    /// `{{executor.memory}}`
    ExecutorMemory,
    /// `{{executor.profile}}`
    ExecutorProfile,
    /// `{{executor.host}}`
    ExecutorHost,
    /// `{{executor.port.NAME}}`; `{{executor.port}}` has an empty name.
    ExecutorPort(&'a str),
    /// `{{spark.home}}`, `{{spark.java}}`, `{{spark.classpath}}`.
    Spark(SparkPart),
}

/// A part of the Spark of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparkPart {
    /// Its directory.
    Home,
    /// The program `java` that runs it.
    Java,
    /// Its jars, and the directory of its configuration, as a class path.
    ClassPath,
}

impl<'a> Placeholder<'a> {
    /// Those with a fixed name.
    const NAMED: [(&'static str, Self); 12] = [
        ("app.id", Self::AppId),
        ("driver.host", Self::DriverHost),
        ("driver.port", Self::DriverPort),
        ("work.dir", Self::WorkDir),
        ("executor.id", Self::ExecutorId),
        ("executor.cores", Self::ExecutorCores),
        ("executor.memory", Self::ExecutorMemory),
        ("executor.profile", Self::ExecutorProfile),
        ("executor.host", Self::ExecutorHost),
        ("spark.home", Self::Spark(SparkPart::Home)),
        ("spark.java", Self::Spark(SparkPart::Java)),
        ("spark.classpath", Self::Spark(SparkPart::ClassPath)),
    ];

    /// The one of this name, if there is such a one.
    fn named(name: &'a str) -> Option<Self> {
        if let Some(port) = name.strip_prefix("executor.port") {
            let own = port.strip_prefix('.').filter(|own| !own.is_empty());
            return own.or(port.is_empty().then_some("")).map(Self::ExecutorPort);
        }
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, placeholder)| *placeholder)
    }

    /// Whether it has a value for executors only.
    pub fn is_of_executors(self) -> bool {
        !matches!(self, Self::AppId | Self::DriverHost | Self::DriverPort | Self::WorkDir)
    }
}

/// Replaces every `{{name}}` in `text` by what `value` gives for the placeholder of that name.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) for a name of which there is no placeholder, or one that
/// has no value here. Braces that do not enclose a name (letters, digits, dots) are left alone: they may be
/// the program's own.
pub fn expand(
    text: &str,
    mut value: impl FnMut(Placeholder<'_>) -> Option<String>,
) -> Result<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, from) = rest.split_at(start);
        expanded.push_str(before);
        let name = from[2..].split_once("}}").map(|(name, _)| name).filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        });
        let Some(name) = name else {
            expanded.push('{');
            rest = &from[1..];
            continue;
        };
        let replacement = Placeholder::named(name).and_then(&mut value).ok_or_else(|| {
            Error::invalid(format!("unknown placeholder {{{{{name}}}}} in {text:?}")).with_hint(
                "known: app.id, driver.host, driver.port, work.dir, and for executors executor.id, \
                 executor.cores, executor.memory, executor.profile, executor.host, executor.port, \
                 executor.port.NAME",
            )
        })?;
        expanded.push_str(&replacement);
        rest = &from[name.len() + 4..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let value = |it: Placeholder<'_>| (it == Placeholder::ExecutorId).then(|| "7".to_owned());
        let expand = |text| expand(text, value);
        assert_eq!(expand("a {{executor.id}}{{executor.id}} b").unwrap(), "a 77 b");
        assert_eq!(expand("{{ x }} {{}} {{{executor.id}} {{").unwrap(), "{{ x }} {{}} {7 {{");
        let error = expand("--id={{executor.nr}}").unwrap_err();
        assert_eq!(
            error.message(),
            r#"unknown placeholder {{executor.nr}} in "--id={{executor.nr}}""#
        );
    }
    #[test]
    fn ports_have_names_of_their_own() {
        let port = |name| match Placeholder::named(name) {
            Some(Placeholder::ExecutorPort(port)) => Some(port),
            _ => None,
        };
        assert_eq!(port("executor.port"), Some(""));
        assert_eq!(port("executor.port.rpc"), Some("rpc"));
        for other in ["executor.port.", "executor.porter", "executor.ports.rpc"] {
            assert_eq!(Placeholder::named(other), None, "{other}");
        }
    }
}
