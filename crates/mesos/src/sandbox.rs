//! What a framework asks masters and agents beside its subscription: its tasks, and their sandboxes.

use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::{Error, HostPort, LogOptions, LogStream, Result};
use tokio::sync::watch;

use crate::agent::{MasterTask, OperatorClient, sandbox_url};
use crate::credentials::Credentials;
use crate::model::Id;

/// Asks at the master at which the framework is subscribed.
#[derive(Debug, Clone)]
pub(crate) struct Sandboxes {
    inquiry: OperatorClient,
    master: Arc<Mutex<Option<HostPort>>>,
}

impl Sandboxes {
    pub(crate) fn new(credentials: Option<Credentials>) -> Result<Self> {
        Ok(Self { inquiry: OperatorClient::new(credentials)?, master: Arc::default() })
    }

    /// The framework is subscribed there.
    pub(crate) fn set_master(&self, master: HostPort) {
        *self.master.lock().unwrap_or_else(PoisonError::into_inner) = Some(master);
    }

    fn master(&self) -> Option<HostPort> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All tasks of the framework that the master knows.
    pub(crate) async fn tasks(&self, framework: &Id) -> Result<Vec<MasterTask>> {
        let nowhere = || Error::unavailable("the framework has not been subscribed yet");
        self.inquiry.tasks(&self.master().ok_or_else(nowhere)?, framework).await
    }

    /// The page of an agent.
    pub(crate) fn agent_page(&self, agent: &str) -> String {
        let master = self.master().map(|master| format!("http://{master}"));
        format!("{}/#/agents/{agent}", master.unwrap_or_default())
    }

    /// The page of a task's sandbox.
    pub(crate) fn page(&self, agent: &str, framework: &Id, task: &str) -> Option<String> {
        Some(sandbox_url(&self.master()?, &Id::new(agent), framework, task))
    }

    /// The output of a task; `ended` turns to `true` when it has.
    pub(crate) async fn output(
        &self,
        agent: &str,
        framework: &Id,
        task: &str,
        options: &LogOptions,
        ended: watch::Receiver<bool>,
    ) -> Result<LogStream> {
        let away = || Error::unavailable(format!("Mesos agent {agent} is not registered now"));
        let master = self.master().ok_or_else(away)?;
        let agent = self.inquiry.agent(&master, &Id::new(agent)).await?.ok_or_else(away)?;
        Ok(self.inquiry.output(&agent.address, framework, task, options, ended))
    }
}
