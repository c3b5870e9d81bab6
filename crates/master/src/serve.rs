//! The daemon: listens, lets in those who prove themselves, and schedules when there is something to.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, Redaction};
use anymaster_core::{ClusterManager, Error, Result};
use anymaster_engine::{Cores, Settings};
use anymaster_net::{
    Admission, BearerAuth, Callers, Connection, Hosts, Tls, bind, bind_with_retry,
    serve_connections, serve_http1,
};
use axum::Router;
use tokio::net::TcpListener;

use super::agent_access::Offers;
use super::agents::LeadershipWatch;
use super::election::Election;
use super::leadership::{Daemon, Leadership};
use super::own_cluster::OwnCluster;
use super::spark_rpc::{SparkRpc, follow_leadership};
use super::{clients, rest, web, workers};
use anymaster_native::keys;
use anymaster_native::wire::{Arrival, Credentials, Role, Secret, accept};

/// The port of a dispatcher's page, or where it is taken one of the next (Spark 3.5,
/// `MesosClusterDispatcherArguments`).
const DISPATCHER_UI_PORT: u16 = 8081;
/// As long as a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a master is started.
#[derive(Debug, Clone)]
pub struct MasterOptions {
    /// The address to listen on, and by which others know it.
    pub host: String,
    /// The port for workers and clients; 0: a free one.
    pub port: u16,
    /// The port of the page, where `spark.master.ui.port` is not meant.
    pub web_port: Option<u16>,
    /// The port of Spark's submission protocol, where `spark.master.rest.port` is not meant.
    pub rest_port: Option<u16>,
    /// The properties of the daemon.
    pub conf: Conf,
    /// How it schedules on offers, if it has no workers of its own; its master URL is `mesos://HOST:PORT` then.
    pub offers: Option<Offers>,
}

/// A master that listens.
#[derive(Debug)]
pub struct Master {
    spark_rpc: Option<Arc<dyn SparkRpc>>,
    listener: TcpListener,
    web: (TcpListener, u16),
    rest: Option<(TcpListener, u16)>,
    secret: Secret,
    tls: Tls,
    guard: BearerAuth,
    redaction: Redaction,
    hosts: Hosts,
    election: Election,
    leadership: Arc<Leadership>,
}

impl Master {
    /// Listens. Nobody is served yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if a port is not to be had.
    pub async fn bind(options: &MasterOptions) -> Result<Self> {
        let MasterOptions { host, conf, .. } = options;
        let (secret, tls) = (keys::secret(conf)?, Tls::of_daemon(conf)?);
        let guard = BearerAuth::new(secret.token()?.as_deref());
        let (election, redaction) = (Election::open(conf)?, Redaction::from_conf(conf)?);
        let (listener, own) = bind(host, options.port).await?;
        let hosts = Hosts::of(host, &listener, secret.is_set() || tls.is_on(), conf)?;
        let offers = options.offers.as_ref();
        let web = match (offers, options.web_port) {
            (Some(_), None) => bind_with_retry(host, DISPATCHER_UI_PORT).await?,
            (_, port) => keys::bind_page(host, port, conf, &keys::MASTER_UI_PORT).await?,
        };
        // A dispatcher speaks it at its own port.
        let rest = if offers.is_none() && conf.read(&keys::REST_ENABLED)? {
            Some(bind(host, keys::port(conf, options.rest_port, &keys::REST_PORT)?).await?)
        } else {
            None
        };
        let settings = settings(conf, offers)?;
        let scheme = if offers.is_some() { "mesos" } else { "spark" };
        let master = format!("{scheme}://{host}:{own}");
        let daemon = Daemon {
            settings: Settings { master: master.clone(), ..settings },
            master,
            address: format!("{host}:{own}"),
            rest: rest.as_ref().map(|(_, port)| format!("spark://{host}:{port}")),
            web: format!("{}://{host}:{}", tls.scheme(), web.1),
            agents: offers.map(|offers| Arc::clone(&offers.agents)),
        };
        let leadership = Arc::new(Leadership::new(daemon));
        if let Election::Alone(store) = &election {
            leadership.assume_alone(store.clone()).await?;
        }
        let spark_rpc = None;
        Ok(Self {
            spark_rpc,
            listener,
            web,
            rest,
            secret,
            tls,
            guard,
            redaction,
            hosts,
            election,
            leadership,
        })
    }

    /// Serves those who speak Spark's RPC at its port, which are refused otherwise.
    #[must_use]
    pub fn with_spark_rpc(self, spark_rpc: Arc<dyn SparkRpc>) -> Self {
        Self { spark_rpc: Some(spark_rpc), ..self }
    }

    /// The cluster, for others in this process: while the master does not lead, calls are refused.
    pub fn cluster(&self) -> Arc<dyn ClusterManager> {
        let name = if self.leadership.daemon().is_dispatcher() { "mesos" } else { "standalone" };
        let (role, secret, tls) = (Role::Client, self.secret.clone(), self.tls.clone());
        let credentials = Credentials { role, secret, tls };
        Arc::new(OwnCluster::new(name, Arc::clone(&self.leadership), credentials))
    }

    /// When it leads, for the framework that receives offers.
    pub fn leadership(&self) -> LeadershipWatch {
        LeadershipWatch(Arc::clone(&self.leadership))
    }

    /// The master URL: `spark://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.leadership.daemon().master
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        let address = &self.leadership.daemon().address;
        // It was made of a port.
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }

    /// Where its page is: `http://HOST:PORT`.
    pub fn web_url(&self) -> &str {
        &self.leadership.daemon().web
    }

    /// Where Spark's submission protocol is spoken: `spark://HOST:PORT`.
    pub fn rest_url(&self) -> Option<&str> {
        self.leadership.daemon().rest.as_deref()
    }

    /// Serves until `stop`. Processes on workers go on.
    ///
    /// # Errors
    /// If it can never lead.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self {
            spark_rpc,
            listener,
            web,
            rest,
            secret,
            tls,
            guard,
            redaction,
            hosts,
            election,
            leadership,
        } = self;
        let admission = Admission::of_process();
        let credentials = (secret.clone(), tls.clone());
        let submissions = guard.clone().protect(rest::router(&leadership, redaction));
        let programs = Callers::Programs(anymaster_spark_rest::error);
        let submissions = hosts.protect(submissions, programs);
        // At a master's own port it is spoken as well, but where it is switched off.
        let at_own_port =
            (rest.is_some() || leadership.daemon().agents.is_some()).then(|| submissions.clone());
        let pages = web::router(&leadership, &secret, &tls, guard);
        let pages = hosts.protect(pages, Callers::Browsers);
        let accepting = serve_connections(listener, &admission, |connection| {
            let (leadership, submissions) = (Arc::clone(&leadership), at_own_port.clone());
            let (credentials, spark_rpc) = (credentials.clone(), spark_rpc.clone());
            async move {
                let others = (submissions, spark_rpc.as_deref());
                attend(&leadership, connection, &credentials, others).await
            }
        });
        let submitting = async {
            match rest {
                Some((listener, _)) => {
                    anymaster_net::serve(listener, &tls, &admission, submissions).await;
                }
                None => std::future::pending().await,
            }
        };
        let spark_rpc = spark_rpc.as_deref();
        tokio::select! {
            () = stop => Ok(()),
            () = follow_leadership(spark_rpc, &leadership, &admission) => Ok(()),
            () = accepting => Ok(()),
            () = submitting => Ok(()),
            () = anymaster_net::serve(web.0, &tls, &admission, pages) => Ok(()),
            error = leadership.run(&election) => Err(error),
        }
    }
}

/// Serves one who came to the master's port: workers, clients, and those who speak Spark's submission
/// protocol or its RPC, if these are spoken.
async fn attend(
    leadership: &Leadership,
    connection: Connection,
    (secret, tls): &(Secret, Tls),
    (submissions, spark_rpc): (Option<Router>, Option<&dyn SparkRpc>),
) -> Result<()> {
    let (leading, daemon) = (leadership.leading(), leadership.daemon());
    let admitted = Arc::clone(&connection.admitted);
    match accept(connection, secret, tls, leading.is_some()).await? {
        Arrival::Http(stream) => match submissions {
            Some(submissions) => serve_http1(stream, &admitted, submissions).await,
            None => Err(Error::unsupported("Spark's submission protocol is switched off")),
        },
        Arrival::SparkRpc(stream) => match (spark_rpc, leading) {
            (None, _) => Err(Error::unsupported("Spark's RPC is not spoken here")),
            (Some(spark_rpc), Some(shared)) => {
                let serving = spark_rpc.serve(stream, admitted, true);
                leadership.while_leading(&shared, serving).await
            }
            (Some(spark_rpc), None) => {
                let mut changes = leadership.changes();
                tokio::select! {
                    served = spark_rpc.serve(stream, admitted, false) => served,
                    // It leads now, or the daemon ends: whoever is there comes again.
                    _ = changes.wait_for(Option::is_some) => Ok(()),
                }
            }
        },
        Arrival::Known(role, channel) => {
            let shared = leading.map_or_else(|| leadership.lead(), Ok)?;
            let serving = async {
                match role {
                    Role::Worker => {
                        let urls = (daemon.master.as_str(), daemon.web.as_str());
                        workers::serve(&shared, *channel, urls).await
                    }
                    Role::Client => clients::serve(&shared, daemon, *channel, None).await,
                    Role::Application(app) => {
                        clients::serve(&shared, daemon, *channel, Some(&app)).await
                    }
                }
            };
            leadership.while_leading(&shared, serving).await
        }
    }
}

/// What properties say about scheduling.
pub(super) fn settings(conf: &Conf, offers: Option<&Offers>) -> Result<Settings> {
    let common = Settings {
        master: String::new(),
        spread_out: conf.read(&keys::SPREAD_OUT)?,
        default_cores: conf.read_optional(&keys::DEFAULT_CORES)?.map_or(Cores::ALL, Cores::whole),
        max_retries: None,
        // Whether agents are there is Mesos' business.
        worker_timeout: FOREVER,
        return_time: conf.read(&keys::RETURN_TIME)?,
        retained: 0,
        max_record: usize::MAX,
        hidden_properties: &keys::SECRETS,
        offers: None,
    };
    Ok(match offers {
        Some(Offers { settings, .. }) => {
            Settings { retained: settings.retained, offers: Some(settings.clone()), ..common }
        }
        None => Settings {
            max_retries: keys::max_retries(conf)?,
            worker_timeout: conf.read(&keys::WORKER_TIMEOUT)?.max(Duration::from_secs(1)),
            retained: conf.read(&keys::RETAINED_APPLICATIONS)? as usize,
            ..common
        },
    })
}
