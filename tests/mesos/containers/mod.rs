//! Containers, for real: agents that run images with Docker and by themselves, on the machine of
//! `tests/clusters/docker`.
//!
//! These run there: `tests/clusters/docker/run cargo test …`.

mod ends;
mod images;
mod networks;
mod properties;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::scene::{Scene, options, variable};
use anymaster_test_support::home::{Home, Said, Started, eventually};
use anymaster_test_support::mesos::Cluster;

/// What starts images.
const KINDS: [&str; 2] = ["docker", "mesos"];
/// A shell and small programs.
const PROGRAM: &str = "127.0.0.1:80/program:1";
/// The address of the machine, by which it is reached out of containers.
const ADDRESS: &str = "10.77.0.1";

/// Calls Docker.
fn docker(words: &[&str]) -> String {
    let output = Command::new(variable("ANYMASTER_DOCKER")).args(words).output().unwrap();
    assert!(output.status.success(), "docker {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A Mesos of one agent, and a dispatcher.
struct Containers {
    scene: Scene,
}

impl Containers {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With this in the dispatcher's environment.
    fn with(env: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let cni = home.path().join("cni");
        std::fs::create_dir(&cni).unwrap();
        // One network for each test: they run at the same time. Mesos 1.11 reads addresses in the form of CNI 0.2.
        let number = std::process::id() % 50 * 5 + next();
        let network = serde_json::json!({
            "cniVersion": "0.2.0", "name": "pods", "type": "bridge", "bridge": format!("cni{number}"),
            "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": home.path().join("ipam"),
                "subnet": format!("10.79.{number}.0/24"),
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        });
        std::fs::write(cni.join("pods.json"), network.to_string()).unwrap();
        let (program, plugins) = (variable("ANYMASTER_DOCKER"), variable("ANYMASTER_CNI"));
        let flags = [
            ("IP", ADDRESS),
            ("DOCKER", &program),
            ("CNI", &plugins),
            ("CNI_CONFIG", cni.to_str().unwrap()),
        ];
        Self { scene: Scene::on(Cluster::new(1, 1, &flags), home, &[], env) }
    }

    /// A directory that whoever is in a container may write to.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.scene.home.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    }

    /// Submits a line for the shell of an image, and does not wait for its end.
    fn start(&self, id: &str, kind: &str, image: &str, conf: &[&str], line: &str) -> Started {
        let conf = all(kind, image, conf);
        self.scene.start_driver(id, &options(&conf), &["sh", "-c", line])
    }

    /// The same, and waits.
    fn submit(&self, id: &str, kind: &str, image: &str, conf: &[&str], line: &str) -> Said {
        let conf = all(kind, image, conf);
        self.scene.submit(id, &options(&conf), &["sh", "-c", line])
    }

    /// What the driver of one that was submitted has written, once it is said to be complete.
    fn output(&self, id: &str, last: &str) -> String {
        let task = format!("{id}.driver");
        eventually(&format!("{task} says {last:?}"), || {
            self.scene.sandbox(&task, "stdout").filter(|out| out.contains(last))
        })
    }

    /// What its standard error says.
    fn told(&self, id: &str) -> String {
        self.scene.sandbox(&format!("{id}.driver"), "stderr").unwrap_or_default()
    }

    fn cause(&self, id: &str) -> Value {
        self.scene.until(id, "it ended", |status| status["driver"]["state"] == "ended")["driver"]["cause"]
            .clone()
    }
}

fn next() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn all(kind: &str, image: &str, conf: &[&str]) -> Vec<String> {
    let own = [
        format!("spark.mesos.containerizer={kind}"),
        format!("spark.mesos.executor.docker.image={image}"),
    ];
    own.into_iter().chain(conf.iter().map(|property| (*property).to_owned())).collect()
}
