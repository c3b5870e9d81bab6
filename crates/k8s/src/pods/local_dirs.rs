//! Mounts local directories for spilled and shuffled data (`LocalDirsFeatureStep`).

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::split_list;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume, VolumeMount};

use super::{PodDraft, env};
use crate::keys;

const PREFIX: &str = "spark-local-dir-";

/// Mounts the directories and sets `SPARK_LOCAL_DIRS`. `given` is a comma-separated list of paths;
/// `default` is the only one without it. Returns the first path.
pub(crate) fn apply(
    draft: &mut PodDraft,
    conf: &Conf,
    given: Option<&str>,
    default: String,
) -> Result<String> {
    let in_memory = conf.read(&keys::LOCAL_DIRS_TMPFS)?;
    // Volumes with that prefix are local directories already.
    let mut directories: Vec<String> = draft
        .container
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| mount.name.starts_with(PREFIX))
        .map(|mount| mount.mount_path.clone())
        .collect();
    if directories.is_empty() {
        directories = match given.or_else(|| conf.get("spark.local.dir")) {
            Some(list) => split_list(list).map(str::to_owned).collect(),
            None => vec![default.clone()],
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
    draft.env([env("SPARK_LOCAL_DIRS", directories.join(","))]);
    Ok(directories.into_iter().next().unwrap_or(default))
}
