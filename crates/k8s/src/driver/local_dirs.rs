//! Directories for spilled and shuffled data (`LocalDirsFeatureStep`).

use anymaster_core::Result;
use anymaster_core::conf::keys::split_list;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume, VolumeMount};

use super::Draft;
use super::basic::env;
use crate::keys;

const PREFIX: &str = "spark-local-dir-";

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let in_memory = draft.conf.read(&keys::LOCAL_DIRS_TMPFS)?;
    // Volumes of that name are local directories already.
    let mut directories: Vec<String> = draft
        .container
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| mount.name.starts_with(PREFIX))
        .map(|mount| mount.mount_path.clone())
        .collect();
    if directories.is_empty() {
        let machine = draft.request.machine;
        let given = machine.get("SPARK_LOCAL_DIRS").or_else(|| draft.conf.get("spark.local.dir"));
        directories = match given {
            Some(list) => split_list(list).map(str::to_owned).collect(),
            None => vec![format!("/var/data/spark-{}", draft.ids.uuid("local directory"))],
        };
        for (index, path) in directories.iter().enumerate() {
            let name = format!("{PREFIX}{}", index + 1);
            let medium = in_memory.then(|| "Memory".to_owned());
            draft.mount(
                Volume {
                    name: name.clone(),
                    empty_dir: Some(EmptyDirVolumeSource {
                        medium,
                        ..EmptyDirVolumeSource::default()
                    }),
                    ..Volume::default()
                },
                VolumeMount { name, mount_path: path.clone(), ..VolumeMount::default() },
            );
        }
    }
    let variable = env("SPARK_LOCAL_DIRS", directories.join(","));
    draft.container.env.get_or_insert_default().push(variable);
    Ok(())
}
