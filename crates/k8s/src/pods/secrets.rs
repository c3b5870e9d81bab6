//! Mounts secrets as files (`MountSecretsFeatureStep`) and as environment variables
//! (`EnvSecretsFeatureStep`).

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, KeyToPath, SecretKeySelector, SecretVolumeSource, Volume, VolumeMount,
};

use super::{PodDraft, Role};

/// Mounts the secrets that properties name.
pub(crate) fn mount_all(draft: &mut PodDraft, conf: &Conf, role: Role) {
    for (secret, path) in conf.with_prefix(&role.prefix("secrets.")) {
        mount(draft, &format!("{secret}-volume"), secret, path, None);
    }
}

/// Sets the variables that properties name.
pub(crate) fn variables(draft: &mut PodDraft, conf: &Conf, role: Role) -> Result<()> {
    let prefix = role.prefix("secretKeyRef.");
    for (variable, reference) in conf.with_prefix(&prefix) {
        // The format was checked before.
        let (name, key) = reference.split_once(':').ok_or_else(|| {
            Error::invalid(format!(
                "{prefix}{variable}: SecretKeyRef must be in the form name:key."
            ))
        })?;
        draft.env([EnvVar {
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
        }]);
    }
    Ok(())
}

/// Mounts one key of a secret as a file in a directory.
pub(crate) fn mount_key(
    draft: &mut PodDraft,
    volume: &str,
    secret: &str,
    (key, path): (&str, &str),
    mode: i32,
) {
    mount(draft, volume, secret, path, Some(mode));
    let volumes = draft.spec.volumes.iter_mut().flatten();
    if let Some(source) = volumes.last().and_then(|volume| volume.secret.as_mut()) {
        let (key, path) = (key.to_owned(), key.to_owned());
        source.items = Some(vec![KeyToPath { key, path, ..KeyToPath::default() }]);
    }
}

/// Mounts a secret as a directory of files.
pub(crate) fn mount(
    draft: &mut PodDraft,
    volume: &str,
    secret: &str,
    path: &str,
    mode: Option<i32>,
) {
    draft.mount(
        Volume {
            name: volume.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.to_owned()),
                default_mode: mode,
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        VolumeMount {
            name: volume.to_owned(),
            mount_path: path.to_owned(),
            ..VolumeMount::default()
        },
    );
}
