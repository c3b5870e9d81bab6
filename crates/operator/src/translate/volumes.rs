//! Volumes: those of local directories become properties, the others are part of the pods.

use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use serde_json::{Map as Object, Value, json};
use sha2::{Digest as _, Sha256};

use super::Ignored;
use super::pod::Kind;
use crate::v1beta2::Spec;

/// Where the config map with Spark's configuration is mounted.
pub(super) const SPARK_CONF_DIR: &str = "/etc/spark/conf";
const SPARK_CONF_VOLUME: &str = "spark-configmap-volume";
/// Where the config map with Hadoop's configuration is mounted.
pub(super) const HADOOP_CONF_DIR: &str = "/etc/hadoop/conf";
const HADOOP_CONF_VOLUME: &str = "hadoop-configmap-volume";
/// The beginning of the names of volumes that Spark uses as local directories.
const LOCAL: &str = "spark-local-dir-";
/// The longest name of a volume.
const MAX_NAME: usize = 63;

/// A volume and its mount.
pub(super) struct Mounted {
    pub(super) volume: Value,
    pub(super) mount: Value,
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn find<'a>(spec: &'a Spec, volume: &str) -> Option<(usize, &'a Value)> {
    spec.volumes.iter().flatten().enumerate().find(|(_, known)| name(known) == volume)
}

/// The properties of local directories.
pub(super) fn local_directories(
    spec: &Spec,
    kind: Kind,
    ignored: &mut Vec<Ignored>,
) -> Result<Vec<(String, String)>> {
    let mut properties = Vec::new();
    for (index, mount) in kind.role(spec).volume_mounts.iter().flatten().enumerate() {
        let volume = name(mount);
        if !volume.starts_with(LOCAL) {
            continue;
        }
        let Some((at, source)) = find(spec, volume) else { continue };
        let (source_kind, options) = options(source, at)?;
        let prefix = format!("spark.kubernetes.{}.volumes.{source_kind}.{volume}", kind.name());
        let path = mount["mountPath"].as_str().ok_or_else(|| {
            Error::invalid(format!(
                "{}.volumeMounts[{index}].mountPath: it is missing",
                kind.path()
            ))
        })?;
        properties.push((format!("{prefix}.mount.path"), path.to_owned()));
        if let Some(sub_path) = mount["subPath"].as_str() {
            properties.push((format!("{prefix}.mount.subPath"), sub_path.to_owned()));
        }
        if let Some(read_only) = mount["readOnly"].as_bool() {
            properties.push((format!("{prefix}.mount.readOnly"), read_only.to_string()));
        }
        for (option, value) in options {
            properties.push((format!("{prefix}.options.{option}"), value));
        }
        for field in mount.as_object().into_iter().flat_map(Object::keys) {
            if !["name", "mountPath", "subPath", "readOnly"].contains(&field.as_str()) {
                let path = format!("{}.volumeMounts[{index}].{field}", kind.path());
                ignored.push(Ignored::new(path, "Spark has no property for it"));
            }
        }
    }
    Ok(properties)
}

/// The kind of a volume as Spark's properties name it, and its options.
fn options(volume: &Value, at: usize) -> Result<(&'static str, Vec<(&'static str, String)>)> {
    const KINDS: [(&str, &[(&str, &str)]); 4] = [
        ("emptyDir", &[("sizeLimit", "sizeLimit"), ("medium", "medium")]),
        ("hostPath", &[("path", "path"), ("type", "type")]),
        ("nfs", &[("path", "path"), ("server", "server"), ("readOnly", "readOnly")]),
        ("persistentVolumeClaim", &[("claimName", "claimName"), ("readOnly", "readOnly")]),
    ];
    for (kind, known) in KINDS {
        let Some(source) = volume.get(kind) else { continue };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let given = known.iter().filter_map(|(field, option)| {
            source.get(field).filter(|value| !value.is_null()).map(|value| (*option, text(value)))
        });
        return Ok((kind, given.collect()));
    }
    Err(Error::unsupported(format!(
        "spec.volumes[{at}]: a local directory of Spark cannot be of this type"
    ))
    .with_hint("use emptyDir, hostPath, nfs or persistentVolumeClaim, or another name"))
}

/// The other volumes that a role mounts, in the order of their mounts. A volume occurs once.
pub(super) fn mounted(spec: &Spec, kind: Kind, ignored: &mut Vec<Ignored>) -> Vec<Mounted> {
    let mut mounted = Vec::new();
    for (map, volume, path) in [
        (&spec.spark_config_map, SPARK_CONF_VOLUME, SPARK_CONF_DIR),
        (&spec.hadoop_config_map, HADOOP_CONF_VOLUME, HADOOP_CONF_DIR),
    ] {
        if let Some(map) = map {
            mounted.push(config_map(volume, map, path));
        }
    }
    for map in kind.role(spec).config_maps.iter().flatten() {
        mounted.push(config_map(&config_map_volume(&map.name), &map.name, &map.path));
    }
    for (index, mount) in kind.role(spec).volume_mounts.iter().flatten().enumerate() {
        let volume = name(mount);
        match find(spec, volume) {
            Some(_) if volume.starts_with(LOCAL) => {}
            Some((_, source)) => {
                mounted.push(Mounted { volume: source.clone(), mount: mount.clone() });
            }
            None => ignored.push(Ignored::new(
                format!("{}.volumeMounts[{index}]", kind.path()),
                "there is no such volume in spec.volumes",
            )),
        }
    }
    mounted
}

fn config_map(volume: &str, map: &str, path: &str) -> Mounted {
    Mounted {
        volume: json!({"name": volume, "configMap": {"name": map}}),
        mount: json!({"name": volume, "mountPath": path, "readOnly": true}),
    }
}

/// The name of the volume of a config map, whose own name may be longer and may have dots.
pub(super) fn config_map_volume(map: &str) -> String {
    const SUFFIX: &str = "-vol";
    let plain = format!("{map}{SUFFIX}");
    if plain.len() <= MAX_NAME && !map.contains('.') {
        return plain;
    }
    let hash = hex(&Sha256::digest(map.as_bytes()))[..8].to_owned();
    let mut name = map.replace('.', "-");
    name.truncate(MAX_NAME - SUFFIX.len() - hash.len() - 1);
    format!("{}-{hash}{SUFFIX}", name.trim_end_matches('-'))
}
