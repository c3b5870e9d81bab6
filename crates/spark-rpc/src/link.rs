//! What is sent to a driver, in the order of a queue with a bound.

use anymaster_core::{Error, Result};
use anymaster_net::Stream;
use anymaster_spark_wire::auth::Sealer;
use anymaster_spark_wire::messages::ToDriver;
use anymaster_spark_wire::{Dialect, Envelope, Frame, RpcAddress};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc;

use crate::connection::broken;

/// How many frames wait for a driver that does not read.
pub(crate) const QUEUE: usize = 1024;

/// What the writer of a connection is told.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// To be sent.
    Frame(Vec<u8>),
    /// All that follows is encrypted.
    Encrypt(Sealer),
}

/// The way to a driver.
#[derive(Debug, Clone)]
pub(crate) struct DriverLink {
    pub(crate) frames: mpsc::Sender<Outgoing>,
    pub(crate) dialect: Dialect,
    pub(crate) sender: Option<RpcAddress>,
    pub(crate) receiver: RpcAddress,
    pub(crate) endpoint: String,
}

impl DriverLink {
    /// Sends a message. A driver that is gone hears nothing: its connection ends the application.
    pub(crate) async fn send(&self, message: ToDriver) {
        let envelope = Envelope {
            sender: self.sender.clone(),
            receiver: Some(self.receiver.clone()),
            endpoint: self.endpoint.clone(),
        };
        let body = envelope.encode(&message.encode(&self.dialect));
        // The only error there can be is that nobody writes any more.
        let _ = self.frames.send(Outgoing::Frame(Frame::OneWay { body }.encode())).await;
    }

    /// Tells a driver why it gets no executors: it shows that, and ends.
    pub(crate) async fn remove_application(&self, error: &Error) {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.send(ToDriver::ApplicationRemoved { message: format!("{error}{hint}") }).await;
    }
}

/// Writes what is sent, until nothing is sent any more; then the reader has ended. `sealer`: how it is encrypted from the
/// beginning.
pub(crate) async fn write(
    mut writer: WriteHalf<Stream>,
    mut queue: mpsc::Receiver<Outgoing>,
    mut sealer: Option<Sealer>,
) -> Result<()> {
    let failed = |error| Error::unavailable("cannot write to a driver").with_source(error);
    while let Some(outgoing) = queue.recv().await {
        let frame = match (outgoing, &mut sealer) {
            (Outgoing::Encrypt(with), _) => {
                sealer = Some(with);
                continue;
            }
            (Outgoing::Frame(frame), None) => frame,
            (Outgoing::Frame(frame), Some(sealer)) => sealer.seal(&frame).map_err(broken)?,
        };
        writer.write_all(&frame).await.map_err(failed)?;
        if queue.is_empty() {
            writer.flush().await.map_err(failed)?;
        }
    }
    // The reader has ended.
    std::future::pending().await
}
