//! Pod templates: the ground that everything else is put on.

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Serialize;

use super::{PodDraft, Role};
use crate::keys;
use crate::machine::Machine;

/// Pod templates that come as objects. They win over those in files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Templates {
    /// Of the driver.
    pub driver: Option<Box<Pod>>,
    /// Of executors.
    pub executor: Option<Box<Pod>>,
}

/// A pod as the template of its role has it, or an empty one.
pub(crate) fn start(
    given: Option<&Pod>,
    conf: &Conf,
    role: Role,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<PodDraft> {
    let (file, container) = match role {
        Role::Driver => (&keys::DRIVER_POD_TEMPLATE, &keys::DRIVER_POD_TEMPLATE_CONTAINER),
        Role::Executor => (&keys::EXECUTOR_POD_TEMPLATE, &keys::EXECUTOR_POD_TEMPLATE_CONTAINER),
    };
    let mut pod = match (given, conf.read_optional(file)?) {
        (Some(pod), _) => pod.clone(),
        (None, Some(path)) => load(machine, file.info.name, &path)?.1,
        (None, None) => return Ok(PodDraft::default()),
    };
    let name = conf.read_optional(container)?;
    let container = take_container(&mut pod, name.as_deref(), warnings);
    Ok(PodDraft { metadata: pod.metadata, spec: pod.spec.unwrap_or_default(), container })
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
pub(crate) fn load(machine: &Machine, property: &str, path: &str) -> Result<(String, Pod)> {
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
