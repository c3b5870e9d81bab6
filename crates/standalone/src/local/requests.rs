//! Requests of other processes to the owner of a driver or of executors: lines in a file that the
//! owner follows.

use anymaster_core::Result;
use anymaster_core::model::{ExecutorId, Stop};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use super::journal::{Journal, Reader};
use super::notifier::{Changed, Notifier};
use super::store::AppDir;

/// A request to end something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "whom")]
    pub(crate) target: Target,
    pub(crate) stop: Stop,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    Driver,
    /// All executors; no others are started afterwards.
    Executors,
    Executor(ExecutorId),
}

/// Appends a request for the owner.
pub(crate) fn send(dir: &AppDir, notifier: &Notifier, request: &Request) -> Result<()> {
    Journal::open(dir.requests())?.append(std::slice::from_ref(request))?;
    notifier.notify(Changed::Journal(dir.app.clone()));
    Ok(())
}

/// Passes every request to `take`, starting with the first one in the file: an owner also handles
/// requests that are older than itself. Returns only if the file cannot be read, after a warning.
pub(crate) async fn follow(dir: AppDir, notifier: Notifier, take: impl Fn(Request)) {
    let mut changes = notifier.subscribe();
    let watching = notifier.watch(&dir.path);
    if let Err(error) = &watching {
        tracing::warn!(app = %dir.app, %error, "cannot read the requests of other processes");
    }
    let mut reader = Reader::new(dir.requests(), 0);
    loop {
        match reader.read::<Request>() {
            Ok(requests) => requests.into_iter().for_each(&take),
            Err(error) => {
                tracing::warn!(app = %dir.app, %error, "cannot read the requests of other processes");
                return;
            }
        }
        loop {
            match changes.recv().await {
                Ok(Changed::Journal(app)) if app == dir.app => break,
                Ok(Changed::Store) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}
