//! Creates the objects of a driver: idempotent, and rolled back on failure.
//!
//! What the pod mounts is created before the pod, and gets the pod as its owner afterwards; the
//! other objects are created after the pod, with the owner set. Names are derived from the
//! submission id, so a second submission with the same id, from any process and at any time, finds
//! the existing objects.

use anymaster_core::model::SubmissionId;
use anymaster_core::{Error, ErrorKind, Result};
use futures::future::{join_all, try_join_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Connection;
use crate::driver::{Objects, SPEC_ANNOTATION, SUBMISSION_LABEL};
use crate::names::label_of_submission;
use crate::pod::{self, label, state};

/// The result of a submission.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    /// The driver's pod as the API server has it.
    pub(crate) pod: Box<Pod>,
    /// The pod existed already, from the same submission.
    pub(crate) duplicate: bool,
}

/// Creates all objects of a driver, or returns the existing driver of the same submission.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) if the id or the pod's name belongs to another submission; the
/// API server's own. After an error nothing of the submission is left.
pub(crate) async fn submit(
    connection: &Connection,
    id: &SubmissionId,
    objects: &Objects,
) -> Result<Submitted> {
    let mut attempt =
        SubmissionAttempt { connection, namespace: objects.namespace(), id, created_lock: false };
    let created = match attempt.prepare(objects).await {
        Ok(Prepared::New) => attempt.create_pod(objects).await,
        Ok(Prepared::Existing(pod)) => attempt.check_existing(*pod, objects),
        Err(error) => Err(error),
    };
    let submitted = match created {
        Ok(submitted) => submitted,
        Err(error) => {
            attempt.roll_back(objects, None).await;
            return Err(error);
        }
    };
    if !attempt.needs_completion(&submitted, objects) {
        return Ok(submitted);
    }
    match attempt.create_dependents(objects, &submitted.pod).await {
        Ok(()) => Ok(submitted),
        Err(error) => {
            let pod = (!submitted.duplicate).then_some(&*submitted.pod);
            attempt.roll_back(objects, pod).await;
            Err(error)
        }
    }
}

/// The pod of a driver that was submitted with this id.
pub(crate) async fn find(
    connection: &Connection,
    namespace: &str,
    id: &SubmissionId,
) -> Result<Option<Pod>> {
    let selector = format!("{SUBMISSION_LABEL}={},spark-role=driver", label_of_submission(id));
    let params = ListParams::default().labels(&selector);
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let what = format!("list drivers in namespace {namespace}");
    Ok(connection.call(&what, || api.list(&params)).await?.items.into_iter().next())
}

enum Prepared {
    New,
    Existing(Box<Pod>),
}

struct SubmissionAttempt<'a> {
    connection: &'a Connection,
    namespace: &'a str,
    id: &'a SubmissionId,
    /// This attempt created the lock config map, so it may delete the submission's objects.
    created_lock: bool,
}

impl SubmissionAttempt<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.connection.client.clone(), self.namespace)
    }

    /// Creates an object. Returns whether it existed already.
    async fn create<K: Object>(&self, object: &K) -> Result<bool> {
        self.connection.create(&self.api(), object).await
    }

    /// Creates what the pod mounts. The first config map is the lock: of concurrent submissions
    /// with the same id, only one can create it.
    async fn prepare(&mut self, objects: &Objects) -> Result<Prepared> {
        let (lock_map, others) = objects
            .configmaps
            .split_first()
            .ok_or_else(|| Error::protocol("a driver without a config map"))?;
        self.created_lock = !self.create(lock_map).await?;
        if !self.created_lock {
            if let Some(pod) = find(self.connection, self.namespace, self.id).await? {
                return Ok(Prepared::Existing(Box::new(pod)));
            }
            // It is left over from an interrupted submission, about to be garbage-collected with
            // its pod, or of a submission in progress: take it over if its specification is the
            // same.
            if let Some(pod) = self.take_over(lock_map).await? {
                return Ok(Prepared::Existing(Box::new(pod)));
            }
        }
        try_join_all(others.iter().map(|map| self.create(map))).await?;
        try_join_all(objects.secrets.iter().map(|secret| self.create(secret))).await?;
        try_join_all(objects.persistentvolumeclaims.iter().map(|claim| self.create(claim))).await?;
        Ok(Prepared::New)
    }

    /// Takes over a config map without a pod. Returns the pod if it has been created meanwhile.
    async fn take_over(&self, lock_map: &ConfigMap) -> Result<Option<Pod>> {
        let api: Api<ConfigMap> = self.api();
        let name = lock_map.name_any();
        let what = format!("take over configmap {}/{name}", self.namespace);
        let Some(found) = self.connection.call(&what, || api.get_opt(&name)).await? else {
            self.create(lock_map).await?;
            return Ok(None);
        };
        let is_unowned = found.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        let is_same =
            found.annotations().get(SPEC_ANNOTATION) == lock_map.annotations().get(SPEC_ANNOTATION);
        if is_unowned && is_same {
            return Ok(None);
        }
        if !is_unowned && let Some(pod) = find(self.connection, self.namespace, self.id).await? {
            return Ok(Some(pod));
        }
        if is_unowned && !is_old(&found) {
            return Err(Error::conflict(format!(
                "another application is being submitted as {}",
                self.id
            ))
            .with_hint("wait a minute, or choose another --submission-id"));
        }
        self.connection.delete_exactly(&api, &name, found.uid()).await?;
        self.create(lock_map).await?;
        Ok(None)
    }

    async fn create_pod(&self, objects: &Objects) -> Result<Submitted> {
        let api: Api<Pod> = self.api();
        let name = objects.pod_name();
        let what = format!("create pod {}/{name}", self.namespace);
        let body = serde_json::to_vec(&objects.complete_pod()?).map_err(|error| {
            Error::protocol("a pod cannot be written as JSON").with_source(error)
        })?;
        let created = self.connection.call(&what, || self.post_pod(&body)).await;
        match created {
            Ok(pod) => Ok(Submitted { pod: Box::new(pod), duplicate: false }),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let what = format!("get pod {}/{name}", self.namespace);
                let pod = self.connection.call(&what, || api.get(name)).await?;
                self.check_existing(pod, objects)
            }
            Err(error) => Err(error),
        }
    }

    /// Posts the pod as JSON: its template may have fields that `k8s-openapi` does not have.
    async fn post_pod(&self, body: &[u8]) -> kube::Result<Pod> {
        let path = Pod::url_path(&(), Some(self.namespace));
        let request = Request::new(path).create(&PostParams::default(), body.to_vec());
        self.connection.client.request(request.map_err(kube::Error::BuildRequest)?).await
    }

    /// Checks that an existing pod is of this submission and has the same specification.
    fn check_existing(&self, pod: Pod, objects: &Objects) -> Result<Submitted> {
        let name = format!("{}/{}", self.namespace, pod.name_any());
        if label(&pod, SUBMISSION_LABEL) != Some(label_of_submission(self.id).as_str()) {
            return Err(Error::conflict(format!("pod {name} exists, from another submission"))
                .with_hint("choose another spark.kubernetes.driver.pod.name, or delete that pod"));
        }
        let is_same = pod.annotations().get(SPEC_ANNOTATION)
            == objects.pod().annotations().get(SPEC_ANNOTATION);
        if !is_same {
            let error = Error::conflict(format!(
                "submission {} exists with another application or other properties (pod {name})",
                self.id
            ))
            .with_hint("choose another --submission-id");
            return Err(match pod::submission_id(&pod) {
                Some(existing) => error.with_existing(existing),
                None => error,
            });
        }
        Ok(Submitted { pod: Box::new(pod), duplicate: true })
    }

    /// Whether objects may be missing: an earlier attempt may have been interrupted. A driver that
    /// has ended needs none.
    fn needs_completion(&self, submitted: &Submitted, objects: &Objects) -> bool {
        let spec = |pod: &Pod| pod.annotations().get(SPEC_ANNOTATION).cloned();
        let is_same = spec(&submitted.pod) == spec(objects.pod());
        !submitted.duplicate || (is_same && !state(&submitted.pod).is_ended())
    }

    /// Sets the pod as the owner of the objects created before it, and creates the others.
    async fn create_dependents(&self, objects: &Objects, pod: &Pod) -> Result<()> {
        let owner = pod::owner(pod);
        let services =
            try_join_all(objects.services.iter().map(|service| self.create_owned(service, &owner)));
        let policies = self.create_policies(objects, &owner);
        let maps = try_join_all(objects.configmaps.iter().map(|map| self.adopt(map, &owner)));
        let secrets = try_join_all(objects.secrets.iter().map(|secret| self.adopt(secret, &owner)));
        let claims = try_join_all(
            objects.persistentvolumeclaims.iter().map(|claim| self.adopt_claim(claim, &owner)),
        );
        futures::try_join!(services, policies, maps, secrets, claims)?;
        Ok(())
    }

    /// Sets the pod as the owner of a claim that this submission created. An older claim gets no
    /// owner: its data would be deleted with the pod.
    async fn adopt_claim(
        &self,
        claim: &PersistentVolumeClaim,
        owner: &OwnerReference,
    ) -> Result<()> {
        let (api, name) = (self.api::<PersistentVolumeClaim>(), claim.name_any());
        let what = format!("get persistentvolumeclaim {}/{name}", self.namespace);
        let found = self.connection.call(&what, || api.get_metadata_opt(&name)).await?;
        let ours = label_of_submission(self.id);
        match found {
            Some(found) if found.labels().get(SUBMISSION_LABEL) != Some(&ours) => {
                tracing::warn!(
                    "persistentvolumeclaim {}/{name} existed before: it is used as it is, and is kept when \
                     the driver is deleted",
                    self.namespace
                );
                Ok(())
            }
            _ => self.adopt(claim, owner).await,
        }
    }

    /// Creates an object with the pod as its owner.
    async fn create_owned<K: Object>(&self, object: &K, owner: &OwnerReference) -> Result<bool> {
        let mut object = object.clone();
        object.meta_mut().owner_references = Some(vec![owner.clone()]);
        self.create(&object).await
    }

    async fn create_policies(&self, objects: &Objects, owner: &OwnerReference) -> Result<()> {
        let policies = objects.networkpolicies.iter();
        let created = try_join_all(policies.map(|policy| self.create_owned(policy, owner))).await;
        match created {
            // With a Spark before 4.2 this permission is not needed, and the release may be unknown
            // here.
            Err(error) if error.kind() == ErrorKind::Denied && objects.policies_optional => {
                tracing::warn!(
                    "the network policy that Spark creates from 4.2 on is missing: {error}"
                );
                Ok(())
            }
            created => created.map(drop),
        }
    }

    async fn adopt<K: Object>(&self, object: &K, owner: &OwnerReference) -> Result<()> {
        let (api, parameters): (Api<K>, _) = (self.api(), PatchParams::default());
        let name = object.name_any();
        let what = format!("patch {} {}/{name}", K::kind(&()).to_lowercase(), self.namespace);
        let patch = Patch::Merge(serde_json::json!({"metadata": {"ownerReferences": [owner]}}));
        let patch = || api.patch_metadata(&name, &parameters, &patch);
        match self.connection.call(&what, patch).await {
            Ok(_) => Ok(()),
            // The driver existed before; it runs without this object, which somebody has deleted.
            Err(error) if error.kind() == ErrorKind::NotFound && !self.created_lock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes what a failed submission has created. What the pod owns is deleted with it.
    async fn roll_back(&self, objects: &Objects, pod: Option<&Pod>) {
        if let Some(pod) = pod {
            self.delete(pod).await;
        }
        if !self.created_lock {
            // They may belong to a concurrent submission.
            return;
        }
        join_all(objects.services.iter().map(|service| self.delete_ours(service))).await;
        join_all(objects.networkpolicies.iter().map(|policy| self.delete_ours(policy))).await;
        join_all(objects.configmaps.iter().map(|map| self.delete_ours(map))).await;
        join_all(objects.secrets.iter().map(|secret| self.delete_ours(secret))).await;
        join_all(objects.persistentvolumeclaims.iter().map(|claim| self.delete_ours(claim))).await;
    }

    /// Deletes an object of this submission that has no owner.
    async fn delete_ours<K: Object>(&self, object: &K) {
        let api: Api<K> = self.api();
        let name = object.name_any();
        let found = self.connection.call("get", || api.get_metadata_opt(&name)).await;
        match found {
            Ok(Some(found))
                if found.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
                    && found.labels().get(SUBMISSION_LABEL)
                        == Some(&label_of_submission(self.id)) =>
            {
                self.delete(object).await
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("{name} may be left over: {error}")
            }
        }
    }

    async fn delete<K: Object>(&self, object: &K) {
        let (name, api) = (object.name_any(), self.api::<K>());
        let deleted = self.connection.delete_exactly(&api, &name, object.uid()).await;
        if let Err(error) = deleted {
            tracing::warn!("{} {name} is left over: {error}", K::kind(&()).to_lowercase());
        }
    }
}

/// Whether the submission that created it would have continued by now.
fn is_old(map: &ConfigMap) -> bool {
    let created = map.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_some_and(|created| jiff::Timestamp::now().as_second() - created.as_second() > 60)
}

/// The bounds that every kind of object here satisfies.
trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Sync
{
}
impl Object for ConfigMap {}
impl Object for Secret {}
impl Object for PersistentVolumeClaim {}
impl Object for Service {}
impl Object for NetworkPolicy {}
impl Object for Pod {}
