//! Masters that agree through ZooKeeper which of them leads, and what there is to know
//! (`spark.deploy.recoveryMode=ZOOKEEPER`).
//!
//! Who leads holds a lock as Curator's `LeaderLatch` makes it. Each write checks in the same
//! transaction that the lock is still there: one who was deposed and has not heard of it changes
//! nothing any more.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use zookeeper_client::{
    Acl, Acls, CheckWriteError, Client, CreateMode, LockOptions, LockPrefix, OwnedLockClient,
    SessionState, WatchedEvent,
};

use super::store::{Change, Store};

/// The pause before ZooKeeper is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest record: ZooKeeper takes no more than 1 MiB at once.
pub(super) const MAX_RECORD: usize = 900 << 10;
/// How much goes in one transaction.
const MAX_TRANSACTION: usize = 512 << 10;
/// How many records are read at once.
const AT_ONCE: usize = 64;

/// Servers of ZooKeeper, and where on them masters meet.
pub(super) struct Ensemble {
    servers: String,
    dir: String,
    timeout: Duration,
    /// By which masters are known, and others are kept from what they keep.
    password: Option<String>,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble")
            .field("servers", &self.servers)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

type Lock = Arc<OwnedLockClient>;

/// The right to lead, for as long as it lasts; given back when it is dropped.
pub(super) struct Membership {
    lock: Lock,
    /// How long ZooKeeper may be out of reach: less than what it takes to elect another.
    patience: Duration,
}

/// What ZooKeeper keeps for masters.
struct Records {
    lock: Weak<OwnedLockClient>,
    dir: String,
    acls: Acls<'static>,
    /// Whether nobody else may write here.
    is_closed: bool,
    /// Those that exist; unknown after an error.
    known: Mutex<Option<HashSet<String>>>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn failed(what: &str, error: zookeeper_client::Error) -> Error {
    let kind = match error {
        zookeeper_client::Error::NoAuth | zookeeper_client::Error::AuthFailed => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {what} ZooKeeper")).with_source(error)
}

impl Ensemble {
    /// `password`: of all masters, if there is a secret.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for a directory that is none.
    pub(super) fn new(
        servers: String,
        dir: &str,
        timeout: Duration,
        password: Option<String>,
    ) -> Result<Self> {
        let dir = dir.trim_end_matches('/');
        if !dir.is_empty() && !dir.starts_with('/') {
            return Err(Error::invalid(format!("spark.deploy.zookeeper.dir: {dir} is not a path"))
                .with_hint("write for example /spark"));
        }
        Ok(Self { servers, dir: format!("{dir}/anymaster"), timeout, password })
    }

    /// Waits until it is our turn to lead.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) if ZooKeeper does not let us.
    pub(super) async fn win(&self) -> Result<(Arc<dyn Store>, Membership)> {
        let mut has_said = false;
        loop {
            match self.stand().await {
                Ok(won) => return Ok(won),
                Err(error) if error.kind() == ErrorKind::Denied => return Err(error),
                Err(error) if has_said => tracing::debug!("{error}"),
                Err(error) => {
                    tracing::warn!("{error}");
                    has_said = true;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn stand(&self) -> Result<(Arc<dyn Store>, Membership)> {
        let mut connector = Client::connector().with_session_timeout(self.timeout);
        if let Some(password) = &self.password {
            let user = format!("anymaster:{password}");
            connector = connector.with_auth("digest", user.as_bytes());
        }
        let client = connector.connect(&self.servers).await;
        let client =
            client.map_err(|error| failed(&format!("reach {} as", self.servers), error))?;
        let election = format!("{}/leader_election", self.dir);
        let records = format!("{}/state", self.dir);
        self.make_directories(&client, [&self.dir, &election, &records]).await?;
        tracing::info!("waits for its turn to lead");
        let lock = async {
            let prefix = LockPrefix::new_curator(&election, "latch-")?;
            let lock = client.lock(prefix, b"", LockOptions::new(self.acls())).await?;
            Ok(Arc::new(lock.into_owned()))
        };
        let lock: Lock = lock.await.map_err(|error| failed("be elected by", error))?;
        // As the server has it, which may differ from what was asked for.
        let patience = client.session_timeout() / 6;
        let records = Records {
            lock: Arc::downgrade(&lock),
            dir: records,
            acls: self.acls(),
            is_closed: self.password.is_some(),
            known: Mutex::default(),
        };
        Ok((Arc::new(records), Membership { lock, patience }))
    }

    /// Who may do something with what is ours.
    fn acls(&self) -> Acls<'static> {
        match self.password {
            Some(_) => Acls::creator_all(),
            None => Acls::anyone_all(),
        }
    }

    /// Makes what is not there yet, and closes it to others: who may create and delete in a directory is
    /// the directory's to say. What is above it is not only ours.
    async fn make_directories(&self, client: &Client, own: [&str; 3]) -> Result<()> {
        let above = own[0].rsplit_once('/').map_or("", |(above, _)| above);
        let above = (!above.is_empty()).then_some((above, Acls::anyone_all()));
        for (dir, acls) in above.into_iter().chain(own.map(|dir| (dir, self.acls()))) {
            let stat = client.check_stat(dir).await.map_err(|error| failed("reach", error))?;
            if stat.is_none() {
                let options = CreateMode::Persistent.with_acls(acls);
                client.mkdir(dir, &options).await.map_err(|error| failed("write to", error))?;
            }
        }
        if self.password.is_some() {
            for dir in own {
                let closed = client.set_acl(dir, &self.acls(), None).await;
                closed.map_err(|error| failed("keep others from", error))?;
            }
        }
        Ok(())
    }
}

impl Membership {
    /// Waits until another one may lead; says why.
    pub(super) async fn lost(self) -> String {
        let client = self.lock.client();
        let watched = client.check_and_watch_stat(self.lock.lock_path()).await;
        let Ok((Some(_), watcher)) = watched else {
            return "the lock is gone".to_owned();
        };
        tokio::select! {
            WatchedEvent { event_type, .. } = watcher.changed() => {
                format!("the lock is gone ({event_type:?})")
            }
            why = self.out_of_reach() => why,
        }
    }

    async fn out_of_reach(&self) -> String {
        let mut watcher = self.lock.client().state_watcher();
        let mut state = watcher.state();
        loop {
            state = match state {
                SessionState::SyncConnected => watcher.changed().await,
                SessionState::Disconnected | SessionState::ConnectedReadOnly => {
                    match tokio::time::timeout(self.patience, watcher.changed()).await {
                        Ok(state) => state,
                        Err(_) => {
                            return format!("ZooKeeper is out of reach for {:?}", self.patience);
                        }
                    }
                }
                over => return format!("the session with ZooKeeper is over ({over:?})"),
            };
        }
    }
}

/// A record's name as a node's.
fn node(name: &str) -> String {
    name.replacen('/', ":", 1)
}

impl Records {
    fn known(&self) -> MutexGuard<'_, Option<HashSet<String>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> Result<Lock> {
        self.lock
            .upgrade()
            .ok_or_else(|| Error::new(ErrorKind::NotLeader, "this master leads no more"))
    }

    async fn list(&self, lock: &Lock) -> Result<HashSet<String>> {
        let listed = lock.client().list_children(&self.dir).await;
        let nodes: HashSet<String> = listed.map_err(|e| failed("list", e))?.into_iter().collect();
        *self.known() = Some(nodes.clone());
        Ok(nodes)
    }

    /// A record, if it has these ACLs: another was put there by others, while they could, and is removed.
    async fn read(
        &self,
        lock: &Lock,
        node: String,
        ours: Option<&[Acl]>,
    ) -> Result<Option<(String, Vec<u8>)>> {
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
                self.known().as_mut().map(|known| known.remove(&node));
                return Ok(None);
            }
        }
        let (value, _) = client.get_data(&path).await.map_err(|error| failed("read", error))?;
        Ok(Some((node.replacen(':', "/", 1), value)))
    }

    /// Writes some in one transaction; those that exist then.
    async fn transact(
        &self,
        lock: &Lock,
        changes: &[&Change],
        mut known: HashSet<String>,
    ) -> Result<HashSet<String>> {
        let options = CreateMode::Persistent.with_acls(self.acls);
        let mut writer = lock.new_check_writer();
        for (name, value) in changes {
            let (node, is_known) = (node(name), known.contains(&node(name)));
            let path = format!("{}/{node}", self.dir);
            let added = match value {
                Some(value) if is_known => writer.add_set_data(&path, value, None),
                Some(value) => {
                    known.insert(node);
                    writer.add_create(&path, value, &options)
                }
                None if is_known => {
                    known.remove(&node);
                    writer.add_delete(&path, None)
                }
                None => Ok(()),
            };
            added.map_err(|error| failed("write to", error))?;
        }
        match writer.commit().await {
            Ok(_) => Ok(known),
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
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let lock = self.lock()?;
        let client = lock.client();
        // What the one before us wrote last may not have come to this server yet.
        client.sync("/").await.map_err(|error| failed("read", error))?;
        let ours = match self.is_closed {
            true => Some(client.get_acl(&self.dir).await.map_err(|e| failed("read", e))?.0),
            false => None,
        };
        let (lock, ours) = (&lock, ours.as_deref());
        stream::iter(self.list(lock).await?)
            .map(|node| self.read(lock, node, ours))
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|record| std::future::ready(Ok(record)))
            .try_collect()
            .await
    }

    async fn write(&self, changes: &Arc<[Change]>) -> Result<()> {
        let lock = self.lock()?;
        let known = self.known().take();
        let mut known = match known {
            Some(known) => known,
            // What became of the last transaction is not known.
            None => self.list(&lock).await?,
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

    fn max_record(&self) -> usize {
        MAX_RECORD
    }
}
