//! Secrets of properties (Spark 3.5, `MesosSchedulerBackendUtil`): as environment variables, and as files
//! that the agents' isolator `volume/secret` mounts.

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::Key;
use anymaster_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Role;
use crate::keys;
use crate::model::{Secret, SecretReference, SecretValue, Variable};

type List = &'static Key<Vec<String>>;

/// The properties of a role: names, values, environment variables, files.
fn keys_of(role: Role) -> [List; 4] {
    match role {
        Role::Driver => [
            &keys::DRIVER_SECRET_NAMES,
            &keys::DRIVER_SECRET_VALUES,
            &keys::DRIVER_SECRET_ENVKEYS,
            &keys::DRIVER_SECRET_FILENAMES,
        ],
        Role::Executor => [
            &keys::EXECUTOR_SECRET_NAMES,
            &keys::EXECUTOR_SECRET_VALUES,
            &keys::EXECUTOR_SECRET_ENVKEYS,
            &keys::EXECUTOR_SECRET_FILENAMES,
        ],
    }
}

/// A secret that is told as it is.
pub(crate) fn value(text: &str) -> Secret {
    Secret::Value { value: SecretValue { data: STANDARD.encode(text) } }
}

fn secrets(conf: &Conf, names: List, values: List) -> Result<Vec<Secret>> {
    let all = |key: List| Ok::<_, Error>(conf.read_optional(key)?.unwrap_or_default());
    let (by_name, by_value) = (all(names)?, all(values)?);
    if !by_name.is_empty() && !by_value.is_empty() {
        return Err(Error::invalid("Cannot specify both value-type and reference-type secrets.")
            .with_hint(format!("set one of {} and {}", names.info.name, values.info.name)));
    }
    let by_name =
        by_name.into_iter().map(|name| Secret::Reference { reference: SecretReference { name } });
    Ok(by_name.chain(by_value.iter().map(|text| value(text))).collect())
}

/// Secrets with where they go. There are as many of both, or no places.
fn placed(
    conf: &Conf,
    secrets: Vec<Secret>,
    places: List,
    words: [&str; 3],
) -> Result<Vec<(Secret, String)>> {
    let places_ = conf.read_optional(places)?.unwrap_or_default();
    if !places_.is_empty() && places_.len() != secrets.len() {
        let [places, kind, short] = words;
        return Err(Error::invalid(format!(
            "Need to give equal numbers of secrets and {places} for {kind}-based reference secrets \
             got {} secrets, and {short} {places_:?}",
            secrets.len()
        )));
    }
    Ok(secrets.into_iter().zip(places_).collect())
}

/// The environment variables with a role's secrets.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) in Spark's words, without a secret in them.
pub fn variables(conf: &Conf, role: Role) -> Result<Vec<Variable>> {
    let [names, values, places, _] = keys_of(role);
    let words = ["environment keys", "environment", "keys"];
    let placed = placed(conf, secrets(conf, names, values)?, places, words)?;
    Ok(placed.into_iter().map(|(secret, name)| Variable::secret(name, secret)).collect())
}

/// The volumes of a container with a role's secrets.
///
/// # Errors
/// As [`variables`].
pub fn volumes(conf: &Conf, role: Role) -> Result<Vec<Value>> {
    let [names, values, _, places] = keys_of(role);
    let words = ["file paths", "file", "paths"];
    let placed = placed(conf, secrets(conf, names, values)?, places, words)?;
    let volume = |(secret, path): (Secret, String)| {
        json!({
            "container_path": path, "mode": "RO",
            "source": {"type": "SECRET", "secret": secret},
        })
    };
    Ok(placed.into_iter().map(volume).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(pairs: &[(&str, &str)]) -> Conf {
        pairs.iter().map(|(name, value)| (format!("spark.mesos.{name}"), *value)).collect()
    }

    #[test]
    fn names_and_values_go_to_variables_and_files() {
        let found = variables(
            &conf(&[("driver.secret.names", "/a,/b"), ("driver.secret.envkeys", "A,B")]),
            Role::Driver,
        )
        .unwrap();
        assert_eq!(
            serde_json::to_value(&found).unwrap()[1],
            json!({"name": "B", "type": "SECRET", "secret": {"type": "REFERENCE", "reference": {"name": "/b"}}})
        );
        let conf = conf(&[
            ("executor.secret.values", "sesame"),
            ("executor.secret.envkeys", "S"),
            ("executor.secret.filenames", "/s"),
        ]);
        let found = variables(&conf, Role::Executor).unwrap();
        assert!(!format!("{found:?}").contains("c2VzYW1l"), "{found:?}");
        let secret = json!({"type": "VALUE", "value": {"data": "c2VzYW1l"}});
        assert_eq!(serde_json::to_value(&found[0].secret).unwrap(), secret);
        assert_eq!(
            volumes(&conf, Role::Executor).unwrap(),
            [
                json!({"container_path": "/s", "mode": "RO", "source": {"type": "SECRET", "secret": secret}})
            ]
        );
        assert!(variables(&conf, Role::Driver).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_go_together_is_said_in_sparks_words() {
        let both = conf(&[("driver.secret.names", "a"), ("driver.secret.values", "sesame")]);
        let error = variables(&both, Role::Driver).unwrap_err();
        assert_eq!(error.message(), "Cannot specify both value-type and reference-type secrets.");
        let few = [
            ("executor.secret.values", "sesame"),
            ("executor.secret.envkeys", "A,B"),
            ("executor.secret.filenames", "/a,/b"),
        ];
        let error = variables(&conf(&few), Role::Executor).unwrap_err();
        let begin =
            "Need to give equal numbers of secrets and environment keys for environment-based";
        assert!(error.message().starts_with(begin), "{error}");
        assert!(!error.message().contains("sesame"), "{error}");
        let error = volumes(&conf(&few), Role::Executor).unwrap_err();
        assert!(error.message().contains("file paths for file-based"), "{error}");
    }
}
