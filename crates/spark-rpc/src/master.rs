//! A master that others listen for: at the port of a daemon that speaks other protocols as well.

use std::sync::Arc;

use anymaster_core::Result;
use anymaster_net::{Admitted, Stream};

use crate::connection;
use crate::gateway::{GatewayOptions, Shared};

/// What serves Spark's drivers at a port of somebody else's.
#[derive(Debug, Clone)]
pub struct SparkMaster(Arc<Shared>);

impl SparkMaster {
    /// A master that is reached at the host and port of the options.
    ///
    /// # Errors
    /// As for [`Gateway::bind`](crate::Gateway::bind), but for the port.
    pub fn new(options: GatewayOptions) -> Result<Self> {
        Shared::new(options).map(|shared| Self(Arc::new(shared)))
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
