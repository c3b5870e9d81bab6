//! The suite on this machine: `local[64]`, and `local-cluster[3,24,8192]` with workers to lose.
//!
//! Drivers that own their executors, and workers, are this same binary, called with other arguments.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "it is a test")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anymaster_conformance::processes::{self, Process};
use anymaster_conformance::{Faults, Harness, Injected, Programs, own_executors};
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, CommandLine, ExecutorId, ResourceProfile};
use anymaster_core::{ClusterManager, ConnectOptions, Result, native};
use anymaster_standalone::local::{LocalManager, serve_worker};
use async_trait::async_trait;

#[derive(Debug)]
struct Local {
    master: &'static str,
    state_dir: PathBuf,
    program: PathBuf,
}

fn connect(master: &str, state_dir: PathBuf, program: PathBuf) -> Result<Arc<dyn ClusterManager>> {
    let conf: Conf =
        [("spark.anymaster.local.retainedApplications", "100000")].into_iter().collect();
    let program = Some(program);
    let options = ConnectOptions {
        master: master.parse()?,
        conf,
        state_dir,
        program,
        observer: Default::default(),
    };
    LocalManager::open(options).map(|manager| Arc::new(manager) as _)
}

#[async_trait]
impl Harness for Local {
    fn name(&self) -> String {
        self.master.to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        connect(self.master, self.state_dir.clone(), self.program.clone())
    }

    fn programs(&self) -> Programs {
        let program = self.program.display().to_string();
        let master = self.master;
        Programs {
            owning_driver: Some(Box::new(move |executors| {
                let args = ["owning-driver".to_owned(), master.to_owned(), executors.to_string()];
                CommandLine::new(program.clone()).args(args)
            })),
            ..Programs::posix()
        }
    }
}

#[async_trait]
impl Faults for Local {
    fn possible(&self) -> Injected {
        let lose_node = self.master.starts_with("local-cluster");
        Injected { kill_executor: true, kill_driver: true, lose_node, drop_watches: false }
    }

    async fn kill_executor(&self, app: &AppId, id: ExecutorId) {
        processes::executor(app, id).iter().for_each(Process::kill);
    }

    async fn kill_driver(&self, app: &AppId) {
        processes::driver(app).iter().for_each(Process::kill);
    }

    async fn lose_node(&self, app: &AppId, id: ExecutorId) {
        processes::executor(app, id).iter().for_each(Process::kill_parent);
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(processes::of_application(app).len())
    }
}

/// `owning-driver MASTER EXECUTORS [then-exit]`: requests executors from its own process.
async fn owning_driver(master: &str, executors: &str, then_exit: bool) -> Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let app = AppId::new(&variable(native::ENV_APPLICATION_ID))?;
    let program = std::env::current_exe().unwrap();
    let cluster = connect(master, variable("ANYMASTER_STATE_DIR").into(), program)?;
    let (executors, profile) = (executors.parse().unwrap(), ResourceProfile::new(1.0, 64));
    own_executors(&*cluster, &app, profile, executors, then_exit).await
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let role = |role: std::pin::Pin<Box<dyn Future<Output = Result<()>>>>| {
        match tokio::runtime::Runtime::new().unwrap().block_on(role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:?}");
                ExitCode::FAILURE
            }
        }
    };
    match args[..] {
        [_, "local-worker"] => role(Box::pin(serve_worker())),
        [_, "owning-driver", master, executors] => {
            let (master, executors) = (master.to_owned(), executors.to_owned());
            role(Box::pin(async move { owning_driver(&master, &executors, false).await }))
        }
        [_, "owning-driver", master, executors, "then-exit"] => {
            let (master, executors) = (master.to_owned(), executors.to_owned());
            role(Box::pin(async move { owning_driver(&master, &executors, true).await }))
        }
        _ => {
            let state = tempfile::tempdir().unwrap();
            let program = std::env::current_exe().unwrap();
            let harness = |master| -> Arc<dyn Harness> {
                let (state_dir, program) = (state.path().to_owned(), program.clone());
                Arc::new(Local { master, state_dir, program })
            };
            let code = anymaster_conformance::run(vec![
                harness("local[64]"),
                harness("local-cluster[3,24,8192]"),
            ]);
            // Watchers may still write; what is left is in the system's temporary directory.
            drop(state);
            code
        }
    }
}
