//! Claims that executors make on demand, and that others take over when they have ended (Spark 3.5,
//! `ExecutorPodsAllocator.replacePVCsIfNeeded`).

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

use super::keeper::Anchor;
use super::maker::Maker;
use crate::config::Connection;
use crate::pods::APP_LABEL;
use crate::{keys, pod};

/// How often it is looked whether those that are being deleted are gone, and the time in between: a
/// second in all. One that takes longer keeps its claim, and a new one is made.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Who uses a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Living,
    /// It is being deleted.
    Ending,
}

/// Who has which claim.
#[derive(Debug)]
pub(crate) struct Claims {
    reuses: bool,
    /// Rather waits than makes more than there are executors.
    waits: bool,
    /// They belong to the driver, and outlive their executors.
    pub(crate) are_the_drivers: bool,
    taken: Mutex<Taken>,
}

/// The claims that were given to executors which have not ended.
#[derive(Debug, Default)]
struct Taken {
    names: BTreeSet<String>,
    by: BTreeMap<ExecutorId, Vec<String>>,
    /// How many claims there are, whoever has them.
    many: u64,
}

impl Taken {
    fn take(&mut self, id: ExecutorId, name: String) {
        if self.names.insert(name.clone()) {
            self.by.entry(id).or_default().push(name);
        }
    }

    fn release(&mut self, id: ExecutorId) {
        for name in self.by.remove(&id).unwrap_or_default() {
            self.names.remove(&name);
        }
    }
}

/// The claims that nobody used when a batch of executors was begun, by class and size.
#[derive(Debug, Default)]
pub(crate) struct Free(Mutex<BTreeMap<Facts, VecDeque<String>>>);

/// The class and the size of a claim.
type Facts = (String, String);

/// The claims of one executor.
pub(crate) struct Assigned {
    /// In the places of those that the pod names, in order.
    pub(crate) names: Vec<(String, String)>,
    /// Those that are to be made.
    pub(crate) new: Vec<PersistentVolumeClaim>,
}

impl Claims {
    pub(crate) fn new(conf: &Conf, anchor: &Anchor) -> Result<Self> {
        let are_the_drivers = conf.read(&keys::OWN_PVC)?;
        // Without a driver's pod they go with their executors.
        let outlive = are_the_drivers && matches!(anchor, Anchor::Pod(_));
        let reuses = outlive && conf.read(&keys::REUSE_PVC)?;
        let waits = reuses && conf.read(&keys::WAIT_TO_REUSE_PVC)?;
        Ok(Self { reuses, waits, are_the_drivers, taken: Mutex::default() })
    }

    /// Looks for claims that nobody uses, once for a batch of executors.
    pub(crate) async fn look(&self, connection: &Connection, maker: &Maker) -> Result<Free> {
        if !self.reuses {
            return Ok(Free::default());
        }
        let there = there(connection, maker).await?;
        let mut used = used(connection, maker).await?;
        // Those of executors that are being deleted are free in a moment.
        for _ in 0..LOOKS {
            if !there.keys().any(|name| used.get(name) == Some(&Use::Ending)) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            used = self::used(connection, maker).await?;
        }
        let mut taken = self.taken();
        let gone = taken.names.iter().filter(|name| !there.contains_key(*name)).count();
        taken.many = (there.len() + gone) as u64;
        let mut free = BTreeMap::<_, VecDeque<_>>::new();
        for (name, claim) in there {
            let is_free = claim.metadata.deletion_timestamp.is_none() && !used.contains_key(&name);
            if let Some(facts) = facts(&claim).filter(|_| is_free) {
                free.entry(facts).or_default().push_back(name);
            }
        }
        Ok(Free(Mutex::new(free)))
    }

    /// Finds claims for an executor: of those that are free, else new ones.
    pub(crate) fn assign(
        &self,
        free: &Free,
        id: ExecutorId,
        wanted: Vec<PersistentVolumeClaim>,
        most: u64,
    ) -> Result<Assigned> {
        if !self.reuses {
            return Ok(Assigned { names: Vec::new(), new: wanted });
        }
        let mut taken = self.taken();
        let mut free = free.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of an earlier try are found again, if nobody uses them.
        taken.release(id);
        let mut assigned = Assigned { names: Vec::new(), new: Vec::new() };
        for claim in wanted {
            let name = claim.name_any();
            let mut fitting = facts(&claim).and_then(|facts| free.get_mut(&facts));
            let mut fitting = iter::from_fn(|| fitting.as_mut()?.pop_front());
            match fitting.find(|other| !taken.names.contains(other)) {
                Some(found) => {
                    tracing::info!("executor {id} takes over claim {found}");
                    taken.take(id, found.clone());
                    assigned.names.push((name, found));
                }
                None if self.waits && taken.many >= most => {
                    taken.release(id);
                    return Err(Error::unavailable(format!(
                        "executor {id} waits for one of {} claims to be free",
                        taken.many
                    ))
                    .with_hint(
                        "spark.kubernetes.driver.waitToReusePersistentVolumeClaim says so",
                    ));
                }
                None => {
                    taken.many += 1;
                    taken.take(id, name);
                    assigned.new.push(claim);
                }
            }
        }
        Ok(assigned)
    }

    /// An executor's pod is there, and has these: they were given to it before.
    pub(crate) fn keep(&self, id: ExecutorId, names: &[String]) {
        let mut taken = self.taken();
        taken.release(id);
        names.iter().for_each(|name| taken.take(id, name.clone()));
    }

    /// An executor has ended, or will never be: its claims are free.
    pub(crate) fn release(&self, id: ExecutorId) {
        self.taken().release(id);
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claims of the application.
async fn there(
    connection: &Connection,
    maker: &Maker,
) -> Result<BTreeMap<String, PersistentVolumeClaim>> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(connection.client.clone(), &maker.namespace);
    let params = ListParams::default().labels(&format!("{APP_LABEL}={}", maker.app));
    let mut there = BTreeMap::new();
    let take = |claims: Vec<PersistentVolumeClaim>| {
        there.extend(claims.into_iter().map(|claim| (claim.name_any(), claim)));
        true
    };
    match connection.list("list persistentvolumeclaims", &api, params, take).await {
        Ok(()) => Ok(there),
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::warn!("Cannot list PVC resources. Please check account permissions. {error}");
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error),
    }
}

/// The claims that pods of the application mount which have not ended.
async fn used(connection: &Connection, maker: &Maker) -> Result<BTreeMap<String, Use>> {
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), &maker.namespace);
    let living = ListParams::default()
        .labels(&format!("{APP_LABEL}={}", maker.app))
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut used = BTreeMap::new();
    let take = |pods: Vec<Pod>| {
        for pod in pods.iter().filter(|pod| !pod::state(pod).is_ended()) {
            let is_ending = pod.metadata.deletion_timestamp.is_some();
            let how = if is_ending { Use::Ending } else { Use::Living };
            used.extend(names(pod).into_iter().map(|name| (name, how)));
        }
        true
    };
    connection.list("list pods", &api, living, take).await?;
    Ok(used)
}

/// The names of the claims that a pod mounts.
pub(crate) fn names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.clone()).collect()
}

/// What makes a claim as good as another.
fn facts(claim: &PersistentVolumeClaim) -> Option<Facts> {
    let spec = claim.spec.as_ref()?;
    let size = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    Some((spec.storage_class_name.clone()?, size.0.clone()))
}
