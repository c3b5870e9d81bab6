//! Asks the API server for permissions with access reviews.

use anymaster_core::Result;
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectAccessReviewSpec, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Api;
use kube::api::PostParams;
use kube::core::ObjectMeta;

use crate::config::Connection;

const WHAT: &str = "create an access review";

/// Whether the current user may do something in a namespace. Subresources are written `pods/log`;
/// resources of other API groups `networkpolicies.networking.k8s.io`.
pub(crate) async fn may_we(
    connection: &Connection,
    namespace: &str,
    verb: &str,
    resource: &str,
) -> Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes(namespace, verb, resource)),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let parameters = PostParams::default();
    let answer = connection.call(WHAT, || api.create(&parameters, &review)).await?;
    Ok(is_allowed(answer.status))
}

/// Whether another user may do something in a namespace. Asking needs a permission of its own.
pub(crate) async fn may(
    connection: &Connection,
    user: &str,
    namespace: &str,
    verb: &str,
    resource: &str,
) -> Result<bool> {
    let review = LocalSubjectAccessReview {
        metadata: ObjectMeta { namespace: Some(namespace.to_owned()), ..ObjectMeta::default() },
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(attributes(namespace, verb, resource)),
            ..SubjectAccessReviewSpec::default()
        },
        status: None,
    };
    let api: Api<LocalSubjectAccessReview> = Api::namespaced(connection.client.clone(), namespace);
    let parameters = PostParams::default();
    let answer = connection.call(WHAT, || api.create(&parameters, &review)).await?;
    Ok(is_allowed(answer.status))
}

/// The user name of a service account.
pub(crate) fn service_account(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

fn is_allowed(status: Option<SubjectAccessReviewStatus>) -> bool {
    status.is_some_and(|status| status.allowed)
}

fn attributes(namespace: &str, verb: &str, resource: &str) -> ResourceAttributes {
    let (resource, part) =
        resource.split_once('/').map_or((resource, None), |(whole, part)| (whole, Some(part)));
    let (resource, group) =
        resource.split_once('.').map_or((resource, None), |(name, group)| (name, Some(group)));
    ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        group: group.map(str::to_owned),
        resource: Some(resource.to_owned()),
        subresource: part.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}
