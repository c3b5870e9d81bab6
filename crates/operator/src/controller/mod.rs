//! The controller: watches applications and their pods, and takes the next step of each that changed.

mod memory;
mod reconcile;
mod submission;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Backoff, Error};
use anymaster_submitter::Submitter;
use futures::FutureExt as _;
use futures::stream::{self, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::controller::{Error as ControllerError, ReconcileRequest};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Config, WatchStreamExt as _, applier, watcher as watch};

use self::memory::Memory;
use crate::cluster::{Cluster, innermost, resource};
use crate::metrics::Metrics;
use crate::pods::{Key, Pods};
use crate::state::Settings;
use crate::translate::LAUNCHED_LABEL;

/// How long a watch lasts, in seconds. One that is silent for longer is taken for dead.
const WATCH_TIMEOUT: u32 = 60;

/// What a controller works with.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) cluster: Cluster,
    pub(crate) submitter: Submitter,
    /// The master URL of the cluster.
    pub(crate) master: String,
    pub(crate) settings: Settings,
    /// Whether drivers get a service for their web page.
    pub(crate) ui_service: bool,
    /// Which applications are ours, by their labels.
    pub(crate) selector: Option<String>,
    /// How many applications are worked on at once.
    pub(crate) concurrency: u16,
    pub(crate) pods: Pods,
    pub(crate) metrics: Metrics,
    memory: Memory,
}

/// What is being watched.
pub(crate) type Applications = Store<DynamicObject>;

impl Controller {
    pub(crate) fn new(
        cluster: Cluster,
        submitter: Submitter,
        master: String,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        Self {
            cluster,
            submitter,
            master,
            settings,
            ui_service: true,
            selector: None,
            concurrency: 64,
            pods: Pods::default(),
            metrics,
            memory: Memory::default(),
        }
    }

    /// Works until `stop` completes, and finishes the steps that are under way then. `watched` is given the
    /// applications as soon as they are watched.
    pub(crate) async fn run(
        self: Arc<Self>,
        stop: impl Future<Output = ()> + Clone + Send + 'static,
        watched: impl FnOnce(Applications),
    ) {
        let kind = resource();
        let writer = Writer::new(kind.clone());
        let store = writer.as_reader();
        watched(store.clone());
        let requests = stream::select(
            self.changed_applications(writer, kind.clone()),
            self.changed_pods(kind),
        );
        let queue = requests.take_until(Box::pin(stop.clone())).map(Ok::<_, Infallible>);
        let config = Config::default().concurrency(self.concurrency);
        let reconcile = |app: Arc<DynamicObject>, controller: Arc<Self>| {
            Box::pin(async move { controller.reconcile(&app).await })
        };
        let retry = |app: Arc<DynamicObject>, error: &Error, controller: Arc<Self>| {
            controller.failed(&app, error)
        };
        let known = store.clone();
        let steps = applier(reconcile, retry, Arc::clone(&self), store, Box::pin(queue), config);
        let steps = steps.for_each(|done| {
            // Errors of applications were logged where their retry was decided.
            if let Err(ControllerError::ObjectNotFound(gone)) = done {
                self.forget(&(gone.namespace.clone().unwrap_or_default(), gone.name.clone()));
            }
            std::future::ready(())
        });
        let stopped_early = async {
            stop.await;
            if self.is_complete(&known) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = steps => {}
            // Steps begin when all is known: none is under way.
            () = stopped_early => {}
        }
    }

    /// Whether all applications and pods are known.
    pub(crate) fn is_complete(&self, applications: &Applications) -> bool {
        let listed = applications.wait_until_ready().now_or_never();
        matches!(listed, Some(Ok(()))) && self.pods.is_complete()
    }

    fn changed_applications(
        &self,
        writer: Writer<DynamicObject>,
        kind: ApiResource,
    ) -> impl Stream<Item = ReconcileRequest<DynamicObject>> + Send + use<> {
        let mut config = watcher::Config::default().timeout(WATCH_TIMEOUT);
        config.label_selector.clone_from(&self.selector);
        watch(self.cluster.applications(), config)
            .modify(|app| {
                // Nobody reads them here, and they are as large as the rest.
                app.managed_fields_mut().clear();
                app.annotations_mut().clear();
            })
            .backoff(Reconnect::default())
            .reflect(writer)
            .touched_objects()
            .filter_map(move |changed| {
                let request = match changed {
                    Ok(app) => Some(ObjectRef::from_obj_with(&app, kind.clone()).into()),
                    Err(error) => {
                        let error = innermost(&error);
                        tracing::warn!(error, "the watch of applications is interrupted");
                        None
                    }
                };
                std::future::ready(request)
            })
    }

    /// A label selector picks the pods of applications: a cluster may have many others.
    fn changed_pods(
        self: &Arc<Self>,
        kind: ApiResource,
    ) -> impl Stream<Item = ReconcileRequest<DynamicObject>> + Send + use<> {
        let config = watcher::Config::default()
            .timeout(WATCH_TIMEOUT)
            .labels(&format!("{LAUNCHED_LABEL}=true"));
        let controller = Arc::clone(self);
        watch(self.cluster.pods(), config).backoff(Reconnect::default()).flat_map(
            move |event: watcher::Result<Event<Pod>>| {
                let changed = match event {
                    Ok(event) => controller.pods.apply(&event),
                    Err(error) => {
                        let error = innermost(&error);
                        tracing::warn!(error, "the watch of pods is interrupted");
                        Vec::new()
                    }
                };
                let kind = kind.clone();
                stream::iter(changed.into_iter().map(move |(namespace, name)| {
                    ObjectRef::new_with(&name, kind.clone()).within(&namespace).into()
                }))
            },
        )
    }

    /// When an application is looked at again after an error.
    fn failed(&self, app: &DynamicObject, error: &Error) -> kube::runtime::controller::Action {
        let wait: Duration = self.memory.failed(&key(app), error.retry_after());
        tracing::warn!(namespace = app.namespace(), name = app.name_any(), ?wait, "{error}");
        self.metrics.error();
        kube::runtime::controller::Action::requeue(wait)
    }

    fn forget(&self, key: &Key) {
        self.pods.forget(key);
        self.memory.forget(key);
    }
}

/// The pauses between attempts to watch: an API server that is back is soon noticed.
#[derive(Debug)]
struct Reconnect(Backoff);

impl Default for Reconnect {
    fn default() -> Self {
        Self(Backoff::new(Duration::from_millis(200), Duration::from_secs(5)))
    }
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.failed(None))
    }
}

impl kube::runtime::utils::Backoff for Reconnect {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The namespace and the name of an application.
fn key(app: &DynamicObject) -> Key {
    (app.namespace().unwrap_or_default(), app.name_any())
}

/// An error with its hint, for people.
fn in_words(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message().to_owned(),
    }
}
