//! Mounts Hadoop's configuration, from `HADOOP_CONF_DIR` or an existing config map
//! (`HadoopConfDriverFeatureStep`).

use std::collections::BTreeMap;

use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume, VolumeMount,
};

use super::Draft;
use super::config_dir::files;
use crate::keys;
use crate::pods::env;
use crate::submitter_env::text;

const VOLUME: &str = "hadoop-properties";
const DIRECTORY: &str = "/opt/hadoop/conf";

/// Checks that Spark makes in the constructor of the step, even if the step is excluded.
pub(super) fn check(draft: &Draft<'_>) -> Result<()> {
    let existing = draft.conf.read_optional(&keys::HADOOP_CONFIG_MAP)?;
    if existing.is_some() && draft.request.submitter.vars.contains_key("HADOOP_CONF_DIR") {
        return Err(Error::invalid(
            "HADOOP_CONF_DIR and spark.kubernetes.hadoop.configMapName are both set, but only one can be meant",
        )
        .with_hint("unset HADOOP_CONF_DIR, or leave the property out"));
    }
    Ok(())
}

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let existing = draft.conf.read_optional(&keys::HADOOP_CONFIG_MAP)?;
    // As for Spark, an empty value is an empty directory.
    let directory = draft.request.submitter.vars.get("HADOOP_CONF_DIR").cloned();
    let source = match (existing, directory) {
        (None, None) => return Ok(()),
        (Some(name), _) => ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() },
        (None, Some(directory)) => from_directory(draft, &directory)?,
    };
    // Tells the driver which config map its executors mount.
    draft.add("spark.kubernetes.executor.hadoopConfigMapName", source.name.clone());
    draft.pod.mount(
        Volume { name: VOLUME.to_owned(), config_map: Some(source), ..Volume::default() },
        VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: DIRECTORY.to_owned(),
            ..VolumeMount::default()
        },
    );
    draft.pod.env([env("HADOOP_CONF_DIR", DIRECTORY)]);
    Ok(())
}

fn from_directory(draft: &mut Draft<'_>, directory: &str) -> Result<ConfigMapVolumeSource> {
    let is_set = !directory.is_empty();
    let directory = draft.request.submitter.path(directory);
    let mut data = BTreeMap::new();
    let is_there = is_set && directory.is_dir();
    if !is_there {
        // Images and login scripts may set it without Hadoop: as with Spark, the driver gets an
        // empty one.
        let what = match is_set {
            true => format!("{}, and there is no such directory", directory.display()),
            false => "set and empty".to_owned(),
        };
        draft.objects.warnings.push(format!(
            "HADOOP_CONF_DIR is {what}: the driver gets an empty one; unset it to get none"
        ));
    }
    let warnings = &mut draft.objects.warnings;
    let files = if is_there { files("HADOOP_CONF_DIR", &directory, warnings)? } else { Vec::new() };
    for (name, path) in files {
        let bytes = std::fs::read(&path).map_err(|error| {
            Error::invalid(format!("HADOOP_CONF_DIR: cannot read {}", path.display()))
                .with_source(error)
        })?;
        data.insert(name, text(path.display(), bytes, warnings));
    }
    let name = format!("{}-hadoop-config", draft.prefix);
    let items = data.keys().map(|file| KeyToPath {
        key: file.clone(),
        path: file.clone(),
        ..KeyToPath::default()
    });
    let source = ConfigMapVolumeSource {
        name: name.clone(),
        items: Some(items.collect()),
        ..ConfigMapVolumeSource::default()
    };
    let metadata = draft.metadata(name);
    draft.objects.configmaps.push(ConfigMap {
        metadata,
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    });
    Ok(source)
}
