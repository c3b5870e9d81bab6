//! `sparkoperator.k8s.io/v1beta2`: the resource SparkApplication.

mod spec;
mod status;

use anymaster_core::{Error, Result};
use serde::Serialize;
use serde_json::Value;

#[cfg(test)]
pub(crate) use self::spec::RestartPolicy;
pub(crate) use self::spec::{Map, Mode, RestartType, Role, Spec};
pub(crate) use self::status::{DriverInfo, ExecutorState, State, Status};

/// The group of the resource.
pub(crate) const GROUP: &str = "sparkoperator.k8s.io";
/// The version of the resource.
pub(crate) const VERSION: &str = "v1beta2";
/// The kind of the resource.
pub(crate) const KIND: &str = "SparkApplication";

/// `sparkoperator.k8s.io/v1beta2`.
pub(crate) fn api_version() -> String {
    format!("{GROUP}/{VERSION}")
}

/// A specification that was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) spec: Spec,
    /// The paths of fields that are not known here.
    pub(crate) unknown: Vec<String>,
}

/// Reads a specification.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the path of the field at fault.
pub(crate) fn read(source: &Value) -> Result<Read> {
    let spec: Spec = serde_path_to_error::deserialize(source).map_err(|error| {
        let path = error.path().to_string();
        let dot = if path == "." { String::new() } else { format!(".{path}") };
        Error::invalid(format!("spec{dot}: {}", error.inner()))
    })?;
    let mut unknown = Vec::new();
    // All fields that are known are in what it is written back as.
    let known = serde_json::to_value(&spec).map_err(|error| {
        Error::protocol("a specification cannot be written as JSON").with_source(error)
    })?;
    find_unknown("spec", source, &known, &mut unknown);
    for (path, is_set) in [
        ("spec.executor.podName", spec.executor.pod_name.is_some()),
        ("spec.executor.kubernetesMaster", spec.executor.kubernetes_master.is_some()),
        ("spec.executor.serviceLabels", spec.executor.service_labels.is_some()),
        ("spec.executor.serviceAnnotations", spec.executor.service_annotations.is_some()),
        ("spec.driver.instances", spec.driver.instances.is_some()),
        ("spec.driver.deleteOnTermination", spec.driver.delete_on_termination.is_some()),
    ] {
        if is_set {
            unknown.push(path.to_owned());
        }
    }
    Ok(Read { spec, unknown })
}

fn find_unknown(path: &str, given: &Value, known: &Value, unknown: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => find_unknown(&path, value, known, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                find_unknown(&format!("{path}[{index}]"), given, known, unknown);
            }
        }
        _ => {}
    }
}

/// A value as JSON. What is written here consists of strings, numbers, lists and maps with texts as names, so it
/// cannot fail; if it did, nothing would be set.
pub(crate) fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal() -> Value {
        json!({"type": "Scala", "sparkVersion": "3.5.9", "driver": {}, "executor": {}})
    }

    #[test]
    fn the_field_at_fault_is_named() {
        for (field, value, want) in [
            (
                "restartPolicy",
                json!({"type": "Sometimes"}),
                "spec.restartPolicy.type: unknown variant `Sometimes`",
            ),
            (
                "driver",
                json!({"cores": "many"}),
                "spec.driver.cores: invalid type: string \"many\"",
            ),
            (
                "executor",
                json!({"secrets": [{"name": 1}]}),
                "spec.executor.secrets[0].name: invalid type",
            ),
            ("sparkConf", json!({"spark.a": 1}), "spec.sparkConf.spark.a: invalid type: integer"),
        ] {
            let mut spec = minimal();
            spec[field] = value;
            let error = read(&spec).unwrap_err();
            assert!(error.message().starts_with(want), "{error}");
        }
        let error = read(&json!({"type": "Scala"})).unwrap_err();
        assert!(error.message().contains("missing field `sparkVersion`"), "{error}");
    }

    #[test]
    fn unknown_fields_are_named_and_not_refused() {
        let mut spec = minimal();
        spec["sparkConfs"] = json!({});
        spec["driver"] = json!({"corse": 1, "affinity": {"anything": 1}, "instances": 2, "secrets": [
            {"name": "a", "path": "/a"}, {"name": "a", "path": "/a", "kind": 1}]});
        let mut unknown = read(&spec).unwrap().unknown;
        unknown.sort();
        let want = [
            "spec.driver.corse",
            "spec.driver.instances",
            "spec.driver.secrets[1].kind",
            "spec.sparkConfs",
        ];
        assert_eq!(unknown, want);
    }
}
