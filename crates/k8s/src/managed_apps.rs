//! The applications whose executors this process manages.

use std::sync::Arc;

use anymaster_core::conf::keys::DEPLOY_MODE;
use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{
    AllocationStatus, AppId, DeployMode, Event, ExecutorId, ExecutorTarget, Status,
};
use anymaster_core::reconcile::{self, Launcher, ManagedExecutors, Reconciler};
use anymaster_core::{Error, EventStream, Result};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::sync::watch as channel;

use crate::backend::Kubernetes;
use crate::driver::native::{self, PROPERTIES};
use crate::executors::{
    AllocationRecord, DriverLocation, ExecutorController, ExecutorPodBuilder, SharedRecord, policy,
};
use crate::pods::{APP_LABEL, APP_NAME_LABEL, ROLE_LABEL, template};
use crate::{keys, pod};

/// The applications whose executors this process manages.
pub(crate) type ManagedApps = reconcile::ManagedApps<Arc<ExecutorController>>;

#[async_trait]
impl ManagedExecutors for ExecutorController {
    fn check(&self, target: &ExecutorTarget) -> Result<()> {
        Self::check(self, target)
    }

    async fn remove(&self, reconciler: Reconciler) -> Result<()> {
        // Waits for starts in progress, whose pods would otherwise be missed.
        self.stop_starting().await;
        reconciler.shutdown().await;
        self.delete_executors_and_claims().await
    }
}

/// The events of an application that is managed here, from the controller's own watch. With `has_cursor`,
/// the caller resumes from a resource version, which only a new watch can do.
pub(crate) async fn watch(
    apps: &ManagedApps,
    app: &AppId,
    has_cursor: bool,
) -> Result<Option<EventStream>> {
    let Some(managed) = apps.get(app).await else { return Ok(None) };
    let controller = managed.executors();
    match controller.driver_location() {
        DriverLocation::Pod(_) if has_cursor => Ok(None),
        DriverLocation::Pod(_) => controller.subscribe().await.map(Some),
        DriverLocation::Process => {
            let pods = controller.subscribe().await?;
            Ok(Some(stream::select(pods, allocations(managed.allocation())).boxed()))
        }
    }
}

/// Starts managing an application.
pub(crate) async fn start(
    apps: &ManagedApps,
    cluster: &Kubernetes,
    app: &AppId,
) -> Result<(Arc<ExecutorController>, Reconciler)> {
    let is_external = cluster.external().driver(app).is_some();
    if is_external && cluster.external().statuses(Some(app)).iter().any(|it| it.state.is_ended()) {
        return Err(Error::conflict(format!("{app} has ended")));
    }
    let controller = match driver_of(cluster, app).await? {
        Some(pod) if is_external || is_user_pod(cluster.conf(), &pod) => {
            controller_for_process(cluster, app, Some(&pod)).await?
        }
        Some(driver) => controller_for_driver_pod(cluster, app, &driver).await?,
        None => controller_for_process(cluster, app, None).await?,
    };
    let reserved = ExecutorId(controller.record().lock().reserved);
    let launcher = Arc::clone(&controller) as Arc<dyn Launcher>;
    let reconciler =
        Reconciler::spawn_after(launcher, app.clone(), policy(controller.conf())?, reserved);
    remove_with_driver(apps, app.clone(), &controller);
    Ok((controller, reconciler))
}

/// Deletes the executors when the driver ends.
fn remove_with_driver(apps: &ManagedApps, app: AppId, controller: &Arc<ExecutorController>) {
    let (mut driver_ended, apps) = (controller.driver_ended(), apps.downgrade());
    tokio::spawn(async move {
        // An error means that the controller was dropped.
        let ended = driver_ended.wait_for(|ended| *ended).await.is_ok();
        let Some(apps) = apps.upgrade().filter(|_| ended) else { return };
        if let Err(error) = apps.remove(&app).await {
            tracing::warn!(%app, "executors of a driver that ended may be left over: {error}");
        }
    });
}

/// Allocations as a stream that starts with the current one.
fn allocations(receiver: channel::Receiver<AllocationStatus>) -> EventStream {
    stream::unfold((receiver, true), |(mut receiver, is_initial)| async move {
        if !is_initial {
            receiver.changed().await.ok()?;
        }
        let allocation = receiver.borrow_and_update().clone();
        Some((Ok(Event::Changed(Status::Allocation(allocation))), (receiver, false)))
    })
    .boxed()
}

/// The driver's pod: the one that `spark.kubernetes.driver.pod.name` names, or that of the
/// application.
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

/// The controller of an application whose driver is a submitted pod.
async fn controller_for_driver_pod(
    cluster: &Kubernetes,
    app: &AppId,
    driver: &Pod,
) -> Result<Arc<ExecutorController>> {
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
    keys::migrate_deprecated(&mut conf)?;
    let submitter = template::fetch(&conf, cluster.submitter()).await?;
    let owner = pod::owner(driver);
    let pod_builder = ExecutorPodBuilder::new(
        app.clone(),
        pod::label(driver, APP_NAME_LABEL).unwrap_or("app").to_owned(),
        namespace,
        conf,
        Arc::new(submitter),
        Some(owner.clone()),
        Some(secret),
    )?;
    let record = SharedRecord::new(AllocationRecord::of(driver));
    ExecutorController::new(
        cluster.connection().clone(),
        pod_builder,
        DriverLocation::Pod(owner),
        record,
    )
}

/// Overrides this process's properties with those of the application.
fn merge(own: &mut Conf, properties: Vec<(String, String)>) {
    let template = keys::EXECUTOR_POD_TEMPLATE.info.name;
    let is_local = own.get(template).is_some();
    // The driver's path of the template is valid only in its pod; a local one takes precedence.
    for (key, value) in properties.into_iter().filter(|(key, _)| !is_local || key != template) {
        own.set(key, value);
    }
}

/// Whether the driver is this process, in a pod that no submission created, for example a
/// notebook's.
fn is_user_pod(conf: &Conf, pod: &Pod) -> bool {
    is_client(conf)
        && conf.get(keys::DRIVER_POD_NAME.info.name) == Some(&pod.name_any())
        && pod::label(pod, ROLE_LABEL) != Some("driver")
}

fn is_client(conf: &Conf) -> bool {
    DeployMode::of(conf) == Some(DeployMode::Client)
}

/// The controller of an application whose driver is this process, outside of the cluster or in a
/// pod, which then owns the executors.
async fn controller_for_process(
    cluster: &Kubernetes,
    app: &AppId,
    pod: Option<&Pod>,
) -> Result<Arc<ExecutorController>> {
    let pod_builder = pod_builder_for_process(cluster, app, pod).await?;
    let connection = cluster.connection().clone();
    ExecutorController::new(
        connection,
        pod_builder,
        DriverLocation::Process,
        SharedRecord::default(),
    )
}

async fn pod_builder_for_process(
    cluster: &Kubernetes,
    app: &AppId,
    pod: Option<&Pod>,
) -> Result<ExecutorPodBuilder> {
    let mut conf = cluster.conf().clone();
    if let Some(driver) = cluster.external().driver(app) {
        conf.set(DEPLOY_MODE.info.name, "client");
        conf.set("spark.driver.host", driver.host);
        conf.set("spark.driver.port", driver.port.to_string());
        driver.conf.iter().for_each(|(key, value)| conf.set(key, value));
    }
    if !is_client(&conf) {
        return Err(Error::not_found(format!("there is no application {app}"))
            .with_hint("a driver outside of the cluster says spark.submit.deployMode=client"));
    }
    keys::migrate_deprecated(&mut conf)?;
    if let Some(address) = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone()) {
        conf.set_default("spark.driver.host", address);
    }
    let submitter = template::fetch(&conf, cluster.submitter()).await?;
    // An owner has to be in the namespace of its dependents.
    let namespace = pod.and_then(|pod| pod.namespace());
    ExecutorPodBuilder::new(
        app.clone(),
        conf.get("spark.app.name").unwrap_or("app").to_owned(),
        namespace.unwrap_or_else(|| cluster.connection().submissions.clone()),
        conf,
        Arc::new(submitter),
        pod.map(pod::owner),
        None,
    )
}

/// The properties with which an application was submitted, without secrets.
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
    async fn a_pod_that_the_user_created_owns_executors_in_client_mode() {
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
        assert!(is_user_pod(cluster.conf(), &notebook));
        assert!(!is_user_pod(cluster.conf(), &pod(json!({"spark-role": "driver"}))));
        assert!(!is_user_pod(&Conf::new(), &notebook));
        let app = AppId::new("app-1").unwrap();
        let pod_builder = pod_builder_for_process(&cluster, &app, Some(&notebook)).await.unwrap();
        let owner = pod_builder.owner.unwrap();
        assert_eq!((owner.name.as_str(), owner.uid.as_str()), ("notebook", "u1"));
        assert_eq!(pod_builder.namespace, "lab");
        assert_eq!(pod_builder.conf.get("spark.driver.host"), Some("10.0.0.9"));
        assert!(pod_builder_for_process(&cluster, &app, None).await.unwrap().owner.is_none());
    }

    #[test]
    fn a_local_executor_template_takes_precedence() {
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
