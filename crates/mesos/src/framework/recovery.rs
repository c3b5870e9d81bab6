//! Recovery at the start: reads the framework's running tasks from the master.

use std::collections::HashMap;
use std::sync::Arc;

use anymaster_core::{Error, Result};
use anymaster_engine::{Progress, Task, TaskReport};
use tokio::time::Instant;

use super::tasks::{Agent, known, name};
use super::{FrameworkDriver, Live};
use crate::model::TaskState;

impl FrameworkDriver {
    /// Registers all tasks of this framework that the master knows with the engine.
    pub(super) async fn restore(&mut self) -> Result<()> {
        let nobody = || Error::unavailable("the framework has not been subscribed yet");
        let tasks = self.sandboxes.tasks(self.framework.as_ref().ok_or_else(nobody)?).await?;
        let mut held: HashMap<Agent, Vec<TaskReport>> = HashMap::new();
        for task in tasks {
            let Some(is) = known(&task.labels) else { continue };
            let attempt = self.agents.attempts(&is.app);
            // A task of an abandoned attempt.
            if attempt.is_some_and(|now| name(&is.app, is.task, now) != task.id.value) {
                continue;
            }
            // The end of a driver that the engine believes to run was not acknowledged, so the update will be
            // sent again. Others that ended do not matter any more.
            if task.state.is_ended() && (is.task != Task::Driver || attempt.is_none()) {
                continue;
            }
            let agent = Agent::from(task.agent_id.value.as_str());
            let port = match is.progress {
                Progress::Running { port, .. } => port,
                _ => None,
            };
            let progress = match task.state {
                TaskState::TaskStaging | TaskState::TaskStarting => Progress::Starting,
                _ => Progress::Running { port, host: task.own_address.clone() },
            };
            let live = Live {
                agent: Arc::clone(&agent),
                app: is.app.clone(),
                task: is.task,
                port,
                gpus: task.resources.gpus as u64,
                has_update: true,
                has_run: progress != Progress::Starting,
                launched: Instant::now(),
                answered: None,
                stop: None,
            };
            self.tasks.insert(task.id.value.clone(), live);
            let host = task.agent.as_ref().map(|agent| agent.hostname.as_str());
            self.hosts.insert(Arc::clone(&agent), host.unwrap_or_default().into());
            held.entry(agent).or_default().push(TaskReport { progress, ..is });
        }
        let many: usize = held.values().map(Vec::len).sum();
        if many > 0 {
            tracing::info!("recovered {many} tasks on {} agents", held.len());
        }
        for (agent, held) in held {
            let host = self.hosts.get(&agent).map(|host| host.to_string()).unwrap_or_default();
            self.agents.register(self.info(&agent, &host), held);
        }
        self.agents.recovered();
        Ok(())
    }
}
