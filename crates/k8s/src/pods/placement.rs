//! Sets the node selector, scheduler, restart policy and image pull secrets of a pod.

use std::collections::BTreeMap;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use k8s_openapi::api::core::v1::LocalObjectReference;

use super::{PodDraft, Role};
use crate::keys;

pub(crate) fn apply(draft: &mut PodDraft, conf: &Conf, role: Role) -> Result<()> {
    let selectors = ["spark.kubernetes.node.selector.", &role.prefix("node.selector.")];
    let mut selector: BTreeMap<String, String> = selectors
        .iter()
        .flat_map(|prefix| conf.with_prefix(prefix))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let secrets = conf.read_optional(&keys::IMAGE_PULL_SECRETS)?.unwrap_or_default();
    let own = match role {
        Role::Driver => &keys::DRIVER_SCHEDULER_NAME,
        Role::Executor => &keys::EXECUTOR_SCHEDULER_NAME,
    };
    let scheduler = match conf.read_optional(own)? {
        Some(name) => Some(name),
        None => conf.read_optional(&keys::SCHEDULER_NAME)?,
    };
    let spec = &mut draft.spec;
    spec.restart_policy = Some("Never".to_owned());
    if !selector.is_empty() {
        spec.node_selector.get_or_insert_default().append(&mut selector);
    }
    if !secrets.is_empty() {
        let references = secrets.into_iter().map(|name| LocalObjectReference { name });
        spec.image_pull_secrets.get_or_insert_default().extend(references);
    }
    if scheduler.as_ref().is_some_and(|name| !name.is_empty()) {
        spec.scheduler_name = scheduler;
    }
    // Environment variables for each service of the namespace can exceed the limit of `exec`
    // (kubeflow/spark-operator#2984).
    spec.enable_service_links.get_or_insert(false);
    Ok(())
}
