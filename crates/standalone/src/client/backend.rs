//! The [`ClusterManager`] of a standalone cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cursor, DriverStatus, Event, ExecutorTarget, Filter, Status, Subject,
    SubmissionId,
};
use anymaster_core::{
    Backend, Capabilities, ClusterManager, ConnectOptions, Error, ErrorKind, EventStream, Finding,
    LogChunk, LogOptions, LogStream, MasterUrl, MemoryLimit, Result,
};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

use super::link::Link;
use super::outside::{Attached, attach};
use crate::keys;
use crate::wire::{Call, Channel, Item, Reply, Role, connect};

/// The backend `standalone`, for a registry.
pub const STANDALONE: Backend = Backend {
    name: "standalone",
    schemes: &["spark"],
    summary: "a master and workers of anymaster's own: spark://host:7077",
    connect: |options| {
        async move { Standalone::connect(&options).map(|manager| Arc::new(manager) as _) }.boxed()
    },
    preview: None,
};

/// A standalone cluster.
#[derive(Debug, Clone)]
pub struct Standalone {
    link: Arc<Link>,
    conf: Conf,
    /// Drivers outside of the cluster that this process is.
    attached: Arc<Mutex<HashMap<AppId, Attached>>>,
}

impl Standalone {
    /// Prepares to talk to a master. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for a secret that cannot be read.
    pub fn connect(options: &ConnectOptions) -> Result<Self> {
        let MasterUrl::Spark { masters } = &options.master else {
            return Err(Error::unsupported(format!(
                "{} is not a standalone master",
                options.master
            )));
        };
        let secret = keys::secret(&options.conf)?;
        let link = Arc::new(Link::new(masters.clone(), secret));
        Ok(Self { link, conf: options.conf.clone(), attached: Arc::default() })
    }

    async fn done(&self, call: &Call) -> Result<()> {
        match self.link.call(call).await? {
            Reply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> Error {
    Error::protocol("the master gave the answer to another question")
}

#[async_trait]
impl ClusterManager for Standalone {
    fn name(&self) -> &'static str {
        STANDALONE.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            detached_drivers: true,
            executors: true,
            profiles: true,
            native_target: true,
            logs: true,
            memory: MemoryLimit::Enforced,
            nodes: true,
        }
    }

    async fn launch_driver(
        &self,
        id: &SubmissionId,
        app: &ApplicationSpec,
    ) -> Result<DriverStatus> {
        let call = Call::Launch { id: id.clone(), spec: Box::new(app.clone()) };
        match self.link.call(&call).await? {
            Reply::Driver(driver) => Ok(*driver),
            _ => Err(unexpected()),
        }
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        let call = Call::Executors { app: app.clone(), target: Box::new(target.clone()) };
        match self.done(&call).await {
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && self.conf.get("spark.submit.deployMode") == Some("client") =>
            {
                let mut attached = self.attached.lock().await;
                if !attached.contains_key(app) {
                    attached.insert(app.clone(), attach(&self.link, app, &self.conf).await?);
                }
                drop(attached);
                self.done(&call).await
            }
            done => done,
        }
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.done(&Call::Kill { subject: subject.clone(), grace }).await
    }

    async fn watch(&self, app: Option<&AppId>, from: Option<Cursor>) -> Result<EventStream> {
        let link = Arc::clone(&self.link);
        let mut watch = Watch { link, app: app.cloned(), place: from, channel: None };
        watch.channel = Some(watch.open().await?);
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
            self.link.open_patiently(&Call::List { filter: filter.into() }).await?;
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
        let found = self.link.call(&Call::Locate { subject: subject.clone() }).await?;
        let Reply::At { address, app, task } = found else { return Err(unexpected()) };
        let mut channel = connect(&address, Role::Client, self.link.secret()).await?;
        let LogOptions { follow, tail, source } = *options;
        let call = Call::Logs { app, task, follow, tail, source: source.map(Into::into) };
        channel.send(&call).await?;
        match channel.expect().await? {
            Reply::Stream => Ok(output(channel)),
            Reply::Failed(fault) => Err(fault.into_error()),
            _ => Err(unexpected()),
        }
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        match self.link.call(&Call::Diagnose { app: app.clone() }).await? {
            Reply::Findings(findings) => {
                Ok(findings.into_iter().map(|(what, remedy)| Finding { what, remedy }).collect())
            }
            _ => Err(unexpected()),
        }
    }
}

fn output(channel: Channel) -> LogStream {
    stream::unfold(Some(channel), |channel| async {
        let mut channel = channel?;
        let chunk = match channel.expect().await {
            Ok(Item::Output { source, bytes }) => BASE64_STANDARD
                .decode(bytes)
                .map(|bytes| LogChunk { source: source.into(), bytes: bytes.into() })
                .map_err(|error| Error::protocol("garbled output").with_source(error)),
            Ok(Item::End) => return None,
            Ok(_) => Err(unexpected()),
            Err(error) => Err(error),
        };
        let rest = chunk.is_ok().then_some(channel);
        Some((chunk, rest))
    })
    .boxed()
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
        let call = Call::Watch { app: self.app.clone(), from: self.place.clone() };
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
