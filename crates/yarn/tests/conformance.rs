//! The conformance suite on a real YARN of this machine (`tests/clusters/yarn/up`): `tests/all yarn` runs it.
//!
//! Drivers that own their executors are this same binary, called with other arguments. Application masters are the
//! program `anymaster` that `ANYMASTER_PROGRAM` names.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "it is a test")]

use std::process::ExitCode;
use std::sync::Arc;

use anymaster_conformance::processes::{self, Process};
use anymaster_conformance::{Faults, Harness, Injected, Programs, own_executors};
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, CommandLine, ResourceProfile};
use anymaster_core::{ClusterManager, ConnectOptions, Registry, Result, native};
use anymaster_yarn::YARN;
use async_trait::async_trait;

#[derive(Debug)]
struct Cluster;

async fn connect(conf: Conf) -> Result<Arc<dyn ClusterManager>> {
    let options = ConnectOptions::new("yarn".parse()?).with_conf(conf);
    Registry::new().with(YARN).connect(options).await
}

#[async_trait]
impl Harness for Cluster {
    fn name(&self) -> String {
        "yarn".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        connect(self.conf()).await
    }

    /// The ResourceManager hears once a second from each node.
    fn leak_seconds(&self) -> u64 {
        10
    }

    fn programs(&self) -> Programs {
        let program = std::env::current_exe().unwrap().display().to_string();
        Programs {
            owning_driver: Some(Box::new(move |executors| {
                let args = ["owning-driver".to_owned(), executors.to_string()];
                CommandLine::new(program.clone()).args(args)
            })),
            ..Programs::posix()
        }
    }

    fn conf(&self) -> Conf {
        // All nodes are this machine.
        let program = format!("local:{}", std::env::var("ANYMASTER_PROGRAM").unwrap());
        [
            ("spark.anymaster.yarn.program", program.as_str()),
            ("spark.yarn.report.interval", "300ms"),
        ]
        .into_iter()
        .collect()
    }
}

#[async_trait]
impl Faults for Cluster {
    fn possible(&self) -> Injected {
        Injected { kill_executor: true, kill_driver: true, lose_node: false, drop_watches: false }
    }

    /// It is a child of the application master, in its process group.
    async fn kill_driver(&self, app: &AppId) {
        let all = processes::of_application(app);
        all.iter().filter(|process| !process.is_of_executor()).for_each(Process::kill);
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(processes::of_application(app).len())
    }
}

/// `owning-driver EXECUTORS [then-exit]`, in a container.
async fn owning_driver(executors: &str, then_exit: bool) -> Result<()> {
    let app = AppId::new(&std::env::var(native::ENV_APPLICATION_ID).unwrap())?;
    let cluster = connect(Conf::new()).await?;
    let profile = ResourceProfile::new(1.0, 64);
    own_executors(&*cluster, &app, profile, executors.parse().unwrap(), then_exit).await
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (executors, then_exit) = match args[..] {
        [_, "owning-driver", executors] => (executors, false),
        [_, "owning-driver", executors, "then-exit"] => (executors, true),
        _ if std::env::var_os("ANYMASTER_YARN_STATE").is_none() => {
            eprintln!("not run: it needs a YARN; tests/all yarn brings one up");
            return ExitCode::SUCCESS;
        }
        _ => return anymaster_conformance::run(vec![Arc::new(Cluster)]),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(owning_driver(executors, then_exit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
