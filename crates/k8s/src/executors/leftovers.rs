//! What executors leave beside their pods.

use anymaster_core::model::AppId;
use anymaster_core::{ErrorKind, Result};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use crate::config::Connection;
use crate::driver::SUBMISSION_LABEL;
use crate::pods::APP_LABEL;

/// Deletes the claims of an application's executors. They are the driver's, whose pod stays for its
/// log; its own claims, which the submission made, stay with it.
pub(crate) async fn delete_claims(
    connection: &Connection,
    namespace: &str,
    app: &AppId,
) -> Result<()> {
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
