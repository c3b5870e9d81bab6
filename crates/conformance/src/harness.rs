//! What a backend brings to the suite.

use std::fmt;
use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, CommandLine, ExecutorId};
use anymaster_core::{ClusterManager, Result};
use async_trait::async_trait;

use crate::processes::{self, Process};

/// A cluster to be tested.
#[async_trait]
pub trait Harness: Faults + fmt::Debug + Send + Sync + 'static {
    /// As it is shown: the master URL, mostly.
    fn name(&self) -> String;

    /// A manager of its own for the same cluster: another process' view.
    async fn connect(&self) -> Result<Arc<dyn ClusterManager>>;

    /// What runs on it.
    fn programs(&self) -> Programs;

    /// Properties that every application needs there.
    fn conf(&self) -> Conf {
        Conf::new()
    }

    /// How long executors may outlive their driver there, in seconds.
    fn leak_seconds(&self) -> u64 {
        5
    }

    /// The cores of each driver and executor: some clusters have few.
    fn cores(&self) -> f64 {
        1.0
    }
}

/// What a harness can break. What it can't stays as it is here; processes of this machine can be killed.
#[async_trait]
pub trait Faults {
    /// Which of the following are brought about.
    fn possible(&self) -> Injected {
        Injected::default()
    }

    /// Ends an executor's process with SIGKILL, past the manager.
    async fn kill_executor(&self, app: &AppId, id: ExecutorId) {
        processes::executor(app, id).await.iter().for_each(Process::kill);
    }

    /// Ends a driver's process with SIGKILL, past the manager.
    async fn kill_driver(&self, app: &AppId) {
        processes::driver(app).await.iter().for_each(Process::kill);
    }

    /// Takes away the node or worker that an executor runs on.
    async fn lose_node(&self, _app: &AppId, _id: ExecutorId) {}

    /// Breaks all connections, so that watches end.
    async fn drop_watches(&self) {}

    /// How many processes carry this application's mark, where that can be told.
    async fn processes(&self, _app: &AppId) -> Option<usize> {
        None
    }
}

/// Which faults a harness brings about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Injected {
    /// [`Faults::kill_executor`].
    pub kill_executor: bool,
    /// [`Faults::kill_driver`].
    pub kill_driver: bool,
    /// [`Faults::lose_node`].
    pub lose_node: bool,
    /// [`Faults::drop_watches`].
    pub drop_watches: bool,
}

/// Command lines that a cluster's processes can run.
pub struct Programs {
    /// Runs until it is ended.
    pub wait: CommandLine,
    /// Ends with this code.
    pub exit: Box<dyn Fn(i32) -> CommandLine + Send + Sync>,
    /// Prints a line and ends.
    pub print: Box<dyn Fn(&str) -> CommandLine + Send + Sync>,
    /// Does not exist.
    pub missing: CommandLine,
    /// Exists, and is no program.
    pub not_executable: Option<CommandLine>,
    /// Does not end when it is asked to.
    pub stubborn: Option<CommandLine>,
    /// Uses more than 64 MiB.
    pub hungry: Option<CommandLine>,
    /// A driver that requests so many executors that wait, from its own process, and waits.
    pub owning_driver: Option<Box<dyn Fn(u32) -> CommandLine + Send + Sync>>,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl Programs {
    /// For clusters whose processes have a POSIX shell.
    pub fn posix() -> Self {
        let shell = |script: String| CommandLine::new("/bin/sh").args(["-c".to_owned(), script]);
        Self {
            wait: CommandLine::new("sleep").args(["3600"]),
            exit: Box::new(move |code| shell(format!("exit {code}"))),
            print: Box::new(|text| CommandLine::new("echo").args([text])),
            missing: CommandLine::new("/no/such/program"),
            not_executable: Some(CommandLine::new("/etc/passwd")),
            stubborn: Some(shell("trap '' TERM; echo ready; while :; do sleep 1; done".to_owned())),
            // A shell doubles a text until it is ended.
            hungry: Some(shell(
                "x=0123456789abcdef; while [ ${#x} -lt 1073741824 ]; do x=$x$x; done".to_owned(),
            )),
            owning_driver: None,
        }
    }
}
