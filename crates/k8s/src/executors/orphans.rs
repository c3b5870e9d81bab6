//! Deletes the executors, and their claims, of a driver that has ended.

use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{ErrorKind, Result};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::controller::delete_executors;
use crate::config::Connection;
use crate::driver::SUBMISSION_LABEL;
use crate::pods::APP_LABEL;

/// Deletes an application's executors and their claims.
///
/// Claims first: they exist until no pod mounts them, and the caller's process may exit as soon as
/// the last executor has ended.
pub(crate) async fn delete_executors_and_claims(
    connection: &Connection,
    namespace: &str,
    app: &AppId,
    grace: Duration,
) -> Result<()> {
    let claims = delete_claims(connection, namespace, app).await;
    delete_executors(connection, namespace, app, grace).await?;
    claims
}

/// Deletes the claims of an application's executors. They are owned by the driver's pod, which is
/// kept for its log; the claims that the submission created for the driver are kept with it.
async fn delete_claims(connection: &Connection, namespace: &str, app: &AppId) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(connection.client.clone(), namespace);
    let selected = ListParams::default().labels(&format!("{APP_LABEL}={app},!{SUBMISSION_LABEL}"));
    let params = DeleteParams::background();
    let what = format!("delete persistentvolumeclaims in namespace {namespace}");
    match connection.call(&what, || api.delete_collection(&params, &selected)).await {
        // The permission is not needed where executors have no claims.
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::info!(%app, %error, "claims of executors, if there are any, are not deleted");
            Ok(())
        }
        deleted => deleted.map(|_| ()),
    }
}
