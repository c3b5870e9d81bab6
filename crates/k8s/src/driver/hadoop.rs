//! Hadoop's configuration, from `HADOOP_CONF_DIR` or a config map that exists
//! (`HadoopConfDriverFeatureStep`).

use std::collections::BTreeMap;

use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume, VolumeMount,
};

use super::Draft;
use super::directory::files;
use crate::keys;
use crate::machine::text;
use crate::pods::env;

const VOLUME: &str = "hadoop-properties";
const DIRECTORY: &str = "/opt/hadoop/conf";

/// What Spark refuses as it makes the step, whether the step is applied or left out.
pub(super) fn check(draft: &Draft<'_>) -> Result<()> {
    let existing = draft.conf.read_optional(&keys::HADOOP_CONFIG_MAP)?;
    if existing.is_some() && draft.request.machine.env.contains_key("HADOOP_CONF_DIR") {
        return Err(Error::invalid(
            "HADOOP_CONF_DIR and spark.kubernetes.hadoop.configMapName are both set, but only one can be meant",
        )
        .with_hint("unset HADOOP_CONF_DIR, or leave the property out"));
    }
    Ok(())
}

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let existing = draft.conf.read_optional(&keys::HADOOP_CONFIG_MAP)?;
    // As for Spark, one that is set and empty is a directory with nothing in it.
    let directory = draft.request.machine.env.get("HADOOP_CONF_DIR").cloned();
    let source = match (existing, directory) {
        (None, None) => return Ok(()),
        (Some(name), _) => ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() },
        (None, Some(directory)) => from_directory(draft, &directory)?,
    };
    // By this the driver finds what its executors shall mount.
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
    let directory = draft.request.machine.path(directory);
    let mut data = BTreeMap::new();
    let is_there = is_set && directory.is_dir();
    if !is_there {
        // Images and login scripts set it where no Hadoop is: as with Spark, the driver has an empty one.
        let what = match is_set {
            true => format!("{}, and there is no such directory", directory.display()),
            false => "set and empty".to_owned(),
        };
        draft.objects.warnings.push(format!(
            "HADOOP_CONF_DIR is {what}: the driver has an empty one; unset it for none"
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
