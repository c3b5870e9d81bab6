//! The Kubernetes implementation of [`ClusterManager`] and of [`Backend`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::keys::DISTRIBUTED_BY_YARN;
use anymaster_core::conf::{Conf, Redaction};
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, ExecutorTarget, ExternalDriver, Filter, KilledBy,
    Status, Subject, SubmissionId,
};
use anymaster_core::{
    Administration, Backend, BackendInfo, Capabilities, ClusterManager, ConnectOptions, Error,
    ErrorKind, EventStream, Finding, Launched, LogOptions, LogStream, MasterUrl, MemoryLimit,
    Observer, Result, SubmitDialect, WatchOptions,
};
use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use crate::config::{self, Connection};
use crate::driver::{self, Request};
use crate::executors::{delete_executors, delete_params};
use crate::external::ExternalApps;
use crate::managed_apps::{self, ManagedApps};
use crate::pods::template::{self, Template};
use crate::pods::{APP_LABEL, EXECUTOR_LABEL};
use crate::submit::{self, Submitted};
use crate::submitter_env::SubmitterEnv;
use crate::watch::{StatusCache, WatchSpec};
use crate::{diagnosis, keys, logs, master_url, pod, profile, staging, watch};

/// The backend `kubernetes`, for a registry.
pub const KUBERNETES: KubernetesBackend = KubernetesBackend;

pub(crate) const INFO: BackendInfo = {
    let mut info = BackendInfo::new(
        "kubernetes",
        &[("k8s", "k8s://https://host:6443")],
        "Kubernetes (k8s://https://host:6443)",
    );
    info.title = "Kubernetes";
    info.properties = &[keys::TABLE];
    info.equivalents = &[
        DISTRIBUTED_BY_YARN,
        &[
            ("spark.mesos.driverEnv.*", "spark.kubernetes.driverEnv.*"),
            ("spark.yarn.appMasterEnv.*", "spark.kubernetes.driverEnv.*"),
            ("spark.mesos.executor.docker.image", "spark.kubernetes.container.image"),
            (
                "spark.standalone.submit.waitAppCompletion",
                "spark.kubernetes.submission.waitAppCompletion",
            ),
            (
                "spark.yarn.submit.waitAppCompletion",
                "spark.kubernetes.submission.waitAppCompletion",
            ),
            ("spark.yarn.report.interval", "spark.kubernetes.report.interval"),
        ],
    ];
    info.dialect = SubmitDialect::Report;
    info.wait = Some(&keys::WAIT_APP_COMPLETION);
    info.report_interval = Some(&keys::REPORT_INTERVAL);
    info.kill_grace = Some(&keys::KILL_GRACE_PERIOD);
    info.executor_profile = profile::of_executors;
    info
};

/// The backend `kubernetes`.
#[derive(Debug, Clone, Copy)]
pub struct KubernetesBackend;

#[async_trait]
impl Backend for KubernetesBackend {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        // Spark, too, writes the URL with the scheme that it defaulted to.
        format!("k8s://{}", master_url::server(master)?).parse()
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        Ok(Arc::new(Kubernetes::connect(&options).await?))
    }

    async fn preview(
        &self,
        options: &ConnectOptions,
        id: &SubmissionId,
        app: &ApplicationSpec,
    ) -> Result<Option<serde_json::Value>> {
        preview(options, id, app).await.map(Some)
    }

    fn check_template(&self, template: &serde_json::Value) -> Result<()> {
        Template::from_value(template).map(drop)
    }
}

/// How long a watch may be silent before it is reopened.
const WATCH_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many drivers that were killed here are remembered.
const MAX_KILLED_DRIVERS: usize = 10_000;

/// A client of one Kubernetes cluster.
#[derive(Clone)]
pub struct Kubernetes {
    connection: Connection,
    submitter: Arc<SubmitterEnv>,
    /// `None`: all namespaces.
    scope: Option<String>,
    conf: Conf,
    observer: Observer,
    /// Applications whose executors this process manages.
    managed_apps: ManagedApps,
    /// Applications whose driver runs outside of the cluster.
    external: ExternalApps,
    /// Drivers that were killed here: killing them again succeeds.
    killed_drivers: Arc<Mutex<HashSet<SubmissionId>>>,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The objects that a submission would create.
async fn preview(
    options: &ConnectOptions,
    id: &SubmissionId,
    app: &ApplicationSpec,
) -> Result<serde_json::Value> {
    let mut submitter = SubmitterEnv::from_process();
    submitter.multi_tenant = options.multi_tenant;
    let submitter = template::fetch(&app.conf, &submitter).await?;
    let objects = driver::objects(&Request::new(id, app, &submitter, "default", Timestamp::now()))?;
    // The same checks as for a real submission.
    config::check(&options.master, &app.conf, &submitter)?;
    objects.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut value = driver::redacted_json(&objects, &Redaction::from_conf(&app.conf)?)?;
    // The pod owns them all. Its uid is assigned by the API server.
    let owner =
        json!({"apiVersion": "v1", "kind": "Pod", "name": objects.pod_name(), "controller": true});
    for list in ["services", "configmaps", "persistentvolumeclaims", "networkpolicies"] {
        for object in value[list].as_array_mut().into_iter().flatten() {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
    }
    Ok(value)
}

impl Kubernetes {
    /// The client of this connection, for what is not submitted or watched here.
    pub fn client(&self) -> kube::Client {
        self.connection.client.clone()
    }

    /// The namespace in which applications are looked up; `None`: all.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Creates a client. Nothing is sent yet.
    ///
    /// `spark.kubernetes.namespace` is the namespace in which applications are looked up; `*` means
    /// all.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for properties, and
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) for a kubeconfig, that are invalid.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let mut submitter = SubmitterEnv::from_process();
        submitter.multi_tenant = options.multi_tenant;
        let mut connection = config::connect(&options.master, &options.conf, &submitter).await?;
        let scope = Some(connection.namespace.clone()).filter(|namespace| namespace != "*");
        if scope.is_none() {
            "default".clone_into(&mut connection.namespace);
        }
        Ok(Self {
            connection,
            submitter: Arc::new(submitter),
            scope,
            conf: options.conf.clone(),
            observer: options.observer.clone(),
            managed_apps: ManagedApps::default(),
            external: ExternalApps::default(),
            killed_drivers: Arc::default(),
        })
    }

    async fn submit(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Submitted> {
        app.check()?;
        let fetched = template::fetch(&app.conf, &self.submitter).await?;
        let (connection, now) = (self.connection.clone(), Timestamp::now());
        let (id, app) = (id.clone(), app.clone());
        let objects =
            driver::objects(&Request::new(&id, &app, &fetched, &connection.submissions, now))?;
        objects.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let (submitted_to, configured) = (objects.namespace(), &connection.namespace);
        if app.conf.get(keys::NAMESPACE.info.name).is_none() && submitted_to != configured {
            tracing::warn!(
                "the application is submitted to namespace {submitted_to}, as with Spark, and not to {configured} of \
                 the kubeconfig: set spark.kubernetes.namespace to choose"
            );
        }
        // The caller may drop this future: what was begun is finished or rolled back all the same.
        let (submitter, observer) = (Arc::clone(&self.submitter), self.observer.clone());
        let submission = tokio::spawn(async move {
            let uploads = objects.uploads.clone();
            let uploaded = uploads.run(&submitter, &observer).await?;
            let objects = match uploaded.staged.as_slice() {
                [] => Ok(objects),
                // Now their URLs are known.
                staged => {
                    let known = Request::new(&id, &app, &fetched, &connection.submissions, now);
                    driver::objects(&Request { staged, ..known })
                }
            };
            let submitted = match objects {
                Ok(objects) => submit::submit(&connection, &id, &objects).await,
                Err(error) => Err(error),
            };
            if submitted.is_err() {
                uploads.undo(&uploaded, &submitter).await;
            }
            submitted
        });
        submission.await.map_err(|error| {
            Error::unavailable("the submission was interrupted").with_source(error)
        })?
    }

    fn killed_drivers(&self) -> MutexGuard<'_, HashSet<SubmissionId>> {
        self.killed_drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_killed(&self, id: &SubmissionId) {
        let mut killed_drivers = self.killed_drivers();
        if killed_drivers.len() >= MAX_KILLED_DRIVERS {
            killed_drivers.clear();
        }
        killed_drivers.insert(id.clone());
    }

    fn watch_spec(&self, api: Api<Pod>, app: Option<&AppId>, drivers_only: bool) -> WatchSpec {
        WatchSpec {
            connection: self.connection.clone(),
            api,
            selector: watch::selector(app, drivers_only),
            idle_timeout: WATCH_IDLE_TIMEOUT,
        }
    }

    pub(crate) fn external(&self) -> &ExternalApps {
        &self.external
    }

    /// Removes the executors of an application whose driver is outside; `false` if none was registered.
    async fn end_external(&self, app: &AppId, cause: &Cause) -> Result<bool> {
        if self.external.driver(app).is_none() {
            return Ok(false);
        }
        self.managed_apps.remove(app).await?;
        Ok(self.external.end(app, cause))
    }

    pub(crate) fn conf(&self) -> &Conf {
        &self.conf
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn submitter(&self) -> &Arc<SubmitterEnv> {
        &self.submitter
    }

    /// The API of one kind, in the configured namespace or in all.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let client = self.connection.client.clone();
        match &self.scope {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub(crate) fn pods_of(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.connection.client.clone(), namespace)
    }

    /// The API of an application's pods. One that was submitted without a namespace is in Spark's default
    /// one, which the kubeconfig's context need not be.
    async fn pods_of_app(&self, app: &AppId) -> Result<Api<Pod>> {
        if self.scope.as_ref().is_none_or(|scope| *scope == self.connection.submissions) {
            return Ok(self.pods());
        }
        let namespace = self.driver_of(app).await?.and_then(|driver| driver.namespace());
        Ok(namespace.map_or_else(|| self.pods(), |namespace| self.pods_of(&namespace)))
    }

    pub(crate) async fn list_pods(&self, selector: &str) -> Result<Vec<Pod>> {
        self.list_pods_with(&self.pods(), selector).await
    }

    async fn list_pods_with(&self, api: &Api<Pod>, selector: &str) -> Result<Vec<Pod>> {
        let what = match api.namespace() {
            Some(namespace) => format!("list pods in namespace {namespace}"),
            None => "list pods in all namespaces".to_owned(),
        };
        let mut pods = Vec::new();
        let take = |page: Vec<Pod>| {
            pods.extend(page);
            true
        };
        let selected = ListParams::default().labels(selector);
        self.connection.list(&what, api, selected, take).await?;
        Ok(pods)
    }

    /// The pod of a driver: by `namespace:name`, or by the id that the submitter chose.
    async fn driver_pod(&self, id: &SubmissionId) -> Result<Option<Pod>> {
        match id.as_str().split_once(':') {
            Some((namespace, name)) => {
                let api = self.pods_of(namespace);
                let what = format!("get pod {namespace}/{name}");
                self.connection.call(&what, || api.get_opt(name)).await
            }
            None => submit::find(&self.connection, &self.connection.namespace, id).await,
        }
    }

    /// The pod of an application's driver, in the configured namespace or in the one that
    /// submissions default to.
    pub(crate) async fn driver_of(&self, app: &AppId) -> Result<Option<Pod>> {
        let selector = watch::selector(Some(app), true);
        if let Some(pod) = self.list_pods(&selector).await?.into_iter().next() {
            return Ok(Some(pod));
        }
        let default_namespace = &self.connection.submissions;
        if self.scope.as_ref().is_none_or(|scope| scope == default_namespace) {
            return Ok(None);
        }
        let (api, params) =
            (self.pods_of(default_namespace), ListParams::default().labels(&selector));
        let what = format!("list drivers in namespace {default_namespace}");
        Ok(self.connection.call(&what, || api.list(&params)).await?.items.into_iter().next())
    }

    pub(crate) async fn pod(&self, subject: &Subject) -> Result<Pod> {
        let pod = match subject {
            Subject::Driver(id) => self.driver_pod(id).await?,
            Subject::Executor(app, id) => {
                let labelled = format!("{},{EXECUTOR_LABEL}={id}", watch::executors(app));
                match self.list_pods(&labelled).await?.into_iter().next() {
                    Some(pod) => Some(pod),
                    // The executor of an engine that creates its pods itself has no such label.
                    None => {
                        let others = format!("{},!{EXECUTOR_LABEL}", watch::executors(app));
                        let others = self.list_pods(&others).await?;
                        others.into_iter().find(|pod| pod::executor_id(pod) == Some(*id))
                    }
                }
            }
        };
        pod.ok_or_else(|| Error::not_found(format!("there is no {subject}")))
    }
}

#[async_trait]
impl ClusterManager for Kubernetes {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        (can.detached_drivers, can.executors, can.profiles) = (true, true, true);
        (can.logs, can.nodes, can.templates) = (true, true, true);
        (can.chosen_ids, can.memory) = (true, MemoryLimit::Enforced);
        can.external_drivers = true;
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        let Submitted { pod, duplicate } = self.submit(id, app).await?;
        let driver = pod::driver_status(&pod).ok_or_else(|| {
            Error::protocol("the API server changed the labels of the driver's pod")
        })?;
        Ok(match duplicate {
            true => Launched::existing(driver),
            false => Launched::new(driver),
        })
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        self.external.register(id, driver)
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        match self.end_external(app, cause).await? {
            true => Ok(()),
            false => Err(Error::not_found(format!("no application {app} was registered here"))),
        }
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        target.template.refuse_spark()?;
        let start = managed_apps::start(&self.managed_apps, self, app);
        self.managed_apps.request(app, target, start).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        if let Subject::Driver(id) = subject
            && let Ok(app) = AppId::new(id.as_str())
            && self.end_external(&app, &Cause::Killed { by: KilledBy::Request }).await?
        {
            return Ok(());
        }
        let pod = match (self.pod(subject).await, subject) {
            (Err(error), Subject::Driver(id)) if error.kind() == ErrorKind::NotFound => {
                return if self.killed_drivers().contains(id) { Ok(()) } else { Err(error) };
            }
            (found, _) => found?,
        };
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api = self.pods_of(&namespace);
        let params = delete_params(Some(grace));
        let what = format!("delete pod {namespace}/{name}");
        match self.connection.call(&what, || api.delete(&name, &params)).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let Subject::Driver(id) = subject else { return Ok(()) };
        self.remember_killed(id);
        // The garbage collector would delete them too, but later and with their own grace period.
        if let Some(Ok(app)) = pod::label(&pod, APP_LABEL).map(AppId::new) {
            match delete_executors(&self.connection, &namespace, &app, grace).await {
                Err(error) if error.kind() == ErrorKind::Denied => {
                    tracing::info!(%error, "executors are left to the garbage collector");
                }
                deleted => deleted?,
            }
            staging::end(&pod, &app, &self.conf, &self.submitter).await;
        }
        Ok(())
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let WatchOptions { app, from, drivers_only, .. } = options;
        let app = app.as_ref();
        if let Some(app) = app.filter(|_| !drivers_only)
            && let Some(events) =
                managed_apps::watch(&self.managed_apps, app, from.is_some()).await?
        {
            return Ok(self.external.follow(app, events));
        }
        let pods = match app {
            Some(app) => self.pods_of_app(app).await?,
            None => self.pods(),
        };
        let watch_spec = || self.watch_spec(pods.clone(), app, *drivers_only);
        if let Some(from) = from {
            let drivers = self.list_pods_with(&pods, &watch::selector(app, true)).await?;
            if let Some(events) = watch_spec().resume(StatusCache::with_drivers(&drivers), from) {
                return Ok(events);
            }
        }
        let events = watch_spec().open(StatusCache::default()).await?;
        match app {
            None => Ok(events),
            Some(app) if self.external.driver(app).is_some() => {
                Ok(self.external.follow(app, events))
            }
            Some(app) => watch::require_existing(app, events).await,
        }
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let pods = match &filter.app {
            Some(app) => self.pods_of_app(app).await?,
            None => self.pods(),
        };
        let selector = watch::selector(filter.app.as_ref(), filter.drivers_only);
        let pods = self.list_pods_with(&pods, &selector).await?;
        let mut statuses = StatusCache::statuses(&pods);
        let external = self.external.statuses(filter.app.as_ref());
        statuses.extend(external.into_iter().map(Status::Driver));
        statuses.retain(|status| filter.matches(status));
        Ok(statuses)
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        logs::open(&self.connection, self.pod(subject).await?, options).await
    }

    async fn cleanup(&self, app: &AppId) -> Result<()> {
        self.managed_apps.remove(app).await?;
        self.clean_up(app).await
    }

    async fn get(&self, id: &SubmissionId) -> Result<DriverStatus> {
        if let Ok(app) = AppId::new(id.as_str())
            && let Some(driver) = self.external.statuses(Some(&app)).pop()
        {
            return Ok(driver);
        }
        let pod = self.pod(&Subject::Driver(id.clone())).await?;
        pod::driver_status(&pod).ok_or_else(|| Error::not_found(format!("{id} is no driver")))
    }

    async fn ping(&self) -> Result<()> {
        self.connection.version().await.map(drop)
    }

    fn administration(&self) -> Option<&dyn Administration> {
        Some(self)
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        let pods = self.list_pods(&watch::selector(Some(app), false)).await?;
        diagnosis::diagnose(&self.connection, &pods).await
    }
}
