//! The conformance suite on a real Kubernetes with a real node on this machine
//! (`tests/clusters/kube/up`): `tests/all kube` runs it.
//!
//! Drivers that own their executors run this binary, in an image.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "it is a test")]

use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use anymaster_conformance::processes;
use anymaster_conformance::{Faults, Harness, Injected, Programs, own_executors};
use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{AppId, CommandLine, ResourceProfile};
use anymaster_core::{ClusterManager, ConnectOptions, Result, native};
use anymaster_k8s::Kubernetes;
use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// An image with this binary, the program `anymaster`, and a shell.
const IMAGE: &str = "registry.test/conformance:1";
/// The cores of each process: the machine has few.
const CORES: f64 = 0.01;

#[derive(Debug)]
struct Cluster {
    namespace: String,
    master: String,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether it is the cluster of `tests/clusters/kube`, whose pods are processes of this machine.
fn is_own() -> bool {
    std::env::var_os("ANYMASTER_KUBE_STATE").is_some()
}

async fn connect(master: &str, conf: Conf) -> Result<Arc<dyn ClusterManager>> {
    let options = ConnectOptions::new(master.parse()?).with_conf(conf);
    Ok(Arc::new(Kubernetes::connect(&options).await?))
}

#[async_trait]
impl Harness for Cluster {
    fn name(&self) -> String {
        "kubernetes".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        connect(&self.master, self.conf()).await
    }

    /// The garbage collector and the kubelet take some time.
    fn leak_seconds(&self) -> u64 {
        20
    }

    fn programs(&self) -> Programs {
        Programs {
            owning_driver: Some(Box::new(|executors| {
                let args = ["owning-driver".to_owned(), executors.to_string()];
                CommandLine::new("conformance").args(args)
            })),
            ..Programs::posix()
        }
    }

    fn conf(&self) -> Conf {
        let role = "spark.kubernetes.authenticate.driver.serviceAccountName";
        [
            ("spark.kubernetes.namespace", self.namespace.as_str()),
            ("spark.kubernetes.container.image", IMAGE),
            ("spark.anymaster.kubernetes.janitor.image", IMAGE),
            (role, "driver"),
        ]
        .into_iter()
        .collect()
    }

    fn cores(&self) -> f64 {
        CORES
    }
}

#[async_trait]
impl Faults for Cluster {
    fn possible(&self) -> Injected {
        // There is no proxy before another cluster.
        let drop_watches = is_own();
        Injected { kill_executor: true, kill_driver: true, lose_node: false, drop_watches }
    }

    async fn drop_watches(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    async fn processes(&self, app: &AppId) -> Option<usize> {
        is_own().then(|| processes::of_application(app).len())
    }
}

/// Forwards connections to the API server, until they are aborted.
async fn proxy(
    listener: TcpListener,
    server: String,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
) -> std::io::Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let server = server.clone();
        let task = tokio::spawn(async move {
            let mut server = TcpStream::connect(server).await?;
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
        connections.lock().unwrap().push(task.abort_handle());
    }
}

fn kubectl(args: &[&str]) {
    let output = Command::new("kubectl").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `owning-driver EXECUTORS [then-exit]`, in a pod.
async fn owning_driver(executors: &str, then_exit: bool) -> Result<()> {
    let app = AppId::new(&variable(native::ENV_APPLICATION_ID))?;
    let text = std::fs::read_to_string(variable(native::ENV_PROPERTIES_FILE)).unwrap();
    let conf: Conf = read_properties(&text)?.into_iter().collect();
    let cluster = connect(&variable(native::ENV_MASTER), conf).await?;
    let profile = ResourceProfile::new(CORES, 64);
    own_executors(&*cluster, &app, profile, executors.parse().unwrap(), then_exit).await
}

fn suite() -> ExitCode {
    let Ok(master) = std::env::var("ANYMASTER_KUBE_MASTER") else {
        eprintln!("not run: it needs a cluster; tests/all kube brings one up");
        return ExitCode::SUCCESS;
    };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let image = Command::new(format!("{root}/tests/clusters/kube/program-image"))
        .arg(IMAGE)
        .arg(format!("conformance={}", std::env::current_exe().unwrap().display()))
        .arg(format!("anymaster={}", variable("ANYMASTER_PROGRAM")))
        .status();
    assert!(image.unwrap().success());
    let namespace = format!("conformance-{}", std::process::id());
    kubectl(&["create", "namespace", &namespace]);
    kubectl(&["-n", &namespace, "apply", "-f", &format!("{root}/deploy/driver.yaml")]);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connections = Arc::default();
    let master = match is_own() {
        true => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = master.trim_start_matches("k8s://https://").to_owned();
            runtime.spawn(proxy(listener, server, Arc::clone(&connections)));
            format!("k8s://https://127.0.0.1:{port}")
        }
        false => master,
    };
    let cluster = Cluster { namespace: namespace.clone(), master, connections };
    let code = anymaster_conformance::run(vec![Arc::new(cluster)]);
    kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    code
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (executors, then_exit) = match args[..] {
        [_, "owning-driver", executors] => (executors, false),
        [_, "owning-driver", executors, "then-exit"] => (executors, true),
        _ => return suite(),
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
