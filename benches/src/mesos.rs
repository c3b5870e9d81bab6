//! Mesos: a real one, what its master launches, and a master that only pretends to have agents.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is for benchmarks")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anymaster_core::HostPort;
use anymaster_mesos::MesosMaster;
use anymaster_mesos::model::{Accept, Call, Operation, TaskInfo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::daemons::free_port;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clusters/mesos").join(name)
}

/// A real Mesos: one master; gone when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    dir: tempfile::TempDir,
    agents: u32,
    /// Where the master is.
    pub master: HostPort,
}

impl Cluster {
    /// With so many agents, each with these resources.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn new(agents: u32, resources: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The agents' ports are those behind it.
        let port = (0..100)
            .map(|_| free_port().min(60_000))
            .find(|first| {
                (*first..=*first + agents as u16)
                    .all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
            })
            .unwrap();
        let up = Command::new(script("up"))
            .arg(dir.path())
            .arg(agents.to_string())
            .envs([("PORT", port.to_string().as_str()), ("RESOURCES", resources)])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(up.status.success(), "Mesos is up");
        Self { dir, agents, master: HostPort { host: "127.0.0.1".to_owned(), port } }
    }

    /// As a master URL has it.
    pub fn url(&self) -> MesosMaster {
        MesosMaster::Address(self.master.clone())
    }

    /// Stops its agents: what is launched from now on is staged at the master, and does not begin.
    ///
    /// # Panics
    /// If they are gone.
    pub fn stop_agents(&self) {
        for agent in 0..self.agents {
            let file = self.dir.path().join(format!("agent{agent}.pid"));
            let pid = std::fs::read_to_string(file).unwrap();
            assert!(Command::new("kill").args(["-STOP", pid.trim()]).status().unwrap().success());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let ended = Command::new(script("down")).arg(self.dir.path()).status();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success(), "Mesos is down");
        }
    }
}

/// What a real master tells operators: frameworks that come, and tasks that it has launched.
#[derive(Debug)]
pub struct Told {
    response: reqwest::Response,
    bytes: Vec<u8>,
}

impl Told {
    /// From now on.
    ///
    /// # Panics
    /// If the master does not want it.
    pub async fn by(master: &HostPort) -> Self {
        let request = reqwest::Client::new()
            .post(format!("http://{master}/api/v1"))
            .header("Content-Type", "application/json")
            .header("Accept", "application/json")
            .body(r#"{"type": "SUBSCRIBE"}"#);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let mut told = Self { response, bytes: Vec::new() };
        told.until("SUBSCRIBED", 1).await;
        told
    }

    /// Waits until it has said this so many times more.
    ///
    /// # Panics
    /// If it does not, for minutes.
    pub async fn until(&mut self, kind: &str, many: usize) {
        let mut heard = 0;
        while heard < many {
            let event = tokio::time::timeout(PATIENCE, self.next()).await.unwrap();
            heard += usize::from(event["type"] == kind);
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let length: usize =
                    std::str::from_utf8(&self.bytes[..end]).unwrap().parse().unwrap();
                let whole = end + 1 + length;
                if self.bytes.len() >= whole {
                    let event = serde_json::from_slice(&self.bytes[end + 1..whole]).unwrap();
                    self.bytes.drain(..whole);
                    return event;
                }
            }
            let piece = self.response.chunk().await.unwrap();
            self.bytes.extend_from_slice(&piece.unwrap_or_else(|| panic!("the master hung up")));
        }
    }
}

/// A master that has agents with more than enough of everything, makes offers when it is asked to, and
/// says that whatever is launched runs; gone when this is dropped.
#[derive(Debug)]
pub struct Pretended {
    /// Where it is.
    pub address: HostPort,
    launched: Arc<Mutex<Vec<TaskInfo>>>,
    serving: AbortHandle,
}

impl Drop for Pretended {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Pretended {
    /// With so many agents. `keeps`: it keeps what it was given to launch.
    pub async fn start(agents: usize, keeps: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let launched = Arc::new(Mutex::new(Vec::new()));
        let says = Arc::new(Mutex::new(None));
        let master = Master { agents, keeps, launched: Arc::clone(&launched), says };
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(master.clone().serve(stream));
            }
        });
        let address = HostPort { host: "127.0.0.1".to_owned(), port };
        Self { address, launched, serving: serving.abort_handle() }
    }

    /// What was launched so far.
    pub fn launched(&self) -> Vec<TaskInfo> {
        self.launched.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Master {
    agents: usize,
    keeps: bool,
    launched: Arc<Mutex<Vec<TaskInfo>>>,
    /// The framework's stream.
    says: Arc<Mutex<Option<mpsc::UnboundedSender<Value>>>>,
}

impl Master {
    async fn serve(self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut bytes = Vec::new();
        while let Some((head, body)) = request(&mut stream, &mut bytes).await {
            if head.starts_with("GET") {
                let nothing = r#"{"tasks": [], "slaves": []}"#;
                let length = nothing.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{nothing}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            let is_subscription =
                serde_json::from_slice::<Value>(&body).unwrap()["type"] == "SUBSCRIBE";
            if is_subscription {
                return self.tell(stream).await;
            }
            let accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(accepted).await.is_err() {
                return;
            }
            self.hear(&body);
        }
    }

    /// A framework's stream.
    async fn tell(self, mut stream: TcpStream) {
        let (says, mut said) = mpsc::unbounded_channel();
        *self.says.lock().unwrap() = Some(says);
        let head = "HTTP/1.1 200 OK\r\nMesos-Stream-Id: s-1\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        self.say(json!({"type": "SUBSCRIBED", "subscribed": {
            "framework_id": {"value": "f-1"}, "heartbeat_interval_seconds": 600.0,
        }}));
        self.make_offers();
        while let Some(event) = said.recv().await {
            let text = event.to_string();
            let record = format!("{}\n{text}", text.len());
            if stream.write_all(record.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn say(&self, event: Value) {
        // An error: the framework is gone.
        let _ = self.says.lock().unwrap().as_ref().map(|says| says.send(event));
    }

    fn make_offers(&self) {
        let role = json!({"role": "*"});
        let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}, "allocation_info": role});
        let offers = (0..self.agents).map(|agent| {
            json!({
                "id": {"value": format!("offer-{agent}-{:08x}", std::process::id())},
                "agent_id": {"value": format!("8a1c0f7e-5b0d-4a63-9d3c-2f1e7c9b6a54-S{agent}")},
                "hostname": format!("agent-{agent}.example.org"),
                "allocation_info": role,
                "resources": [
                    scalar("cpus", 128.0), scalar("mem", 524_288.0), scalar("disk", 1e6),
                    {"name": "ports", "type": "RANGES", "allocation_info": role,
                     "ranges": {"range": [{"begin": 31_000, "end": 32_000}]}},
                ],
                "attributes": [{"name": "zone", "type": "TEXT", "text": {"value": "z"}}],
            })
        });
        self.say(json!({"type": "OFFERS", "offers": {"offers": offers.collect::<Vec<_>>()}}));
    }

    fn hear(&self, body: &[u8]) {
        match serde_json::from_slice(body).unwrap() {
            Call::Revive => self.make_offers(),
            Call::Accept { accept: Accept { operations, .. } } => {
                let launches = operations.into_iter().map(|Operation::Launch { launch }| launch);
                for task in launches.flat_map(|launch| launch.task_infos) {
                    for (at, state) in ["TASK_STARTING", "TASK_RUNNING"].into_iter().enumerate() {
                        self.say(json!({"type": "UPDATE", "update": {"status": {
                            "task_id": task.task_id, "agent_id": task.agent_id, "state": state,
                            "source": "SOURCE_EXECUTOR", "timestamp": 1.5e9,
                            "executor_id": task.task_id, "uuid": format!("AAAAAAAAAAAAAAAAAAAAA{at}=="),
                        }}}));
                    }
                    if self.keeps {
                        self.launched.lock().unwrap().push(task);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The next request on a connection, with its body.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            });
            let whole = end + 4 + length.unwrap_or(0_usize);
            while bytes.len() < whole {
                if stream.read_buf(bytes).await.ok()? == 0 {
                    return None;
                }
            }
            let body = bytes[end + 4..whole].to_vec();
            bytes.drain(..whole);
            return Some((head, body));
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A dispatcher's address out of what it said when it was ready.
///
/// # Panics
/// If that is none.
pub fn dispatcher(url: &str) -> HostPort {
    match url.parse().and_then(|url| MesosMaster::parse(&url)) {
        Ok(MesosMaster::Address(address)) => address,
        _ => panic!("{url} is not a dispatcher"),
    }
}
