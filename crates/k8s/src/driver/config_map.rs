//! `spark.properties` and the files of `SPARK_CONF_DIR`, in a config map that the driver mounts
//! (`KubernetesClientUtils`).

use std::collections::BTreeMap;

use anymaster_core::conf::write_properties;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume, VolumeMount,
};

use super::Draft;
use super::directory::files;
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
    // Spark's own has it, too; nothing mounts it.
    data.insert(keys::NAMESPACE.info.name.to_owned(), draft.namespace.clone());
    let metadata = draft.metadata(name);
    // First: it is the one that every submission has, and by which a second one of the same id is noticed.
    draft.objects.configmaps.insert(
        0,
        ConfigMap { metadata, data: Some(data), immutable: Some(true), ..ConfigMap::default() },
    );
    Ok(())
}

/// The user's properties, with those of the steps over them.
fn properties(draft: &Draft<'_>, name: &str) -> String {
    let mut conf = draft.conf.clone();
    conf.set_default("spark.app.submitTime", draft.request.now.as_millisecond().to_string());
    for (key, value) in &draft.added {
        conf.set(key, value);
    }
    let heading = format!("#Java properties built from Kubernetes config map with name: {name}\n");
    heading + &write_properties(conf.iter())
}

/// The largest config map that Spark makes.
const MOST_BYTES: u64 = 1 << 20;

/// Text files of `SPARK_CONF_DIR`, the smallest first, as many as fit beside the properties.
fn configuration_files(draft: &mut Draft<'_>) -> Result<BTreeMap<String, String>> {
    let machine = draft.request.machine;
    let most = draft.conf.read(&keys::CONFIG_MAP_MAX_SIZE)?;
    if most > MOST_BYTES {
        let name = keys::CONFIG_MAP_MAX_SIZE.info.name;
        return Err(Error::invalid(format!("{name}: {most} is more than {MOST_BYTES} bytes"))
            .with_hint("the API server keeps no config map that is larger"));
    }
    let directory = match machine.get("SPARK_CONF_DIR") {
        Some(directory) => Some(machine.path(directory)),
        None => machine.get("SPARK_HOME").map(|home| machine.path(home).join("conf")),
    };
    let is_named = machine.get("SPARK_CONF_DIR").is_some();
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
        if is_left_out(&name) {
            continue;
        }
        match std::fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => texts.push((name, text)),
            Ok(Err(_)) => draft.objects.warnings.push(format!(
                "{} does not go to the driver, as it is not a text file in UTF-8",
                path.display()
            )),
            Err(error) => draft
                .objects
                .warnings
                .push(format!("{} does not go to the driver: {error}", path.display())),
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
        let verb = if left.len() == 1 { "does" } else { "do" };
        draft.objects.warnings.push(format!(
            "{} of the configuration directory {verb} not go to the driver, as spark.kubernetes.configMap.maxSize is {most}",
            left.join(", ")
        ));
    }
    Ok(chosen)
}

/// Spark's own properties files travel in another way, and archives do not at all.
fn is_left_out(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let of_spark =
        name.starts_with("spark") && (name.ends_with("conf") || name.ends_with("properties"));
    of_spark || matches!(extension, "template" | "gz" | "zip" | "jar" | "tar")
}
