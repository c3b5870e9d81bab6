//! The credentials of a framework (Spark 3.5, `MesosSchedulerUtils`): a principal and a secret, each from a
//! property, an environment variable, or a file named by one of these.

use std::fmt;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::Kind;
use anymaster_core::{Error, Result};

anymaster_core::property_keys! {
    /// By which name the framework is known to the master; also `SPARK_MESOS_PRINCIPAL`.
    PRINCIPAL: String = "spark.mesos.principal", Kind::Text, None, "1.5.0", Honoured;
    /// A file with that name; also `SPARK_MESOS_PRINCIPAL_FILE`.
    PRINCIPAL_FILE: String = "spark.mesos.principal.file", Kind::Text, None, "2.4.0", Honoured;
    /// The secret that goes with it; also `SPARK_MESOS_SECRET`.
    SECRET: String = "spark.mesos.secret", Kind::Text, None, "1.5.0", Honoured;
    /// A file with that secret; also `SPARK_MESOS_SECRET_FILE`.
    SECRET_FILE: String = "spark.mesos.secret.file", Kind::Text, None, "2.4.0", Honoured;
}

/// A principal and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The principal.
    pub principal: String,
    /// Its secret; masters that require authentication refuse a principal without one.
    pub secret: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads properties and environment variables; `None` if there is no principal.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a file that cannot be read, and for a
    /// secret without a principal.
    pub fn of(conf: &Conf, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let one = |key: &str, file: &str, name: &str| {
            if let Some(value) = conf.get(key) {
                return Ok(Some(value.to_owned()));
            }
            if let Some(value) = variable(name) {
                return Ok(Some(value));
            }
            let path = conf.get(file).map(str::to_owned);
            path.or_else(|| variable(&format!("{name}_FILE")))
                .map(|path| read(file, &path))
                .transpose()
        };
        let principal =
            one(PRINCIPAL.info.name, PRINCIPAL_FILE.info.name, "SPARK_MESOS_PRINCIPAL")?;
        let secret = one(SECRET.info.name, SECRET_FILE.info.name, "SPARK_MESOS_SECRET")?;
        match (principal, secret) {
            (Some(principal), secret) => Ok(Some(Self { principal, secret })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::invalid(format!(
                "{} must be configured when {} is set",
                PRINCIPAL.info.name, SECRET.info.name
            ))
            .with_hint(format!("set {} to the principal of this secret", PRINCIPAL.info.name))),
        }
    }
}

/// Reads a file without trimming it, as Spark does.
fn read(property: &str, path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("{property}: cannot read {path}")).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_win_over_the_environment_and_that_over_files() {
        let dir = std::env::temp_dir().join(format!("credentials-{}", std::process::id()));
        std::fs::write(&dir, "of a file").unwrap();
        let file = dir.display().to_string();
        let of = |pairs: &[(&str, &str)], environment: &[(&str, &str)]| {
            let variable = |name: &str| {
                environment
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            Credentials::of(&pairs.iter().copied().collect(), variable)
        };
        assert_eq!(of(&[], &[]).unwrap(), None);
        let both = [("SPARK_MESOS_PRINCIPAL", "p"), ("SPARK_MESOS_SECRET_FILE", file.as_str())];
        let found = of(&[], &both).unwrap().unwrap();
        assert_eq!((found.principal.as_str(), found.secret.as_deref()), ("p", Some("of a file")));
        let found = of(&[("spark.mesos.principal", "q")], &both).unwrap().unwrap();
        assert_eq!(found.principal, "q");
        assert!(!format!("{found:?}").contains("of a file"));
        let error = of(&[("spark.mesos.secret", "s")], &[]).unwrap_err();
        assert!(error.message().contains("must be configured"), "{error}");
        let missing = [("spark.mesos.principal.file", "/no/such")];
        assert!(of(&missing, &[]).unwrap_err().message().contains("/no/such"));
        std::fs::remove_file(dir).unwrap();
    }
}
