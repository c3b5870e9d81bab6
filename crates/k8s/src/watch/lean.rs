//! Pods as a watch needs them. Most of what the API server sends of a pod is of no use here (who set
//! which field, environments, mounts): it is skipped as it is read, which halves what an event costs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, PodStatus, ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

/// A pod of which only some is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct Lean(pub(crate) Pod);

/// What is read.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    status: Option<PodStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    containers: Vec<Part>,
    volumes: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    name: String,
    image: Option<String>,
    args: Option<Vec<String>>,
    resources: Option<ResourceRequirements>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}

impl From<Wire> for Lean {
    fn from(Wire { metadata, spec, status }: Wire) -> Self {
        let container = |part: Part| Container {
            name: part.name,
            image: part.image,
            args: part.args,
            resources: part.resources,
            ..Container::default()
        };
        let volume = |named: Named| Volume { name: named.name, ..Volume::default() };
        Self(Pod {
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                labels: metadata.labels,
                annotations: metadata.annotations,
                creation_timestamp: metadata.creation_timestamp,
                deletion_timestamp: metadata.deletion_timestamp,
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_name: spec.node_name,
                service_account_name: spec.service_account_name,
                containers: spec.containers.into_iter().map(container).collect(),
                volumes: Some(spec.volumes.into_iter().map(volume).collect()),
                ..PodSpec::default()
            }),
            status,
        })
    }
}

impl Resource for Lean {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(kind: &()) -> Cow<'_, str> {
        Pod::kind(kind)
    }

    fn group(kind: &()) -> Cow<'_, str> {
        Pod::group(kind)
    }

    fn version(kind: &()) -> Cow<'_, str> {
        Pod::version(kind)
    }

    fn plural(kind: &()) -> Cow<'_, str> {
        Pod::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod;

    #[test]
    fn what_is_told_of_a_pod_is_the_same() {
        let whole = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a-driver", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"spark-role": "driver", "spark-app-selector": "app", "spark-app-name": "a"},
                "annotations": {"anymaster.dev/submission-id": "id"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:metadata": {}}}],
            },
            "spec": {
                "nodeName": "n", "serviceAccountName": "s", "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "side"}, {"name": "main", "args": ["driver"], "env": [{"name": "A"}],
                    "resources": {"limits": {"memory": "64Mi"}}}],
            },
            "status": {"phase": "Failed", "containerStatuses": [{"name": "main", "image": "i", "imageID": "",
                "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
        });
        let full: Pod = serde_json::from_value(whole.clone()).unwrap();
        let Lean(lean) = serde_json::from_value(whole).unwrap();
        assert!(pod::status(&lean).is_some());
        assert_eq!(pod::status(&lean), pod::status(&full));
        assert!(lean.metadata.managed_fields.is_none());
    }
}
