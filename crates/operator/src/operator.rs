//! The operator as a whole: leader election, the controller, and its HTTP.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anymaster_core::Result;
use anymaster_submitter::Submitter;
use axum::Router;
use futures::FutureExt as _;
use kube::Client;

use crate::cluster::Cluster;
use crate::controller::{Applications, Controller};
use crate::http;
use crate::lease::Lock;
use crate::metrics::Metrics;
use crate::state::Settings;

/// What an operator works with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The master URL of the cluster.
    pub master: String,
    /// The namespace of the applications; `None`: all.
    pub namespace: Option<String>,
    /// The labels of the applications, as a selector of Kubernetes; `None`: all.
    pub selector: Option<String>,
    /// How many executors a status has at most. Those that have ended are left out first.
    pub max_executors: usize,
    /// The time to live of applications that say none, in seconds after their end; `None`: for ever.
    pub default_ttl: Option<i64>,
    /// Whether drivers get a service for their web page.
    pub ui_service: bool,
    /// How many applications are worked on at once.
    pub concurrency: u16,
    /// The lock of the leader; `None`: this operator is the only one.
    pub lock: Option<LeaderLock>,
    /// The name of this process in events and locks: that of its pod or machine.
    pub instance: String,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("master", &self.master)
            .field("namespace", &self.namespace)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

/// A Lease by which operators elect a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderLock {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Options {
    /// Options with kubeflow's defaults, for all applications of a cluster.
    pub fn new(client: Client, master: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            client,
            master: master.into(),
            namespace: None,
            selector: None,
            max_executors: 1000,
            default_ttl: None,
            ui_service: true,
            concurrency: 64,
            lock: None,
            instance: instance.into(),
        }
    }
}

/// An operator for SparkApplications.
#[derive(Debug)]
pub struct Operator {
    controller: Arc<Controller>,
    lock: Option<Lock>,
    applications: Arc<OnceLock<Applications>>,
}

impl Operator {
    /// Creates an operator that submits through `submitter`. Nothing is sent yet.
    pub fn new(options: Options, submitter: Submitter) -> Self {
        let identity = format!("{}_{:08x}", options.instance, std::process::id());
        let client = options.client.clone();
        let lock =
            options.lock.map(|lock| Lock::new(client, &lock.namespace, &lock.name, identity));
        let cluster = Cluster {
            client: options.client,
            namespace: options.namespace,
            instance: options.instance,
        };
        let settings =
            Settings { max_executors: options.max_executors, default_ttl: options.default_ttl };
        let mut controller =
            Controller::new(cluster, submitter, options.master, settings, Metrics::default());
        controller.ui_service = options.ui_service;
        controller.selector = options.selector;
        controller.concurrency = options.concurrency.max(1);
        Self { controller: Arc::new(controller), lock, applications: Arc::default() }
    }

    /// Checks that the cluster has what is watched. One that does not answer now is waited for later.
    ///
    /// # Errors
    /// [`NotFound`](anymaster_core::ErrorKind::NotFound) without the resource,
    /// [`Denied`](anymaster_core::ErrorKind::Denied) without permission, and others that do not pass.
    pub async fn check(&self) -> Result<()> {
        match self.controller.cluster.check().await {
            Err(error) if error.kind().is_retryable() => {
                tracing::warn!("{error}");
                Ok(())
            }
            other => other,
        }
    }

    /// `GET /healthz`, `/readyz` and `/metrics`. It is ready when it stands by, or when it knows all applications and
    /// pods.
    pub fn router(&self) -> Router {
        let stands_by = self.lock.is_some();
        http::router(Arc::clone(&self.controller), Arc::clone(&self.applications), stands_by)
    }

    /// Works until `stop` completes; steps that are under way then have `drain` to finish.
    ///
    /// # Errors
    /// [`NotLeader`](anymaster_core::ErrorKind::NotLeader) if another operator has taken the lock.
    pub async fn run(
        &self,
        stop: impl Future<Output = ()> + Send + 'static,
        drain: Duration,
    ) -> Result<()> {
        let stop = stop.shared();
        let Some(lock) = &self.lock else {
            self.work(stop, drain).await;
            return Ok(());
        };
        tokio::select! {
            acquired = lock.acquire() => acquired?,
            () = stop.clone() => return Ok(()),
        }
        tokio::select! {
            () = self.work(stop, drain) => {
                lock.release().await;
                Ok(())
            }
            error = lock.keep() => Err(error),
        }
    }

    async fn work(&self, stop: impl Future<Output = ()> + Clone + Send + 'static, drain: Duration) {
        let metrics = &self.controller.metrics;
        metrics.leading(true);
        let watched = |store| {
            // There is one run of an operator.
            let _ = self.applications.set(store);
        };
        let work = Arc::clone(&self.controller).run(stop.clone(), watched);
        let overdue = async {
            stop.await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = work => {}
            () = overdue => tracing::warn!("steps of applications did not end within {drain:?}"),
        }
        metrics.leading(false);
    }
}
