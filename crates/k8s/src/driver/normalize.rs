//! Normalizes objects as the API server does, so that a dry run shows what will be stored:
//! canonical quantities, and requests that default to limits.

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};

use super::Objects;
use crate::quantity::shorten;

pub(super) fn apply(objects: &mut Objects) {
    for spec in objects.pods.iter_mut().filter_map(|pod| pod.spec.as_mut()) {
        spec.containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
            .for_each(container);
        if spec.priority_class_name.as_deref() == Some("") {
            spec.priority_class_name = None;
        }
        for volume in spec.volumes.iter_mut().flatten() {
            if let Some(limit) =
                volume.empty_dir.as_mut().and_then(|empty| empty.size_limit.as_mut())
            {
                shorten(limit);
            }
        }
    }
    for claim in &mut objects.persistentvolumeclaims {
        let requests =
            claim.spec.as_mut().and_then(|spec| spec.resources.as_mut()?.requests.as_mut());
        requests.into_iter().flat_map(|requests| requests.values_mut()).for_each(shorten);
    }
}

fn container(container: &mut Container) {
    if let Some(ResourceRequirements { limits, requests, .. }) = &mut container.resources {
        limits.iter_mut().flat_map(|limits| limits.values_mut()).for_each(shorten);
        requests.iter_mut().flat_map(|requests| requests.values_mut()).for_each(shorten);
        for (name, limit) in limits.iter().flatten() {
            requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for variable in container.env.iter_mut().flatten() {
        if variable.value.as_deref() == Some("") {
            variable.value = None;
        }
    }
}
