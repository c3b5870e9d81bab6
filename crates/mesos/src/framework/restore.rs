//! What runs already when a daemon begins: the master knows.

use std::collections::HashMap;
use std::sync::Arc;

use anymaster_core::{Error, Result};
use anymaster_dispatcher::wire::{Held, Progress, Task};
use tokio::time::Instant;

use super::tasks::{Agent, known, name};
use super::{Bridge, Live};
use crate::model::TaskState;

impl Bridge {
    /// Tells the cluster of all tasks that the master knows of this framework.
    pub(super) async fn restore(&mut self) -> Result<()> {
        let nobody = || Error::unavailable("the framework has not been subscribed yet");
        let tasks = self.sandboxes.tasks(self.framework.as_ref().ok_or_else(nobody)?).await?;
        let mut held: HashMap<Agent, Vec<Held>> = HashMap::new();
        for task in tasks {
            let Some(is) = known(&task.labels) else { continue };
            let attempt = self.agents.attempts(&is.app);
            // Of an attempt that was given up.
            if attempt.is_some_and(|now| name(&is.app, is.task, now) != task.id.value) {
                continue;
            }
            // How a driver ended that the cluster believes to run has not been acknowledged: it will be
            // told again. Of others that ended, nobody has to know any more.
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
                is_heard: true,
                has_run: progress != Progress::Starting,
                launched: Instant::now(),
                answered: None,
                stop: None,
            };
            self.tasks.insert(task.id.value.clone(), live);
            let host = task.agent.as_ref().map(|agent| agent.hostname.as_str());
            self.hosts.insert(Arc::clone(&agent), host.unwrap_or_default().into());
            held.entry(agent).or_default().push(Held { progress, ..is });
        }
        let many: usize = held.values().map(Vec::len).sum();
        if many > 0 {
            tracing::info!("{many} tasks on {} agents go on", held.len());
        }
        for (agent, held) in held {
            let host = self.hosts.get(&agent).map(|host| host.to_string()).unwrap_or_default();
            self.agents.register(self.info(&agent, &host), held);
        }
        self.agents.restored();
        Ok(())
    }
}
