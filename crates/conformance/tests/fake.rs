//! The suite on the cluster in memory: proves the suite as much as the cluster.

use std::process::ExitCode;
use std::sync::Arc;

use anymaster_conformance::{Faults, Harness, Injected, Programs};
use anymaster_core::model::{AppId, Cause, CommandLine, ExecutorId, Subject};
use anymaster_core::testing::FakeCluster;
use anymaster_core::{ClusterManager, Result};
use async_trait::async_trait;

#[derive(Debug, Default)]
struct Fake(FakeCluster);

#[async_trait]
impl Harness for Fake {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        Ok(Arc::new(self.0.clone()))
    }

    fn programs(&self) -> Programs {
        Programs {
            wait: CommandLine::new("sleep"),
            exit: Box::new(|code| CommandLine::new("exit").args([code.to_string()])),
            print: Box::new(|text| CommandLine::new("echo").args([text])),
            missing: CommandLine::new("/no/such/program"),
            not_executable: None,
            stubborn: None,
            hungry: None,
            owning_driver: None,
        }
    }
}

#[async_trait]
impl Faults for Fake {
    fn possible(&self) -> Injected {
        Injected { kill_executor: true, kill_driver: false, lose_node: true, drop_watches: true }
    }

    async fn kill_executor(&self, app: &AppId, id: ExecutorId) {
        let subject = Subject::Executor(app.clone(), id);
        self.0.kill_with(&subject, Cause::Signaled { signal: 9 });
    }

    async fn lose_node(&self, app: &AppId, id: ExecutorId) {
        let subject = Subject::Executor(app.clone(), id);
        self.0.kill_with(&subject, Cause::Lost { why: "its node is gone".into() });
    }

    async fn drop_watches(&self) {
        self.0.drop_watches();
    }
}

fn main() -> ExitCode {
    anymaster_conformance::run(vec![Arc::new(Fake::default())])
}
