//! Finds and deletes objects that applications have left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use anymaster_core::{ErrorKind, Leak, Result};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::backend::Kubernetes;
use crate::driver::SUBMISSION_LABEL;
use crate::pods::{APP_LABEL, ROLE_LABEL};
use crate::{pod, watch};

/// Name patterns of objects that Spark and `anymaster` create without a label.
const NAMES: [(&str, &str); 6] = [
    ("spark-drv-", "-conf-map"),
    ("spark-exec-", "-conf-map"),
    ("", "-driver-podspec-conf-map"),
    ("", "-hadoop-config"),
    ("", "-krb5-file"),
    ("", "-driver-svc"),
];

/// The applications of a namespace, derived from their pods.
#[derive(Default)]
struct Applications {
    /// By id: whether the driver is running, or, without a driver's pod, any executor.
    alive: BTreeMap<String, bool>,
}

impl Applications {
    fn of(pods: &[Pod]) -> Self {
        let mut applications = Self::default();
        let is_driver = |pod: &&Pod| pod::label(pod, ROLE_LABEL) == Some("driver");
        let (drivers, executors): (Vec<_>, Vec<_>) = pods.iter().partition(is_driver);
        let with_driver: BTreeSet<_> =
            drivers.iter().filter_map(|pod| pod::label(pod, APP_LABEL)).collect();
        let is_client =
            |pod: &&&Pod| pod::label(pod, APP_LABEL).is_some_and(|app| !with_driver.contains(app));
        for pod in drivers.iter().chain(executors.iter().filter(is_client)) {
            if let Some(app) = pod::label(pod, APP_LABEL) {
                let alive = applications.alive.entry(app.to_owned()).or_default();
                *alive |= !pod::state(pod).is_ended();
            }
        }
        applications
    }

    /// Why an application needs its objects no more; `None` if it still does.
    fn why_unneeded(&self, app: &str) -> Option<&'static str> {
        match self.alive.get(app) {
            Some(true) => None,
            Some(false) => Some("its application has ended"),
            None => Some("its application has no pods"),
        }
    }
}

impl Kubernetes {
    /// Finds left-over objects: those without an owner whose application has no running pod,
    /// services of applications that have ended, and executors of drivers that have ended, with
    /// their claims.
    ///
    /// Drivers that have ended are kept for their logs. Objects younger than `older_than` are
    /// ignored: they may belong to a submission in progress.
    ///
    /// # Errors
    /// Those of the API server. Kinds that may not be listed are skipped with a warning.
    pub(crate) async fn find_leaks(&self, older_than: Duration) -> Result<Vec<Leak>> {
        let pods = self.list_pods(&watch::selector(None, false)).await?;
        let applications = Applications::of(&pods);
        let mut leaks: Vec<Leak> =
            pods.iter().filter_map(|pod| leaked_pod(pod, &applications)).collect();
        leaks.extend(self.leaks_of::<ConfigMap>("configmap", &applications).await?);
        leaks.extend(self.leaks_of::<Service>("service", &applications).await?);
        leaks.extend(
            self.leaks_of::<PersistentVolumeClaim>("persistentvolumeclaim", &applications).await?,
        );
        leaks.extend(self.leaks_of::<NetworkPolicy>("networkpolicy", &applications).await?);
        leaks.extend(self.leaks_of::<Secret>("secret", &applications).await?);
        let now = Timestamp::now();
        leaks.retain(|leak| now.duration_since(leak.created).unsigned_abs() >= older_than);
        Ok(leaks)
    }

    async fn leaks_of<K>(
        &self,
        kind: &'static str,
        applications: &Applications,
    ) -> Result<Vec<Leak>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        let kinds = K::plural(&());
        let what = format!("list {kinds}");
        let mut leaks = Vec::new();
        let take = |page: Vec<PartialObjectMeta<K>>| {
            let found =
                |object: &PartialObjectMeta<K>| leaked_object(kind, &object.metadata, applications);
            leaks.extend(page.iter().filter_map(found));
            true
        };
        let page = |params| async {
            let params = params;
            api.list_metadata(&params).await
        };
        match self.connection().pages(&what, ListParams::default(), page, take).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!("{kinds} are skipped: {error}");
                Ok(leaks)
            }
            listed => listed.map(|()| leaks),
        }
    }

    /// Deletes a left-over object, if its uid is still the same.
    ///
    /// # Errors
    /// Those of the API server. An object that is gone already is success.
    pub(crate) async fn delete_leak(&self, leak: &Leak) -> Result<()> {
        match leak.kind {
            "configmap" => self.delete_exactly::<ConfigMap>(leak).await,
            "service" => self.delete_exactly::<Service>(leak).await,
            "persistentvolumeclaim" => self.delete_exactly::<PersistentVolumeClaim>(leak).await,
            "networkpolicy" => self.delete_exactly::<NetworkPolicy>(leak).await,
            "secret" => self.delete_exactly::<Secret>(leak).await,
            _ => self.delete_exactly::<Pod>(leak).await,
        }
    }

    async fn delete_exactly<K>(&self, leak: &Leak) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.connection().client.clone(), &leak.namespace);
        self.connection().delete_exactly(&api, &leak.name, leak.uid.clone()).await
    }
}

/// An executor whose driver has ended.
fn leaked_pod(pod: &Pod, applications: &Applications) -> Option<Leak> {
    let is_executor = pod::label(pod, ROLE_LABEL) == Some("executor");
    let why = applications.why_unneeded(pod::label(pod, APP_LABEL)?)?;
    is_executor.then(|| leak("pod", &pod.metadata, why))
}

fn leaked_object(
    kind: &'static str,
    object: &ObjectMeta,
    applications: &Applications,
) -> Option<Leak> {
    let label = |name: &str| object.labels.as_ref().and_then(|labels| labels.get(name));
    let name = object.name.as_deref().unwrap_or_default();
    let app = label(APP_LABEL);
    let has_owner = object.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
    let why = match (app, has_owner) {
        // Every service of a namespace becomes environment variables of its pods, so those of
        // drivers that have ended are leaks.
        (Some(app), true) if kind == "service" => applications.why_unneeded(app)?,
        // The driver's pod is kept for its log; executors' disks need not be.
        (Some(app), true) if kind == "persistentvolumeclaim" && is_executor_claim(name) => {
            applications.why_unneeded(app)?
        }
        // It is deleted with its owner.
        (_, true) => return None,
        (Some(app), false) => applications.why_unneeded(app)?,
        (None, false)
            if label(SUBMISSION_LABEL).is_some() || (kind != "secret" && has_our_name(name)) =>
        {
            "an interrupted submission has left it"
        }
        (None, false) => return None,
    };
    Some(leak(kind, object, why))
}

/// Whether a claim was made for an executor: `…-exec-7-pvc-0`.
fn is_executor_claim(claim: &str) -> bool {
    let of = claim.rsplit_once("-pvc-").and_then(|(pod, _)| pod.rsplit_once("-exec-"));
    of.is_some_and(|(_, id)| id.bytes().all(|byte| byte.is_ascii_digit()))
}

fn has_our_name(name: &str) -> bool {
    NAMES.iter().any(|(start, end)| name.starts_with(start) && name.ends_with(end))
}

fn leak(kind: &'static str, object: &ObjectMeta, why: &str) -> Leak {
    Leak {
        kind,
        namespace: object.namespace.clone().unwrap_or_default(),
        name: object.name.clone().unwrap_or_default(),
        created: object.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        why: why.to_owned(),
        uid: object.uid.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn map(metadata: Value) -> ObjectMeta {
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn executors_of_an_ended_driver_are_leaks() {
        let pod = |role: &str, app: &str, phase: &str| -> Pod {
            let labels = json!({"spark-role": role, "spark-app-selector": app});
            serde_json::from_value(json!({
                "metadata": {"name": format!("{app}-{role}"), "labels": labels},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let pods = [
            pod("driver", "runs", "Running"),
            pod("executor", "runs", "Failed"),
            pod("driver", "killed", "Failed"),
            pod("executor", "killed", "Running"),
            pod("executor", "client", "Running"),
        ];
        let applications = Applications::of(&pods);
        let leaks = pods.iter().filter_map(|pod| leaked_pod(pod, &applications));
        assert_eq!(leaks.map(|leak| leak.name).collect::<Vec<_>>(), ["killed-executor"]);
    }

    #[test]
    fn objects_in_use_are_no_leaks() {
        let old = "2026-01-01T00:00:00Z";
        let applications =
            Applications { alive: [("live".to_owned(), true), ("over".to_owned(), false)].into() };
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]);
        let found = |kind, metadata| {
            leaked_object(kind, &map(metadata), &applications).map(|leak| leak.why)
        };
        let app = |app: &str| json!({"name": "x", "creationTimestamp": old, "labels": {"spark-app-selector": app}});
        assert_eq!(found("configmap", app("live")), None);
        assert_eq!(found("configmap", app("over")).as_deref(), Some("its application has ended"));
        assert_eq!(
            found("persistentvolumeclaim", app("gone")).as_deref(),
            Some("its application has no pods")
        );
        let mut owned = app("over");
        owned["ownerReferences"] = owner;
        assert_eq!(found("configmap", owned.clone()), None);
        assert!(found("service", owned.clone()).is_some());
        assert_eq!(found("networkpolicy", owned.clone()), None);
        assert!(found("networkpolicy", app("over")).is_some());
        for (claim, app, is_leak) in [
            ("pi-exec-7-pvc-0", "over", true),
            ("pi-exec-7-pvc-0", "live", false),
            ("pi-driver-pvc-0", "over", false),
            ("my-exec-job-driver-pvc-0", "over", false),
        ] {
            owned["name"] = json!(claim);
            owned["labels"]["spark-app-selector"] = json!(app);
            let leak = found("persistentvolumeclaim", owned.clone());
            assert_eq!(leak.is_some(), is_leak, "{claim} of {app}");
        }
        assert!(
            found("configmap", json!({"name": "spark-drv-1-conf-map", "creationTimestamp": old}))
                .is_some()
        );
        assert_eq!(found("configmap", json!({"name": "mine", "creationTimestamp": old})), None);
        assert_eq!(
            found("secret", json!({"name": "a-hadoop-config", "creationTimestamp": old})),
            None
        );
    }
}
