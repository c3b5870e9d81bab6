//! Links to what processes leave on agents.

use anymaster_engine::{AppView, ExecutorView, Task};

use super::super::leadership::Daemon;

/// What there is of a driver elsewhere.
#[derive(Debug, Default)]
pub(super) struct DriverLinks {
    pub(super) sandbox: Option<String>,
    pub(super) history: Option<String>,
}

impl DriverLinks {
    /// Of an application whose driver is, or was, on an agent.
    pub(super) fn of(daemon: &Daemon, app: &AppView) -> Self {
        let known = app.driver.as_ref().and_then(|driver| {
            let (agent, is) = (driver.worker.as_deref()?, driver.dispatched.as_ref()?);
            Some((daemon.agents.as_ref()?, agent, is.attempt))
        });
        known.map_or_else(Self::default, |(agents, agent, attempt)| Self {
            sandbox: agents.sandbox(agent, &app.id, Task::Driver, attempt),
            history: agents.history(&app.id, attempt),
        })
    }
}

/// What an executor left on its agent.
pub(super) fn sandbox(daemon: &Daemon, app: &AppView, executor: &ExecutorView) -> Option<String> {
    let agents = daemon.agents.as_ref()?;
    agents.sandbox(&executor.worker, &app.id, Task::Executor(executor.id), 0)
}
