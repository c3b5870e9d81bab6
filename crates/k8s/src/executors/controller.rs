//! The controller of one application's executors: creates, deletes and watches their pods.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AllocationPhase, AllocationStatus, AppId, Event, ExecutorId, ExecutorTarget, State, Status,
};
use anymaster_core::reconcile::{ExecutorLaunch, Launcher};
use anymaster_core::{Error, ErrorKind, EventStream, Result};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Request};
use kube::runtime::wait::await_condition;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock, watch};
use tokio::time::Instant;

use super::batch::Batch;
use super::claims::{self, ClaimPool, UnusedClaims};
use super::limiter::AimdLimiter;
use super::orphans;
use super::pod_builder::{DriverAddress, ExecutorPodBuilder};
use super::pod_gc::{Due, PodGc};
use super::record::{ANNOTATION, SharedRecord};
use crate::config::Connection;
use crate::pods::template::{self, UnknownField};
use crate::pods::{APP_LABEL, EXECUTOR_LABEL};
use crate::watch::{SharedInformer, StatusCache, WatchSpec, executors, selector};
use crate::{keys, pod};

/// How many executor ids are reserved with one request.
const ID_BLOCK: u64 = 1_000;
/// How many executors one request deletes at most: their ids are part of its URL.
const MAX_DELETED: usize = 200;
/// How often a deletion that times out is continued.
const MAX_DELETE_RETRIES: u32 = 30;
/// The least time between two writes of the allocation's progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The grace period of executors whose driver has ended.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// Where the driver runs, which decides who owns the executors.
#[derive(Debug, Clone)]
pub(crate) enum DriverLocation {
    /// In this pod.
    Pod(OwnerReference),
    /// It is this process.
    Process,
}

/// The controller of one application's executors.
#[derive(Debug)]
pub(crate) struct ExecutorController {
    connection: Connection,
    api: Api<Pod>,
    pod_builder: ExecutorPodBuilder,
    driver_location: DriverLocation,
    record: SharedRecord,
    limiter: AimdLimiter,
    claims: ClaimPool,
    pod_gc: Arc<PodGc>,
    idle_timeout: Duration,
    driver_address: OnceCell<DriverAddress>,
    /// The target number of executors.
    target: AtomicU64,
    /// Set when the driver ends: nothing is started any more.
    driver_ended: watch::Sender<bool>,
    /// Held while executors are being started.
    starting: RwLock<()>,
    /// Held while ids are being reserved.
    reserving: tokio::sync::Mutex<()>,
    /// When the annotation was last written.
    last_written: tokio::sync::Mutex<Option<Instant>>,
    /// The watch on the pods, while it has subscribers.
    informer: Mutex<Weak<SharedInformer>>,
    this: Weak<Self>,
}

impl ExecutorController {
    /// # Errors
    /// For invalid properties.
    pub(crate) fn new(
        connection: Connection,
        pod_builder: ExecutorPodBuilder,
        driver_location: DriverLocation,
        record: SharedRecord,
    ) -> Result<Arc<Self>> {
        let conf = &pod_builder.conf;
        let limiter = AimdLimiter::new(conf.read(&keys::ALLOCATION_IN_FLIGHT)? as usize);
        let (claims, pod_gc) =
            (ClaimPool::new(conf, &driver_location)?, Arc::new(PodGc::new(conf)?));
        let idle_timeout: Duration = conf.read(&keys::API_POLLING_INTERVAL)?;
        if idle_timeout.is_zero() {
            return Err(Error::invalid(format!(
                "{} must be more than 0",
                keys::API_POLLING_INTERVAL.info.name
            )));
        }
        let api = Api::namespaced(connection.client.clone(), &pod_builder.namespace);
        let controller = Arc::new_cyclic(|this| Self {
            connection,
            api,
            pod_builder,
            driver_location,
            record,
            limiter,
            claims,
            pod_gc,
            idle_timeout,
            driver_address: OnceCell::new(),
            target: AtomicU64::new(0),
            driver_ended: watch::Sender::new(false),
            starting: RwLock::new(()),
            reserving: tokio::sync::Mutex::default(),
            last_written: tokio::sync::Mutex::default(),
            informer: Mutex::default(),
            this: this.clone(),
        });
        let pod_gc = Arc::clone(&controller.pod_gc);
        tokio::spawn(collect_garbage(
            Arc::downgrade(&controller),
            pod_gc,
            controller.driver_ended.subscribe(),
        ));
        Ok(controller)
    }

    /// Checks that pods can be built for a target, and makes it the current one.
    pub(crate) fn check(&self, target: &ExecutorTarget) -> Result<()> {
        for (id, profile) in &target.profiles {
            self.pod_builder.check(*id, &profile.profile, &target.template)?;
        }
        self.target.store(target.total(), Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn conf(&self) -> &Conf {
        &self.pod_builder.conf
    }

    pub(crate) fn record(&self) -> &SharedRecord {
        &self.record
    }

    pub(super) fn limiter(&self) -> &AimdLimiter {
        &self.limiter
    }

    pub(crate) fn driver_location(&self) -> &DriverLocation {
        &self.driver_location
    }

    /// Becomes `true` when the driver ends.
    pub(crate) fn driver_ended(&self) -> watch::Receiver<bool> {
        self.driver_ended.subscribe()
    }

    /// Rejects further starts, and waits for those in progress.
    pub(crate) async fn stop_starting(&self) {
        self.driver_ended.send_replace(true);
        drop(self.starting.write().await);
    }

    /// Deletes all executors and their claims, and records a target of zero.
    pub(crate) async fn delete_executors_and_claims(&self) -> Result<()> {
        let app = &self.pod_builder.app;
        let namespace = &self.pod_builder.namespace;
        orphans::delete_executors_and_claims(&self.connection, namespace, app, ORPHAN_GRACE)
            .await?;
        if let Some(allocation) = &mut self.record.lock().allocation {
            (allocation.target, allocation.running, allocation.pending) = (0, 0, 0);
            allocation.phase = AllocationPhase::Reached;
        }
        match self.write_record().await {
            // The driver's pod is gone too.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            result => result,
        }
    }

    /// The events of the driver and its executors, for any subscriber in this process.
    pub(crate) async fn subscribe(&self) -> Result<EventStream> {
        self.informer().subscribe().await
    }

    fn informer(&self) -> Arc<SharedInformer> {
        let mut informer = self.informer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(informer) = informer.upgrade().filter(|informer| !informer.is_ended()) {
            return informer;
        }
        let app = &self.pod_builder.app;
        let (selector, cache) = match &self.driver_location {
            DriverLocation::Pod(_) => (selector(Some(app), false), StatusCache::default()),
            DriverLocation::Process => {
                (executors(app), StatusCache::with_shared_record(self.record.clone()))
            }
        };
        let spec = WatchSpec {
            connection: self.connection.clone(),
            api: Api::namespaced(self.connection.client.clone(), &self.pod_builder.namespace),
            selector: format!("{selector},spark-exec-inactive!=true"),
            idle_timeout: self.idle_timeout,
        };
        let opened = SharedInformer::open(spec, cache);
        *informer = Arc::downgrade(&opened);
        opened
    }

    /// Reacts to an event of the watch.
    fn on_event(&self, event: &Event) {
        match event {
            Event::Changed(Status::Driver(driver))
                if driver.state.rank() >= State::Ending.rank() =>
            {
                self.driver_ended.send_replace(true);
            }
            Event::Changed(Status::Executor(executor)) => {
                if let State::Ended(end) = &executor.state {
                    self.pod_gc.ended(executor.id, &end.cause);
                    self.claims.release(executor.id);
                }
            }
            _ => {}
        }
    }

    pub(super) fn ended_error(&self) -> Error {
        Error::conflict(format!("{} has ended", self.pod_builder.app))
    }

    /// The address at which executors reach the driver; waits until its pod has an IP.
    async fn driver_address(&self) -> Result<&DriverAddress> {
        self.driver_address
            .get_or_try_init(|| async {
                let conf = &self.pod_builder.conf;
                let port = conf.get("spark.driver.port").and_then(|port| port.parse().ok());
                let port = port.filter(|port| *port > 0);
                let DriverLocation::Pod(owner) = &self.driver_location else {
                    let host = conf.get("spark.driver.host").map(str::to_owned);
                    return Ok(DriverAddress { host, port });
                };
                let address = |pod: &Pod| pod.status.as_ref().and_then(|s| s.pod_ip.clone());
                let decided = |pod: Option<&Pod>| {
                    pod.is_none_or(|pod| address(pod).is_some() || pod::state(pod).is_ended())
                };
                let found = await_condition(self.api.clone(), &owner.name, decided);
                let mut driver_ended = self.driver_ended.subscribe();
                let pod = tokio::select! {
                    found = found => found.map_err(|error| {
                        Error::unavailable(format!("cannot watch pod {}", owner.name))
                            .with_source(error)
                    })?,
                    _ = driver_ended.wait_for(|ended| *ended) => None,
                };
                let host = pod.as_ref().and_then(address).ok_or_else(|| self.ended_error())?;
                Ok(DriverAddress { host: Some(host), port })
            })
            .await
    }

    /// Records that these ids are in use, so that a later controller does not reuse them.
    async fn reserve(&self, executors: &[ExecutorLaunch]) -> Result<()> {
        let highest = executors.iter().map(|launch| launch.id.0).max().unwrap_or(0);
        // Every caller waits until the reservation is durable, whichever of them writes it.
        let _reserving = self.reserving.lock().await;
        let before = self.record.lock().reserved;
        if highest <= before {
            return Ok(());
        }
        self.record.lock().reserved = highest.div_ceil(ID_BLOCK) * ID_BLOCK;
        let result = self.write_record().await;
        if result.is_err() {
            self.record.lock().reserved = before;
        }
        result
    }

    /// Writes the record to the annotation of the driver's pod.
    async fn write_record(&self) -> Result<()> {
        let DriverLocation::Pod(owner) = &self.driver_location else { return Ok(()) };
        let mut last_written = self.last_written.lock().await;
        let text = serde_json::to_string(&*self.record.lock()).map_err(|error| {
            Error::protocol("the allocation cannot be written as JSON").with_source(error)
        })?;
        // The uid makes the patch fail for another pod of the same name.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": owner.uid, "annotations": {ANNOTATION: text}}
        }));
        let what = format!("patch pod {}/{}", self.pod_builder.namespace, owner.name);
        let params = PatchParams::default();
        let patched = self
            .connection
            .call(&what, || self.api.patch_metadata(&owner.name, &params, &patch))
            .await;
        *last_written = Some(Instant::now());
        match patched {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                self.driver_ended.send_replace(true);
                Err(self.ended_error())
            }
            Err(error) => Err(error),
        }
    }

    /// Creates an executor, with its claims.
    pub(super) async fn create(
        &self,
        launch: &ExecutorLaunch,
        driver_address: &DriverAddress,
        unused: &UnusedClaims,
    ) -> Result<()> {
        let created = self.create_pod_and_claims(launch, driver_address, unused).await;
        if let Err(error) = &created
            && !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
        {
            // After a time-out the pod may exist all the same: the start will be retried or
            // stopped.
            self.claims.release(launch.id);
        }
        created
    }

    async fn create_pod_and_claims(
        &self,
        launch: &ExecutorLaunch,
        driver_address: &DriverAddress,
        unused: &UnusedClaims,
    ) -> Result<()> {
        let prototype = self.pod_builder.prototype(launch, driver_address)?;
        let mut pod = prototype.pod(&self.pod_builder, launch.id);
        if prototype.claims.is_empty() {
            return self.create_pod(&pod, &prototype.unknown).await.map(|_| ());
        }
        let wanted: Vec<_> = prototype.claims(launch.id).collect();
        let max_claims = self.target.load(Ordering::Relaxed);
        let assigned = self.claims.assign(unused, launch.id, wanted.clone(), max_claims)?;
        rename_claims(&mut pod, &assigned.names);
        let mut new = assigned.new;
        let (uid, found) = self.create_pod(&pod, &prototype.unknown).await?;
        if let Some(found) = found {
            let names = claims::names(&found);
            new = wanted;
            new.retain(|claim| names.contains(&claim.name_any()));
            self.claims.set_in_use(launch.id, &names);
        }
        let made = self.create_claims(&pod, &uid, new).await;
        if made.is_err() {
            // Nothing else would create them: the pod would stay pending.
            let name = pod.name_any();
            let undone = self.connection.delete_exactly(&self.api, &name, Some(uid)).await;
            if let Err(error) = undone {
                tracing::warn!("pod {name} lacks its claims and cannot be deleted: {error}");
                self.pod_gc.discard(launch.id);
            }
        }
        made
    }

    async fn create_claims(
        &self,
        pod: &Pod,
        uid: &str,
        claims: Vec<PersistentVolumeClaim>,
    ) -> Result<()> {
        let owner = match &self.driver_location {
            DriverLocation::Pod(owner) if self.claims.owned_by_driver => owner.clone(),
            _ => OwnerReference { uid: uid.to_owned(), ..pod::owner(pod) },
        };
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.connection.client.clone(), &self.pod_builder.namespace);
        for mut claim in claims {
            claim.metadata.owner_references = Some(vec![owner.clone()]);
            self.connection.create(&api, &claim).await?;
        }
        Ok(())
    }

    /// Creates a pod, or adopts the existing one. Returns its uid, and the pod if it existed.
    async fn create_pod(&self, pod: &Pod, more: &[UnknownField]) -> Result<(String, Option<Pod>)> {
        let namespace = &self.pod_builder.namespace;
        let what = format!("create pod {namespace}/{}", pod.name_any());
        let body = match more {
            [] => serde_json::to_vec(pod),
            more => serde_json::to_value(pod).and_then(|mut whole| {
                template::insert_unknown_fields(&mut whole, more);
                serde_json::to_vec(&whole)
            }),
        };
        let body = body.map_err(|error| {
            Error::protocol("a pod cannot be written as JSON").with_source(error)
        })?;
        let path = Pod::url_path(&(), Some(namespace));
        let mut request = Request::new(path)
            .create(&PostParams::default(), body)
            .map_err(|error| Error::protocol(format!("cannot {what}")).with_source(error))?;
        // The server need not validate unknown fields …
        if let Ok(uri) = format!("{}&fieldValidation=Ignore", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        // … nor return the object.
        let short = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(short));
        let began = Instant::now();
        let answer = self.connection.client.request::<PartialObjectMeta<Pod>>(request);
        let created = self.connection.once(&what, answer).await;
        self.limiter.record_response(created.as_ref().err(), began);
        match created {
            Ok(created) => Ok((created.uid().unwrap_or_default(), None)),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let found = self.adopt(&pod.name_any()).await?;
                Ok((found.uid().unwrap_or_default(), Some(found)))
            }
            Err(error) => Err(error),
        }
    }

    /// A pod of that name exists: from an attempt whose response was lost, or of another
    /// application.
    async fn adopt(&self, name: &str) -> Result<Pod> {
        let what = format!("get pod {}/{name}", self.pod_builder.namespace);
        let found = self.connection.call(&what, || self.api.get_opt(name)).await?;
        let found = found.ok_or_else(|| {
            let namespace = &self.pod_builder.namespace;
            Error::unavailable(format!("pod {namespace}/{name} existed and is gone now"))
        })?;
        let app = found.labels().get(APP_LABEL).map(String::as_str);
        if app == Some(self.pod_builder.app.as_str()) {
            return Ok(found);
        }
        Err(Error::conflict(format!(
            "pod {}/{name} belongs to another application",
            self.pod_builder.namespace
        ))
        .with_hint("choose another spark.kubernetes.executor.podNamePrefix"))
    }

    async fn start_all(&self, executors: Arc<[ExecutorLaunch]>) -> Result<Vec<Result<()>>> {
        let _starting = self.starting.read().await;
        if *self.driver_ended.borrow() {
            return Err(self.ended_error());
        }
        let driver_address = self.driver_address().await?.clone();
        self.reserve(&executors).await?;
        let has_claims = |launch| {
            let prototype = self.pod_builder.prototype(launch, &driver_address);
            prototype.is_ok_and(|prototype| !prototype.claims.is_empty())
        };
        let unused = match executors.iter().any(has_claims) {
            true => self.claims.find_unused(&self.connection, &self.pod_builder).await?,
            false => UnusedClaims::default(),
        };
        let controller = self.this.upgrade().ok_or_else(|| self.ended_error())?;
        Ok(Batch::new(controller, executors, driver_address, unused).create().await)
    }

    /// Deletes or labels the pods that are due. Returns those to be retried.
    async fn remove(&self, due: Due) -> Due {
        let deleted = self.delete(&due.delete, None).await;
        let labelled = self.label(&due.label, "spark-exec-inactive", "true").await;
        let mut left = Due::default();
        for (ids, removed, left) in
            [(due.delete, deleted, &mut left.delete), (due.label, labelled, &mut left.label)]
        {
            if let Err(error) = removed {
                let app = &self.pod_builder.app;
                tracing::warn!(%app, "pods of executors that ended cannot be deleted yet: {error}");
                *left = ids;
            }
        }
        left
    }

    async fn label(&self, ids: &[ExecutorId], name: &str, value: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {name: value}}}));
        let (patch, params) = (&patch, &PatchParams::default());
        stream::iter(ids)
            .map(Ok)
            .try_for_each_concurrent(8, |id| async move {
                let pod = self.pod_builder.name(*id);
                let what = format!("label pod {}/{pod}", self.pod_builder.namespace);
                let labelled = self
                    .connection
                    .call(&what, || self.api.patch_metadata(&pod, params, patch))
                    .await;
                match labelled {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            })
            .await
    }

    /// Deletes the pods of these executors, many with one request.
    async fn delete(&self, ids: &[ExecutorId], grace: Option<Duration>) -> Result<()> {
        let executors = executors(&self.pod_builder.app);
        let executors = &executors;
        stream::iter(ids.chunks(MAX_DELETED))
            .map(Ok)
            .try_for_each_concurrent(4, |ids| async move {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let some = format!("{executors},{EXECUTOR_LABEL} in ({})", ids.join(","));
                delete_all(&self.connection, &self.api, &self.pod_builder.namespace, &some, grace)
                    .await
            })
            .await
    }
}

/// Deletes all executors of an application. A request that times out has deleted some of them;
/// another one continues with the rest.
pub(crate) async fn delete_executors(
    connection: &Connection,
    namespace: &str,
    app: &AppId,
    grace: Duration,
) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let mut rounds = 0;
    loop {
        match delete_all(connection, &api, namespace, &executors(app), Some(grace)).await {
            Err(error) if error.kind() == ErrorKind::Timeout && rounds < MAX_DELETE_RETRIES => {
                tracing::info!(%app, "executors are still being deleted");
                rounds += 1;
            }
            deleted => return deleted,
        }
    }
}

async fn delete_all(
    connection: &Connection,
    api: &Api<Pod>,
    namespace: &str,
    selector: &str,
    grace: Option<Duration>,
) -> Result<()> {
    let (params, selected) = (delete_params(grace), ListParams::default().labels(selector));
    let what = format!("delete executors in namespace {namespace}");
    connection.call(&what, || api.delete_collection(&params, &selected)).await.map(|_| ())
}

/// The parameters of a deletion; without `grace`, the pod's own grace period applies.
pub(crate) fn delete_params(grace: Option<Duration>) -> DeleteParams {
    DeleteParams {
        grace_period_seconds: grace
            .map(|grace| u32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)),
        ..DeleteParams::background()
    }
}

fn rename_claims(pod: &mut Pod, names: &[(String, String)]) {
    let volumes = pod.spec.iter_mut().flat_map(|spec| spec.volumes.iter_mut().flatten());
    for claim in volumes.filter_map(|volume| volume.persistent_volume_claim.as_mut()) {
        if let Some((_, name)) = names.iter().find(|(old, _)| *old == claim.claim_name) {
            claim.claim_name.clone_from(name);
        }
    }
}

/// Runs the garbage collection until the driver ends or the controller is dropped.
async fn collect_garbage(
    controller: Weak<ExecutorController>,
    pod_gc: Arc<PodGc>,
    mut driver_ended: watch::Receiver<bool>,
) {
    let remove = |due| {
        let controller = controller.upgrade();
        async move {
            match controller {
                Some(controller) => controller.remove(due).await,
                None => Due::default(),
            }
        }
    };
    tokio::select! {
        () = pod_gc.run(remove) => {}
        // An error means that the controller was dropped.
        _ = driver_ended.wait_for(|ended| *ended) => {}
    }
}

#[cfg(test)]
mod tests;

#[async_trait]
impl Launcher for ExecutorController {
    async fn start(&self, _: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let executors: Arc<[_]> = executors.into();
        match self.start_all(Arc::clone(&executors)).await {
            Ok(results) => results,
            Err(error) => executors.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn stop(&self, _: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        // Executors that were never created report no end.
        executors.iter().for_each(|id| self.claims.release(*id));
        // Recorded before the deletion, so that watchers know the cause of the ends.
        self.record.lock().stop(executors);
        self.write_record().await?;
        if let Some(label) = self.pod_builder.conf.read_optional(&keys::DECOMMISSION_LABEL)? {
            let value = self.pod_builder.conf.read_optional(&keys::DECOMMISSION_LABEL_VALUE)?;
            self.label(executors, &label, value.as_deref().unwrap_or_default()).await?;
        }
        self.delete(executors, Some(grace)).await
    }

    async fn watch(&self, _: &AppId) -> Result<EventStream> {
        let events = self.subscribe().await?;
        let this = self.this.clone();
        let on_event = move |event: &Result<Event>| {
            if let (Ok(event), Some(this)) = (event, this.upgrade()) {
                this.on_event(event);
            }
        };
        Ok(events.inspect(on_event).boxed())
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.record.lock().allocation = Some(allocation);
        // Progress that is made meanwhile is part of the next report.
        let last = *self.last_written.lock().await;
        if let Some(last) = last {
            tokio::time::sleep_until(last + REPORT_INTERVAL).await;
        }
        match self.write_record().await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            result => result,
        }
    }
}
