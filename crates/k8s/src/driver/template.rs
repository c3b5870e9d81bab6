//! Pod templates: the driver's is the ground that everything else is put on; the executors' goes to
//! the driver in a config map (`PodTemplateConfigMapStep`).

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, KeyToPath, Pod, Volume, VolumeMount,
};
use serde::Serialize;

use super::{Draft, Machine, Request};
use crate::keys;

const CONFIG_MAP_KEY: &str = "podspec-configmap-key";
const FILE_NAME: &str = "pod-spec-template.yml";
const MOUNT_PATH: &str = "/opt/spark/pod-template";
const VOLUME: &str = "pod-template-volume";

/// Pod templates that come as objects. They win over those in files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Templates {
    /// Of the driver.
    pub driver: Option<Box<Pod>>,
    /// Of executors.
    pub executor: Option<Box<Pod>>,
}

/// The driver's pod and container as the template has them, or empty ones.
pub(super) fn driver(
    conf: &Conf,
    request: &Request<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Pod, Container)> {
    let file = conf.read_optional(&keys::DRIVER_POD_TEMPLATE)?;
    let mut pod = match (&request.templates.driver, file) {
        (Some(pod), _) => (**pod).clone(),
        (None, Some(file)) => load(request.machine, keys::DRIVER_POD_TEMPLATE.info.name, &file)?.1,
        (None, None) => return Ok(Default::default()),
    };
    let name = conf.read_optional(&keys::DRIVER_POD_TEMPLATE_CONTAINER)?;
    let container = take_container(&mut pod, name.as_deref(), warnings);
    Ok((pod, container))
}

/// The named container of a pod, or else its first one.
fn take_container(pod: &mut Pod, name: Option<&str>, warnings: &mut Vec<String>) -> Container {
    let containers = &mut pod.spec.get_or_insert_default().containers;
    let named =
        name.and_then(|name| containers.iter().position(|container| container.name == name));
    if let (Some(name), None) = (name, named) {
        warnings.push(format!(
            "specified container {name} not found on pod template, falling back to taking the first \
             container"
        ));
    }
    let at = named.unwrap_or(0);
    if at < containers.len() { containers.remove(at) } else { Container::default() }
}

/// Reads a template and checks that it is one.
fn load(machine: &Machine, property: &str, path: &str) -> Result<(String, Pod)> {
    if let Some((scheme, _)) = path.split_once("://").filter(|(scheme, _)| *scheme != "file") {
        return Err(Error::invalid(format!(
            "{property}: pod templates are read here, but {path:?} is on {scheme}"
        ))
        .with_hint("name a file of this machine"));
    }
    let invalid =
        |why: String| Error::invalid(format!("{property}: {path} is not a pod template: {why}"));
    let text = String::from_utf8(machine.read(property, path)?)
        .map_err(|error| invalid(error.to_string()))?;
    // By way of a plain value: a reader of YAML for each type of a pod would be megabytes of code.
    let value: serde_json::Value =
        serde_saphyr::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    let pod = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    Ok((text, pod))
}

/// Ships the executors' template to the driver.
pub(super) fn ship_executors(draft: &mut Draft<'_>) -> Result<()> {
    let property = keys::EXECUTOR_POD_TEMPLATE.info.name;
    let text = match (
        &draft.request.templates.executor,
        draft.conf.read_optional(&keys::EXECUTOR_POD_TEMPLATE)?,
    ) {
        (Some(pod), _) => serde_json::to_string_pretty(pod).map_err(|error| {
            Error::invalid("the executors' pod template cannot be written").with_source(error)
        })?,
        (None, Some(file)) => load(draft.request.machine, property, &file)?.0,
        (None, None) => return Ok(()),
    };
    let name = format!("{}-driver-podspec-conf-map", draft.prefix);
    draft.mount(
        Volume {
            name: VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(vec![KeyToPath {
                    key: CONFIG_MAP_KEY.to_owned(),
                    path: FILE_NAME.to_owned(),
                    ..KeyToPath::default()
                }]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        },
    );
    draft.add(property, format!("{MOUNT_PATH}/{FILE_NAME}"));
    let metadata = draft.metadata(name);
    draft.objects.configmaps.push(ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(CONFIG_MAP_KEY.to_owned(), text)])),
        immutable: Some(true),
        ..ConfigMap::default()
    });
    Ok(())
}
