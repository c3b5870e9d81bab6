//! The daemons, and their ports.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::said::{hello, receive, request};
use crate::stream::{self, Stream};
use anymaster_test_support::certificates::Certificates;
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::Home;
use anymaster_test_support::ports::free_port;

/// Descriptors of each daemon: fewer than an attack has connections.
const DESCRIPTORS: u32 = 256;
/// Within which a daemon answers, whatever happens.
pub(crate) const BOUND: Duration = Duration::from_secs(3);

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Our protocol between masters, workers and clients.
    Rpc,
    Http,
    Both,
}

impl Speaks {
    pub(crate) fn rpc(self) -> bool {
        self != Self::Http
    }

    pub(crate) fn http(self) -> bool {
        self != Self::Rpc
    }
}

/// One port of a daemon.
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) speaks: Speaks,
    /// What is asked there with GET; the first says whether it is well.
    pub(crate) paths: &'static [&'static str],
    pub(crate) address: String,
    /// Whether callers show a token, so that names of hosts say nothing.
    pub(crate) has_token: bool,
    /// Whom its callers believe, where it speaks TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

impl Port {
    fn new(
        name: &'static str,
        speaks: Speaks,
        paths: &'static [&'static str],
        address: &str,
    ) -> Self {
        let address = address.split_once("://").map_or(address, |(_, address)| address).to_owned();
        Self { name, speaks, paths, address, has_token: false, tls: None }
    }

    pub(crate) fn connect(&self) -> Stream {
        Stream::new(self.connect_without_tls(), self.tls.as_ref())
    }

    /// Although it may speak TLS.
    pub(crate) fn connect_without_tls(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        socket.set_write_timeout(Some(BOUND)).unwrap();
        socket
    }

    /// It answers, in time.
    pub(crate) fn is_well(&self, when: &str) {
        let began = Instant::now();
        if self.speaks.http() {
            let (code, body) = request(self, self.paths[0], &[]);
            assert_eq!(code, 200, "{} {when}: {body}", self.name);
        }
        if self.speaks.rpc() {
            let mut stream = self.connect();
            stream.write_all(&hello(r#""client""#)).unwrap();
            let answer = receive(&mut stream);
            assert!(answer.contains("protocol"), "{} {when}: {answer}", self.name);
        }
        let took = began.elapsed();
        assert!(took < BOUND, "{} {when}: {took:?}", self.name);
    }
}

/// A daemon, and what it needs; all of it ends with this.
pub(crate) struct Target {
    pub(crate) daemon: Daemon,
    pub(crate) ports: Vec<Port>,
    pub(crate) log: PathBuf,
    _home: Home,
    _others: Vec<Daemon>,
}

const SUBMISSIONS: &[&str] = &["/v1/submissions/readyz", "/v1/submissions/status/driver-1", "/"];
const PAGES: &[&str] = &["/healthz", "/", "/json/", "/metrics", "/metrics/master/prometheus"];
const WORKER_PAGES: &[&str] = &["/healthz", "/", "/json/"];
const STAGING: &[&str] = &["/healthz", "/metrics", "/v1/applications"];
const SERVICE: &[&str] = &["/healthz", "/metrics", "/api/v1/spark-submit"];

impl Target {
    /// The same, over TLS.
    fn over_tls(mut self, certificates: &Certificates) -> Self {
        let client = stream::tls(&certificates.authority);
        self.ports.iter_mut().for_each(|port| port.tls = Some(Arc::clone(&client)));
        self
    }

    pub(crate) fn master(conf: &[&str]) -> Self {
        Self::master_in(Home::new(), conf)
    }

    pub(crate) fn master_with_tls() -> Self {
        let home = Home::new();
        let certificates = Certificates::new(&home);
        let properties = certificates.properties();
        Self::master_in(home, &properties.each_ref().map(String::as_str)).over_tls(&certificates)
    }

    fn master_in(home: Home, conf: &[&str]) -> Self {
        let options = conf.iter().flat_map(|property| ["--conf", property]);
        let words = ["master", "--port", "0", "--webui-port", "0", "--rest-port", "0"];
        let words: Vec<_> = words.into_iter().chain(options).collect();
        let (daemon, log) = start(&home, "master", &words);
        let said = talk(&log, "page at ");
        let (page, rest) = said.split_once(", REST at ").unwrap();
        let ports = vec![
            Port::new("the master's own port", Speaks::Both, SUBMISSIONS, &daemon.ready),
            Port::new("the master's REST port", Speaks::Http, SUBMISSIONS, rest),
            Port::new("the master's page", Speaks::Http, PAGES, page),
        ];
        Self { daemon, ports, log, _home: home, _others: Vec::new() }
    }

    pub(crate) fn worker() -> Self {
        Self::worker_in(Home::new(), &[])
    }

    pub(crate) fn worker_with_tls() -> Self {
        let home = Home::new();
        let certificates = Certificates::new(&home);
        let properties = certificates.properties();
        Self::worker_in(home, &properties.each_ref().map(String::as_str)).over_tls(&certificates)
    }

    fn worker_in(home: Home, conf: &[&str]) -> Self {
        let options: Vec<_> = conf.iter().flat_map(|property| ["--conf", property]).collect();
        let words = ["master", "--port", "0", "--webui-port", "0", "--rest-port", "0"];
        let (master, _) = start(&home, "master", &[&words[..], &options].concat());
        let web = free_port();
        let web_port = web.to_string();
        let words = ["worker", &master.ready, "--webui-port", &web_port, "--work-dir", "work"];
        let (daemon, log) = start(&home, "worker", &[&words[..], &options].concat());
        let ports = vec![
            Port::new("the worker's own port", Speaks::Rpc, &[], &daemon.ready),
            Port::new("the worker's page", Speaks::Http, WORKER_PAGES, &format!("127.0.0.1:{web}")),
        ];
        Self { daemon, ports, log, _home: home, _others: vec![master] }
    }

    /// Its Mesos cannot be reached: it serves nevertheless.
    pub(crate) fn dispatcher() -> Self {
        Self::dispatcher_in(Home::new(), &[])
    }

    pub(crate) fn dispatcher_with_tls() -> Self {
        let home = Home::new();
        let certificates = Certificates::new(&home);
        let properties = certificates.properties();
        let conf = properties.each_ref().map(String::as_str);
        Self::dispatcher_in(home, &conf).over_tls(&certificates)
    }

    fn dispatcher_in(home: Home, conf: &[&str]) -> Self {
        let options = conf.iter().flat_map(|property| ["--conf", property]);
        let words = ["dispatcher", "--master", "mesos://127.0.0.1:1", "--port", "0"];
        let words: Vec<_> = words.into_iter().chain(["--webui-port", "0"]).chain(options).collect();
        let (daemon, log) = start(&home, "dispatcher", &words);
        let page = talk(&log, "page at ");
        let ports = vec![
            Port::new("the dispatcher's own port", Speaks::Both, SUBMISSIONS, &daemon.ready),
            Port::new("the dispatcher's page", Speaks::Http, PAGES, &page),
        ];
        Self { daemon, ports, log, _home: home, _others: Vec::new() }
    }

    /// Its API server cannot be reached: it says so, and serves.
    pub(crate) fn service() -> Self {
        Self::service_in(Home::new(), &[])
    }

    pub(crate) fn service_with_tls() -> Self {
        let home = Home::new();
        let certificates = Certificates::new(&home);
        let [chain, key] =
            [&certificates.chain, &certificates.key].map(|path| path.display().to_string());
        let words = ["--tls-cert", &chain, "--tls-key", &key];
        Self::service_in(home, &words).over_tls(&certificates)
    }

    fn service_in(home: Home, more: &[&str]) -> Self {
        let words = ["serve", "--master", "k8s://http://127.0.0.1:1", "--port", "0"];
        let (daemon, log) = start(&home, "serve", &[&words[..], more].concat());
        let ports = vec![Port::new("serve's port", Speaks::Http, SERVICE, &daemon.ready)];
        Self { daemon, ports, log, _home: home, _others: Vec::new() }
    }

    pub(crate) fn staging() -> Self {
        Self::staging_in(Home::new(), &[])
    }

    pub(crate) fn staging_with_tls() -> Self {
        let home = Home::new();
        let certificates = Certificates::new(&home);
        let [chain, key] =
            [&certificates.chain, &certificates.key].map(|path| path.display().to_string());
        let words = ["--tls-cert", &chain, "--tls-key", &key];
        Self::staging_in(home, &words).over_tls(&certificates)
    }

    fn staging_in(home: Home, more: &[&str]) -> Self {
        let words = ["staging", "--port", "0", "--dir", "files"];
        let (daemon, log) = start(&home, "staging", &[&words[..], more].concat());
        let port = Port::new("the staging server's port", Speaks::Http, STAGING, &daemon.ready);
        let ports = vec![Port { has_token: true, ..port }];
        Self { daemon, ports, log, _home: home, _others: Vec::new() }
    }
}

fn start(home: &Home, name: &str, words: &[&str]) -> (Daemon, PathBuf) {
    let log = home.path().join(format!("{name}.log"));
    let own = home.command(words);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""));
    command.arg(own.get_program()).args(own.get_args()).current_dir(home.path()).env_clear();
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(std::process::Stdio::null()).stderr(File::create(&log).unwrap());
    (Daemon::start_quietly(&mut command), log)
}

/// What a daemon said behind these words.
fn talk(log: &PathBuf, words: &str) -> String {
    let said = std::fs::read_to_string(log).unwrap();
    said.lines().find_map(|line| line.strip_prefix(words)).unwrap().to_owned()
}
