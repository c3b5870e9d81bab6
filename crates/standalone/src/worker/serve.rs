//! The worker daemon: binds its ports, stays registered with a master, serves output and web pages.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, HostPort, Result, counted};
use anymaster_net::{Admission, BearerAuth, Callers, Hosts, Tls, bind, serve_connections};
use anymaster_shuffle::{ShuffleOptions, ShuffleService};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::spark::InstalledSpark;
use super::tasks::Tasks;
use super::{cleanup, connection, output, resources, spark, web};
use crate::host::limits::Enforcement;
use crate::host::process::Host;
use anymaster_engine::{WorkerInfo, WorkerSpark};
use anymaster_native::keys;
use anymaster_native::wire::{Arrival, Credentials, Role, accept};

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The address to listen on and to advertise.
    pub host: String,
    /// The port on which output is served; 0: any free port.
    pub port: u16,
    /// The port of its web page; by default `spark.worker.ui.port`.
    pub web_port: Option<u16>,
    /// The addresses of all masters, one of which leads.
    pub masters: Vec<HostPort>,
    /// The cores to offer; by default all of the machine.
    pub cores: Option<u32>,
    /// The memory to offer, in MiB; by default that of the machine less 1 GiB.
    pub memory_mib: Option<u64>,
    /// The work directory, with one subdirectory per application.
    pub work_dir: PathBuf,
    /// The path of the `anymaster` program, for drivers.
    pub program: Option<PathBuf>,
    /// The Sparks of this machine, for executors of Spark's drivers.
    pub sparks: Vec<InstalledSpark>,
    /// Its shuffle service, if it has one (`spark.shuffle.service.enabled`), for what is below the work directory.
    pub shuffle: Option<ShuffleOptions>,
    /// The properties of the daemon.
    pub conf: Conf,
}

/// A worker daemon that has bound its ports.
#[derive(Debug)]
pub struct Worker {
    listener: TcpListener,
    web: TcpListener,
    options: WorkerOptions,
    credentials: Credentials,
    hosts: Hosts,
    tasks: Arc<Tasks>,
    shuffle: Option<ShuffleService>,
}

/// A Spark, as masters are told of it.
fn told(spark: &InstalledSpark) -> WorkerSpark {
    WorkerSpark { release: spark.release.to_string(), scala: spark.scala.clone() }
}

impl Worker {
    /// Binds the ports and discovers the resources of the machine. Registers nowhere yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for invalid options, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port or the work directory cannot
    /// be used.
    pub async fn bind(options: WorkerOptions) -> Result<Self> {
        let WorkerOptions { host, port, conf, work_dir, .. } = &options;
        let (role, tls) = (Role::Worker, Tls::of_daemon(conf)?);
        let credentials = Credentials { role, secret: keys::secret(conf)?, tls };
        let resources = resources::discover(conf).await?;
        std::fs::create_dir_all(work_dir).map_err(|error| {
            Error::unavailable(format!("cannot make the work directory {}", work_dir.display()))
                .with_source(error)
        })?;
        let (listener, port) = bind(host, *port).await?;
        let is_authenticated = credentials.secret.is_set() || credentials.tls.is_on();
        let hosts = Hosts::of(host, &listener, is_authenticated, conf)?;
        let (web, web_port) =
            keys::bind_page(host, options.web_port, conf, &keys::WORKER_UI_PORT).await?;
        let cores = options
            .cores
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32));
        let memory_mib = options.memory_mib.unwrap_or_else(resources::memory_mib);
        if cores == 0 || memory_mib == 0 {
            return Err(Error::invalid(format!(
                "a worker with {} and {memory_mib} MiB has nothing to offer",
                counted(cores, "core")
            ))
            .with_hint("set its cores and memory to at least 1"));
        }
        let started = Timestamp::now().strftime("%Y%m%d%H%M%S");
        let info = WorkerInfo {
            id: format!("worker-{started}-{host}-{port}"),
            host: host.clone(),
            port,
            web: format!("{}://{host}:{web_port}", credentials.tls.scheme()),
            cores,
            memory_mib,
            resources,
            sparks: options.sparks.iter().map(told).collect(),
        };
        cleanup::end_orphans(work_dir).await;
        let program = options.program.as_deref();
        let host = Host::start(Enforcement::of_daemon(), program, &[spark::CONF_DIR])?;
        let shuffle = match options.shuffle.clone() {
            Some(shuffle) => Some(ShuffleService::bind(shuffle).await?),
            None => None,
        };
        let (secret, program) = (credentials.secret.clone(), options.program.clone());
        let paths = (work_dir.clone(), program);
        let mut tasks = Tasks::new(info, host, paths, secret, options.sparks.clone(), conf)?;
        tasks.shuffle = shuffle.as_ref().map(ShuffleService::handle);
        Ok(Self { listener, web, options, credentials, hosts, tasks: Arc::new(tasks), shuffle })
    }

    /// The address of the port on which output is served: `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.tasks.info().host, self.tasks.info().port)
    }

    /// Its cores and memory as text, for a message.
    pub fn offer(&self) -> String {
        let WorkerInfo { cores, memory_mib, .. } = self.tasks.info();
        format!("{}, {memory_mib} MiB", counted(cores, "core"))
    }

    /// Runs until `stop` completes, then ends its processes with the grace period `grace`. When `leave`
    /// completes, the worker is decommissioned: it accepts nothing new, ends its executors, and runs
    /// until its drivers have ended. `registered` is called once, with the address of the master.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if no master is reached for eleven
    /// minutes, and [`Unauthenticated`](anymaster_core::ErrorKind::Unauthenticated) if all masters refuse
    /// the secret.
    pub async fn serve(
        self,
        registered: impl FnOnce(&str),
        stop: impl Future<Output = ()>,
        leave: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<()> {
        let Self { listener, web, options, credentials, hosts, tasks, shuffle } = self;
        let guard = BearerAuth::new(credentials.secret.token()?.as_deref());
        let pages = hosts.protect(web::router(&tasks, guard), Callers::Browsers);
        let admission = Admission::of_process();
        let accepting = serve_connections(listener, &admission, |connection| {
            let (credentials, tasks) = (credentials.clone(), Arc::clone(&tasks));
            async move {
                match accept(connection, &credentials.secret, &credentials.tls, true).await? {
                    Arrival::Known(Role::Client, channel) => {
                        output::serve(&tasks, *channel, None).await
                    }
                    Arrival::Known(Role::Application(app), channel) => {
                        output::serve(&tasks, *channel, Some(&app)).await
                    }
                    _ => Err(Error::protocol("this is a worker, not a master")),
                }
            }
        });
        let fence_after = options.conf.read(&keys::FENCE_AFTER)?;
        let leaving = async {
            leave.await;
            tasks.decommission(grace).await;
            tasks.wait_acknowledged().await;
        };
        let stopping = async {
            stop.await;
            tasks.end_all(grace).await;
            tasks.wait_acknowledged().await;
        };
        let shuffling = async {
            match shuffle {
                Some(service) => service.serve(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = shuffling => Ok(()),
            () = stopping => Ok(()),
            () = accepting => Ok(()),
            () = anymaster_net::serve(web, &credentials.tls, &admission, pages) => Ok(()),
            () = leaving => Ok(()),
            error = connection::run(&tasks, &options.masters, &credentials, fence_after, registered) => Err(error),
            error = cleanup::run(&tasks, &options.conf) => Err(error),
        };
        tasks.end_all(grace).await;
        ended
    }
}
