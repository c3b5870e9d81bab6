//! The dispatcher: takes drivers in, and starts them on agents (Spark 3.5, `MesosClusterDispatcher`).

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_dispatcher::master::{Master, MasterOptions};

use crate::framework::{Framework, framework};
use crate::master_url::MesosMaster;

/// How a dispatcher is started.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// What it is called among the frameworks of Mesos.
    pub name: String,
    /// The Mesos masters.
    pub mesos: MesosMaster,
    /// The address to listen on, and by which others know it.
    pub host: String,
    /// The port for clients, and for Spark's submission protocol; 0: a free one.
    pub port: u16,
    /// The port of its page; 8081, or one of the next, where it is unset.
    pub web_port: Option<u16>,
    /// The properties of the daemon.
    pub conf: Conf,
}

/// A dispatcher that listens.
#[derive(Debug)]
pub struct Dispatcher {
    pub(crate) daemon: Master,
    pub(crate) framework: Framework,
}

impl Dispatcher {
    /// Listens. Nobody is served yet, and no Mesos master is asked.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if a port is not to be had.
    pub async fn bind(options: DispatcherOptions) -> Result<Self> {
        Self::of(options, false).await
    }

    /// One for a driver in this process: its framework is the driver's, and ends with it.
    pub(crate) async fn in_process(options: DispatcherOptions) -> Result<Self> {
        Self::of(options, true).await
    }

    async fn of(options: DispatcherOptions, is_driver: bool) -> Result<Self> {
        let DispatcherOptions { name, mesos, host, port, web_port, conf } = options;
        let mut framework = framework(&name, mesos, &conf, is_driver)?;
        let lending = Some(framework.lending()?);
        let options = MasterOptions { host, port, web_port, rest_port: None, conf, lending };
        let daemon = Master::bind(&options).await?;
        framework.set_page(daemon.web_url());
        Ok(Self { daemon, framework })
    }

    /// Its URL: `mesos://HOST:PORT`.
    pub fn url(&self) -> &str {
        self.daemon.url()
    }

    /// Where its page is: `http://HOST:PORT`.
    pub fn web_url(&self) -> &str {
        self.daemon.web_url()
    }

    /// Serves until `stop`. What runs on agents goes on.
    ///
    /// # Errors
    /// If it can never lead, or if the Mesos master does not want it.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { daemon, framework } = self;
        let terms = daemon.terms();
        tokio::select! {
            served = daemon.serve(stop) => served,
            error = framework.keep(terms) => Err(error),
        }
    }
}
