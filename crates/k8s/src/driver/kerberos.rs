//! Mounts `krb5.conf`, keytab and delegation tokens (`KerberosConfDriverFeatureStep`).
//!
//! Existing delegation tokens are mounted. Obtaining new ones would need Hadoop's libraries and a
//! JVM; with a keytab the driver obtains them itself.

use std::collections::BTreeMap;

use anymaster_core::conf::keys as spark;
use anymaster_core::{Error, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Secret, Volume, VolumeMount,
};

use super::Draft;
use crate::keys;
use crate::pods::{env, secrets};
use crate::submitter_env::text;
use crate::upload::is_local;

const KRB5_VOLUME: &str = "krb5-file";
const KEYTAB_VOLUME: &str = "kerberos-keytab";
const KEYTAB_DIRECTORY: &str = "/mnt/secrets/kerberos-keytab";
const TOKEN_VOLUME: &str = "hadoop-secret";
const TOKEN_DIRECTORY: &str = "/mnt/secrets/hadoop-credentials";

/// Checks that Spark makes in the constructor of the step, even if the step is excluded.
pub(super) fn check(draft: &Draft<'_>) -> Result<()> {
    let conf = &draft.conf;
    if conf.read_optional(&keys::KRB5_PATH)?.is_some()
        && conf.read_optional(&keys::KRB5_CONFIG_MAP)?.is_some()
    {
        return Err(Error::invalid(
            "spark.kubernetes.kerberos.krb5.path and .krb5.configMapName are both set, but only one can be meant",
        ));
    }
    let keytab = conf.read_optional(&spark::KERBEROS_KEYTAB)?;
    match (keytab, conf.read_optional(&spark::KERBEROS_PRINCIPAL)?) {
        (None, Some(_)) => Err(Error::invalid(
            "If a Kerberos principal is specified you must also specify a Kerberos keytab",
        )
        .with_hint("write --keytab FILE")),
        (Some(_), None) => Err(Error::invalid(
            "If a Kerberos keytab is specified you must also specify a Kerberos principal",
        )
        .with_hint("write --principal NAME")),
        _ => tokens(draft).map(drop),
    }
}

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    krb5(draft)?;
    let tokens = tokens(draft)?;
    // With a keytab the driver obtains its own tokens: Spark ignores others then.
    if !keytab(draft)?
        && let Some((name, key)) = tokens
    {
        mount_tokens(draft, &name, &key);
    }
    Ok(())
}

fn krb5(draft: &mut Draft<'_>) -> Result<()> {
    const FILE: &str = "krb5.conf";
    let path = draft.conf.read_optional(&keys::KRB5_PATH)?;
    let existing = draft.conf.read_optional(&keys::KRB5_CONFIG_MAP)?;
    let (map, items) = match (path, existing) {
        (None, None) => return Ok(()),
        (None, Some(map)) => (map, None),
        (Some(path), _) => {
            let property = keys::KRB5_PATH.info.name;
            let bytes = draft.request.submitter.read(property, &path)?;
            let text = text(&path, bytes, &mut draft.objects.warnings);
            let key = path.rsplit('/').next().unwrap_or(FILE).to_owned();
            let name = format!("{}-krb5-file", draft.prefix);
            let metadata = draft.metadata(name.clone());
            draft.objects.configmaps.push(ConfigMap {
                metadata,
                data: Some(BTreeMap::from([(key.clone(), text)])),
                immutable: Some(true),
                ..ConfigMap::default()
            });
            (name, Some(vec![KeyToPath { key, path: FILE.to_owned(), ..KeyToPath::default() }]))
        }
    };
    draft.pod.mount(
        Volume {
            name: KRB5_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: map,
                items,
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        VolumeMount {
            name: KRB5_VOLUME.to_owned(),
            mount_path: "/etc/krb5.conf".to_owned(),
            sub_path: Some(FILE.to_owned()),
            ..VolumeMount::default()
        },
    );
    Ok(())
}

/// Mounts a local keytab from a secret. Returns whether there is one.
fn keytab(draft: &mut Draft<'_>) -> Result<bool> {
    let property = spark::KERBEROS_KEYTAB.info.name;
    let path = draft.conf.read_optional(&spark::KERBEROS_KEYTAB)?;
    let principal = draft.conf.read_optional(&spark::KERBEROS_PRINCIPAL)?;
    let Some((path, principal)) = path.zip(principal) else { return Ok(false) };
    // A keytab in the image is used in place.
    if !is_local(&path) {
        return Ok(false);
    }
    let content = draft.request.submitter.read(property, &path)?;
    let file = path.rsplit('/').next().unwrap_or("keytab").to_owned();
    let name = format!("{}-kerberos-keytab", draft.prefix);
    draft.add(property, format!("{KEYTAB_DIRECTORY}/{file}"));
    draft.add(spark::KERBEROS_PRINCIPAL.info.name, principal);
    let metadata = draft.metadata(name.clone());
    draft.objects.secrets.push(Secret {
        metadata,
        immutable: Some(true),
        data: Some(BTreeMap::from([(file, ByteString(content))])),
        ..Secret::default()
    });
    secrets::mount(&mut draft.pod, KEYTAB_VOLUME, &name, KEYTAB_DIRECTORY, None);
    Ok(true)
}

/// The secret with delegation tokens, and its key. One without the other is an error, even if they
/// are not used.
fn tokens(draft: &Draft<'_>) -> Result<Option<(String, String)>> {
    let name = draft.conf.read_optional(&keys::TOKEN_SECRET_NAME)?;
    let key = draft.conf.read_optional(&keys::TOKEN_SECRET_KEY)?;
    match (name, key) {
        (Some(_), None) => Err(incomplete(keys::TOKEN_SECRET_KEY.info.name)),
        (None, Some(_)) => Err(incomplete(keys::TOKEN_SECRET_NAME.info.name)),
        (name, key) => Ok(name.zip(key)),
    }
}

fn mount_tokens(draft: &mut Draft<'_>, name: &str, key: &str) {
    secrets::mount(&mut draft.pod, TOKEN_VOLUME, name, TOKEN_DIRECTORY, None);
    let location = env("HADOOP_TOKEN_FILE_LOCATION", format!("{TOKEN_DIRECTORY}/{key}"));
    draft.pod.env([location]);
}

fn incomplete(missing: &str) -> Error {
    Error::invalid(format!("{missing} is not set, but its counterpart is"))
        .with_hint("a secret with delegation tokens needs both a name and a key")
}
