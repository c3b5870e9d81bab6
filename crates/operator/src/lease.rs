//! Leader election by a Lease, as client-go does it: of several operators with one lock, one works.

use std::time::{Duration, Instant};

use anymaster_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::cluster::call;

/// How long a lock holds that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder tries to renew its lock before it stops working.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the lock is looked at or renewed.
const PERIOD: Duration = Duration::from_secs(2);

/// A lock, and who wants it.
#[derive(Clone)]
pub(crate) struct Lock {
    leases: Api<Lease>,
    shown: String,
    name: String,
    identity: String,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("lease", &self.shown).finish_non_exhaustive()
    }
}

/// What was seen of another holder, and when: its clock does not count.
#[derive(Debug, Clone, PartialEq)]
struct Observed {
    holder: String,
    renewed: Option<Timestamp>,
    transitions: i32,
    at: Instant,
}

impl Lock {
    /// `identity` tells this process from all others.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let shown = format!("{namespace}/{name}");
        Self { leases: Api::namespaced(client, namespace), shown, name: name.to_owned(), identity }
    }

    /// Waits until this process holds the lock.
    ///
    /// # Errors
    /// If leases may not be read or written.
    pub(crate) async fn acquire(&self) -> Result<()> {
        let mut observed = None;
        let mut told = String::new();
        loop {
            match self.attempt(&mut observed).await {
                Ok(true) => {
                    tracing::info!(lease = self.shown, "this process leads");
                    return Ok(());
                }
                Ok(false) => {
                    let holder =
                        observed.as_ref().map(|seen| seen.holder.clone()).unwrap_or_default();
                    if told != holder {
                        tracing::info!(lease = self.shown, holder, "another process leads");
                        told = holder;
                    }
                }
                Err(error) if error.kind().is_retryable() => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Renews the lock for as long as it can be renewed. Returns when it cannot any more.
    pub(crate) async fn keep(&self) -> Error {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            let why = match tokio::time::timeout(left, self.attempt(&mut None)).await {
                Ok(Ok(true)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(false)) => "another process has taken it".to_owned(),
                Ok(Err(error)) if renewed.elapsed() < DEADLINE => {
                    tracing::warn!("{error}");
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it could not be renewed within {DEADLINE:?}"),
            };
            let words = format!("lost the lease {}: {why}", self.shown);
            return Error::new(ErrorKind::NotLeader, words);
        }
    }

    /// Gives the lock up, so that another process need not wait for its end.
    pub(crate) async fn release(&self) {
        let released = async {
            let what = format!("get lease {}", self.shown);
            let Some(mut lease) = call(&what, self.leases.get_opt(&self.name)).await? else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.replace(&lease).await.map(drop)
        };
        if let Err(error) = released.await {
            tracing::warn!("{error}: it ends by itself within {DURATION:?}");
        }
    }

    /// Takes or renews the lock, unless another process holds it.
    async fn attempt(&self, observed: &mut Option<Observed>) -> Result<bool> {
        let what = format!("get lease {}", self.shown);
        let Some(mut lease) = call(&what, self.leases.get_opt(&self.name)).await? else {
            return self.create().await;
        };
        let seen = observe(&lease, observed.take());
        let (is_ours, is_free) = (seen.holder == self.identity, is_free(&seen, Instant::now()));
        let transitions = seen.transitions;
        *observed = Some(seen);
        if !is_ours && !is_free {
            return Ok(false);
        }
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        if !is_ours {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(transitions.saturating_add(1));
        }
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        self.replace(&lease).await
    }

    async fn create(&self) -> Result<bool> {
        let now = MicroTime(Timestamp::now());
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        let what = format!("create lease {}", self.shown);
        won(call(&what, self.leases.create(&PostParams::default(), &lease)).await)
    }

    /// Replaces the lease if it still has the version that was read.
    async fn replace(&self, lease: &Lease) -> Result<bool> {
        let what = format!("update lease {}", self.shown);
        won(call(&what, self.leases.replace(&self.name, &PostParams::default(), lease)).await)
    }
}

/// Whether a write came first.
fn won<T>(written: Result<T>) -> Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

fn observe(lease: &Lease, before: Option<Observed>) -> Observed {
    let spec = lease.spec.clone().unwrap_or_default();
    let now = Observed {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
        at: Instant::now(),
    };
    // What has not changed is as old as it was.
    let is_same = |known: &Observed| known.holder == now.holder && known.renewed == now.renewed;
    before.filter(is_same).unwrap_or(now)
}

fn is_free(seen: &Observed, now: Instant) -> bool {
    seen.holder.is_empty() || now.saturating_duration_since(seen.at) > DURATION
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Lease {
        let renew_time = Some(MicroTime(Timestamp::from_second(renewed).unwrap()));
        let holder_identity = Some(holder.to_owned());
        let spec = Some(LeaseSpec { holder_identity, renew_time, ..LeaseSpec::default() });
        Lease { spec, ..Lease::default() }
    }

    #[test]
    fn a_lock_is_free_when_its_holder_was_silent_for_its_duration_by_our_clock() {
        // The clock of the holder is far ahead.
        let first = observe(&lease("other", 4_000_000_000), None);
        assert!(!is_free(&first, first.at + DURATION));
        let again = observe(&lease("other", 4_000_000_000), Some(first.clone()));
        assert_eq!(again.at, first.at);
        assert!(is_free(&again, first.at + DURATION + Duration::from_millis(1)));
        let renewed = observe(&lease("other", 4_000_000_002), Some(first.clone()));
        assert!(renewed.at >= first.at && renewed.renewed != first.renewed);
    }

    #[test]
    fn a_lock_that_was_given_up_is_free() {
        let seen = observe(&lease("", 1), None);
        assert!(is_free(&seen, seen.at));
    }
}
