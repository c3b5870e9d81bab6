//! A master that others listen for: at the port of a daemon that speaks other protocols as well.

use std::fmt;
use std::sync::Arc;

use anymaster_core::Result;
use anymaster_core::model::AppId;
use anymaster_net::{Admission, Admitted, Stream};
use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::connection;
use crate::gateway::{GatewayOptions, Shared};
use crate::takeover::take_over;

/// Where a master stores what has to survive it.
#[async_trait]
pub trait DriverRecords: fmt::Debug + Send + Sync {
    /// What was stored, by application.
    fn all(&self) -> Vec<(String, Vec<u8>)>;

    /// Stores the record of an application, or deletes it. When this returns, that survives the master.
    ///
    /// # Errors
    /// If it is too large, or cannot be written.
    async fn set(&self, app: &AppId, record: Option<Vec<u8>>) -> Result<()>;
}

/// What serves Spark's drivers at a port of somebody else's.
#[derive(Debug, Clone)]
pub struct SparkMaster(Arc<Shared>);

impl SparkMaster {
    /// A master that is reached at the host and port of the options.
    ///
    /// # Errors
    /// As for [`Gateway::bind`](crate::Gateway::bind), but for the port.
    pub fn new(options: GatewayOptions) -> Result<Self> {
        Shared::new(options).map(|shared| Self(Arc::new(shared.with_records())))
    }

    /// This master has begun to lead: takes over the drivers that are recorded, and records those that register. It
    /// never returns; dropping it says that this master does not lead any more. `web_url`: where its page is.
    pub async fn lead(
        &self,
        records: Arc<dyn DriverRecords>,
        admission: &Admission,
        web_url: &str,
    ) {
        let known = records.all();
        let _leads = self.0.begin(records);
        let mut taken_over = JoinSet::new();
        for (name, record) in known {
            let following = AppId::new(&name)
                .and_then(|id| take_over(&self.0, id, &record, admission, web_url));
            match following {
                Ok(following) => drop(taken_over.spawn(following)),
                // Its application ends, as nobody comes back for it.
                Err(error) => tracing::error!("{name} was not taken over: {error}"),
            }
        }
        while taken_over.join_next().await.is_some() {}
        std::future::pending().await
    }

    /// Serves a connection to its end. Its application ends with it. `leads`: a master that does not lead says that it
    /// is one, and takes nothing in, as Spark's does.
    ///
    /// # Errors
    /// If the connection breaks, or what comes makes no sense.
    pub async fn serve(&self, stream: Stream, admitted: Arc<Admitted>, leads: bool) -> Result<()> {
        connection::serve(Arc::clone(&self.0), stream, admitted, leads).await
    }
}
