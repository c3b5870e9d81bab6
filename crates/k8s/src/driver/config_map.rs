//! `spark.properties` and the files of `SPARK_CONF_DIR`, in a config map that the driver mounts
//! (`KubernetesClientUtils`).

use std::collections::BTreeMap;

use anymaster_core::conf::write_properties;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume, VolumeMount,
};

use super::Draft;
use super::config_dir::files;
use crate::keys;

use crate::pods::env;

/// Where the driver finds its configuration.
const DIRECTORY: &str = "/opt/spark/conf";
/// Where the driver finds its properties.
pub(super) const PROPERTIES_PATH: &str = "/opt/spark/conf/spark.properties";
pub(super) const PROPERTIES: &str = "spark.properties";
const VOLUME: &str = "spark-conf-volume-driver";

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let name = format!("spark-drv-{}-conf-map", draft.ids.unique("config map"));
    let mut data = configuration_files(draft)?;
    data.insert(PROPERTIES.to_owned(), properties(draft, &name));
    let items = data
        .keys()
        .map(|file| KeyToPath {
            key: file.clone(),
            path: file.clone(),
            mode: Some(0o644),
            ..KeyToPath::default()
        })
        .collect();
    draft.pod.mount(
        Volume {
            name: VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(items),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: DIRECTORY.to_owned(),
            ..VolumeMount::default()
        },
    );
    draft.pod.env([env("SPARK_CONF_DIR", DIRECTORY)]);
    // Spark's config map has this entry, too; nothing mounts it.
    data.insert(keys::NAMESPACE.info.name.to_owned(), draft.namespace.clone());
    let metadata = draft.metadata(name);
    // First in the list: every submission has it, and it is the lock by which `submit` detects a
    // second submission of the same id.
    draft.objects.configmaps.insert(
        0,
        ConfigMap { metadata, data: Some(data), immutable: Some(true), ..ConfigMap::default() },
    );
    Ok(())
}

/// The user's properties, overridden by those of the steps.
fn properties(draft: &Draft<'_>, name: &str) -> String {
    let mut conf = draft.conf.clone();
    conf.set_default("spark.app.submitTime", draft.request.now.as_millisecond().to_string());
    for (key, value) in &draft.added {
        conf.set(key, value);
    }
    let heading = format!("#Java properties built from Kubernetes config map with name: {name}\n");
    heading + &write_properties(conf.iter())
}

/// The largest config map that Spark creates.
const MAX_BYTES: u64 = 1 << 20;

/// The text files of `SPARK_CONF_DIR`, the smallest first, as many as fit into the config map.
fn configuration_files(draft: &mut Draft<'_>) -> Result<BTreeMap<String, String>> {
    let submitter = draft.request.submitter;
    let most = draft.conf.read(&keys::CONFIG_MAP_MAX_SIZE)?;
    if most > MAX_BYTES {
        let name = keys::CONFIG_MAP_MAX_SIZE.info.name;
        return Err(Error::invalid(format!("{name}: {most} is more than {MAX_BYTES} bytes"))
            .with_hint("the API server keeps no config map that is larger"));
    }
    let directory = match submitter.get("SPARK_CONF_DIR") {
        Some(directory) => Some(submitter.path(directory)),
        None => submitter.get("SPARK_HOME").map(|home| submitter.path(home).join("conf")),
    };
    let is_named = submitter.get("SPARK_CONF_DIR").is_some();
    if let Some(missing) = directory.as_ref().filter(|directory| is_named && !directory.is_dir()) {
        draft.objects.warnings.push(format!(
            "SPARK_CONF_DIR is {}, and there is no such directory",
            missing.display()
        ));
    }
    let directory = directory.filter(|directory| directory.is_dir());
    let files = directory.map_or_else(
        || Ok(Vec::new()),
        |directory| files("SPARK_CONF_DIR", &directory, &mut draft.objects.warnings),
    )?;
    let mut texts = Vec::new();
    for (name, path) in files {
        if is_excluded(&name) {
            continue;
        }
        match std::fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => texts.push((name, text)),
            Ok(Err(_)) => draft.objects.warnings.push(format!(
                "{} is not passed to the driver, as it is not a UTF-8 text file",
                path.display()
            )),
            Err(error) => draft
                .objects
                .warnings
                .push(format!("{} is not passed to the driver: {error}", path.display())),
        }
    }
    texts.sort_by_key(|(name, text)| (name.len() + text.len(), name.clone()));
    let mut total = 0_u64;
    let mut chosen = BTreeMap::new();
    let mut left = Vec::new();
    for (name, text) in texts {
        total = total.saturating_add((name.len() + text.len()) as u64);
        if total < most {
            chosen.insert(name, text);
        } else {
            left.push(name);
        }
    }
    if !left.is_empty() {
        let verb = if left.len() == 1 { "is" } else { "are" };
        draft.objects.warnings.push(format!(
            "{} of the configuration directory {verb} not passed to the driver, as spark.kubernetes.configMap.maxSize is {most}",
            left.join(", ")
        ));
    }
    Ok(chosen)
}

/// Spark's properties files are passed in another way; archives are not passed.
fn is_excluded(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let spark_objects =
        name.starts_with("spark") && (name.ends_with("conf") || name.ends_with("properties"));
    spark_objects || matches!(extension, "template" | "gz" | "zip" | "jar" | "tar")
}
