//! The network policy that allows access to executors only from pods of their application
//! (`NetworkPolicyFeatureStep`, from 4.2).

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Draft;
use crate::pods::{APP_LABEL, ROLE_LABEL, Role};

pub(super) fn apply(draft: &mut Draft<'_>) {
    let app = || (APP_LABEL.to_owned(), draft.app_id.clone());
    let pods = |labels| LabelSelector { match_labels: Some(labels), match_expressions: None };
    let executors = (ROLE_LABEL.to_owned(), Role::Executor.name().to_owned());
    let of_application = NetworkPolicyPeer {
        pod_selector: Some(pods(BTreeMap::from([app()]))),
        ..NetworkPolicyPeer::default()
    };
    let mut metadata = draft.metadata(format!("{}-policy", draft.prefix));
    metadata.labels.get_or_insert_default().extend([app()]);
    let policy = NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(BTreeMap::from([app(), executors]))),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![of_application]),
                ports: None,
            }]),
            ..NetworkPolicySpec::default()
        }),
    };
    draft.objects.networkpolicies.push(policy);
}
