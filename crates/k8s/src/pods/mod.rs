//! Parts of pods that drivers and executors share.

pub(crate) mod container;
pub(crate) mod local_dirs;
pub(crate) mod placement;
pub(crate) mod secrets;
pub(crate) mod template;
pub(crate) mod volumes;

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use self::template::UnknownField;
use crate::keys;
use crate::names::app_name_label;

/// Spark's label with the application's id.
pub(crate) const APP_LABEL: &str = "spark-app-selector";
/// Spark's label with the application's name.
pub(crate) const APP_NAME_LABEL: &str = "spark-app-name";
/// Spark's label with the role: driver or executor.
pub(crate) const ROLE_LABEL: &str = "spark-role";
/// Spark's label with its version.
pub(crate) const VERSION_LABEL: &str = "spark-version";
/// Spark's label with an executor's id.
pub(crate) const EXECUTOR_LABEL: &str = "spark-exec-id";
/// Spark's label with the id of an executor's resource profile.
pub(crate) const PROFILE_LABEL: &str = "spark-exec-resourceprofile-id";

/// The role of a pod, which is part of the names of its properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Driver,
    Executor,
}

impl Role {
    /// The name in labels and properties.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executor => "executor",
        }
    }

    /// A property of this role: `spark.kubernetes.driver.WHAT`.
    pub(crate) fn prefix(self, what: &str) -> String {
        format!("spark.kubernetes.{}.{what}", self.name())
    }
}

/// A pod under construction, with its main container separate.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodDraft {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: PodSpec,
    pub(crate) container: Container,
    /// Unknown fields of its template, by their paths in the finished pod.
    pub(crate) unknown: Vec<UnknownField>,
}

impl PodDraft {
    pub(crate) fn mount(&mut self, volume: Volume, mount: VolumeMount) {
        self.spec.volumes.get_or_insert_default().push(volume);
        self.container.volume_mounts.get_or_insert_default().push(mount);
    }

    pub(crate) fn env(&mut self, variables: impl IntoIterator<Item = EnvVar>) {
        self.container.env.get_or_insert_default().extend(variables);
    }

    /// The pod, and the [unknown fields](template::insert_unknown_fields) to be inserted.
    pub(crate) fn finish(mut self) -> (Pod, Vec<UnknownField>) {
        self.spec.containers.push(self.container);
        let pod = Pod { metadata: self.metadata, spec: Some(self.spec), status: None };
        (pod, self.unknown)
    }
}

/// An environment variable.
pub(crate) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..EnvVar::default() }
}

/// Escapes `$(NAME)`, which Kubernetes would expand.
pub(crate) fn escaped(text: &str) -> String {
    text.replace("$(", "$$(")
}

/// An environment variable with the value of a field of its pod, for example `status.podIP`.
pub(crate) fn env_of_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// The master URL with which pods reach the API server.
pub(crate) fn in_cluster(conf: &Conf) -> Result<String> {
    let server = conf.read(&keys::DRIVER_MASTER)?;
    Ok(format!("k8s://{}", server.trim_start_matches("k8s://")))
}

/// The labels of an application's pod: Spark's own, and those of properties.
pub(crate) fn labels(
    conf: &Conf,
    role: Role,
    app: (&str, &str),
    own: &[(&str, String)],
    substitute: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>> {
    let (id, name) = app;
    let mut labels = BTreeMap::from([
        (APP_LABEL.to_owned(), id.to_owned()),
        (APP_NAME_LABEL.to_owned(), app_name_label(name)),
        (ROLE_LABEL.to_owned(), role.name().to_owned()),
    ]);
    labels.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let prefix = role.prefix("label.");
    for (name, value) in conf.with_prefix(&prefix) {
        if labels.contains_key(name) {
            return Err(Error::invalid(format!(
                "{prefix}{name}: label {name} is not allowed, as it is reserved for Spark's bookkeeping"
            )));
        }
        labels.insert(name.to_owned(), substitute(value));
    }
    Ok(labels)
}
