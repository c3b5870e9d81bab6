//! What is left of executors when their driver has ended.

use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{ErrorKind, Result};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::keeper::delete_executors;
use crate::config::Connection;
use crate::driver::SUBMISSION_LABEL;
use crate::pods::APP_LABEL;

/// Deletes an application's executors, and the claims of theirs.
///
/// Claims come first: they stay until nobody mounts them, and whoever waits for the last executor's end
/// may leave then.
pub(crate) async fn sweep(
    connection: &Connection,
    namespace: &str,
    app: &AppId,
    grace: Duration,
) -> Result<()> {
    let claims = delete_claims(connection, namespace, app).await;
    delete_executors(connection, namespace, app, grace).await?;
    claims
}

/// Deletes the claims of an application's executors. They are the driver's, whose pod stays for its
/// log; its own claims, which the submission made, stay with it.
async fn delete_claims(connection: &Connection, namespace: &str, app: &AppId) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(connection.client.clone(), namespace);
    let meant = ListParams::default().labels(&format!("{APP_LABEL}={app},!{SUBMISSION_LABEL}"));
    let params = DeleteParams::background();
    let what = format!("delete persistentvolumeclaims in namespace {namespace}");
    match connection.call(&what, || api.delete_collection(&params, &meant)).await {
        // Drivers whose executors have none need not have the permission.
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::info!(%app, %error, "claims of executors, if there are any, are left");
            Ok(())
        }
        deleted => deleted.map(|_| ()),
    }
}
