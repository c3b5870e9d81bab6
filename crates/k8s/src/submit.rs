//! Creates the objects of a driver, in an order and in a way that leaves nothing behind.
//!
//! What the pod mounts exists before the pod. What exists before the pod is given to it afterwards,
//! as its owner, so that it goes when the pod goes; what comes later is its own from the beginning.
//! Names are derived from the submission id: whoever submits the same again, here or elsewhere, at the
//! same time or later, meets what is there.

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

/// What became of a submission.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    /// The driver's pod as the API server has it.
    pub(crate) pod: Box<Pod>,
    /// It was there already, from the same submission.
    pub(crate) duplicate: bool,
}

/// Creates all objects of a driver, or finds the driver that the same submission made before.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) if the id or the pod's name belongs to another submission; the
/// API server's own. After an error nothing of the submission is left.
pub(crate) async fn submit(
    connection: &Connection,
    id: &SubmissionId,
    objects: &Objects,
) -> Result<Submitted> {
    let mut work = Work { connection, namespace: objects.namespace(), id, is_first: false };
    let created = match work.prepare(objects).await {
        Ok(Prepared::New) => work.create_pod(objects).await,
        Ok(Prepared::Known(pod)) => work.known(*pod, objects),
        Err(error) => Err(error),
    };
    let submitted = match created {
        Ok(submitted) => submitted,
        Err(error) => {
            work.clean_up(objects, None).await;
            return Err(error);
        }
    };
    if !work.is_to_complete(&submitted, objects) {
        return Ok(submitted);
    }
    match work.complete(objects, &submitted.pod).await {
        Ok(()) => Ok(submitted),
        Err(error) => {
            let pod = (!submitted.duplicate).then_some(&*submitted.pod);
            work.clean_up(objects, pod).await;
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
    Known(Box<Pod>),
}

struct Work<'a> {
    connection: &'a Connection,
    namespace: &'a str,
    id: &'a SubmissionId,
    /// We created the gate: what there is of the submission is ours to take back.
    is_first: bool,
}

impl Work<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.connection.client.clone(), self.namespace)
    }

    /// Creates an object; whether it was there already.
    async fn create<K: Object>(&self, object: &K) -> Result<bool> {
        self.connection.create(&self.api(), object).await
    }

    /// Creates what the pod mounts. The first config map is the gate: of all that submit the same,
    /// one creates it.
    async fn prepare(&mut self, objects: &Objects) -> Result<Prepared> {
        let (gate, others) = objects
            .configmaps
            .split_first()
            .ok_or_else(|| Error::protocol("a driver without a config map"))?;
        self.is_first = !self.create(gate).await?;
        if !self.is_first {
            if let Some(pod) = find(self.connection, self.namespace, self.id).await? {
                return Ok(Prepared::Known(Box::new(pod)));
            }
            // Left by one that did not come further, or about to be collected with its pod, or of
            // one that is under way: it is taken over unless it says other things.
            if let Some(pod) = self.take_over(gate).await? {
                return Ok(Prepared::Known(Box::new(pod)));
            }
        }
        try_join_all(others.iter().map(|map| self.create(map))).await?;
        try_join_all(objects.secrets.iter().map(|secret| self.create(secret))).await?;
        try_join_all(objects.persistentvolumeclaims.iter().map(|claim| self.create(claim))).await?;
        Ok(Prepared::New)
    }

    /// Replaces a config map that nobody mounts; or the pod that mounts it, which came just now.
    async fn take_over(&self, gate: &ConfigMap) -> Result<Option<Pod>> {
        let api: Api<ConfigMap> = self.api();
        let name = gate.name_any();
        let what = format!("take over configmap {}/{name}", self.namespace);
        let Some(found) = self.connection.call(&what, || api.get_opt(&name)).await? else {
            self.create(gate).await?;
            return Ok(None);
        };
        let is_abandoned = found.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        let is_same =
            found.annotations().get(SPEC_ANNOTATION) == gate.annotations().get(SPEC_ANNOTATION);
        if is_abandoned && is_same {
            return Ok(None);
        }
        if !is_abandoned && let Some(pod) = find(self.connection, self.namespace, self.id).await? {
            return Ok(Some(pod));
        }
        if is_abandoned && !is_old(&found) {
            return Err(Error::conflict(format!(
                "submission {} of another application is under way",
                self.id
            ))
            .with_hint("wait a minute, or choose another --submission-id"));
        }
        self.connection.delete_exactly(&api, &name, found.uid()).await?;
        self.create(gate).await?;
        Ok(None)
    }

    async fn create_pod(&self, objects: &Objects) -> Result<Submitted> {
        let api: Api<Pod> = self.api();
        let name = objects.pod_name();
        let what = format!("create pod {}/{name}", self.namespace);
        let body = serde_json::to_vec(&objects.whole_pod()?).map_err(|error| {
            Error::protocol("a pod cannot be written as JSON").with_source(error)
        })?;
        let created = self.connection.call(&what, || self.post_pod(&body)).await;
        match created {
            Ok(pod) => Ok(Submitted { pod: Box::new(pod), duplicate: false }),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let what = format!("get pod {}/{name}", self.namespace);
                let pod = self.connection.call(&what, || api.get(name)).await?;
                self.known(pod, objects)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the pod: with fields of its template, maybe, that only the API server knows.
    async fn post_pod(&self, body: &[u8]) -> kube::Result<Pod> {
        let path = Pod::url_path(&(), Some(self.namespace));
        let request = Request::new(path).create(&PostParams::default(), body.to_vec());
        self.connection.client.request(request.map_err(kube::Error::BuildRequest)?).await
    }

    /// A pod that exists: that of this submission, or it is in the way.
    fn known(&self, pod: Pod, objects: &Objects) -> Result<Submitted> {
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

    /// Whether there may be something left to do: whoever submitted the same before may have been
    /// stopped half-way. A driver that ended needs nothing any more.
    fn is_to_complete(&self, submitted: &Submitted, objects: &Objects) -> bool {
        let spec = |pod: &Pod| pod.annotations().get(SPEC_ANNOTATION).cloned();
        let is_same = spec(&submitted.pod) == spec(objects.pod());
        !submitted.duplicate || (is_same && !state(&submitted.pod).is_ended())
    }

    /// Gives the pod what was there before it, and creates the rest.
    async fn complete(&self, objects: &Objects, pod: &Pod) -> Result<()> {
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

    /// Gives the pod a claim that this submission made. One that existed before is left alone: its data
    /// would go with the pod.
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
                    "persistentvolumeclaim {}/{name} existed before: it is used as it is, and stays when \
                     the driver goes",
                    self.namespace
                );
                Ok(())
            }
            _ => self.adopt(claim, owner).await,
        }
    }

    /// Creates an object that belongs to the pod from the beginning.
    async fn create_owned<K: Object>(&self, object: &K, owner: &OwnerReference) -> Result<bool> {
        let mut object = object.clone();
        object.meta_mut().owner_references = Some(vec![owner.clone()]);
        self.create(&object).await
    }

    async fn create_policies(&self, objects: &Objects, owner: &OwnerReference) -> Result<()> {
        let policies = objects.networkpolicies.iter();
        let created = try_join_all(policies.map(|policy| self.create_owned(policy, owner))).await;
        match created {
            // Those who submit for an older Spark need no such permission, even if they do not say so.
            Err(error) if error.kind() == ErrorKind::Denied && objects.can_lack_policies => {
                tracing::warn!(
                    "there is no network policy, as Spark makes one from 4.2 on: {error}"
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
            // Of a driver that was there before: someone has deleted it since, and it runs all the same.
            Err(error) if error.kind() == ErrorKind::NotFound && !self.is_first => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes what a submission that failed has created. The pod takes along what it owns.
    async fn clean_up(&self, objects: &Objects, pod: Option<&Pod>) {
        if let Some(pod) = pod {
            self.remove(pod).await;
        }
        if !self.is_first {
            // They may be another's, who is still at it.
            return;
        }
        join_all(objects.services.iter().map(|service| self.remove_ours(service))).await;
        join_all(objects.networkpolicies.iter().map(|policy| self.remove_ours(policy))).await;
        join_all(objects.configmaps.iter().map(|map| self.remove_ours(map))).await;
        join_all(objects.secrets.iter().map(|secret| self.remove_ours(secret))).await;
        join_all(objects.persistentvolumeclaims.iter().map(|claim| self.remove_ours(claim))).await;
    }

    /// Removes an object of this submission that no other pod owns.
    async fn remove_ours<K: Object>(&self, object: &K) {
        let api: Api<K> = self.api();
        let name = object.name_any();
        let found = self.connection.call("get", || api.get_metadata_opt(&name)).await;
        match found {
            Ok(Some(found))
                if found.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
                    && found.labels().get(SUBMISSION_LABEL)
                        == Some(&label_of_submission(self.id)) =>
            {
                self.remove(object).await
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("{name} may be left behind: {error}")
            }
        }
    }

    async fn remove<K: Object>(&self, object: &K) {
        let (name, api) = (object.name_any(), self.api::<K>());
        let removed = self.connection.delete_exactly(&api, &name, object.uid()).await;
        if let Err(error) = removed {
            tracing::warn!("{} {name} is left behind: {error}", K::kind(&()).to_lowercase());
        }
    }
}

/// Whether whoever made it has had time to go on with it.
fn is_old(map: &ConfigMap) -> bool {
    let created = map.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_some_and(|created| jiff::Timestamp::now().as_second() - created.as_second() > 60)
}

/// What all kinds of objects here have in common.
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
