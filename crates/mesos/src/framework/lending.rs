//! The framework of a daemon: who it is, and that it is kept subscribed whenever the daemon leads.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use anymaster_dispatcher::keys as daemon;
use anymaster_dispatcher::master::{Lending, Terms};

use super::market::Market;
use super::tasks::Setting;
use super::{keep, queue};
use crate::credentials::Credentials;
use crate::keys;
use crate::master_url::MesosMaster;
use crate::model::{Capability, FrameworkInfo};
use crate::sandbox::Sandboxes;
use crate::scheduler::Options;

/// As long as Spark's dispatcher asks masters to wait for it (Spark 3.5, `MesosClusterScheduler`).
const FOREVER: f64 = 2_147_483_647.0;
/// The same of one that knows nothing when it is started again: as long as masters wait for agents.
const UNTIL_FORGOTTEN: f64 = 600.0;

/// A framework that lends what agents offer.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(super) options: Options,
    pub(super) market: Arc<Market>,
    pub(super) setting: Arc<Setting>,
    pub(super) sandboxes: Sandboxes,
}

/// The framework that properties describe. `driver`: that of a driver in client mode, which ends with it;
/// else that of a dispatcher.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense.
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
            "{} is not set: what runs is lost with this dispatcher; Mesos ends it {UNTIL_FORGOTTEN} s \
             later. Set it to FILESYSTEM or ZOOKEEPER for one that goes on where it was",
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
            // Executors end with it.
            (true, _) => 0.0,
            (false, true) => FOREVER,
            (false, false) => UNTIL_FORGOTTEN,
        },
        // Drivers outlive a restart of their agent, as Spark's dispatcher has it; executors do not.
        checkpoint: !is_driver,
        roles: vec![role.clone()],
        hostname: conf.get("spark.driver.host").map(str::to_owned).filter(|_| is_driver),
        principal: credentials.as_ref().map(|known| known.principal.clone()),
        webui_url: conf.read_optional(page)?,
        capabilities: capabilities.into_iter().map(Capability::new).collect(),
        labels: None,
    };
    let sandboxes = Sandboxes::new(credentials.clone())?;
    let setting =
        Setting { conf: conf.clone(), secret: daemon::secret(conf)?, mesos: master.to_string() };
    Ok(Framework {
        options: Options { master, framework: info, credentials },
        market: Arc::new(Market::new(role, conf.clone(), sandboxes.clone())),
        setting: Arc::new(setting),
        sandboxes,
    })
}

/// As whom agents run tasks: the user of this process, unless `SPARK_USER` says (Spark 3.5,
/// `Utils.getCurrentUserName`).
fn user() -> Result<String> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(user) = ["SPARK_USER", "USER", "LOGNAME"].into_iter().find_map(named) {
        return Ok(user);
    }
    let uid = rustix::process::getuid().as_raw().to_string();
    // One name that is not UTF-8 hides no other.
    let users = std::fs::read("/etc/passwd").unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    let of_ours = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&uid)).then(|| name.to_owned())
    };
    users.lines().find_map(of_ours).ok_or_else(|| {
        Error::invalid(format!("user {uid} has no name, and Mesos wants one"))
            .with_hint("set SPARK_USER")
    })
}

impl Framework {
    /// How the daemon's cluster lives of it.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense.
    pub(crate) fn lending(&self) -> Result<Lending> {
        let conf = &self.setting.conf;
        let lender = Arc::clone(&self.market);
        Ok(Lending {
            lender,
            max_drivers: conf.read(&keys::MAX_DRIVERS)? as usize,
            last_pause: Duration::from_secs(conf.read(&keys::RETRY_WAIT_MAX)?.into()),
            retained: conf.read(&keys::RETAINED_DRIVERS)? as usize,
        })
    }

    /// Where the daemon's page is, unless properties say.
    pub(crate) fn set_page(&mut self, url: &str) {
        self.options.framework.webui_url.get_or_insert_with(|| url.to_owned());
    }

    /// Keeps it subscribed for as long as the daemon leads, whenever that is; ends with the reason why
    /// that cannot go on.
    pub(crate) async fn keep(&self, terms: Terms) -> Error {
        loop {
            let (agents, orders) = terms.next().await;
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
