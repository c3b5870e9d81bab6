//! What a worker tells its shuffle service (Spark 3.5, `Worker`). An application or executor that has registered
//! nothing there is none of its business.

use anymaster_core::model::{AppId, ExecutorId};
use anymaster_core::{ErrorKind, Result};
use anymaster_shuffle::ShuffleHandle;

/// An application has ended, and nothing of it is left here: its blocks go.
pub(super) fn application_ended(service: Option<&ShuffleHandle>, app: &AppId) {
    let Some(service) = service.cloned() else { return };
    let app = app.to_string();
    tokio::spawn(async move {
        report(service.application_ended(&app).await, &app);
    });
}

/// An executor has ended, and its application has not: what nobody reads goes.
pub(super) fn executor_ended(service: Option<&ShuffleHandle>, app: &AppId, id: ExecutorId) {
    let Some(service) = service.cloned() else { return };
    let (app, id) = (app.to_string(), id.to_string());
    tokio::spawn(async move {
        report(service.executor_ended(&app, &id).await, &app);
    });
}

fn report(told: Result<()>, app: &str) {
    match told {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(app, "the shuffle service cannot clean up: {error}");
        }
        _ => {}
    }
}
