//! The suite on a real Mesos of three agents, through a dispatcher that shares a secret with its clients:
//! `tests/all mesos` runs it.
//!
//! The dispatcher and drivers that own their executors are this same binary, called with other arguments.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use anymaster_conformance::processes;
use anymaster_conformance::{Faults, Harness, Injected, Programs, Proxy, own_executors};
use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{AppId, CommandLine, ResourceProfile};
use anymaster_core::{ClusterManager, Result, native};
use anymaster_mesos::{Dispatcher, DispatcherOptions, Mesos, MesosMaster};
use async_trait::async_trait;

/// Of each process: the machine has few.
const CORES: f64 = 0.01;
const SECRET: &str = "spark.authenticate.secret";

#[derive(Debug)]
struct OnMesos {
    program: PathBuf,
    dispatcher: Child,
    proxy: Proxy,
    // After the dispatcher.
    _mesos: anymaster_test_support::mesos::Cluster,
}

fn properties() -> Conf {
    [(SECRET, "of the whole cluster")].into_iter().collect()
}

fn connect(url: &str, conf: &Conf) -> Result<Arc<dyn ClusterManager>> {
    let dispatcher = match MesosMaster::parse(&url.parse()?)? {
        MesosMaster::Address(dispatcher) => dispatcher,
        other => panic!("{other}"),
    };
    Ok(Arc::new(Mesos::of_dispatcher(&dispatcher, conf)?))
}

impl OnMesos {
    fn start(program: PathBuf) -> Self {
        let mesos = anymaster_test_support::mesos::Cluster::new(
            3,
            1,
            &[("RESOURCES", "cpus:8;mem:16384;ports:[31000-32000]")],
        );
        let mut dispatcher = Command::new(&program)
            .args(["dispatcher", &format!("mesos://{}", mesos.url)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(dispatcher.stdout.take().unwrap()).lines();
        let url = lines.next().unwrap().unwrap();
        Self { program, dispatcher, proxy: Proxy::start("mesos", &url), _mesos: mesos }
    }
}

impl Drop for OnMesos {
    fn drop(&mut self) {
        let _ = self.dispatcher.kill();
        let _ = self.dispatcher.wait();
    }
}

#[async_trait]
impl Harness for OnMesos {
    fn name(&self) -> String {
        "mesos://".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        connect(self.proxy.url(), &properties())
    }

    /// Executors of Mesos' own end after the programs, and say so through three others.
    fn leak_seconds(&self) -> u64 {
        20
    }

    fn programs(&self) -> Programs {
        let program = self.program.display().to_string();
        Programs {
            owning_driver: Some(Box::new(move |executors| {
                let args = ["owning-executors".to_owned(), executors.to_string()];
                CommandLine::new(program.clone()).args(args)
            })),
            ..Programs::posix()
        }
    }

    fn cores(&self) -> f64 {
        CORES
    }
}

#[async_trait]
impl Faults for OnMesos {
    fn possible(&self) -> Injected {
        Injected { kill_executor: true, kill_driver: true, lose_node: false, drop_watches: true }
    }

    async fn drop_watches(&self) {
        self.proxy.break_all();
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        Some(processes::of_application(app).len())
    }
}

/// `dispatcher MASTER`
async fn dispatcher(master: &str) -> Result<()> {
    let mesos = MesosMaster::parse(&master.parse()?)?;
    let mut conf = properties();
    conf.set("spark.mesos.maxDrivers", "10000");
    conf.set("spark.mesos.retainedDrivers", "10000");
    let options = DispatcherOptions {
        name: "conformance".to_owned(),
        mesos,
        host: "127.0.0.1".to_owned(),
        port: 0,
        web_port: Some(0),
        conf,
    };
    let dispatcher = Dispatcher::bind(options).await?;
    println!("{}", dispatcher.url());
    dispatcher.serve(std::future::pending()).await
}

/// `owning-executors EXECUTORS [then-exit]`: requests executors from its own process, as its application.
async fn owning_driver(executors: &str, then_exit: bool) -> Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let app = AppId::new(&variable(native::ENV_APPLICATION_ID))?;
    let text = std::fs::read_to_string(variable(native::ENV_PROPERTIES_FILE)).unwrap();
    let conf: Conf = read_properties(&text)?.into_iter().collect();
    let cluster = connect(&variable(native::ENV_MASTER), &conf)?;
    let profile = ResourceProfile::new(CORES, 64);
    own_executors(&*cluster, &app, profile, executors.parse().unwrap(), then_exit).await
}

fn role(role: impl Future<Output = Result<()>>) -> ExitCode {
    match tokio::runtime::Runtime::new().unwrap().block_on(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        [_, "dispatcher", master] => return role(dispatcher(master)),
        [_, "owning-executors", executors] => return role(owning_driver(executors, false)),
        [_, "owning-executors", executors, "then-exit"] => {
            return role(owning_driver(executors, true));
        }
        _ => {}
    }
    if std::env::var_os("ANYMASTER_MESOS").is_none() {
        eprintln!("not run: it needs Mesos; tests/all mesos brings it up");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().unwrap();
    anymaster_conformance::run(vec![Arc::new(OnMesos::start(program))])
}
