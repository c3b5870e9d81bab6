//! On-demand PersistentVolumeClaims of executors, which new executors reuse when the old ones have
//! ended (Spark 3.5, `ExecutorPodsAllocator.replacePVCsIfNeeded`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::ExecutorId;
use anymaster_core::{Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::controller::DriverLocation;
use super::pod_builder::ExecutorPodBuilder;
use crate::config::Connection;
use crate::pods::APP_LABEL;
use crate::{keys, pod};

/// How often to check whether terminating pods are gone, and the interval: one second in all. The
/// claims of a pod that takes longer stay in use, and new ones are created.
const DELETION_POLLS: u32 = 5;
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The state of the pod that uses a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClaimUse {
    Active,
    /// The pod is being deleted.
    Terminating,
}

/// Which claims are in use, and the properties that say how they are reused.
#[derive(Debug)]
pub(crate) struct ClaimPool {
    reuse: bool,
    /// Wait for unused claims instead of creating more than there are executors.
    wait_to_reuse: bool,
    /// The driver's pod owns the claims, so they outlive their executors.
    pub(crate) owned_by_driver: bool,
    in_use: Mutex<ClaimsInUse>,
}

/// Claims assigned to executors that have not ended.
#[derive(Debug, Default)]
struct ClaimsInUse {
    names: BTreeSet<String>,
    by_executor: BTreeMap<ExecutorId, Vec<String>>,
    /// The number of claims of the application, used or not.
    total: u64,
}

impl ClaimsInUse {
    fn insert(&mut self, id: ExecutorId, name: String) {
        if self.names.insert(name.clone()) {
            self.by_executor.entry(id).or_default().push(name);
        }
    }

    fn release(&mut self, id: ExecutorId) {
        for name in self.by_executor.remove(&id).unwrap_or_default() {
            self.names.remove(&name);
        }
    }
}

/// Claims that were unused at the start of a batch, by storage class and size.
#[derive(Debug, Default)]
pub(crate) struct UnusedClaims(Mutex<BTreeMap<ClaimClass, VecDeque<String>>>);

/// The storage class and the size of a claim.
type ClaimClass = (String, String);

/// The claims of one executor.
pub(crate) struct AssignedClaims {
    /// Pairs of the claim name in the pod and the reused claim that replaces it.
    pub(crate) names: Vec<(String, String)>,
    /// The claims to be created.
    pub(crate) new: Vec<PersistentVolumeClaim>,
}

impl ClaimPool {
    pub(crate) fn new(conf: &Conf, driver_location: &DriverLocation) -> Result<Self> {
        let owned_by_driver = conf.read(&keys::OWN_PVC)?;
        // Without a driver's pod, claims are deleted with their executors.
        let outlive = owned_by_driver && matches!(driver_location, DriverLocation::Pod(_));
        let reuse = outlive && conf.read(&keys::REUSE_PVC)?;
        let wait_to_reuse = reuse && conf.read(&keys::WAIT_TO_REUSE_PVC)?;
        Ok(Self { reuse, wait_to_reuse, owned_by_driver, in_use: Mutex::default() })
    }

    /// Lists unused claims, once per batch of executors.
    pub(crate) async fn find_unused(
        &self,
        connection: &Connection,
        pod_builder: &ExecutorPodBuilder,
    ) -> Result<UnusedClaims> {
        if !self.reuse {
            return Ok(UnusedClaims::default());
        }
        let claims = list_claims(connection, pod_builder).await?;
        let mut claims_in_use = list_claims_in_use(connection, pod_builder).await?;
        // Claims of terminating executors will soon be unused.
        for _ in 0..DELETION_POLLS {
            if !claims.keys().any(|name| claims_in_use.get(name) == Some(&ClaimUse::Terminating)) {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            claims_in_use = list_claims_in_use(connection, pod_builder).await?;
        }
        let mut in_use = self.in_use();
        let gone = in_use.names.iter().filter(|name| !claims.contains_key(*name)).count();
        in_use.total = (claims.len() + gone) as u64;
        let mut unused = BTreeMap::<_, VecDeque<_>>::new();
        for (name, claim) in claims {
            let is_unused =
                claim.metadata.deletion_timestamp.is_none() && !claims_in_use.contains_key(&name);
            if let Some(class) = class_of(&claim).filter(|_| is_unused) {
                unused.entry(class).or_default().push_back(name);
            }
        }
        Ok(UnusedClaims(Mutex::new(unused)))
    }

    /// Assigns claims to an executor: unused ones of the same class and size, else new ones.
    pub(crate) fn assign(
        &self,
        unused: &UnusedClaims,
        id: ExecutorId,
        wanted: Vec<PersistentVolumeClaim>,
        max_claims: u64,
    ) -> Result<AssignedClaims> {
        if !self.reuse {
            return Ok(AssignedClaims { names: Vec::new(), new: wanted });
        }
        let mut in_use = self.in_use();
        let mut unused = unused.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Claims assigned by an earlier attempt become available again.
        in_use.release(id);
        let mut assigned = AssignedClaims { names: Vec::new(), new: Vec::new() };
        for claim in wanted {
            let name = claim.name_any();
            let mut candidates = class_of(&claim).and_then(|class| unused.get_mut(&class));
            let mut candidates = iter::from_fn(|| candidates.as_mut()?.pop_front());
            match candidates.find(|other| !in_use.names.contains(other)) {
                Some(found) => {
                    tracing::info!("executor {id} reuses claim {found}");
                    in_use.insert(id, found.clone());
                    assigned.names.push((name, found));
                }
                None if self.wait_to_reuse && in_use.total >= max_claims => {
                    in_use.release(id);
                    return Err(Error::unavailable(format!(
                        "executor {id} waits for one of {} claims to become unused",
                        in_use.total
                    ))
                    .with_hint(
                        "because spark.kubernetes.driver.waitToReusePersistentVolumeClaim is true",
                    ));
                }
                None => {
                    in_use.total += 1;
                    in_use.insert(id, name);
                    assigned.new.push(claim);
                }
            }
        }
        Ok(assigned)
    }

    /// An executor's pod exists with these claims, from an earlier attempt.
    pub(crate) fn set_in_use(&self, id: ExecutorId, names: &[String]) {
        let mut in_use = self.in_use();
        in_use.release(id);
        names.iter().for_each(|name| in_use.insert(id, name.clone()));
    }

    /// An executor has ended or will not be created: its claims become unused.
    pub(crate) fn release(&self, id: ExecutorId) {
        self.in_use().release(id);
    }

    fn in_use(&self) -> MutexGuard<'_, ClaimsInUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists the claims of the application, by name.
async fn list_claims(
    connection: &Connection,
    pod_builder: &ExecutorPodBuilder,
) -> Result<BTreeMap<String, PersistentVolumeClaim>> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(connection.client.clone(), &pod_builder.namespace);
    let params = ListParams::default().labels(&format!("{APP_LABEL}={}", pod_builder.app));
    let mut found = BTreeMap::new();
    let collect = |claims: Vec<PersistentVolumeClaim>| {
        found.extend(claims.into_iter().map(|claim| (claim.name_any(), claim)));
        true
    };
    match connection.list("list persistentvolumeclaims", &api, params, collect).await {
        Ok(()) => Ok(found),
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::warn!("Cannot list PVC resources. Please check account permissions. {error}");
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error),
    }
}

/// The claims that pods of the application mount, of pods that have not ended.
async fn list_claims_in_use(
    connection: &Connection,
    pod_builder: &ExecutorPodBuilder,
) -> Result<BTreeMap<String, ClaimUse>> {
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), &pod_builder.namespace);
    let living = ListParams::default()
        .labels(&format!("{APP_LABEL}={}", pod_builder.app))
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut claims_in_use = BTreeMap::new();
    let collect = |pods: Vec<Pod>| {
        for pod in pods.iter().filter(|pod| !pod::state(pod).is_ended()) {
            let is_terminating = pod.metadata.deletion_timestamp.is_some();
            let claim_use = if is_terminating { ClaimUse::Terminating } else { ClaimUse::Active };
            claims_in_use.extend(names(pod).into_iter().map(|name| (name, claim_use)));
        }
        true
    };
    connection.list("list pods", &api, living, collect).await?;
    Ok(claims_in_use)
}

/// The names of the claims that a pod mounts.
pub(crate) fn names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.clone()).collect()
}

/// Claims with equal storage class and size are interchangeable.
fn class_of(claim: &PersistentVolumeClaim) -> Option<ClaimClass> {
    let spec = claim.spec.as_ref()?;
    let size = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    Some((spec.storage_class_name.clone()?, size.0.clone()))
}
