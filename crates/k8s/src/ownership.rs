//! The applications whose executors this process keeps.

use std::collections::HashMap;
use std::sync::Arc;

use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{
    AllocationStatus, AppId, DeployMode, Event, ExecutorId, ExecutorTarget, Status,
};
use anymaster_core::reconcile::{Launcher, Reconciler};
use anymaster_core::{Error, EventStream, Result};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::sync::{Mutex, watch as channel};

use crate::backend::Kubernetes;
use crate::driver::native::{self, PROPERTIES};
use crate::executors::{Anchor, Keeper, Kept, KeptHere, Maker, policy};
use crate::pods::{APP_LABEL, APP_NAME_LABEL, ROLE_LABEL, template};
use crate::{keys, pod};

/// The applications whose executors this process keeps.
#[derive(Clone, Default)]
pub(crate) struct Ownerships(Arc<Mutex<HashMap<AppId, Arc<Ownership>>>>);

struct Ownership {
    keeper: Arc<Keeper>,
    allocation: channel::Receiver<AllocationStatus>,
    /// Nothing when the driver has ended, and what was left of its executors is removed.
    reconciler: Mutex<Option<Reconciler>>,
}

impl Ownership {
    /// The driver has ended: so do its executors. Who comes second waits for the first.
    async fn end(&self) -> Result<()> {
        let mut reconciler = self.reconciler.lock().await;
        let Some(reconciler) = reconciler.take() else { return Ok(()) };
        // Not before the last start is answered: what comes later would be left.
        self.keeper.close().await;
        reconciler.shutdown().await;
        self.keeper.sweep().await
    }
}

impl Ownerships {
    /// Declares a target, and becomes the one that keeps it.
    pub(crate) async fn request(
        &self,
        cluster: &Kubernetes,
        app: &AppId,
        target: &ExecutorTarget,
    ) -> Result<()> {
        let mut owned = self.0.lock().await;
        if !owned.contains_key(app) {
            owned.insert(app.clone(), self.own(cluster, app).await?);
        }
        let has_ended = || Error::conflict(format!("{app} has ended"));
        let ownership = owned.get(app).ok_or_else(has_ended)?;
        ownership.keeper.check(target)?;
        // Who has it now is about to end it.
        let reconciler = ownership.reconciler.try_lock().map_err(|_| has_ended())?;
        reconciler.as_ref().ok_or_else(has_ended)?.set_target(target.clone());
        Ok(())
    }

    /// The driver has ended: returns when its executors are removed, if they were kept here. That goes
    /// on if nobody waits for it.
    pub(crate) async fn settle(&self, app: &AppId) -> Result<()> {
        let (owned, app) = (self.clone(), app.clone());
        let ending = tokio::spawn(async move { owned.end(&app).await });
        ending.await.unwrap_or_else(|error| {
            Err(Error::unavailable("removing executors failed").with_source(error))
        })
    }

    async fn end(&self, app: &AppId) -> Result<()> {
        let Some(ownership) = self.0.lock().await.get(app).cloned() else { return Ok(()) };
        let ended = ownership.end().await;
        let mut owned = self.0.lock().await;
        if owned.get(app).is_some_and(|now| Arc::ptr_eq(now, &ownership)) {
            owned.remove(app);
        }
        ended
    }

    /// What happens to an application whose executors are kept here: the keeper's own watch serves
    /// others as well. `since`: somebody wants to go on from a place; one that hangs on this process
    /// alone knows none.
    pub(crate) async fn watch_here(&self, app: &AppId, since: bool) -> Result<Option<EventStream>> {
        let Some(ownership) = self.0.lock().await.get(app).cloned() else { return Ok(None) };
        let keeper = &ownership.keeper;
        match keeper.anchor() {
            Anchor::Pod(_) if since => Ok(None),
            Anchor::Pod(_) => keeper.listen().await.map(Some),
            Anchor::Process => {
                let pods = keeper.listen().await?;
                Ok(Some(stream::select(pods, allocations(ownership.allocation.clone())).boxed()))
            }
        }
    }

    async fn own(&self, cluster: &Kubernetes, app: &AppId) -> Result<Arc<Ownership>> {
        let keeper = match driver_of(cluster, app).await? {
            Some(pod) if is_the_users(cluster.conf(), &pod) => {
                of_process(cluster, app, Some(&pod)).await?
            }
            Some(driver) => of_driver(cluster, app, &driver).await?,
            None => of_process(cluster, app, None).await?,
        };
        let reserved = ExecutorId(keeper.kept().lock().reserved);
        let launcher = Arc::clone(&keeper) as Arc<dyn Launcher>;
        let reconciler =
            Reconciler::spawn_after(launcher, app.clone(), policy(keeper.conf())?, reserved);
        self.end_with_driver(app.clone(), &keeper);
        let allocation = reconciler.allocation();
        Ok(Arc::new(Ownership { keeper, allocation, reconciler: Mutex::new(Some(reconciler)) }))
    }

    /// When the driver ends, so do its executors.
    fn end_with_driver(&self, app: AppId, keeper: &Arc<Keeper>) {
        let (mut over, owned) = (keeper.over(), Arc::downgrade(&self.0));
        tokio::spawn(async move {
            // An error: nobody keeps them any more.
            let ended = over.wait_for(|over| *over).await.is_ok();
            let Some(owned) = owned.upgrade().filter(|_| ended) else { return };
            if let Err(error) = Self(owned).end(&app).await {
                tracing::warn!(%app, "executors of a driver that ended may be left: {error}");
            }
        });
    }
}

/// Allocations as a stream, the present one first.
fn allocations(receiver: channel::Receiver<AllocationStatus>) -> EventStream {
    stream::unfold((receiver, true), |(mut receiver, is_first)| async move {
        if !is_first {
            receiver.changed().await.ok()?;
        }
        let allocation = receiver.borrow_and_update().clone();
        Some((Ok(Event::Changed(Status::Allocation(allocation))), (receiver, false)))
    })
    .boxed()
}

/// The driver's pod: the one that properties name, which is where we run, or that of the application.
async fn driver_of(cluster: &Kubernetes, app: &AppId) -> Result<Option<Pod>> {
    let conf = cluster.conf();
    if let Some(name) = conf.read_optional(&keys::DRIVER_POD_NAME)?
        && conf.get("spark.app.id").is_none_or(|id| id == app.as_str())
    {
        let namespace = &cluster.connection().namespace;
        let api = cluster.pods_of(namespace);
        let what = format!("get pod {namespace}/{name}");
        let found = cluster.connection().call(&what, || api.get_opt(&name)).await?;
        return found.map(Some).ok_or_else(|| {
            Error::not_found(format!(
                "No pod was found named {name} in the cluster in the namespace {namespace} (this was \
                 supposed to be the driver pod.)."
            ))
        });
    }
    cluster.driver_of(app).await
}

/// The driver is a pod.
async fn of_driver(cluster: &Kubernetes, app: &AppId, driver: &Pod) -> Result<Arc<Keeper>> {
    if pod::state(driver).is_ended() {
        return Err(Error::conflict(format!("{app} has ended")));
    }
    let secret = native::secret_of(driver).ok_or_else(|| {
        Error::unsupported(format!("{app} has Spark's own driver, which asks for executors itself"))
    })?;
    let namespace = driver.namespace().unwrap_or_default();
    let mut conf = cluster.conf().clone();
    if conf.get(keys::DRIVER_POD_NAME.info.name) != Some(&driver.name_any()) {
        merge(&mut conf, properties_of(cluster, &namespace, app).await?);
    }
    keys::modernise(&mut conf)?;
    let machine = template::fetch(&conf, cluster.machine()).await?;
    let owner = pod::owner(driver);
    let maker = Maker::new(
        app.clone(),
        pod::label(driver, APP_NAME_LABEL).unwrap_or("app").to_owned(),
        namespace,
        conf,
        Arc::new(machine),
        Some(owner.clone()),
        Some(secret),
    )?;
    let kept = KeptHere::new(Kept::of(driver));
    Keeper::new(cluster.connection().clone(), maker, Anchor::Pod(owner), kept)
}

/// Puts the properties of an application over our own.
fn merge(own: &mut Conf, properties: Vec<(String, String)>) {
    let template = keys::EXECUTOR_POD_TEMPLATE.info.name;
    let is_here = own.get(template).is_some();
    // Where the driver finds the template is a place in its pod; ours is here.
    for (key, value) in properties.into_iter().filter(|(key, _)| !is_here || key != template) {
        own.set(key, value);
    }
}

/// Whether the driver is this process, in a pod that no submission made: a notebook's, for example.
fn is_the_users(conf: &Conf, pod: &Pod) -> bool {
    is_client(conf)
        && conf.get(keys::DRIVER_POD_NAME.info.name) == Some(&pod.name_any())
        && pod::label(pod, ROLE_LABEL) != Some("driver")
}

fn is_client(conf: &Conf) -> bool {
    DeployMode::of(conf) == Some(DeployMode::Client)
}

/// The driver is this process: outside of the cluster, or in a pod that then owns its executors.
async fn of_process(cluster: &Kubernetes, app: &AppId, pod: Option<&Pod>) -> Result<Arc<Keeper>> {
    let maker = maker_of_process(cluster, app, pod).await?;
    let connection = cluster.connection().clone();
    Keeper::new(connection, maker, Anchor::Process, KeptHere::default())
}

async fn maker_of_process(cluster: &Kubernetes, app: &AppId, pod: Option<&Pod>) -> Result<Maker> {
    let mut conf = cluster.conf().clone();
    if !is_client(&conf) {
        return Err(Error::not_found(format!("there is no application {app}"))
            .with_hint("a driver outside of the cluster says spark.submit.deployMode=client"));
    }
    keys::modernise(&mut conf)?;
    if let Some(address) = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone()) {
        conf.set_default("spark.driver.host", address);
    }
    let machine = template::fetch(&conf, cluster.machine()).await?;
    // An owner is of the same namespace.
    let namespace = pod.and_then(|pod| pod.namespace());
    Maker::new(
        app.clone(),
        conf.get("spark.app.name").unwrap_or("app").to_owned(),
        namespace.unwrap_or_else(|| cluster.connection().submissions.clone()),
        conf,
        Arc::new(machine),
        pod.map(pod::owner),
        None,
    )
}

/// The properties with which an application was submitted, without the secret ones.
async fn properties_of(
    cluster: &Kubernetes,
    namespace: &str,
    app: &AppId,
) -> Result<Vec<(String, String)>> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.connection().client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{APP_LABEL}={app}"));
    let what = format!("list configmaps in namespace {namespace}");
    let maps = cluster.connection().call(&what, || api.list(&params)).await?.items;
    let text = maps.into_iter().find_map(|map| map.data?.remove(PROPERTIES));
    text.map_or_else(|| Ok(Vec::new()), |text| read_properties(&text))
}

#[cfg(test)]
mod tests {
    use anymaster_core::ConnectOptions;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_pod_of_the_users_own_owns_executors_in_client_mode() {
        let conf = Conf::from_iter([
            ("spark.submit.deployMode", "client"),
            ("spark.kubernetes.driver.pod.name", "notebook"),
        ]);
        let options =
            ConnectOptions::new("k8s://http://127.0.0.1:1".parse().unwrap()).with_conf(conf);
        let cluster = Kubernetes::connect(&options).await.unwrap();
        let pod = |labels| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "notebook", "namespace": "lab", "uid": "u1", "labels": labels},
                "status": {"phase": "Running", "podIP": "10.0.0.9"},
            }))
            .unwrap()
        };
        let notebook = pod(json!({"app": "jupyter"}));
        assert!(is_the_users(cluster.conf(), &notebook));
        assert!(!is_the_users(cluster.conf(), &pod(json!({"spark-role": "driver"}))));
        assert!(!is_the_users(&Conf::new(), &notebook));
        let app = AppId::new("app-1").unwrap();
        let maker = maker_of_process(&cluster, &app, Some(&notebook)).await.unwrap();
        let owner = maker.owner.unwrap();
        assert_eq!((owner.name.as_str(), owner.uid.as_str()), ("notebook", "u1"));
        assert_eq!(maker.namespace, "lab");
        assert_eq!(maker.conf.get("spark.driver.host"), Some("10.0.0.9"));
        assert!(maker_of_process(&cluster, &app, None).await.unwrap().owner.is_none());
    }

    #[test]
    fn the_template_of_executors_is_read_where_we_are() {
        const TEMPLATE: &str = "spark.kubernetes.executor.podTemplateFile";
        let submitted = || {
            [(TEMPLATE, "/opt/spark/pod-template/pod-spec-template.yml"), ("spark.app.name", "pi")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec()
        };
        let mut own = Conf::from_iter([(TEMPLATE, "here.yml"), ("spark.app.name", "other")]);
        merge(&mut own, submitted());
        assert_eq!((own.get(TEMPLATE), own.get("spark.app.name")), (Some("here.yml"), Some("pi")));
        let mut own = Conf::new();
        merge(&mut own, submitted());
        assert_eq!(own.get(TEMPLATE), Some("/opt/spark/pod-template/pod-spec-template.yml"));
    }
}
