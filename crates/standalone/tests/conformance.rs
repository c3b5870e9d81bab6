//! The suite on this machine: `local[64]`, and `local-cluster[3,24,8192]` with workers to lose.
//!
//! Drivers that own their executors, and workers, are this same binary, called with other arguments.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "it is a test")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anymaster_conformance::{Faults, Harness, Injected, Programs};
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, CommandLine, Event, ExecutorId, ExecutorTarget, ExecutorTemplate, ResourceProfile,
    State, Status,
};
use anymaster_core::{ClusterManager, ConnectOptions, Result, native};
use anymaster_standalone::local::{LocalManager, serve_worker};
use async_trait::async_trait;
use futures::StreamExt as _;
use rustix::process::{Pid, Signal};

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

/// A process of an application, by its environment.
struct Marked {
    pid: Pid,
    /// It leads its process group: it is the one that was started.
    leads: bool,
    parent: Option<Pid>,
    executor: Option<u64>,
}

fn marked(app: &AppId) -> Vec<Marked> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let own = std::process::id().to_string();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| *name != own)
        .filter_map(|name| {
            let pid = Pid::from_raw(name.parse().ok()?)?;
            let environ = std::fs::read(format!("/proc/{name}/environ")).ok()?;
            let text = String::from_utf8_lossy(&environ).into_owned();
            let value = |name: &str| {
                let prefix = format!("{name}=");
                text.split('\0').find_map(|entry| Some(entry.strip_prefix(&prefix)?.to_owned()))
            };
            let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
            let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
            let zombie = fields.first() == Some(&"Z");
            let ours = value(native::ENV_APPLICATION_ID)? == app.as_str();
            (ours && !zombie).then(|| Marked {
                pid,
                leads: fields[2] == name,
                parent: fields[1].parse().ok().and_then(Pid::from_raw),
                executor: value(native::ENV_EXECUTOR_ID).and_then(|id| id.parse().ok()),
            })
        })
        .collect()
}

fn kill(pid: Option<Pid>) {
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

#[async_trait]
impl Faults for Local {
    fn possible(&self) -> Injected {
        let lose_node = self.master.starts_with("local-cluster");
        Injected { kill_executor: true, kill_driver: true, lose_node, drop_watches: false }
    }

    async fn kill_executor(&self, app: &AppId, id: ExecutorId) {
        let found = marked(app).into_iter().find(|p| p.leads && p.executor == Some(id.0));
        kill(found.map(|process| process.pid));
    }

    async fn kill_driver(&self, app: &AppId) {
        let found = marked(app).into_iter().find(|p| p.leads && p.executor.is_none());
        kill(found.map(|process| process.pid));
    }

    async fn lose_node(&self, app: &AppId, id: ExecutorId) {
        let found = marked(app).into_iter().find(|p| p.leads && p.executor == Some(id.0));
        kill(found.and_then(|process| process.parent));
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(marked(app).len())
    }
}

/// `owning-driver MASTER EXECUTORS [then-exit]`: requests executors from its own process.
async fn owning_driver(master: &str, executors: &str, then_exit: bool) -> Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let app = AppId::new(&variable(native::ENV_APPLICATION_ID))?;
    let program = std::env::current_exe().unwrap();
    let cluster = connect(master, variable("ANYMASTER_STATE_DIR").into(), program)?;
    let wait = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    let executors: u32 = executors.parse().unwrap();
    let target = ExecutorTarget::new(wait, ResourceProfile::new(1.0, 64), executors);
    cluster.request_executors(&app, &target).await?;
    let mut events = cluster.watch(Some(&app), None).await?;
    let mut running = 0;
    while let Some(event) = events.next().await {
        if let Event::Changed(Status::Executor(executor)) = event?
            && executor.state == State::Running
        {
            running += 1;
        }
        if then_exit && running == executors {
            return Ok(());
        }
    }
    Ok(())
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
