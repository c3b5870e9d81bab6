//! A driver that runs outside of the cluster: the master has it for as long as a connection of this
//! process.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;
use anymaster_core::{Error, ErrorKind, HostPort, Result};
use tokio::task::AbortHandle;

use super::link::Link;
use crate::keys;
use crate::wire::{Call, Reply};

/// How long after an interruption the master is called again.
const PAUSE: Duration = Duration::from_millis(200);

/// Keeps a driver known to the master; with this, it ends.
#[derive(Debug)]
pub(super) struct Attached(AbortHandle);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the master of this driver, and keeps telling it.
pub(super) async fn attach(link: &Arc<Link>, app: &AppId, conf: &Conf) -> Result<Attached> {
    let host = match conf.get("spark.driver.host") {
        Some(host) => host.to_owned(),
        None => own_address(link.masters())?,
    };
    let port = conf.get("spark.driver.port").and_then(|port| port.parse().ok()).unwrap_or(0);
    let name = conf.get("spark.app.name").unwrap_or(app.as_str()).to_owned();
    let conf = keys::without_secrets(conf);
    let call = Call::Attach { app: app.clone(), name, host, port, conf };
    let (_, mut channel) = link.open_patiently(&call).await?;
    let link = Arc::clone(link);
    let task = tokio::spawn(async move {
        loop {
            // It says nothing: what comes is its end.
            let ended = channel.receive::<Reply>().await;
            tracing::info!(?ended, "the master's connection ended");
            channel = loop {
                tokio::time::sleep(PAUSE).await;
                match link.open_patiently(&call).await {
                    Ok((_, again)) => break again,
                    Err(error) if error.kind() == ErrorKind::Conflict => return,
                    Err(error) => tracing::warn!("the master does not hear this driver: {error}"),
                }
            };
        }
    });
    Ok(Attached(task.abort_handle()))
}

/// The address under which the masters' network reaches this machine. Nothing is sent.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if there is no way to any of them.
pub fn own_address(masters: &[HostPort]) -> Result<String> {
    let mut last = None;
    for master in masters {
        let found = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0")).and_then(
            |socket| {
                socket.connect((master.host.trim_matches(['[', ']']), master.port))?;
                socket.local_addr()
            },
        );
        match found {
            Ok(address) => return Ok(address.ip().to_string()),
            Err(error) => last = Some(error),
        }
    }
    let error = Error::unavailable("cannot find out this machine's address")
        .with_hint("set spark.driver.host");
    Err(match last {
        Some(source) => error.with_source(source),
        None => error,
    })
}
