//! A backend whose clusters are all the same fake.

use std::sync::Arc;

use async_trait::async_trait;

use super::FakeCluster;
use crate::{Backend, BackendInfo, ClusterManager, ConnectOptions, MasterUrl, Result};

/// A backend that takes every URL of its schemes, and connects to one [`FakeCluster`].
#[derive(Debug, Clone)]
pub struct FakeBackend {
    info: &'static BackendInfo,
    cluster: FakeCluster,
}

impl FakeBackend {
    /// Of this kind, in front of this cluster.
    pub fn new(info: &'static BackendInfo, cluster: FakeCluster) -> Self {
        Self { info, cluster }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn info(&self) -> &'static BackendInfo {
        self.info
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        Ok(master.clone())
    }

    async fn connect(&self, _: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        Ok(Arc::new(self.cluster.clone()))
    }
}
