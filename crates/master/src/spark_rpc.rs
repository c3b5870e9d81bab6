//! What serves those who speak Spark's RPC at the port of a master, and what it is handed.

use std::fmt;
use std::sync::Arc;

use anymaster_core::{Error, Result};
use anymaster_net::{Admission, Admitted, Stream};
use async_trait::async_trait;

use super::leadership::Leadership;
use super::shared::Shared;

/// What the names of its records begin with.
const PREFIX: &str = "spark-driver-";

/// What serves those who speak Spark's RPC at the master's port.
#[async_trait]
pub trait SparkRpc: fmt::Debug + Send + Sync + 'static {
    /// Serves a connection to its end. `leads`: whether this master does; when that changes, this is dropped.
    async fn serve(&self, stream: Stream, admitted: Arc<Admitted>, leads: bool) -> Result<()>;

    /// This master has begun to lead: takes over what was recorded. It is dropped when the master does not lead any
    /// more.
    async fn lead(&self, leading: Leading);
}

/// A master that leads, for what serves Spark's RPC there.
#[derive(Debug, Clone)]
pub struct Leading {
    shared: Arc<Shared>,
    admission: Admission,
    web_url: String,
}

impl Leading {
    /// The limits on connections of the daemon.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The URL of the master's page.
    pub fn web_url(&self) -> &str {
        &self.web_url
    }

    /// The records that were stored, by name.
    pub fn records(&self) -> Vec<(String, Vec<u8>)> {
        self.shared.read(|engine| {
            let records = engine.extensions(PREFIX);
            records.map(|(name, value)| (name[PREFIX.len()..].to_owned(), value.to_vec())).collect()
        })
    }

    /// Stores a record, or deletes it. When this returns, that survives the master, where anything does.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is too large for the store, else if it cannot be
    /// written.
    pub async fn set_record(&self, name: &str, record: Option<Vec<u8>>) -> Result<()> {
        let Some(most) = self.shared.max_record() else { return Ok(()) };
        let name = format!("{PREFIX}{name}");
        let length = record.as_ref().map_or(0, Vec::len);
        if length > most {
            return Err(Error::invalid(format!(
                "what has to be stored of the application has {length} bytes, and a record has at most {most}"
            )));
        }
        self.shared
            .commit(|engine| {
                match record {
                    Some(record) => engine.set_extension(&name, record),
                    None => engine.remove_extension(&name),
                }
                Ok(())
            })
            .await
    }
}

/// Has Spark's RPC lead whenever this master does.
pub(super) async fn follow_leadership(
    spark_rpc: Option<&dyn SparkRpc>,
    leadership: &Leadership,
    admission: &Admission,
) {
    let Some(spark_rpc) = spark_rpc else { return std::future::pending().await };
    let mut changes = leadership.changes();
    loop {
        if let Some(shared) = leadership.leading() {
            let leading = Leading {
                shared: Arc::clone(&shared),
                admission: admission.clone(),
                web_url: leadership.daemon().web.clone(),
            };
            let leads = async {
                spark_rpc.lead(leading).await;
                Ok(())
            };
            // It has no errors.
            let _ = leadership.while_leading(&shared, leads).await;
        }
        // An error: the daemon ends.
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
