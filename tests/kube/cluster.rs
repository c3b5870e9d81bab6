//! A namespace of a test, and the program run against it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The image of a driver that runs its last argument as a line for a shell.
pub(crate) const IMAGE: &str = "registry.test/driver:1";

/// A namespace that is deleted when the test ends.
pub(crate) struct Namespace {
    pub(crate) name: String,
    master: String,
    state: tempfile::TempDir,
}

impl Namespace {
    /// A new one, with a service account `spark` that may do what a driver has to.
    pub(crate) fn new(purpose: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{}-{number}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        kubectl(&["-n", &name, "create", "serviceaccount", "spark"]);
        let account = format!("--serviceaccount={name}:spark");
        kubectl(&["-n", &name, "create", "rolebinding", "spark", "--clusterrole=edit", &account]);
        let has_default = || {
            Command::new("kubectl")
                .args(["-n", &name, "get", "serviceaccount", "default"])
                .output()
                .unwrap()
        };
        until("the default service account", || has_default().status.success().then_some(()));
        Self { name, master: master(), state: tempfile::tempdir().unwrap() }
    }

    /// The program.
    pub(crate) fn anymaster(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anymaster"));
        command
            .args(args)
            .env("ANYMASTER_MASTER", &self.master)
            .env("ANYMASTER_STATE_DIR", self.state.path())
            .env("ANYMASTER_CONFIG", "")
            .env_remove("SPARK_HOME")
            .env_remove("HADOOP_CONF_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Options of a submission, up to the application.
    pub(crate) fn submit_args<'a>(&self, name: &'a str, more: &[&'a str]) -> Vec<String> {
        let mut args: Vec<String> = [
            "submit",
            "--master",
            &self.master,
            "--deploy-mode",
            "cluster",
            "--name",
            name,
            "--class",
            "Main",
        ]
        .map(str::to_owned)
        .to_vec();
        for conf in [
            format!("spark.kubernetes.namespace={}", self.name),
            format!("spark.kubernetes.container.image={IMAGE}"),
            "spark.kubernetes.authenticate.driver.serviceAccountName=spark".to_owned(),
            "spark.kubernetes.driver.request.cores=10m".to_owned(),
            "spark.driver.memory=64m".to_owned(),
        ] {
            args.extend(["--conf".to_owned(), conf]);
        }
        args.extend(more.iter().map(|word| (*word).to_owned()));
        args
    }

    /// Submits a driver that runs a line for a shell.
    pub(crate) fn submit(&self, name: &str, more: &[&str], line: &str) -> Command {
        let args = self.submit_args(name, more);
        let mut command = self.anymaster(&[]);
        command.args(args).args(["local:///app.jar", line]);
        command
    }

    /// A command for this namespace.
    pub(crate) fn verb(&self, args: &[&str]) -> Ran {
        Ran::of(self.anymaster(args).args(["--namespace", &self.name]))
    }

    /// Objects of a kind, as JSON.
    pub(crate) fn objects(&self, kind: &str) -> Vec<Value> {
        let output = kubectl(&["-n", &self.name, "get", kind, "-o", "json"]);
        let list: Value = serde_json::from_str(&output).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.filter(|item| item["metadata"]["name"] != "kube-root-ca.crt").cloned().collect()
    }

    /// Waits until a driver runs.
    #[track_caller]
    pub(crate) fn until_driver_runs(&self) {
        until("the driver runs", || {
            let pods = self.objects("pods");
            pods.first().filter(|pod| pod["status"]["phase"] == "Running").map(|_| ())
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("kubectl")
            .args(["delete", "namespace", &self.name, "--wait=false"])
            .output();
    }
}

/// The master URL of the cluster.
pub(crate) fn master() -> String {
    std::env::var("ANYMASTER_KUBE_MASTER").unwrap_or_else(|_| {
        let server = kubectl(&[
            "config",
            "view",
            "--minify",
            "-o",
            "jsonpath={.clusters[0].cluster.server}",
        ]);
        format!("k8s://{}", server.trim())
    })
}

/// The directory of the cluster's state, if `tests/clusters/kube` started it. Tests that need it
/// are listed in `tests/kube/own`: other clusters are not restarted, and their keys are not
/// available.
pub(crate) fn own_cluster() -> Option<PathBuf> {
    std::env::var_os("ANYMASTER_KUBE_STATE").map(PathBuf::from)
}

pub(crate) fn kubectl(args: &[&str]) -> String {
    let output = Command::new("kubectl").args(args).output().expect("kubectl");
    assert!(
        output.status.success(),
        "kubectl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The certificate of the cluster's CA.
pub(crate) fn ca() -> String {
    let path = "jsonpath={.data.ca\\.crt}";
    kubectl(&["-n", "kube-system", "get", "configmap", "kube-root-ca.crt", "-o", path])
}

/// The exit code and output of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    pub(crate) fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The submission id in the output.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        let line = self.stderr.lines().find_map(|line| line.strip_prefix("submission id: "));
        line.unwrap_or_else(|| panic!("no id: {}", self.stderr)).to_owned()
    }
}

/// Runs in the background.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Polls for up to three minutes, at most half of the time in `look`.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let began = Instant::now();
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within three minutes");
        std::thread::sleep(began.elapsed().max(Duration::from_millis(50)));
    }
}
