//! Secrets as files (`MountSecretsFeatureStep`) and as variables (`EnvSecretsFeatureStep`).

use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, SecretKeySelector, SecretVolumeSource, Volume, VolumeMount,
};

use super::Draft;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let conf = draft.conf.clone();
    for (secret, path) in conf.with_prefix("spark.kubernetes.driver.secrets.") {
        let name = format!("{secret}-volume");
        draft.mount(
            Volume {
                name: name.clone(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret.to_owned()),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            VolumeMount { name, mount_path: path.to_owned(), ..VolumeMount::default() },
        );
    }
    const PREFIX: &str = "spark.kubernetes.driver.secretKeyRef.";
    for (variable, reference) in conf.with_prefix(PREFIX) {
        let split =
            reference.split_once(':').filter(|(name, key)| !name.is_empty() && !key.is_empty());
        let (name, key) = split.ok_or_else(|| {
            Error::invalid(format!(
                "{PREFIX}{variable}: SecretKeyRef must be in the form name:key."
            ))
        })?;
        draft.container.env.get_or_insert_default().push(EnvVar {
            name: variable.to_owned(),
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: name.to_owned(),
                    key: key.to_owned(),
                    ..SecretKeySelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        });
    }
    Ok(())
}
