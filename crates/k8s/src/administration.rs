//! The [`Administration`] of a Kubernetes cluster: preflight checks, leaks, expiry.

use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{Administration, Check, Leak, Result};
use async_trait::async_trait;

use crate::backend::Kubernetes;
use crate::executors::delete_executors_and_claims;

/// The property that names the driver's service account.
const SERVICE_ACCOUNT: &str = "spark.kubernetes.authenticate.driver.serviceAccountName";

#[async_trait]
impl Administration for Kubernetes {
    async fn preflight(&self) -> Vec<Check> {
        self.check_prerequisites(self.conf().get(SERVICE_ACCOUNT).unwrap_or("default")).await
    }

    async fn leaks(&self, older_than: Duration) -> Result<Vec<Leak>> {
        self.find_leaks(older_than).await
    }

    async fn remove_leak(&self, leak: &Leak) -> Result<()> {
        self.delete_leak(leak).await
    }

    async fn sweep(&self, app: &AppId) -> Result<()> {
        let connection = self.connection();
        delete_executors_and_claims(connection, &connection.namespace, app, Duration::ZERO).await
    }

    async fn remove_all_expired(&self) {
        self.reap().await;
    }
}
