//! The daemon: keeps to a master, and answers those who want output.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, HostPort, Result, counted};
use anymaster_net::{Admission, Callers, Guard, Hosts, Tls, answer, bind};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::tasks::Tasks;
use super::{link, output, resources, spark, tidy, web};
use crate::host::limits::Enforcement;
use crate::host::process::Host;
use anymaster_dispatcher::keys;
use anymaster_dispatcher::wire::{Arrival, Credentials, Role, WorkerInfo, accept};

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The address to listen on, and by which others know it.
    pub host: String,
    /// The port for those who read output; 0: a free one.
    pub port: u16,
    /// The port of its page, where `spark.worker.ui.port` is not meant.
    pub web_port: Option<u16>,
    /// The masters, one of which leads.
    pub masters: Vec<HostPort>,
    /// The cores that it offers; those of the machine where it is unset.
    pub cores: Option<u32>,
    /// The memory that it offers, in MiB; that of the machine less 1 GiB where it is unset.
    pub memory_mib: Option<u64>,
    /// Where applications have their directories.
    pub work_dir: PathBuf,
    /// The `anymaster` program, as drivers are told it.
    pub program: Option<PathBuf>,
    /// The properties of the daemon.
    pub conf: Conf,
}

/// A worker that listens.
#[derive(Debug)]
pub struct Worker {
    listener: TcpListener,
    web: TcpListener,
    options: WorkerOptions,
    credentials: Credentials,
    hosts: Hosts,
    tasks: Arc<Tasks>,
}

impl Worker {
    /// Listens, and finds out what there is to offer. Nothing is offered yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for options that make no sense, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the port or the directory is not to be
    /// had.
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
        let is_proven = credentials.secret.is_set() || credentials.tls.is_on();
        let hosts = Hosts::of(host, &listener, is_proven, conf)?;
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
            .with_hint("--cores and --memory say what it offers"));
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
            is_lent: false,
        };
        tidy::end_left(work_dir).await;
        let program = options.program.as_deref();
        let host = Host::start(Enforcement::of_daemon(), program, &[spark::CONF_DIR])?;
        let (secret, program) = (credentials.secret.clone(), options.program.clone());
        let tasks = Tasks::new(info, host, work_dir.clone(), program, secret, conf)?;
        Ok(Self { listener, web, options, credentials, hosts, tasks: Arc::new(tasks) })
    }

    /// Where it answers: `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.tasks.info().host, self.tasks.info().port)
    }

    /// What it offers, in words.
    pub fn offer(&self) -> String {
        let WorkerInfo { cores, memory_mib, .. } = self.tasks.info();
        format!("{}, {memory_mib} MiB", counted(cores, "core"))
    }

    /// Works until `stop`; then ends its processes, which have `grace` for that. With `leave`, it takes
    /// nothing new and ends its executors, and works until its drivers have ended.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if no master is to be found for a long
    /// time, and [`Unauthenticated`](anymaster_core::ErrorKind::Unauthenticated) if they do not know us.
    pub async fn serve(
        self,
        registered: impl FnOnce(&str),
        stop: impl Future<Output = ()>,
        leave: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<()> {
        let Self { listener, web, options, credentials, hosts, tasks } = self;
        let guard = Guard::new(credentials.secret.token()?.as_deref());
        let pages = hosts.protect(web::router(&tasks, guard), Callers::Browsers);
        let admission = Admission::of_process();
        let accepting = answer(listener, &admission, |connection| {
            let (credentials, tasks) = (credentials.clone(), Arc::clone(&tasks));
            async move {
                match accept(connection, &credentials.secret, &credentials.tls, true).await? {
                    Arrival::Known(Role::Client, channel) => {
                        output::serve(&tasks, *channel, None).await
                    }
                    Arrival::Known(Role::Application(app), channel) => {
                        output::serve(&tasks, *channel, Some(&app)).await
                    }
                    _ => Err(Error::protocol("this is a worker, and no master")),
                }
            }
        });
        let fence_after = options.conf.read(&keys::FENCE_AFTER)?;
        let leaving = async {
            leave.await;
            tasks.leave(grace).await;
            tasks.until_noted().await;
        };
        let stopping = async {
            stop.await;
            tasks.end_all(grace).await;
            tasks.until_noted().await;
        };
        let ended = tokio::select! {
            () = stopping => Ok(()),
            () = accepting => Ok(()),
            () = anymaster_net::serve(web, &credentials.tls, &admission, pages) => Ok(()),
            () = leaving => Ok(()),
            error = link::keep(&tasks, &options.masters, &credentials, fence_after, registered) => Err(error),
            error = tidy::keep(&tasks, &options.conf) => Err(error),
        };
        tasks.end_all(grace).await;
        ended
    }
}
