//! External drivers: the master knows one for as long as a connection of this process, which is the driver or has
//! registered it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, DriverStatus, ExternalDriver, SubmissionId};
use anymaster_core::{Error, ErrorKind, HostPort, Launched, Result};
use tokio::task::AbortHandle;

use super::link::Link;
use crate::keys;
use crate::wire::{Channel, Reply, Request};

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

/// Tells the master that this process is a driver.
pub(super) async fn attach(link: &Arc<Link>, app: &AppId, conf: &Conf) -> Result<Attached> {
    let ExternalDriver { name, host, port, conf, .. } =
        own_driver(app, conf, link.masters()).await?;
    let call = Request::Attach { app: app.clone(), name, host, port, conf };
    let (_, channel) = link.open_patiently(&call).await?;
    Ok(keep(Arc::clone(link), call, channel))
}

/// Tells the master of another driver. It is not kept known if it has ended.
pub(super) async fn register(
    link: &Arc<Link>,
    id: &SubmissionId,
    driver: ExternalDriver,
) -> Result<(Launched, Option<Attached>)> {
    let call = Request::Register { id: id.clone(), driver: Box::new(driver) };
    let (reply, channel) = link.open_patiently(&call).await?;
    let Reply::Driver { driver, existed } = reply else {
        return Err(Error::protocol("the master did not answer the registration"));
    };
    let attached = (!driver.state.is_ended()).then(|| keep(Arc::clone(link), call, channel));
    let launched = if existed { Launched::existing(*driver) } else { Launched::new(*driver) };
    Ok((launched, attached))
}

/// Keeps telling the master of a driver, whenever its connection ends, until the driver has ended.
fn keep(link: Arc<Link>, call: Request, mut channel: Channel) -> Attached {
    let task = tokio::spawn(async move {
        loop {
            // It says nothing: what comes is its end.
            let ended = channel.receive::<Reply>().await;
            tracing::info!(?ended, "the master's connection ended");
            channel = loop {
                tokio::time::sleep(PAUSE).await;
                match link.open_patiently(&call).await {
                    Ok((Reply::Driver { driver, .. }, _)) if has_ended(&driver) => return,
                    Ok((_, again)) => break again,
                    Err(error) if error.kind() == ErrorKind::Conflict => return,
                    Err(error) => tracing::warn!("the master does not hear this driver: {error}"),
                }
            };
        }
    });
    Attached(task.abort_handle())
}

fn has_ended(driver: &DriverStatus) -> bool {
    driver.state.is_ended()
}

/// A driver whose application has these properties unless it says others, without what is secret.
pub fn with_defaults(driver: &ExternalDriver, conf: &Conf) -> ExternalDriver {
    let mut driver = driver.clone();
    for (key, value) in keys::without_secrets(conf).iter() {
        driver.conf.set_default(key, value);
    }
    driver
}

/// This process as the driver of an application.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if its address is not given, and cannot be found out.
pub async fn own_driver(app: &AppId, conf: &Conf, masters: &[HostPort]) -> Result<ExternalDriver> {
    let host = match conf.get("spark.driver.host") {
        Some(host) => host.to_owned(),
        None => find_own_address(masters.to_vec()).await?,
    };
    let port = conf.get("spark.driver.port").and_then(|port| port.parse().ok()).unwrap_or(0);
    let name = conf.get("spark.app.name").unwrap_or(app.as_str());
    Ok(ExternalDriver::new(name, host, port).with_conf(keys::without_secrets(conf)))
}

/// As [`own_address`], where nothing may block.
///
/// # Errors
/// As [`own_address`].
pub async fn find_own_address(masters: Vec<HostPort>) -> Result<String> {
    let found = tokio::task::spawn_blocking(move || own_address(&masters)).await;
    found.unwrap_or_else(|error| {
        Err(Error::unavailable("cannot find out this machine's address").with_source(error))
    })
}

/// The address under which the masters' network reaches this machine. Nothing is sent; it blocks while names are
/// looked up.
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
