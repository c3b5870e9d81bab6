//! Which of several masters leads.

use std::fmt;
use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};

use super::store::{self, Store};
use super::zookeeper::{Ensemble, Membership};
use anymaster_native::keys;

/// How a master comes to lead (`spark.deploy.recoveryMode`).
#[derive(Debug)]
pub(super) enum Election {
    /// There is one, with what it keeps, if anything.
    Alone(Option<Arc<dyn Store>>),
    /// ZooKeeper says, and keeps what they know.
    Contested(Ensemble),
}

/// The time for which a master leads.
pub(super) struct Term {
    pub(super) store: Option<Arc<dyn Store>>,
    membership: Option<Membership>,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Election {
    /// As properties say.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a mode that there is not, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the store cannot be opened.
    pub(super) fn open(conf: &Conf) -> Result<Self> {
        let mode = conf.read(&keys::RECOVERY_MODE)?;
        let accepted = conf.read_optional(&keys::ACCEPT_LOSS)?;
        match mode.to_ascii_uppercase().as_str() {
            "NONE" => Ok(Self::Alone(None)),
            "FILESYSTEM" => {
                let directory = conf.read_optional(&keys::RECOVERY_DIRECTORY)?;
                let directory = needed(&mode, &keys::RECOVERY_DIRECTORY.info, directory)?;
                Ok(Self::Alone(Some(store::file(directory.as_ref(), accepted)?)))
            }
            "ZOOKEEPER" => {
                let password = keys::secret(conf)?.password()?;
                let url = conf.read_optional(&keys::ZOOKEEPER_URL)?;
                let url = needed(&mode, &keys::ZOOKEEPER_URL.info, url)?;
                let dir = conf.read(&keys::ZOOKEEPER_DIR)?;
                let timeout = conf.read(&keys::ZOOKEEPER_TIMEOUT)?;
                Ok(Self::Contested(Ensemble::new(url, &dir, timeout, password, accepted)?))
            }
            _ => Err(Error::unsupported(format!(
                "{}: there is no mode {mode:?}",
                keys::RECOVERY_MODE.info.name
            ))
            .with_hint("write NONE, FILESYSTEM or ZOOKEEPER")),
        }
    }

    /// Waits until it is our turn.
    ///
    /// # Errors
    /// If that will never be.
    pub(super) async fn win(&self) -> Result<Term> {
        match self {
            Self::Alone(store) => Ok(Term::alone(store.clone())),
            Self::Contested(ensemble) => {
                let (store, membership) = ensemble.win().await?;
                Ok(Term { store: Some(store), membership: Some(membership) })
            }
        }
    }
}

impl Term {
    /// Of a master that is the only one.
    pub(super) fn alone(store: Option<Arc<dyn Store>>) -> Self {
        Self { store, membership: None }
    }

    /// Waits until another one may lead; says why.
    pub(super) async fn lost(self) -> String {
        match self.membership {
            Some(membership) => membership.lost().await,
            None => std::future::pending().await,
        }
    }
}

fn needed(
    mode: &str,
    key: &anymaster_core::conf::keys::KeyInfo,
    value: Option<String>,
) -> Result<String> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Error::invalid(format!("{} {mode} needs {}", keys::RECOVERY_MODE.info.name, key.name))
            .with_hint(format!("set {}", key.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_there_are_not_are_refused() {
        let open = |pairs: &[(&str, &str)]| Election::open(&pairs.iter().copied().collect());
        assert!(matches!(open(&[]).unwrap(), Election::Alone(None)));
        assert!(matches!(
            open(&[("spark.deploy.recoveryMode", "none")]).unwrap(),
            Election::Alone(None)
        ));
        for (mode, why) in [
            ("FILESYSTEM", "needs spark.deploy.recoveryDirectory"),
            ("ZOOKEEPER", "needs spark.deploy.zookeeper.url"),
            ("PAPER", "no mode \"PAPER\""),
        ] {
            let error = open(&[("spark.deploy.recoveryMode", mode)]).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
