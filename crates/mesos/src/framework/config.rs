//! The configuration of a framework, and its life cycle: it is subscribed while its daemon leads.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result, user_name};
use anymaster_engine::OfferSettings;
use anymaster_master::{LeadershipWatch, Offers};
use anymaster_native::keys as daemon;

use super::offer_matcher::OfferMatcher;
use super::tasks::TaskBuilder;
use super::{keep, queue};
use crate::credentials::Credentials;
use crate::keys;
use crate::master_url::MesosMaster;
use crate::model::{Capability, FrameworkInfo};
use crate::sandbox::Sandboxes;
use crate::scheduler::Options;

/// The failover time-out of a dispatcher with a store, in seconds (as in Spark 3.5, `MesosClusterScheduler`).
const FOREVER: f64 = 2_147_483_647.0;
/// The same without a store, after whose restart nothing is known: as long as masters wait for agents.
const UNTIL_FORGOTTEN: f64 = 600.0;

/// A framework that passes offers to the scheduling engine.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(super) options: Options,
    pub(super) matcher: Arc<OfferMatcher>,
    pub(super) builder: Arc<TaskBuilder>,
    pub(super) sandboxes: Sandboxes,
}

/// Configures a framework from properties. `is_driver`: it is that of a driver in client mode, and ends with
/// the driver; else that of a dispatcher.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for invalid properties.
pub(crate) fn framework(
    name: &str,
    master: MesosMaster,
    conf: &Conf,
    is_driver: bool,
) -> Result<Framework> {
    keys::check(conf)?;
    queue::check(conf)?;
    for warning in keys::warnings(conf) {
        tracing::warn!("{warning}");
    }
    let credentials = Credentials::of(conf, |name| std::env::var(name).ok())?;
    let role = conf.read_optional(&keys::ROLE)?.unwrap_or_else(|| "*".to_owned());
    if is_driver {
        keys::check_driver(conf)?;
    }
    let is_kept = !conf.read(&daemon::RECOVERY_MODE)?.eq_ignore_ascii_case("NONE");
    if !is_driver && conf.get(daemon::RECOVERY_MODE.info.name).is_none() {
        tracing::warn!(
            "{} is not set: if this dispatcher ends, Mesos kills its drivers {UNTIL_FORGOTTEN} s later. \
             Set it to FILESYSTEM or ZOOKEEPER to recover them after a restart",
            daemon::RECOVERY_MODE.info.name
        );
    }
    let page = if is_driver { &keys::DRIVER_WEBUI_URL } else { &keys::DISPATCHER_WEBUI_URL };
    let mut capabilities = vec!["MULTI_ROLE", "TASK_KILLING_STATE", "RESERVATION_REFINEMENT"];
    let has_gpus =
        conf.read(&keys::GPUS_MAX)? > 0 || conf.get("spark.executor.resource.gpu.amount").is_some();
    if has_gpus {
        capabilities.push("GPU_RESOURCES");
    }
    let info = FrameworkInfo {
        user: user()?,
        name: name.to_owned(),
        id: None,
        failover_timeout: match (is_driver, is_kept) {
            // The executors end with the driver.
            (true, _) => 0.0,
            (false, true) => FOREVER,
            (false, false) => UNTIL_FORGOTTEN,
        },
        // Drivers survive a restart of their agent, as with Spark's dispatcher; executors do not.
        checkpoint: !is_driver,
        roles: vec![role.clone()],
        hostname: conf.get("spark.driver.host").map(str::to_owned).filter(|_| is_driver),
        principal: credentials.as_ref().map(|known| known.principal.clone()),
        webui_url: conf.read_optional(page)?,
        capabilities: capabilities.into_iter().map(Capability::new).collect(),
        labels: None,
    };
    let sandboxes = Sandboxes::new(credentials.clone())?;
    let builder = TaskBuilder {
        conf: conf.clone(),
        secret: daemon::secret(conf)?,
        mesos: master.to_string(),
    };
    Ok(Framework {
        options: Options { master, framework: info, credentials },
        matcher: Arc::new(OfferMatcher::new(role, conf.clone(), sandboxes.clone())),
        builder: Arc::new(builder),
        sandboxes,
    })
}

/// The user as whom agents run tasks: `SPARK_USER`, or the user of this process (Spark 3.5,
/// `Utils.getCurrentUserName`).
fn user() -> Result<String> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(user) = ["SPARK_USER", "USER", "LOGNAME"].into_iter().find_map(named) {
        return Ok(user);
    }
    let uid = rustix::process::getuid().as_raw();
    user_name(uid).ok_or_else(|| {
        Error::invalid(format!("user {uid} has no name, which Mesos needs"))
            .with_hint("set SPARK_USER")
    })
}

impl Framework {
    /// The options with which the scheduling engine uses the framework.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for invalid properties.
    pub(crate) fn offers(&self) -> Result<Offers> {
        let conf = &self.builder.conf;
        let (policy, agents) = (Arc::clone(&self.matcher), Arc::clone(&self.matcher));
        let settings = OfferSettings {
            policy,
            max_drivers: conf.read(&keys::MAX_DRIVERS)? as usize,
            max_retry_pause: Duration::from_secs(conf.read(&keys::RETRY_WAIT_MAX)?.into()),
            retained: conf.read(&keys::RETAINED_DRIVERS)? as usize,
        };
        Ok(Offers { settings, agents })
    }

    /// Sets the address of the web page, unless properties do.
    pub(crate) fn set_page(&mut self, url: &str) {
        self.options.framework.webui_url.get_or_insert_with(|| url.to_owned());
    }

    /// Runs the framework whenever the daemon leads, until a final error, which is returned.
    pub(crate) async fn keep(&self, leadership: LeadershipWatch) -> Error {
        loop {
            let (agents, orders) = leadership.next().await;
            let ended = tokio::select! {
                ended = keep(self, agents.clone(), orders) => Some(ended),
                () = agents.over() => None,
            };
            if let Some(Err(error)) = ended {
                return error;
            }
        }
    }
}
