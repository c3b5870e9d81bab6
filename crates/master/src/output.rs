//! The output of processes on agents.

use std::sync::Arc;

use anymaster_core::model::{AppId, Subject, SubmissionId};
use anymaster_core::{Error, LogOptions, LogStream, Result};
use anymaster_engine::{OutputLocation, Task};
use tokio::sync::watch;

use super::leadership::Daemon;
use super::shared::Shared;

/// The output of a process on an agent.
///
/// # Errors
/// [`NotFound`](anymaster_core::ErrorKind::NotFound) for an unknown process, and
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for one on a worker.
pub(super) async fn of_agent(
    shared: &Arc<Shared>,
    daemon: &Daemon,
    app: &AppId,
    task: Task,
    options: &LogOptions,
) -> Result<LogStream> {
    let subject = match task {
        Task::Driver => Subject::Driver(SubmissionId::new(app.as_str())?),
        Task::Executor(id) => Subject::Executor(app.clone(), id),
    };
    let mut events = shared.subscribe(Some(app));
    let (Some(agents), Some((OutputLocation::Agent { agent, attempt }, ..))) =
        (&daemon.agents, shared.read(|engine| engine.locate(&subject))?)
    else {
        return Err(Error::unsupported("output is with the workers"));
    };
    let (ended, has_ended) = watch::channel(false);
    let (shared, id) = (Arc::clone(shared), app.clone());
    tokio::spawn(async move {
        let until = async {
            loop {
                events.mark_unchanged();
                if shared.read(|engine| engine.has_ended(&id, task)) {
                    break;
                }
                if events.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = until => { ended.send_replace(true); }
            // The reader has gone.
            () = ended.closed() => {}
        }
    });
    agents.output(&agent, (app, task, attempt), options, has_ended).await
}
