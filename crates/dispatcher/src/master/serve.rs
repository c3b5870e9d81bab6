//! The daemon: listens, lets in those who prove themselves, and schedules when there is something to.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, Redaction};
use anymaster_core::{Error, Result};
use anymaster_net::{
    Admission, Callers, Connection, Guard, Hosts, Tls, answer, bind, bind_near, converse,
};
use axum::Router;
use tokio::net::TcpListener;

use super::agents::Terms;
use super::amount::Cores;
use super::cluster::Policy;
use super::election::Election;
use super::lender::Lending;
use super::seat::Seat;
use super::{clients, rest, web, workers};
use crate::keys;
use crate::wire::{Arrival, Role, Secret, accept};

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
    /// How it lives of what others offer, if it has no workers of its own; its master URL is
    /// `mesos://HOST:PORT` then.
    pub lending: Option<Lending>,
}

/// A master that listens.
#[derive(Debug)]
pub struct Master {
    listener: TcpListener,
    web: (TcpListener, u16),
    rest: Option<(TcpListener, u16)>,
    secret: Secret,
    tls: Tls,
    guard: Guard,
    redaction: Redaction,
    hosts: Hosts,
    election: Election,
    seat: Arc<Seat>,
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
        let guard = Guard::new(secret.token()?.as_deref());
        let (election, redaction) = (Election::open(conf)?, Redaction::from_conf(conf)?);
        let (listener, own) = bind(host, options.port).await?;
        let hosts = Hosts::of(host, &listener, secret.is_set() || tls.is_on(), conf)?;
        let lending = &options.lending;
        let web = match (lending, options.web_port) {
            (Some(_), None) => bind_near(host, DISPATCHER_UI_PORT).await?,
            (_, port) => keys::bind_page(host, port, conf, &keys::MASTER_UI_PORT).await?,
        };
        // A dispatcher speaks it at its own port.
        let rest = if lending.is_none() && conf.read(&keys::REST_ENABLED)? {
            Some(bind(host, keys::port(conf, options.rest_port, &keys::REST_PORT)?).await?)
        } else {
            None
        };
        let policy = Policy {
            master: format!("{}://{host}:{own}", if lending.is_some() { "mesos" } else { "spark" }),
            address: format!("{host}:{own}"),
            rest: rest.as_ref().map(|(_, port)| format!("spark://{host}:{port}")),
            web: format!("{}://{host}:{}", tls.scheme(), web.1),
            spread_out: conf.read(&keys::SPREAD_OUT)?,
            default_cores: conf
                .read_optional(&keys::DEFAULT_CORES)?
                .map_or(Cores::ALL, Cores::whole),
            max_retries: if lending.is_some() { None } else { keys::max_retries(conf)? },
            worker_timeout: match lending {
                // Whether agents are there is Mesos' business.
                Some(_) => FOREVER,
                None => conf.read(&keys::WORKER_TIMEOUT)?.max(Duration::from_secs(1)),
            },
            return_time: conf.read(&keys::RETURN_TIME)?,
            retained: match lending {
                Some(lending) => lending.retained,
                None => conf.read(&keys::RETAINED_APPLICATIONS)? as usize,
            },
            max_record: usize::MAX,
            lending: lending.clone(),
        };
        let seat = Arc::new(Seat::new(policy));
        if let Election::Alone(store) = &election {
            seat.take_alone(store.clone()).await?;
        }
        Ok(Self { listener, web, rest, secret, tls, guard, redaction, hosts, election, seat })
    }

    /// When it leads, for who brings the offers of agents.
    pub fn terms(&self) -> Terms {
        Terms(Arc::clone(&self.seat))
    }

    /// The master URL: `spark://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.seat.policy().master
    }

    /// Where its page is: `http://HOST:PORT`.
    pub fn web_url(&self) -> &str {
        &self.seat.policy().web
    }

    /// Where Spark's submission protocol is spoken: `spark://HOST:PORT`.
    pub fn rest_url(&self) -> Option<&str> {
        self.seat.policy().rest.as_deref()
    }

    /// Serves until `stop`. Processes on workers go on.
    ///
    /// # Errors
    /// If it can never lead.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, web, rest, secret, tls, guard, redaction, hosts, election, seat } =
            self;
        let admission = Admission::of_process();
        let credentials = (secret.clone(), tls.clone());
        let policy = seat.policy();
        let submissions = guard.clone().protect(rest::router(&seat, redaction));
        let programs = Callers::Programs(anymaster_net::rest::error);
        let submissions = hosts.protect(submissions, programs);
        // At a master's own port it is spoken as well, but where it is switched off.
        let at_own_port = (rest.is_some() || policy.lending.is_some()).then(|| submissions.clone());
        let pages = web::router(&seat, &secret, &tls, guard);
        let pages = hosts.protect(pages, Callers::Browsers);
        let accepting = answer(listener, &admission, |connection| {
            let (seat, submissions) = (Arc::clone(&seat), at_own_port.clone());
            let credentials = credentials.clone();
            async move { attend(&seat, connection, &credentials, submissions).await }
        });
        let submitting = async {
            match rest {
                Some((listener, _)) => {
                    anymaster_net::serve(listener, &tls, &admission, submissions).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => Ok(()),
            () = accepting => Ok(()),
            () = submitting => Ok(()),
            () = anymaster_net::serve(web.0, &tls, &admission, pages) => Ok(()),
            error = seat.keep(&election) => Err(error),
        }
    }
}

/// Serves one who came to the master's port: workers, clients, and those who speak Spark's submission
/// protocol, if it is spoken.
async fn attend(
    seat: &Seat,
    connection: Connection,
    (secret, tls): &(Secret, Tls),
    submissions: Option<Router>,
) -> Result<()> {
    let leading = seat.leading();
    let admitted = Arc::clone(&connection.admitted);
    match accept(connection, secret, tls, leading.is_some()).await? {
        Arrival::Http(stream) => match submissions {
            Some(submissions) => converse(stream, &admitted, submissions).await,
            None => Err(Error::unsupported("Spark's submission protocol is switched off")),
        },
        Arrival::Known(role, channel) => {
            let shared = leading.map_or_else(|| seat.lead(), Ok)?;
            let serving = async {
                match role {
                    Role::Worker => workers::serve(&shared, *channel).await,
                    Role::Client => clients::serve(&shared, *channel, None).await,
                    Role::Application(app) => clients::serve(&shared, *channel, Some(&app)).await,
                }
            };
            seat.while_leading(&shared, serving).await
        }
    }
}
