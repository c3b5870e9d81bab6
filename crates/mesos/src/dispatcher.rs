//! The dispatcher daemon: accepts drivers and launches them on agents (Spark 3.5, `MesosClusterDispatcher`).

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_master::{Master, MasterOptions};

use crate::framework::{Framework, framework};
use crate::master_url::MesosMaster;

/// How a dispatcher is started.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// The name of its framework.
    pub name: String,
    /// The Mesos masters.
    pub mesos: MesosMaster,
    /// The address to listen on and to advertise.
    pub host: String,
    /// The port for clients and for Spark's REST submission protocol; 0: any free port.
    pub port: u16,
    /// The port of its web page; by default 8081 or, if that is in use, one of the following.
    pub web_port: Option<u16>,
    /// The properties of the daemon.
    pub conf: Conf,
}

/// A dispatcher that has bound its ports.
#[derive(Debug)]
pub struct Dispatcher {
    pub(crate) daemon: Master,
    pub(crate) framework: Framework,
}

impl Dispatcher {
    /// Binds the ports. Serves nothing and connects to no Mesos master yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for invalid properties, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if a port cannot be bound.
    pub async fn bind(options: DispatcherOptions) -> Result<Self> {
        let DispatcherOptions { name, mesos, host, port, web_port, conf } = options;
        let mut framework = framework(&name, mesos, &conf, false)?;
        let offers = Some(framework.offers()?);
        let options = MasterOptions { host, port, web_port, rest_port: None, conf, offers };
        let daemon = Master::bind(&options).await?;
        framework.set_page(daemon.web_url());
        Ok(Self { daemon, framework })
    }

    /// Its URL: `mesos://HOST:PORT`.
    pub fn url(&self) -> &str {
        self.daemon.url()
    }

    /// The URL of its web page: `http://HOST:PORT`.
    pub fn web_url(&self) -> &str {
        self.daemon.web_url()
    }

    /// Serves until `stop` completes. Drivers on agents go on.
    ///
    /// # Errors
    /// If it cannot become the leader, or if the Mesos master refuses the framework.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { daemon, framework } = self;
        let leadership = daemon.leadership();
        tokio::select! {
            served = daemon.serve(stop) => served,
            error = framework.keep(leadership) => Err(error),
        }
    }
}
