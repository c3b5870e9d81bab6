//! The requests that an operator makes of the API server itself: applications, their statuses and events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anymaster_core::text::clipped;
use anymaster_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::notice::Notice;
use crate::v1beta2::{self, Status};

/// The name under which events are reported, as kubeflow's operator does.
const REPORTER: &str = "spark-application-controller";
/// The longest note of an event, in bytes: the API server refuses longer ones.
const MAX_NOTE: usize = 1000;
/// The time-out of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The API server, for one kind of resource.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// `None`: all namespaces.
    pub(crate) namespace: Option<String>,
    /// Who reports events: the name of this process's pod or machine.
    pub(crate) instance: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The resource SparkApplication.
pub(crate) fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk(v1beta2::GROUP, v1beta2::VERSION, v1beta2::KIND);
    ApiResource::from_gvk_with_plural(&kind, "sparkapplications")
}

impl Cluster {
    /// The applications that are watched.
    pub(crate) fn applications(&self) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource()),
            None => Api::all_with(self.client.clone(), &resource()),
        }
    }

    /// The pods that are watched, of which a label selector picks some.
    pub(crate) fn pods(&self) -> Api<Pod> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn application(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }

    /// Checks that the cluster has the resource, and that it may be listed.
    ///
    /// # Errors
    /// With what is missing.
    pub(crate) async fn check(&self) -> Result<()> {
        let api = self.applications();
        let params = ListParams::default().limit(1);
        match call("list sparkapplications", api.list_metadata(&params)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(format!(
                "the cluster has no resource sparkapplications.{} of version {}",
                v1beta2::GROUP,
                v1beta2::VERSION
            ))
            .with_hint("kubectl apply --server-side -f deploy/operator-crds.yaml")),
            other => other.map(drop),
        }
    }

    /// Replaces the status of an application, if it still has the version that was seen. Returns its new version.
    pub(crate) async fn write_status(
        &self,
        seen: &DynamicObject,
        version: &str,
        status: &Status,
    ) -> Result<String> {
        let (namespace, name) = (seen.namespace().unwrap_or_default(), seen.name_any());
        let mut object = DynamicObject::new(&name, &resource()).within(&namespace);
        object.metadata.uid = seen.uid();
        object.metadata.resource_version = Some(version.to_owned());
        let spec = seen.data.get("spec").cloned().unwrap_or_default();
        object.data = json!({"spec": spec, "status": v1beta2::json(status)});
        let api = self.application(&namespace);
        let what = format!("update the status of sparkapplication {namespace}/{name}");
        let written =
            call(&what, api.replace_status(&name, &PostParams::default(), &object)).await?;
        Ok(written.resource_version().unwrap_or_default())
    }

    /// Deletes an application, and not another one of its name.
    pub(crate) async fn delete_application(&self, seen: &DynamicObject) -> Result<()> {
        let (namespace, name) = (seen.namespace().unwrap_or_default(), seen.name_any());
        let what = format!("delete sparkapplication {namespace}/{name}");
        let params = exactly(seen.uid());
        gone(call(&what, self.application(&namespace).delete(&name, &params)).await.map(drop))
    }

    /// Deletes a pod, and not another one of its name.
    pub(crate) async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = exactly(Some(uid.to_owned()));
        gone(
            call(&format!("delete pod {namespace}/{name}"), api.delete(name, &params))
                .await
                .map(drop),
        )
    }

    /// Creates a service, or finds that of this name. Returns it.
    pub(crate) async fn create_service(&self, service: &Service) -> Result<Service> {
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        let what = format!("create service {namespace}/{name}");
        match call(&what, api.create(&PostParams::default(), service)).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let found =
                    call(&format!("get service {namespace}/{name}"), api.get(&name)).await?;
                if is_owned(&found, service) { Ok(found) } else { Err(error) }
            }
            other => other,
        }
    }

    /// Deletes a service of an application, if it is one.
    pub(crate) async fn delete_service(
        &self,
        namespace: &str,
        name: &str,
        owner: &str,
    ) -> Result<()> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("get service {namespace}/{name}");
        let Some(found) = call(&what, api.get_metadata_opt(name)).await? else { return Ok(()) };
        if !found.owner_references().iter().any(|reference| reference.uid == owner) {
            return Ok(());
        }
        let params = exactly(found.uid());
        gone(
            call(&format!("delete service {namespace}/{name}"), api.delete(name, &params))
                .await
                .map(drop),
        )
    }

    /// Tells of an application in an event. What cannot be told is logged: nothing depends on it.
    pub(crate) async fn tell(&self, app: &DynamicObject, notice: &Notice) {
        let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
        let (kind, reason, text) = notice.event(&name);
        tracing::info!(namespace, name, reason, "{text}");
        let event = self.event(app, kind.as_str(), reason, &text);
        let event = match serde_json::from_value::<Event>(event) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, reason, "an event cannot be written");
                return;
            }
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let what = format!("create event {reason} of sparkapplication {namespace}/{name}");
        if let Err(error) = call(&what, api.create(&PostParams::default(), &event)).await {
            tracing::warn!("{error}");
        }
    }

    fn event(&self, app: &DynamicObject, kind: &str, reason: &str, text: &str) -> Value {
        /// Two events of the same nanosecond are two events.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
        let now = Timestamp::now();
        let unique = NUMBER.fetch_add(1, Ordering::Relaxed) & 0xffff;
        json!({
            "metadata": {
                "namespace": namespace,
                "name": format!("{name}.{:x}{unique:04x}", now.as_nanosecond()),
            },
            "eventTime": format!("{now:.6}"),
            "reportingController": REPORTER,
            "reportingInstance": self.instance,
            "action": "Reconcile",
            "type": kind,
            "reason": reason,
            "note": clipped(text, MAX_NOTE),
            "regarding": {
                "apiVersion": v1beta2::api_version(), "kind": v1beta2::KIND, "namespace": namespace, "name": name,
                "uid": app.uid(), "resourceVersion": app.resource_version(),
            },
        })
    }
}

fn exactly(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::background()
    }
}

/// That it is gone already, or is another one, is success.
fn gone(deleted: Result<()>) -> Result<()> {
    match deleted {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Ok(()),
        other => other,
    }
}

fn is_owned(found: &Service, as_is: &Service) -> bool {
    let owners = |service: &Service| -> Vec<String> {
        service.owner_references().iter().map(|reference| reference.uid.clone()).collect()
    };
    !owners(as_is).is_empty() && owners(found) == owners(as_is)
}

/// Awaits a request, with a time-out. `what` is the verb and the object: `delete pod ns/name`.
pub(crate) async fn call<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| failed(what, error)),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("cannot {what}: no answer within {TIMEOUT:?}"),
        )),
    }
}

/// The cause of an error, below those that only say where it happened.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn failed(what: &str, error: kube::Error) -> Error {
    let kube::Error::Api(status) = error else {
        let why = innermost(&error);
        return Error::unavailable(format!("cannot {what}: the API server cannot be asked: {why}"));
    };
    let kind = match status.code {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        400 | 405 | 406 | 413 | 415 | 422 => ErrorKind::InvalidSpec,
        408 | 504 => ErrorKind::Timeout,
        429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    let error = Error::new(kind, format!("cannot {what}: {}", status.message));
    match status.details.as_ref().map_or(0, |details| details.retry_after_seconds) {
        0 => error,
        seconds => error.with_retry_after(Duration::from_secs(seconds.into())),
    }
}
