//! Keeps the executors of one application: creates pods, deletes them, and watches both.

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
use super::claims::{self, Claims, Free};
use super::cleaner::{Cleaner, Due};
use super::kept::{ANNOTATION, KeptHere};
use super::leftovers;
use super::limiter::Limiter;
use super::maker::{Driver, Maker};
use crate::config::Connection;
use crate::pods::template::{self, Unknown};
use crate::pods::{APP_LABEL, EXECUTOR_LABEL};
use crate::watch::{Feed, Known, Watched, executors, selector};
use crate::{keys, pod};

/// How many ids are reserved with one request.
const RESERVED: u64 = 1_000;
/// How many executors one request deletes at most: their ids are in its URL.
const DELETED: usize = 200;
/// How many requests more may be needed to delete all of them.
const DELETE_ROUNDS: u32 = 30;
/// Least time between two reports.
const PACE: Duration = Duration::from_secs(1);
/// How long executors have to end after their driver.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// What an application's executors hang on.
#[derive(Debug, Clone)]
pub(crate) enum Anchor {
    /// The driver's pod.
    Pod(OwnerReference),
    /// This process: the driver is outside of the cluster.
    Process,
}

/// Keeps the executors of one application.
#[derive(Debug)]
pub(crate) struct Keeper {
    connection: Connection,
    api: Api<Pod>,
    maker: Maker,
    anchor: Anchor,
    kept: KeptHere,
    limiter: Limiter,
    claims: Claims,
    cleaner: Arc<Cleaner>,
    patience: Duration,
    driver: OnceCell<Driver>,
    /// How many executors are wanted.
    target: AtomicU64,
    /// The driver ends: nothing is started any more.
    over: watch::Sender<bool>,
    /// Held while executors are being started.
    starting: RwLock<()>,
    /// Held while ids are being reserved.
    reserving: tokio::sync::Mutex<()>,
    /// When the annotation was last written.
    written: tokio::sync::Mutex<Option<Instant>>,
    /// The watch on them, as long as somebody listens.
    feed: Mutex<Weak<Feed>>,
    this: Weak<Self>,
}

impl Keeper {
    /// # Errors
    /// For properties that make no sense.
    pub(crate) fn new(
        connection: Connection,
        maker: Maker,
        anchor: Anchor,
        kept: KeptHere,
    ) -> Result<Arc<Self>> {
        let conf = &maker.conf;
        let limiter = Limiter::new(conf.read(&keys::ALLOCATION_IN_FLIGHT)? as usize);
        let (claims, cleaner) = (Claims::new(conf, &anchor)?, Arc::new(Cleaner::new(conf)?));
        let patience: Duration = conf.read(&keys::API_POLLING_INTERVAL)?;
        if patience.is_zero() {
            return Err(Error::invalid(format!(
                "{} must be more than 0",
                keys::API_POLLING_INTERVAL.info.name
            )));
        }
        let api = Api::namespaced(connection.client.clone(), &maker.namespace);
        let keeper = Arc::new_cyclic(|this| Self {
            connection,
            api,
            maker,
            anchor,
            kept,
            limiter,
            claims,
            cleaner,
            patience,
            driver: OnceCell::new(),
            target: AtomicU64::new(0),
            over: watch::Sender::new(false),
            starting: RwLock::new(()),
            reserving: tokio::sync::Mutex::default(),
            written: tokio::sync::Mutex::default(),
            feed: Mutex::default(),
            this: this.clone(),
        });
        let cleaner = Arc::clone(&keeper.cleaner);
        tokio::spawn(clean(Arc::downgrade(&keeper), cleaner, keeper.over.subscribe()));
        Ok(keeper)
    }

    /// Whether such a target can be reached at all; if so, it is the one to be reached.
    pub(crate) fn check(&self, target: &ExecutorTarget) -> Result<()> {
        for (id, profile) in &target.profiles {
            self.maker.check(*id, &profile.profile, &target.template)?;
        }
        self.target.store(target.total(), Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn conf(&self) -> &Conf {
        &self.maker.conf
    }

    pub(crate) fn kept(&self) -> &KeptHere {
        &self.kept
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Turns to `true` when the driver ends.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    /// Starts nothing any more; waits until what is under way is there.
    pub(crate) async fn close(&self) {
        self.over.send_replace(true);
        drop(self.starting.write().await);
    }

    /// Ends all that are left, and writes down that nothing is wanted any more.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let app = &self.maker.app;
        let namespace = &self.maker.namespace;
        leftovers::sweep(&self.connection, namespace, app, LAST_GRACE).await?;
        if let Some(allocation) = &mut self.kept.lock().allocation {
            (allocation.target, allocation.running, allocation.pending) = (0, 0, 0);
            allocation.phase = AllocationPhase::Reached;
        }
        match self.write().await {
            // The driver's pod is gone as well.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            written => written,
        }
    }

    /// What happens to the driver and its executors, for anybody in this process.
    pub(crate) async fn listen(&self) -> Result<EventStream> {
        self.feed().listen().await
    }

    fn feed(&self) -> Arc<Feed> {
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feed.upgrade().filter(|feed| !feed.is_over()) {
            return feed;
        }
        let app = &self.maker.app;
        let (selector, known) = match &self.anchor {
            Anchor::Pod(_) => (selector(Some(app), false), Known::default()),
            Anchor::Process => (executors(app), Known::here(self.kept.clone())),
        };
        let watched = Watched {
            connection: self.connection.clone(),
            api: Api::namespaced(self.connection.client.clone(), &self.maker.namespace),
            selector: format!("{selector},spark-exec-inactive!=true"),
            patience: self.patience,
        };
        let opened = Feed::open(watched, known);
        *feed = Arc::downgrade(&opened);
        opened
    }

    /// What has happened that is to be acted upon.
    fn see(&self, event: &Event) {
        match event {
            Event::Changed(Status::Driver(driver))
                if driver.state.rank() >= State::Ending.rank() =>
            {
                self.over.send_replace(true);
            }
            Event::Changed(Status::Executor(executor)) => {
                if let State::Ended(end) = &executor.state {
                    self.cleaner.ended(executor.id, &end.cause);
                    self.claims.release(executor.id);
                }
            }
            _ => {}
        }
    }

    pub(super) fn gone(&self) -> Error {
        Error::conflict(format!("{} has ended", self.maker.app))
    }

    /// Where executors reach the driver; waits until its pod has an address.
    async fn driver(&self) -> Result<&Driver> {
        self.driver
            .get_or_try_init(|| async {
                let conf = &self.maker.conf;
                let port = conf.get("spark.driver.port").and_then(|port| port.parse().ok());
                let port = port.filter(|port| *port > 0);
                let Anchor::Pod(owner) = &self.anchor else {
                    let host = conf.get("spark.driver.host").map(str::to_owned);
                    return Ok(Driver { host, port });
                };
                let address = |pod: &Pod| pod.status.as_ref().and_then(|s| s.pod_ip.clone());
                let decided = |pod: Option<&Pod>| {
                    pod.is_none_or(|pod| address(pod).is_some() || pod::state(pod).is_ended())
                };
                let found = await_condition(self.api.clone(), &owner.name, decided);
                let mut over = self.over.subscribe();
                let pod = tokio::select! {
                    found = found => found.map_err(|error| {
                        Error::unavailable(format!("cannot watch pod {}", owner.name))
                            .with_source(error)
                    })?,
                    _ = over.wait_for(|over| *over) => None,
                };
                let host = pod.as_ref().and_then(address).ok_or_else(|| self.gone())?;
                Ok(Driver { host: Some(host), port })
            })
            .await
    }

    /// Writes down which ids are given now, so that nobody after us gives them again.
    async fn reserve(&self, executors: &[ExecutorLaunch]) -> Result<()> {
        let highest = executors.iter().map(|launch| launch.id.0).max().unwrap_or(0);
        // Nobody goes on before it is written down, whoever does that.
        let _reserving = self.reserving.lock().await;
        let before = self.kept.lock().reserved;
        if highest <= before {
            return Ok(());
        }
        self.kept.lock().reserved = highest.div_ceil(RESERVED) * RESERVED;
        let written = self.write().await;
        if written.is_err() {
            self.kept.lock().reserved = before;
        }
        written
    }

    /// Writes down what is kept.
    async fn write(&self) -> Result<()> {
        let Anchor::Pod(owner) = &self.anchor else { return Ok(()) };
        let mut written = self.written.lock().await;
        let text = serde_json::to_string(&*self.kept.lock()).map_err(|error| {
            Error::protocol("the allocation cannot be written as JSON").with_source(error)
        })?;
        // With the uid, it is this pod or none.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": owner.uid, "annotations": {ANNOTATION: text}}
        }));
        let what = format!("patch pod {}/{}", self.maker.namespace, owner.name);
        let params = PatchParams::default();
        let patched = self
            .connection
            .call(&what, || self.api.patch_metadata(&owner.name, &params, &patch))
            .await;
        *written = Some(Instant::now());
        match patched {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                self.over.send_replace(true);
                Err(self.gone())
            }
            Err(error) => Err(error),
        }
    }

    /// Creates an executor, with its claims.
    pub(super) async fn create(
        &self,
        launch: &ExecutorLaunch,
        driver: &Driver,
        free: &Free,
    ) -> Result<()> {
        let created = self.create_whole(launch, driver, free).await;
        if let Err(error) = &created
            && !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
        {
            // After the others its pod may be there all the same: it is tried again, or stopped.
            self.claims.release(launch.id);
        }
        created
    }

    async fn create_whole(
        &self,
        launch: &ExecutorLaunch,
        driver: &Driver,
        free: &Free,
    ) -> Result<()> {
        let prototype = self.maker.prototype(launch, driver)?;
        let mut pod = prototype.pod(&self.maker, launch.id);
        if prototype.claims.is_empty() {
            return self.create_pod(&pod, &prototype.unknown).await.map(|_| ());
        }
        let wanted: Vec<_> = prototype.claims(launch.id).collect();
        let most = self.target.load(Ordering::Relaxed);
        let assigned = self.claims.assign(free, launch.id, wanted.clone(), most)?;
        rename_claims(&mut pod, &assigned.names);
        let mut new = assigned.new;
        let (uid, found) = self.create_pod(&pod, &prototype.unknown).await?;
        if let Some(found) = found {
            let names = claims::names(&found);
            new = wanted;
            new.retain(|claim| names.contains(&claim.name_any()));
            self.claims.keep(launch.id, &names);
        }
        let made = self.create_claims(&pod, &uid, new).await;
        if made.is_err() {
            // Nobody would make them: it would wait for ever.
            let name = pod.name_any();
            let undone = self.connection.delete_exactly(&self.api, &name, Some(uid)).await;
            if let Err(error) = undone {
                tracing::warn!("pod {name} has no claims, and is there: {error}");
                self.cleaner.discard(launch.id);
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
        let owner = match &self.anchor {
            Anchor::Pod(owner) if self.claims.are_the_drivers => owner.clone(),
            _ => OwnerReference { uid: uid.to_owned(), ..pod::owner(pod) },
        };
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.connection.client.clone(), &self.maker.namespace);
        for mut claim in claims {
            claim.metadata.owner_references = Some(vec![owner.clone()]);
            self.connection.create(&api, &claim).await?;
        }
        Ok(())
    }

    /// Creates a pod; one that is there already is the one that is wanted. Returns its uid, and the
    /// one that was there.
    async fn create_pod(&self, pod: &Pod, more: &[Unknown]) -> Result<(String, Option<Pod>)> {
        let namespace = &self.maker.namespace;
        let what = format!("create pod {namespace}/{}", pod.name_any());
        let body = match more {
            [] => serde_json::to_vec(pod),
            more => serde_json::to_value(pod).and_then(|mut whole| {
                template::complete(&mut whole, more);
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
        // The server need not look for fields that it does not know …
        if let Ok(uri) = format!("{}&fieldValidation=Ignore", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        // … nor send back what we know.
        let short = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(short));
        let began = Instant::now();
        let answer = self.connection.client.request::<PartialObjectMeta<Pod>>(request);
        let created = self.connection.once(&what, answer).await;
        self.limiter.learn(created.as_ref().err(), began);
        match created {
            Ok(created) => Ok((created.uid().unwrap_or_default(), None)),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let found = self.adopt(&pod.name_any()).await?;
                Ok((found.uid().unwrap_or_default(), Some(found)))
            }
            Err(error) => Err(error),
        }
    }

    /// A pod of that name exists: from a try whose answer was lost, or of somebody else.
    async fn adopt(&self, name: &str) -> Result<Pod> {
        let what = format!("get pod {}/{name}", self.maker.namespace);
        let found = self.connection.call(&what, || self.api.get_opt(name)).await?;
        let found = found.ok_or_else(|| {
            let namespace = &self.maker.namespace;
            Error::unavailable(format!("pod {namespace}/{name} was there, and is gone"))
        })?;
        let app = found.labels().get(APP_LABEL).map(String::as_str);
        if app == Some(self.maker.app.as_str()) {
            return Ok(found);
        }
        Err(Error::conflict(format!(
            "pod {}/{name} belongs to somebody else",
            self.maker.namespace
        ))
        .with_hint("choose another spark.kubernetes.executor.podNamePrefix"))
    }

    async fn start_all(&self, executors: Arc<[ExecutorLaunch]>) -> Result<Vec<Result<()>>> {
        let _starting = self.starting.read().await;
        if *self.over.borrow() {
            return Err(self.gone());
        }
        let driver = self.driver().await?.clone();
        self.reserve(&executors).await?;
        let has_claims = |launch| {
            let prototype = self.maker.prototype(launch, &driver);
            prototype.is_ok_and(|prototype| !prototype.claims.is_empty())
        };
        let free = match executors.iter().any(has_claims) {
            true => self.claims.look(&self.connection, &self.maker).await?,
            false => Free::default(),
        };
        let keeper = self.this.upgrade().ok_or_else(|| self.gone())?;
        Ok(Batch::new(keeper, executors, driver, free).create().await)
    }

    /// Removes the pods of some, or labels them as Spark does. Returns those that are to be tried
    /// again.
    async fn remove(&self, due: Due) -> Due {
        let deleted = self.delete(&due.delete, None).await;
        let labelled = self.label(&due.label, "spark-exec-inactive", "true").await;
        let mut left = Due::default();
        for (ids, removed, left) in
            [(due.delete, deleted, &mut left.delete), (due.label, labelled, &mut left.label)]
        {
            if let Err(error) = removed {
                let app = &self.maker.app;
                tracing::warn!(%app, "pods of executors that ended stay for now: {error}");
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
                let pod = self.maker.name(*id);
                let what = format!("label pod {}/{pod}", self.maker.namespace);
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

    /// Deletes the pods of some, many with one request.
    async fn delete(&self, ids: &[ExecutorId], grace: Option<Duration>) -> Result<()> {
        let executors = executors(&self.maker.app);
        let executors = &executors;
        stream::iter(ids.chunks(DELETED))
            .map(Ok)
            .try_for_each_concurrent(4, |ids| async move {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let some = format!("{executors},{EXECUTOR_LABEL} in ({})", ids.join(","));
                delete_all(&self.connection, &self.api, &self.maker.namespace, &some, grace).await
            })
            .await
    }
}

/// Deletes all executors of an application. One request takes the longer the more there are; what it
/// has deleted when its time is over stays deleted, and another goes on with the rest.
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
            Err(error) if error.kind() == ErrorKind::Timeout && rounds < DELETE_ROUNDS => {
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
    let (params, meant) = (delete_params(grace), ListParams::default().labels(selector));
    let what = format!("delete executors in namespace {namespace}");
    connection.call(&what, || api.delete_collection(&params, &meant)).await.map(|_| ())
}

/// What a deletion says; without a grace, the pod's own counts.
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

/// Removes what has ended, until the driver ends or the keeper is dropped.
async fn clean(keeper: Weak<Keeper>, cleaner: Arc<Cleaner>, mut over: watch::Receiver<bool>) {
    let remove = |due| {
        let keeper = keeper.upgrade();
        async move {
            match keeper {
                Some(keeper) => keeper.remove(due).await,
                None => Due::default(),
            }
        }
    };
    tokio::select! {
        () = cleaner.run(remove) => {}
        // An error: the keeper was dropped.
        _ = over.wait_for(|over| *over) => {}
    }
}

#[cfg(test)]
mod tests;

#[async_trait]
impl Launcher for Keeper {
    async fn start(&self, _: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let executors: Arc<[_]> = executors.into();
        match self.start_all(Arc::clone(&executors)).await {
            Ok(results) => results,
            Err(error) => executors.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn stop(&self, _: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        // Those that never were do not end.
        executors.iter().for_each(|id| self.claims.release(*id));
        // Whoever watches is to know why before they go.
        self.kept.lock().stop(executors);
        self.write().await?;
        if let Some(label) = self.maker.conf.read_optional(&keys::DECOMMISSION_LABEL)? {
            let value = self.maker.conf.read_optional(&keys::DECOMMISSION_LABEL_VALUE)?;
            self.label(executors, &label, value.as_deref().unwrap_or_default()).await?;
        }
        self.delete(executors, Some(grace)).await
    }

    async fn watch(&self, _: &AppId) -> Result<EventStream> {
        let events = self.listen().await?;
        let this = self.this.clone();
        let see = move |event: &Result<Event>| {
            if let (Ok(event), Some(this)) = (event, this.upgrade()) {
                this.see(event);
            }
        };
        Ok(events.inspect(see).boxed())
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.kept.lock().allocation = Some(allocation);
        // Those that come in the meantime are told with the next one.
        let last = *self.written.lock().await;
        if let Some(last) = last {
            tokio::time::sleep_until(last + PACE).await;
        }
        match self.write().await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            written => written,
        }
    }
}
