//! What other processes ask of the owner of a driver or of executors: lines in a file that the owner
//! follows.

use anymaster_core::Result;
use anymaster_core::model::{ExecutorId, Stop};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use super::hub::{Changed, Hub};
use super::journal::{Journal, Reader};
use super::store::AppDir;

/// A request to end something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) whom: Whom,
    pub(crate) stop: Stop,
}

/// What is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Whom {
    Driver,
    /// All of them, for good.
    Executors,
    Executor(ExecutorId),
}

/// Leaves a request for the owner.
pub(crate) fn send(dir: &AppDir, hub: &Hub, request: &Request) -> Result<()> {
    Journal::open(dir.requests())?.append(std::slice::from_ref(request))?;
    hub.tell(Changed::Journal(dir.app.clone()));
    Ok(())
}

/// Hands each request to `take`, from the first one on: an owner that comes later than a request
/// still hears it. Never returns; what can't be read is told once and ends it.
pub(crate) async fn follow(dir: AppDir, hub: Hub, take: impl Fn(Request)) {
    let mut changes = hub.listen();
    let watching = hub.watch(&dir.path);
    if let Err(error) = &watching {
        tracing::warn!(app = %dir.app, %error, "requests of other processes are not heard");
    }
    let mut reader = Reader::new(dir.requests(), 0);
    loop {
        match reader.read::<Request>() {
            Ok(requests) => requests.into_iter().for_each(&take),
            Err(error) => {
                tracing::warn!(app = %dir.app, %error, "requests of other processes are not heard");
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
