//! Masters that agree through ZooKeeper which of them leads, and what there is to know
//! (`spark.deploy.recoveryMode=ZOOKEEPER`).
//!
//! Who leads holds a lock as Curator's `LeaderLatch` makes it. Each write checks in the same
//! transaction that the lock is still there: one who was deposed and has not heard of it changes
//! nothing any more.

mod records;
mod summary;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use zookeeper_client::{
    Acls, Client, CreateMode, LockOptions, LockPrefix, OwnedLockClient, SessionState, WatchedEvent,
};

use self::records::Records;
use super::store::Store;

/// The pause before ZooKeeper is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Servers of ZooKeeper, and where on them masters meet.
pub(super) struct Ensemble {
    servers: String,
    dir: String,
    timeout: Duration,
    /// By which masters are known, and others are kept from what they keep.
    password: Option<String>,
    /// The number of a last change that may be lost, if it is that one.
    accepted: Option<u64>,
    /// The last change that this process has acknowledged.
    acknowledged: Arc<AtomicU64>,
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

fn failed(what: &str, error: zookeeper_client::Error) -> Error {
    let kind = match error {
        zookeeper_client::Error::NoAuth | zookeeper_client::Error::AuthFailed => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {what} ZooKeeper")).with_source(error)
}

impl Ensemble {
    /// `password`: of all masters, if there is a secret. `accepted`: the number of the last change that
    /// was acknowledged, if what is damaged or missing may be lost.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for a directory that is none.
    pub(super) fn new(
        servers: String,
        dir: &str,
        timeout: Duration,
        password: Option<String>,
        accepted: Option<u64>,
    ) -> Result<Self> {
        let dir = dir.trim_end_matches('/');
        if !dir.is_empty() && !dir.starts_with('/') {
            return Err(Error::invalid(format!("spark.deploy.zookeeper.dir: {dir} is not a path"))
                .with_hint("write for example /spark"));
        }
        let (dir, acknowledged) = (format!("{dir}/anymaster"), Arc::default());
        Ok(Self { servers, dir, timeout, password, accepted, acknowledged })
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
        let records = Records::new(self, &lock, records);
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
