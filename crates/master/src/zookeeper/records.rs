//! The records of masters in ZooKeeper: a node for each, and one for the summary of all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anymaster_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use zookeeper_client::{Acl, Acls, CheckWriteError, CreateMode, OwnedLockClient};

use super::summary::{Known, Summary, refusal, seal, unseal};
use super::{Ensemble, Lock, failed};
use crate::store::{Change, Record, Store};

/// The largest record: ZooKeeper takes no more than 1 MiB at once.
const MAX_RECORD: usize = 900 << 10;
/// How much goes in one transaction.
const MAX_TRANSACTION: usize = 512 << 10;
/// How many records are read at once.
const AT_ONCE: usize = 64;
/// The node of the summary: names of records are others.
const SUMMARY: &str = "summary";

/// What ZooKeeper keeps for masters.
pub(super) struct Records {
    lock: Weak<OwnedLockClient>,
    dir: String,
    acls: Acls<'static>,
    /// Whether nobody else may write here.
    is_closed: bool,
    /// Those that exist; unknown after an error.
    known: Mutex<Option<Known>>,
    accepted: Option<u64>,
    /// The last write that this process has acknowledged.
    acknowledged: Arc<AtomicU64>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What was found.
struct Survey {
    known: Known,
    records: Vec<Record>,
    /// The summary, if it could be read.
    summary: Option<Summary>,
    /// Nodes that are not what was written there.
    unreadable: Vec<String>,
}

fn leads_no_more() -> Error {
    Error::new(ErrorKind::NotLeader, "this master leads no more")
}

/// A record's name as a node's.
fn node(name: &str) -> String {
    name.replacen('/', ":", 1)
}

impl Records {
    pub(super) fn new(ensemble: &Ensemble, lock: &Lock, dir: String) -> Self {
        Self {
            lock: Arc::downgrade(lock),
            dir,
            acls: ensemble.acls(),
            is_closed: ensemble.password.is_some(),
            known: Mutex::default(),
            accepted: ensemble.accepted,
            acknowledged: Arc::clone(&ensemble.acknowledged),
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> Result<Lock> {
        self.lock.upgrade().ok_or_else(leads_no_more)
    }

    /// A node, if it has these ACLs: another was put there by others, while they could, and is removed.
    async fn read(
        &self,
        lock: &Lock,
        node: String,
        ours: Option<&[Acl]>,
    ) -> Result<Option<Record>> {
        use zookeeper_client::Error::NoAuth;
        let (client, path) = (lock.client(), format!("{}/{node}", self.dir));
        if let Some(ours) = ours {
            let is_ours = match client.get_acl(&path).await {
                Ok((acls, _)) => acls == ours,
                Err(NoAuth) => false,
                Err(error) => return Err(failed("read", error)),
            };
            if !is_ours {
                tracing::warn!("{path} was not written by a master with our secret: it is removed");
                client.delete(&path, None).await.map_err(|error| failed("write to", error))?;
                return Ok(None);
            }
        }
        let (value, _) = client.get_data(&path).await.map_err(|error| failed("read", error))?;
        Ok(Some((node, value)))
    }

    /// Reads all that there is.
    async fn survey(&self, lock: &Lock) -> Result<Survey> {
        let client = lock.client();
        // What the one before us wrote last may not have come to this server yet.
        client.sync("/").await.map_err(|error| failed("read", error))?;
        let ours = match self.is_closed {
            true => Some(client.get_acl(&self.dir).await.map_err(|e| failed("read", e))?.0),
            false => None,
        };
        let ours = ours.as_deref();
        let nodes = client.list_children(&self.dir).await.map_err(|e| failed("list", e))?;
        let nodes: Vec<Record> = stream::iter(nodes)
            .map(|node| self.read(lock, node, ours))
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|read| std::future::ready(Ok(read)))
            .try_collect()
            .await?;
        let mut survey = Survey {
            known: Known::default(),
            records: Vec::new(),
            summary: None,
            unreadable: Vec::new(),
        };
        for (node, value) in nodes {
            if node == SUMMARY {
                survey.known.is_summed_up = true;
                let summary = unseal(SUMMARY, value).map(|(value, _)| value);
                survey.summary = summary.and_then(|value| serde_json::from_slice(&value).ok());
                continue;
            }
            match unseal(&node, value) {
                Some((value, sum)) => {
                    survey.known.note(&node, Some(sum));
                    survey.records.push((node.replacen(':', "/", 1), value));
                }
                None => survey.unreadable.push(node),
            }
        }
        survey.known.summary.number = survey.summary.as_ref().map_or(0, |summary| summary.number);
        Ok(survey)
    }

    /// What is wrong with what was found, and the number of the last write.
    fn fault(&self, survey: &Survey) -> Option<(String, u64)> {
        let number = survey.known.summary.number;
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        if number < acknowledged {
            let fault = format!("the last write is {number}, and {acknowledged} was acknowledged");
            return Some((fault, acknowledged));
        }
        let fault = survey.known.fault(survey.summary.as_ref(), &survey.unreadable)?;
        Some((fault, number))
    }

    /// Writes some in one transaction; what is known then.
    async fn transact(&self, lock: &Lock, changes: &[&Change], mut known: Known) -> Result<Known> {
        let options = CreateMode::Persistent.with_acls(self.acls);
        let mut writer = lock.new_check_writer();
        let write_to = |error| failed("write to", error);
        for (name, value) in changes {
            let node = node(name);
            let (is_known, path) = (known.has(&node), format!("{}/{node}", self.dir));
            let Some(value) = value else {
                if is_known {
                    writer.add_delete(&path, None).map_err(write_to)?;
                    known.note(&node, None);
                }
                continue;
            };
            let (sealed, sum) = seal(&node, value);
            match is_known {
                true => writer.add_set_data(&path, &sealed, None),
                false => writer.add_create(&path, &sealed, &options),
            }
            .map_err(write_to)?;
            known.note(&node, Some(sum));
        }
        known.summary.number += 1;
        // There is nothing in a summary that JSON does not know.
        let summary = serde_json::to_vec(&known.summary).unwrap_or_default();
        let (path, (sealed, _)) = (format!("{}/{SUMMARY}", self.dir), seal(SUMMARY, &summary));
        match std::mem::replace(&mut known.is_summed_up, true) {
            true => writer.add_set_data(&path, &sealed, None),
            false => writer.add_create(&path, &sealed, &options),
        }
        .map_err(write_to)?;
        match writer.commit().await {
            Ok(_) => {
                self.acknowledged.fetch_max(known.summary.number, Ordering::Relaxed);
                Ok(known)
            }
            Err(CheckWriteError::CheckFailed { source }) => {
                Err(Error::new(ErrorKind::NotLeader, "another master leads now")
                    .with_source(source))
            }
            Err(error) => Err(failed("write to", error.into())),
        }
    }
}

#[async_trait]
impl Store for Records {
    async fn load(&self) -> Result<Vec<Record>> {
        let lock = self.lock()?;
        let mut survey = self.survey(&lock).await?;
        if let Some((fault, number)) = self.fault(&survey) {
            if self.accepted != Some(number) {
                return Err(refusal(&self.dir, &fault, number));
            }
            tracing::warn!("{} was damaged: {fault}; what can be read of it goes on", self.dir);
            // Removed in the transaction that sums up what is left.
            let unreadable: Vec<Change> =
                survey.unreadable.iter().map(|node| (node.clone(), None)).collect();
            for node in &survey.unreadable {
                survey.known.note(node, Some(Default::default()));
            }
            survey.known.summary.number = number;
            let removed: Vec<&Change> = unreadable.iter().collect();
            survey.known = self.transact(&lock, &removed, survey.known).await?;
        }
        *self.known() = Some(survey.known);
        Ok(survey.records)
    }

    async fn write(&self, changes: &Arc<[Change]>) -> Result<()> {
        let lock = self.lock()?;
        let known = self.known().take();
        let mut known = match known {
            Some(known) => known,
            // What became of the last transaction is not known.
            None => {
                let survey = self.survey(&lock).await?;
                if let Some((fault, number)) = self.fault(&survey) {
                    return Err(refusal(&self.dir, &fault, number));
                }
                survey.known
            }
        };
        let (mut some, mut size) = (Vec::new(), 0);
        for change in changes.iter() {
            let length = change.0.len() + change.1.as_ref().map_or(0, Vec::len);
            if size + length > MAX_TRANSACTION && !some.is_empty() {
                known = self.transact(&lock, &std::mem::take(&mut some), known).await?;
                size = 0;
            }
            some.push(change);
            size += length;
        }
        known = self.transact(&lock, &some, known).await?;
        *self.known() = Some(known);
        Ok(())
    }

    async fn confirm(&self) -> Result<()> {
        let lock = self.lock()?;
        let (client, path) = (lock.client(), lock.lock_path());
        client.sync(path).await.map_err(|error| failed("reach", error))?;
        match client.check_stat(path).await.map_err(|error| failed("reach", error))? {
            Some(_) => Ok(()),
            None => Err(leads_no_more()),
        }
    }

    fn max_record(&self) -> usize {
        MAX_RECORD
    }
}
