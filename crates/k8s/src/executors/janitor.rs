//! The janitor: a sidecar of a driver's pod that deletes the executors when the driver has ended.
//!
//! Kubernetes stops a sidecar after the main container, so this also works when the driver is
//! killed with SIGKILL and cannot delete its executors itself.

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::keys;
use crate::pods::{PodDraft, in_cluster};

/// The container's name.
const NAME: &str = "anymaster-janitor";

/// Adds the janitor to a driver's pod if its image is configured.
pub(crate) fn add(draft: &mut PodDraft, conf: &Conf, app: &str, namespace: &str) -> Result<()> {
    let Some(image) = conf.read_optional(&keys::JANITOR_IMAGE)?.filter(|image| !image.is_empty())
    else {
        return Ok(());
    };
    let master = in_cluster(conf)?;
    let command = ["anymaster", "janitor", "--master", &master, "--namespace", namespace, app];
    let quantity = |text: &str| Quantity(text.to_owned());
    let container = Container {
        name: NAME.to_owned(),
        image: Some(image),
        image_pull_policy: draft.container.image_pull_policy.clone(),
        command: Some(command.map(str::to_owned).to_vec()),
        // An init container with this restart policy is a sidecar.
        restart_policy: Some("Always".to_owned()),
        resources: Some(ResourceRequirements {
            requests: Some(
                [("cpu".to_owned(), quantity("1m")), ("memory".to_owned(), quantity("16Mi"))]
                    .into(),
            ),
            ..ResourceRequirements::default()
        }),
        ..Container::default()
    };
    draft.spec.init_containers.get_or_insert_default().push(container);
    Ok(())
}
