//! The [`ClusterManager`] of a standalone cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::DISTRIBUTED_BY_YARN;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, Cursor, DeployMode, Event, ExecutorTarget, ExternalDriver,
    Filter, Status, Subject, SubmissionId,
};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, ClusterManager, ConnectOptions, DriverPlacement, Error,
    ErrorKind, EventStream, Finding, HostPort, Launched, LogOptions, LogStream, MasterUrl,
    MemoryLimit, Result, SubmissionIdForm, SubmitDialect, WatchOptions,
};
use anymaster_spark_rest as rest;
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::external::{Attached, attach, own_address, register, with_defaults};
use super::link::Link;
use super::master_url::masters;
use super::rest::Rest;
use crate::keys;
use crate::wire::{self, Channel, Credentials, Item, Reply, Request};

/// The backend `standalone`, for a registry: a master and workers.
pub const STANDALONE: Standalone = Standalone;

pub(super) const INFO: BackendInfo = {
    let mut info = BackendInfo::new(
        "standalone",
        &[("spark", "spark://host:7077 or spark://host1:7077,host2:7077")],
        "a master and workers of anymaster's own: spark://host:7077",
    );
    info.title = "a standalone cluster";
    info.properties = &[keys::TABLE];
    info.equivalents = &[DISTRIBUTED_BY_YARN, keys::WAITS];
    info.drivers = DriverPlacement::ByDeployMode;
    (info.counts_overhead, info.knows_sparks) = (false, true);
    info.submission_ids = SubmissionIdForm::Driver;
    info.dialect = SubmitDialect::Rest;
    info.wait = Some(&keys::WAIT_APP_COMPLETION);
    info
};

/// The backend `standalone`.
#[derive(Debug, Clone, Copy)]
pub struct Standalone;

#[async_trait]
impl Backend for Standalone {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        masters(master).map(|_| master.clone())
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        connect(&options)
    }

    fn local_address(&self, master: &MasterUrl) -> Result<String> {
        own_address(&masters(master)?)
    }
}

/// Spark's port for its submission protocol.
const REST_PORT: u16 = 6066;

/// As `spark.master.rest.enabled` says, or the port: by our own protocol, or by Spark's.
fn connect(options: &ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
    let said = options.conf.get(keys::REST_ENABLED.info.name).map(|said| said == "true");
    let is_rest = |masters: &[HostPort]| {
        said.unwrap_or_else(|| masters.iter().all(|master| master.port == REST_PORT))
    };
    let masters = masters(&options.master)?;
    if !is_rest(&masters) {
        return Remote::connect(options).map(|manager| Arc::new(manager) as _);
    }
    let Credentials { secret, tls, .. } = keys::credentials(&options.conf)?;
    let client = rest::Client::new(masters, &tls, secret.token()?)?;
    Ok(Arc::new(Rest::new(client, options)))
}

/// A cluster behind one of our daemons.
#[derive(Debug, Clone)]
pub struct Remote {
    name: &'static str,
    link: Arc<Link>,
    conf: Conf,
    /// Drivers outside of the cluster that this process is, or has registered.
    attached: Arc<Mutex<HashMap<AppId, Attached>>>,
}

impl Remote {
    /// Prepares to talk to a master. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for a secret that cannot be read.
    pub fn connect(options: &ConnectOptions) -> Result<Self> {
        Self::of(INFO.name, &masters(&options.master)?, &options.conf)
    }

    /// Prepares to talk to one of these daemons, as the backend of this name. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for a secret that cannot be read.
    pub fn of(name: &'static str, masters: &[HostPort], conf: &Conf) -> Result<Self> {
        let daemon = if name == INFO.name { "master" } else { "dispatcher" };
        let link = Arc::new(Link::new(daemon, masters.to_vec(), keys::credentials(conf)?));
        Ok(Self { name, link, conf: conf.clone(), attached: Arc::default() })
    }

    /// Whether an application is not known there as its driver is this process.
    fn is_outside(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::NotFound
            && DeployMode::of(&self.conf) == Some(DeployMode::Client)
    }

    /// Tells the daemon of this driver, once.
    async fn attach(&self, app: &AppId) -> Result<()> {
        let mut attached = self.attached.lock().await;
        if !attached.contains_key(app) {
            attached.insert(app.clone(), attach(&self.link, app, &self.conf).await?);
        }
        Ok(())
    }

    /// The output of a process, if it has come to a worker.
    async fn output(&self, subject: &Subject, options: &LogOptions) -> Result<Option<LogStream>> {
        let (address, app, task) =
            match self.link.call(&Request::Locate { subject: subject.clone() }).await? {
                Reply::At { address, app, task } => (address, app, task),
                Reply::Nowhere => return Ok(None),
                _ => return Err(unexpected()),
            };
        wire::output(&address, self.link.credentials(), app, task, options).await.map(Some)
    }

    /// The same, of a driver that may wait for a worker for long.
    async fn later(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let Subject::Driver(id) = subject else { return Ok(stream::empty().boxed()) };
        let mut events = self.watch(&WatchOptions::of(&AppId::new(id.as_str())?)).await?;
        while let Some(event) = events.next().await {
            let Event::Changed(Status::Driver(driver)) = event? else { continue };
            if let Some(output) = self.output(subject, options).await? {
                return Ok(output);
            }
            if driver.state.is_ended() {
                break;
            }
        }
        Ok(stream::empty().boxed())
    }

    async fn done(&self, call: &Request) -> Result<()> {
        match self.link.call(call).await? {
            Reply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

/// What a cluster can that our engine schedules.
pub fn capabilities(memory: MemoryLimit) -> Capabilities {
    let mut can = Capabilities::new();
    (can.detached_drivers, can.executors, can.profiles) = (true, true, true);
    (can.native_target, can.logs, can.nodes) = (true, true, true);
    (can.chosen_ids, can.external_drivers, can.memory) = (true, true, memory);
    can
}

/// What stands in the way, as a client has it.
pub fn finding((problem, remedy): (String, Option<String>)) -> Finding {
    let mut finding = Finding::new(problem);
    finding.remedy = remedy;
    finding
}

fn unexpected() -> Error {
    Error::protocol("the master gave the answer to another question")
}

#[async_trait]
impl ClusterManager for Remote {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(match self.name == INFO.name {
            true => MemoryLimit::Enforced,
            false => MemoryLimit::ByNode,
        })
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        app.check()?;
        // What its submitter is known by is not the application's business.
        let app = app.clone().with_conf(keys::without_secrets(&app.conf));
        let call = Request::Launch { id: id.clone(), spec: Box::new(app) };
        match self.link.call(&call).await? {
            Reply::Driver { driver, existed: true } => Ok(Launched::existing(*driver)),
            Reply::Driver { driver, existed: false } => Ok(Launched::new(*driver)),
            _ => Err(unexpected()),
        }
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        driver.check()?;
        let driver = with_defaults(driver, &self.conf);
        let (launched, attached) = register(&self.link, id, driver).await?;
        if let Some(attached) = attached {
            self.attached.lock().await.insert(launched.driver.app.clone(), attached);
        }
        Ok(launched)
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        let ended =
            self.done(&Request::Unregister { app: app.clone(), cause: cause.clone() }).await;
        if !ended.as_ref().is_err_and(|error| error.kind().is_retryable()) {
            self.attached.lock().await.remove(app);
        }
        ended
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        let call = Request::Executors { app: app.clone(), target: Box::new(target.clone()) };
        match self.done(&call).await {
            Err(error) if self.is_outside(&error) => {
                self.attach(app).await?;
                self.done(&call).await
            }
            done => done,
        }
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.done(&Request::Kill { subject: subject.clone(), grace }).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let link = Arc::clone(&self.link);
        let WatchOptions { app, from, .. } = options.clone();
        let mut watch = Watch { link, app, place: from, channel: None };
        watch.channel = Some(match (watch.open().await, &options.app) {
            (Err(error), Some(app)) if self.is_outside(&error) => {
                self.attach(app).await?;
                watch.open().await?
            }
            (opened, _) => opened?,
        });
        Ok(stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let (_, mut channel) =
            self.link.open_patiently(&Request::List { filter: filter.into() }).await?;
        let mut statuses = Vec::new();
        loop {
            match channel.expect().await? {
                Item::Changed(status) => statuses.push(*status),
                Item::End => return Ok(statuses),
                _ => return Err(unexpected()),
            }
        }
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        if let Some(output) = self.output(subject, options).await? {
            return Ok(output);
        }
        if !options.follow {
            return Ok(stream::empty().boxed());
        }
        // It waits for a worker; its output begins when it has one.
        let (this, subject, options) = (self.clone(), subject.clone(), *options);
        Ok(stream::once(async move { this.later(&subject, &options).await }).try_flatten().boxed())
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        match self.link.call(&Request::Diagnose { app: app.clone() }).await? {
            Reply::Findings(findings) => Ok(findings.into_iter().map(finding).collect()),
            _ => Err(unexpected()),
        }
    }
}

/// A watch that is begun again where it was when its connection ends.
struct Watch {
    link: Arc<Link>,
    app: Option<AppId>,
    place: Option<Cursor>,
    channel: Option<Channel>,
}

impl Watch {
    async fn open(&self) -> Result<Channel> {
        let call = Request::Watch { app: self.app.clone(), from: self.place.clone() };
        self.link.open_patiently(&call).await.map(|(_, channel)| channel)
    }

    async fn next(&mut self) -> Result<Event> {
        loop {
            let channel = match &mut self.channel {
                Some(channel) => channel,
                None => {
                    let opened = self.open().await?;
                    self.channel.insert(opened)
                }
            };
            match channel.receive().await {
                Ok(Some(Item::Restarted)) => return Ok(Event::Restarted),
                Ok(Some(Item::Changed(status))) => return Ok(Event::Changed(*status)),
                Ok(Some(Item::Synced(cursor))) => {
                    self.place = Some(cursor.clone());
                    return Ok(Event::Synced(cursor));
                }
                Ok(Some(_)) => return Err(unexpected()),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Protocol => return Err(error),
                Err(error) => tracing::info!(%error, "the watch is begun again"),
            }
            self.channel = None;
        }
    }
}
