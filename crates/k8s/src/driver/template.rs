//! Passes the executors' pod template to the driver in a config map (`PodTemplateConfigMapStep`).

use std::collections::BTreeMap;

use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume, VolumeMount,
};

use super::Draft;
use crate::keys;
use crate::pods::Role;
use crate::pods::template::{Template, load};

pub(super) const CONFIG_MAP_KEY: &str = "podspec-configmap-key";
const FILE_NAME: &str = "pod-spec-template.yml";
const MOUNT_PATH: &str = "/opt/spark/pod-template";
const VOLUME: &str = "pod-template-volume";

/// Mounts the executors' pod template into the driver's pod.
pub(super) fn mount_executor_template(draft: &mut Draft<'_>) -> Result<()> {
    let property = keys::EXECUTOR_POD_TEMPLATE.info.name;
    let given = draft.request.app.templates.executor.as_ref();
    let text = match (given, draft.conf.read_optional(&keys::EXECUTOR_POD_TEMPLATE)?) {
        (Some(source), _) => {
            if let Some(template) = Template::given(given, Role::Executor)? {
                draft
                    .objects
                    .warnings
                    .extend(template.unknown_field_warnings("the template of executors"));
            }
            serde_json::to_string_pretty(source).map_err(|error| {
                Error::invalid("the executors' pod template cannot be written").with_source(error)
            })?
        }
        (None, Some(file)) => {
            load(draft.request.submitter, property, &file, &mut draft.objects.warnings)?.0
        }
        (None, None) => return Ok(()),
    };
    let name = format!("{}-driver-podspec-conf-map", draft.prefix);
    draft.pod.mount(
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
