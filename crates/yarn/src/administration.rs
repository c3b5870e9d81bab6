//! The [`Administration`] of YARN: preflight checks, and what submissions have left.

use std::time::Duration;

use anymaster_core::model::AppId;
use anymaster_core::{Administration, Check, ClusterManager as _, Leak, Result};
use async_trait::async_trait;

use crate::yarn::Yarn;
use crate::{leaks, preflight};

#[async_trait]
impl Administration for Yarn {
    async fn preflight(&self) -> Vec<Check> {
        preflight::cluster(&self.cluster, self.program.as_deref()).await
    }

    async fn leaks(&self, older_than: Duration) -> Result<Vec<Leak>> {
        leaks::find(&self.cluster, older_than).await
    }

    async fn remove_leak(&self, leak: &Leak) -> Result<()> {
        leaks::remove(&self.cluster, leak).await
    }

    /// The ResourceManager ends the containers of an application with it.
    async fn sweep(&self, app: &AppId) -> Result<()> {
        self.cleanup(app).await
    }

    /// Nothing of a driver is left but what the ResourceManager remembers, as long as it is configured to.
    async fn remove_all_expired(&self) {
        std::future::pending().await
    }
}
