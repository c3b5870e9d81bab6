//! Claims that executors make on demand, and that others take over when they have ended (Spark 3.5,
//! `ExecutorPodsAllocator.replacePVCsIfNeeded`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anymaster_core::conf::Conf;
use anymaster_core::model::ExecutorId;
use anymaster_core::{Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::maker::Maker;
use crate::config::Connection;
use crate::pods::{APP_LABEL, EXECUTOR_LABEL};
use crate::{keys, pod, watch};

/// Who has which claim.
#[derive(Debug)]
pub(crate) struct Claims {
    reuses: bool,
    /// Rather waits than makes more than there are executors.
    waits: bool,
    /// They belong to the driver, and outlive their executors.
    pub(crate) are_the_drivers: bool,
    taken: Mutex<BTreeMap<String, ExecutorId>>,
    /// Held while claims are looked for: two executors are not to find the same one.
    assigning: tokio::sync::Mutex<()>,
}

/// The claims of one executor.
pub(crate) struct Assigned {
    /// In the places of those that the pod names, in order.
    pub(crate) names: Vec<(String, String)>,
    /// Those that are to be made.
    pub(crate) new: Vec<PersistentVolumeClaim>,
}

impl Claims {
    pub(crate) fn new(conf: &Conf) -> Result<Self> {
        let are_the_drivers = conf.read(&keys::OWN_PVC)?;
        let reuses = are_the_drivers && conf.read(&keys::REUSE_PVC)?;
        let waits = reuses && conf.read(&keys::WAIT_TO_REUSE_PVC)?;
        Ok(Self {
            reuses,
            waits,
            are_the_drivers,
            taken: Mutex::default(),
            assigning: tokio::sync::Mutex::default(),
        })
    }

    /// Finds claims for an executor: of those that nobody uses, else new ones.
    pub(crate) async fn assign(
        &self,
        connection: &Connection,
        maker: &Maker,
        id: ExecutorId,
        wanted: Vec<PersistentVolumeClaim>,
        most: u64,
    ) -> Result<Assigned> {
        if !self.reuses {
            return Ok(Assigned { names: Vec::new(), new: wanted });
        }
        let _assigning = self.assigning.lock().await;
        let there = self.there(connection, maker).await?;
        let used = used(connection, maker).await?;
        let mut taken = self.taken();
        let is_free = |claim: &PersistentVolumeClaim, taken: &BTreeMap<String, ExecutorId>| {
            let name = claim.name_any();
            let of_living = taken.get(&name).is_some_and(|holder| *holder != id);
            claim.metadata.deletion_timestamp.is_none() && !of_living && !used.contains(&name)
        };
        let mut assigned = Assigned { names: Vec::new(), new: Vec::new() };
        for claim in wanted {
            let name = claim.name_any();
            let free = there.iter().find(|other| is_free(other, &taken) && fits(other, &claim));
            match free {
                Some(free) => {
                    let free = free.name_any();
                    tracing::info!("executor {id} takes over claim {free}");
                    taken.insert(free.clone(), id);
                    assigned.names.push((name, free));
                }
                None if self.waits && there.len() as u64 >= most => {
                    return Err(Error::unavailable(format!(
                        "executor {id} waits for one of {} claims to be free",
                        there.len()
                    ))
                    .with_hint(
                        "spark.kubernetes.driver.waitToReusePersistentVolumeClaim says so",
                    ));
                }
                None => {
                    taken.insert(name, id);
                    assigned.new.push(claim);
                }
            }
        }
        Ok(assigned)
    }

    /// An executor has ended: its claims are free.
    pub(crate) fn release(&self, id: ExecutorId) {
        if self.reuses {
            self.taken().retain(|_, holder| *holder != id);
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<String, ExecutorId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn there(
        &self,
        connection: &Connection,
        maker: &Maker,
    ) -> Result<Vec<PersistentVolumeClaim>> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(connection.client.clone(), &maker.namespace);
        let params = ListParams::default().labels(&format!("{APP_LABEL}={}", maker.app));
        match connection.call("list persistentvolumeclaims", || api.list(&params)).await {
            Ok(list) => Ok(list.items),
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(
                    "Cannot list PVC resources. Please check account permissions. {error}"
                );
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// The claims that executors mount which have not ended.
async fn used(connection: &Connection, maker: &Maker) -> Result<BTreeSet<String>> {
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), &maker.namespace);
    let selector = format!("{},{EXECUTOR_LABEL}", watch::executors(&maker.app));
    let living = ListParams::default()
        .labels(&selector)
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut used = BTreeSet::new();
    let take = |pods: Vec<Pod>| {
        let living = pods.into_iter().filter(|pod| !pod::state(pod).is_ended());
        let volumes = living.filter_map(|pod| pod.spec?.volumes).flatten();
        used.extend(volumes.filter_map(|volume| Some(volume.persistent_volume_claim?.claim_name)));
        true
    };
    connection.list("list pods", &api, living, take).await?;
    Ok(used)
}

/// Whether a claim is as good as another: the same class and size.
fn fits(there: &PersistentVolumeClaim, wanted: &PersistentVolumeClaim) -> bool {
    let facts = |claim: &PersistentVolumeClaim| {
        let spec = claim.spec.clone()?;
        Some((spec.storage_class_name?, spec.resources?.requests?.remove("storage")?.0))
    };
    facts(there).is_some() && facts(there) == facts(wanted)
}
