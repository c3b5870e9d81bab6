//! A real Mesos, for tests: `tests/clusters/mesos`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anymaster_core::HostPort;
use anymaster_mesos::MesosMaster;
use anymaster_mesos::leader::Leader;

use crate::ports::free_ports;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clusters").join(name)
}

/// The variable with the URL of a Mesos of somebody else's, which is used instead of one of its own.
const FOREIGN: &str = "ANYMASTER_MESOS_MASTER";

/// A Mesos of its own, gone when it is dropped; or somebody else's, which stays.
#[derive(Debug)]
pub struct Cluster {
    pub dir: PathBuf,
    host: String,
    port: u16,
    environment: HashMap<String, String>,
    pub url: MesosMaster,
    zookeeper: Option<Child>,
    is_foreign: bool,
}

impl Cluster {
    pub fn new(agents: u32, masters: u32, flags: &[(&str, &str)]) -> Self {
        if let Ok(url) = std::env::var(FOREIGN) {
            assert!(flags.is_empty(), "it needs a Mesos of its own: tests/mesos/own is to name it");
            return Self::foreign(&url);
        }
        let port = free_ports(16);
        let dir =
            std::env::temp_dir().join(format!("anymaster-mesos-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut environment: HashMap<String, String> =
            flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.insert("PORT".to_owned(), port.to_string());
        let zookeeper = (masters > 1).then(|| {
            let zookeeper = port + 15;
            environment.insert("ZOOKEEPER".to_owned(), format!("127.0.0.1:{zookeeper}"));
            let words = [zookeeper.to_string(), dir.join("zookeeper").display().to_string()];
            let mut run = Command::new(script("zookeeper/run"));
            run.args(words).stdin(Stdio::null()).spawn().unwrap()
        });
        let host = environment.get("IP").cloned().unwrap_or_else(|| "127.0.0.1".to_owned());
        let mut cluster = Self {
            dir,
            host,
            port,
            environment,
            url: MesosMaster::Address(HostPort { host: String::new(), port }),
            zookeeper,
            is_foreign: false,
        };
        let said = cluster.up(&[&agents.to_string(), &masters.to_string()]);
        let url = MesosMaster::parse(&said.trim().parse().unwrap()).unwrap();
        cluster.url = url;
        cluster
    }

    fn foreign(url: &str) -> Self {
        let url = MesosMaster::parse(&url.parse().unwrap()).unwrap();
        let find = Leader::new(url.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let leader = runtime.block_on(async move { { find }.find().await }).unwrap();
        Self {
            dir: PathBuf::new(),
            host: leader.host,
            port: leader.port,
            environment: HashMap::new(),
            url,
            zookeeper: None,
            is_foreign: true,
        }
    }

    /// Whether it is somebody else's.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// An address of this machine by which agents reach it.
    pub fn own_host(&self) -> String {
        match self.is_foreign {
            true => {
                std::env::var("ANYMASTER_MESOS_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned())
            }
            false => self.host.clone(),
        }
    }

    pub fn up(&self, words: &[&str]) -> String {
        let mut up = Command::new(script("mesos/up"));
        let output = up
            .arg(&self.dir)
            .args(words)
            .envs(&self.environment)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "Mesos is up");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn signal(&self, name: &str, signal: &str) {
        let pid = std::fs::read_to_string(self.dir.join(format!("{name}.pid"))).unwrap();
        let sent = Command::new("kill").args([signal, pid.trim()]).status().unwrap();
        assert!(sent.success(), "kill {signal} {name}");
    }

    pub fn master(&self, number: u16) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port + number }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_foreign {
            return;
        }
        let ended = Command::new(script("mesos/down")).arg(&self.dir).status();
        if let Some(mut zookeeper) = self.zookeeper.take() {
            let _ = zookeeper.kill();
            let _ = zookeeper.wait();
        }
        if !std::thread::panicking() {
            assert!(ended.unwrap().success(), "Mesos is down");
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}
