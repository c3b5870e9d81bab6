//! A real Mesos, for tests: `tests/clusters/mesos`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is for tests, and each uses another part of it"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anymaster_core::HostPort;
use anymaster_mesos::MesosMaster;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clusters").join(name)
}

pub fn free_ports(many: u16) -> u16 {
    // Blocks of ports, below those that are given out to connections.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = 21_000 + (std::process::id() % 300) as u16 * 20;
    (0..50)
        .map(|_| begin + NEXT.fetch_add(20, Ordering::Relaxed) as u16)
        .find(|begin| {
            (*begin..begin + many)
                .all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        })
        .expect("there are free ports")
}

/// A Mesos of its own, gone when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    pub dir: PathBuf,
    port: u16,
    environment: HashMap<String, String>,
    pub url: MesosMaster,
    zookeeper: Option<Child>,
}

impl Cluster {
    pub fn new(agents: u32, masters: u32, flags: &[(&str, &str)]) -> Self {
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
        let mut cluster = Self {
            dir,
            port,
            environment,
            url: MesosMaster::Address(HostPort { host: String::new(), port }),
            zookeeper,
        };
        let said = cluster.up(&[&agents.to_string(), &masters.to_string()]);
        let url = MesosMaster::parse(&said.trim().parse().unwrap()).unwrap();
        cluster.url = url;
        cluster
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
        HostPort { host: "127.0.0.1".to_owned(), port: self.port + number }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
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
