//! The suite on this machine: `local[64]`, `local-cluster[3,24,8192]` with workers to lose, and a master
//! of its own with three workers, which share a secret.
//!
//! Drivers that own their executors, masters and workers are this same binary, called with other
//! arguments.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use anymaster_conformance::processes::{self, Process};
use anymaster_conformance::{Faults, Harness, Injected, Programs, Proxy, own_executors};
use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, CommandLine, ExecutorId, ResourceProfile};
use anymaster_core::{ClusterManager, ConnectOptions, Result, native};
use anymaster_standalone::client::Remote;
use anymaster_standalone::client::masters;
use anymaster_standalone::local::{LocalManager, serve_worker};
use anymaster_standalone::master::{Master, MasterOptions};
use anymaster_standalone::worker::{Worker, WorkerOptions};
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
    let options = ConnectOptions::new(master.parse()?)
        .with_conf(conf)
        .with_state_dir(state_dir)
        .with_program(program);
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

    async fn lose_node(&self, app: &AppId, id: ExecutorId) {
        processes::executor(app, id).await.iter().for_each(Process::kill_parent);
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(processes::of_application(app).len())
    }
}

/// A master and its workers, as processes.
#[derive(Debug)]
struct Cluster {
    url: &'static str,
    program: PathBuf,
    secret: PathBuf,
    processes: Arc<Mutex<Vec<Child>>>,
    proxy: Proxy,
}

fn properties(secret: &Path) -> Conf {
    let secret = secret.display().to_string();
    [("spark.anymaster.authenticate.secretFile", secret.as_str())].into_iter().collect()
}

fn connect_standalone(url: &str, secret: &Path) -> Result<Arc<dyn ClusterManager>> {
    let options = ConnectOptions::new(url.parse()?).with_conf(properties(secret));
    Remote::connect(&options).map(|manager| Arc::new(manager) as _)
}

impl Cluster {
    fn start(state: &Path, program: PathBuf) -> Self {
        let secret = state.join("cluster-secret");
        std::fs::write(&secret, "of the whole cluster").unwrap();
        let mut master = Command::new(&program)
            .args(["master".as_ref(), secret.as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(master.stdout.take().unwrap()).lines();
        let url: &'static str = lines.next().unwrap().unwrap().leak();
        let processes = Arc::new(Mutex::new(vec![master]));
        for worker in 0..3 {
            let (program, secret) = (program.clone(), secret.clone());
            let (dir, processes) = (state.join(format!("worker-{worker}")), Arc::clone(&processes));
            // One that is lost is started again.
            std::thread::spawn(move || {
                loop {
                    let child = Command::new(&program)
                        .args([
                            "worker".as_ref(),
                            url.as_ref(),
                            secret.as_os_str(),
                            dir.as_os_str(),
                        ])
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .spawn();
                    let Ok(mut child) = child else { return };
                    let output = child.stdout.take().unwrap();
                    {
                        let mut processes = processes.lock().unwrap();
                        if processes.is_empty() {
                            child.kill().unwrap();
                            child.wait().unwrap();
                            return;
                        }
                        processes.push(child);
                    }
                    // Until it ends.
                    BufReader::new(output).lines().for_each(drop);
                }
            });
        }
        Self { url, program, secret, processes, proxy: Proxy::start("spark", url) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut processes = self.processes.lock().unwrap();
        for mut process in processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[async_trait]
impl Harness for Cluster {
    fn name(&self) -> String {
        "spark://".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        connect_standalone(self.proxy.url(), &self.secret)
    }

    fn programs(&self) -> Programs {
        let (program, url) = (self.program.display().to_string(), self.url);
        let secret = self.secret.display().to_string();
        Programs {
            owning_driver: Some(Box::new(move |executors| {
                let args =
                    ["owning-executors", url, &secret, &executors.to_string()].map(str::to_owned);
                CommandLine::new(program.clone()).args(args)
            })),
            ..Programs::posix()
        }
    }
}

#[async_trait]
impl Faults for Cluster {
    fn possible(&self) -> Injected {
        Injected { kill_executor: true, kill_driver: true, lose_node: true, drop_watches: true }
    }

    async fn lose_node(&self, app: &AppId, id: ExecutorId) {
        processes::executor(app, id).await.iter().for_each(Process::kill_parent);
    }

    async fn drop_watches(&self) {
        self.proxy.break_all();
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(processes::of_application(app).len())
    }
}

/// `master SECRET`
async fn master(secret: PathBuf) -> Result<()> {
    let (host, conf) = ("127.0.0.1".to_owned(), properties(&secret));
    let master = Master::bind(&MasterOptions {
        host,
        port: 0,
        web_port: Some(0),
        rest_port: Some(0),
        conf,
        offers: None,
    })
    .await?;
    println!("{}", master.url());
    master.serve(std::future::pending()).await
}

/// `worker URL SECRET DIR`
async fn worker(url: String, secret: PathBuf, work_dir: PathBuf) -> Result<()> {
    let masters = masters(&url.parse()?)?;
    let options = WorkerOptions {
        host: "127.0.0.1".to_owned(),
        port: 0,
        web_port: Some(0),
        masters,
        cores: Some(24),
        memory_mib: Some(8192),
        work_dir,
        program: None,
        sparks: Vec::new(),
        shuffle: None,
        conf: properties(&secret),
    };
    let worker = Worker::bind(options).await?;
    let never = std::future::pending;
    worker.serve(|_| {}, never(), never(), std::time::Duration::ZERO).await
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
        [_, "master", secret] => role(Box::pin(master(secret.into()))),
        [_, "worker", url, secret, dir] => {
            role(Box::pin(worker(url.to_owned(), secret.into(), dir.into())))
        }
        [_, "owning-executors", url, secret, executors, ref rest @ ..] => {
            let (url, secret) = (url.to_owned(), PathBuf::from(secret));
            let (executors, then_exit) = (executors.parse().unwrap(), rest == ["then-exit"]);
            role(Box::pin(async move {
                let app = std::env::var(native::ENV_APPLICATION_ID).unwrap_or_default();
                let cluster = connect_standalone(&url, &secret)?;
                let profile = ResourceProfile::new(1.0, 64);
                own_executors(&*cluster, &AppId::new(&app)?, profile, executors, then_exit).await
            }))
        }
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
                Arc::new(Cluster::start(state.path(), program.clone())),
            ]);
            // Watchers may still write; what is left is in the system's temporary directory.
            drop(state);
            code
        }
    }
}
