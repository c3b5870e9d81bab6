//! What a master has to bear.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, curl};
use crate::daemon::Daemon;
use crate::home::{Home, eventually, nothing_is_left, processes_of};

fn memory_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

fn ports(cluster: &Cluster) -> [u16; 3] {
    let own = cluster.master.ready.rsplit(':').next().unwrap().parse().unwrap();
    [own, cluster.rest, cluster.web]
}

/// The cluster is as good as ever.
fn serves(cluster: &Cluster, app: &str) {
    let started = cluster.run(app, 2);
    cluster.until_running(app, 2);
    cluster.call("kill", &[app]).expect(0, &[]);
    started.wait().expect(143, &[]);
    nothing_is_left(app);
}

/// Numbers that are the same in each run.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
#[ignore = "takes a while"]
fn nonsense_is_refused_and_forgotten() {
    let cluster = Cluster::new(1, &[]);
    serves(&cluster, "before");
    let before = memory_mib(&cluster.master);
    let hello = |json: &str| [&(json.len() as u32).to_be_bytes()[..], json.as_bytes()].concat();
    for number in 0..1_000_u64 {
        let port = ports(&cluster)[(number % 3) as usize];
        let message = match number % 8 {
            0 => noise(number, 512),
            1 => u32::MAX.to_be_bytes().to_vec(),
            2 => hello("{}"),
            3 => hello(r#"{"protocol":99,"role":"client","nonce":"x"}"#),
            4 => hello(r#"{"protocol":1,"role":{"application":"../../etc"},"nonce":"x"}"#),
            5 => b"POST /v1/submissions/create HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"
                .to_vec(),
            6 => [b"GET /".as_slice(), &noise(number, 256), b" HTTP/1.1\r\n\r\n"].concat(),
            _ => {
                b"POST /v1/submissions/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n[[[[["
                    .to_vec()
            }
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // It may have hung up already, as is its right.
        let _ = stream.write_all(&message);
        let _ = stream.read(&mut [0; 512]);
    }
    serves(&cluster, "after");
    let after = memory_mib(&cluster.master);
    assert!(after < before + 30, "{before} MiB before, {after} MiB after");
}

#[test]
#[ignore = "takes a while"]
fn those_who_dawdle_are_sent_away() {
    let cluster = Cluster::new(1, &[]);
    let mut slow: Vec<TcpStream> = Vec::new();
    for port in ports(&cluster) {
        for _ in 0..100 {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nonblocking(true).unwrap();
            slow.push(stream);
        }
    }
    let (began, mut has_served) = (Instant::now(), false);
    // One byte a second of a request that never ends.
    let mut request =
        b"POST /v1/submissions/create HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
    while !slow.is_empty() {
        let byte = [*request.next().unwrap()];
        slow.retain_mut(|stream| {
            let closed = matches!(stream.read(&mut [0; 64]), Ok(0));
            !closed && stream.write_all(&byte).is_ok()
        });
        assert!(began.elapsed() < Duration::from_secs(40), "{} are still there", slow.len());
        if !has_served {
            serves(&cluster, "meanwhile");
            has_served = true;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
#[ignore = "takes a while"]
fn ten_thousand_idle_connections_are_in_nobodys_way() {
    let cluster = Cluster::new(1, &[]);
    let [port, _, _] = ports(&cluster);
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let idle: Vec<TcpStream> = (0..10_000).map(|_| connect()).collect();
    serves(&cluster, "among-many");
    let memory = memory_mib(&cluster.master);
    assert!(memory < 200, "{memory} MiB with {} connections", idle.len());
    drop(idle);
    serves(&cluster, "alone-again");
}

/// A file system of a few MiB.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: std::path::PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=4m,mode=700", "none"];
        let mounted = Command::new("mount").args(options).arg(&path).status().unwrap();
        assert!(mounted.success(), "as root, this mounts a small file system");
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
        assert!(unmounted.success(), "{} is unmounted", self.0.display());
    }
}

/// Asks over REST, over a connection of its own; what the master said.
pub(crate) fn rest(
    port: u16,
    method: &str,
    action: &str,
    body: &str,
) -> Result<serde_json::Value, String> {
    let request = format!(
        "{method} /v1/submissions/{action} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let json = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

/// Submits a program over REST; its id, if that was acknowledged, or what the master said.
pub(crate) fn submit_program(
    port: u16,
    program: &str,
    arguments: &[&str],
) -> Result<String, String> {
    let body = serde_json::json!({
        "action": "CreateSubmissionRequest", "appArgs": arguments, "appResource": program,
        "clientSparkVersion": "4.0.5", "environmentVariables": {}, "mainClass": "",
        "sparkProperties": {"spark.app.name": "small", "spark.driver.memory": "1m"},
    });
    let said = rest(port, "POST", "create", &body.to_string())?;
    match (said["success"].as_bool(), said["submissionId"].as_str()) {
        (Some(true), Some(id)) => Ok(id.to_owned()),
        _ => Err(said["message"].to_string()),
    }
}

fn submit(port: u16, argument: &str) -> Result<String, String> {
    submit_program(port, "true", &[argument])
}

fn is_known(port: u16, id: &str) -> bool {
    let url = format!("http://127.0.0.1:{port}/v1/submissions/status/{id}");
    curl(&[&url]).contains("\"success\" : true")
}

/// All that the master knows, in order.
fn known(cluster: &Cluster) -> Vec<String> {
    let all = cluster.call("ps", &["-a", "-o", "json"]).out;
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let ids = all.as_array().unwrap().iter().filter_map(|one| one["id"].as_str());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort();
    ids
}

fn until_all_have_finished(cluster: &Cluster) {
    eventually("all have finished", || {
        let said = cluster.call("ps", &["-o", "json"]).out;
        let left: serde_json::Value = serde_json::from_str(&said).ok()?;
        left.as_array()?.is_empty().then_some(())
    });
}

pub(crate) const KEEPING: [&str; 3] = [
    "spark.deploy.recoveryMode=FILESYSTEM",
    "spark.deploy.recoveryDirectory=small",
    "spark.deploy.retainedApplications=100000",
];

#[test]
#[ignore = "needs root"]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let home = Home::new();
    let small = Small::mount(home.path().join("small"));
    let mut cluster = Cluster::master(home, &KEEPING);
    let long = "x".repeat(100_000);
    let mut acknowledged = Vec::new();
    let refusal = loop {
        match submit(cluster.rest, &long) {
            Ok(id) => acknowledged.push(id),
            Err(said) => break said,
        }
        assert!(acknowledged.len() < 100, "4 MiB hold no {} of them", acknowledged.len());
    };
    assert!(refusal.contains("cannot write down what it is to remember"), "{refusal}");
    assert!(acknowledged.len() > 3, "{acknowledged:?}");
    assert_eq!(known(&cluster).len(), acknowledged.len(), "what is refused is not taken in");
    // It still answers, and as soon as there is room it takes more.
    assert!(is_known(cluster.rest, &acknowledged[0]));
    let grow = ["-o", "remount,size=32m"];
    assert!(Command::new("mount").args(grow).arg(&small.0).status().unwrap().success());
    let more = eventually("there is room again", || submit(cluster.rest, &long).ok());
    acknowledged.push(more);
    cluster.master.shoot();
    cluster.start_again();
    for id in &acknowledged {
        assert!(is_known(cluster.rest, id), "{id} was acknowledged, and is not known");
    }
    // What was refused neither runs nor is known.
    cluster.add_worker(4, "4g");
    until_all_have_finished(&cluster);
    acknowledged.sort();
    assert_eq!(known(&cluster), acknowledged);
}

#[test]
#[ignore = "takes a while"]
fn what_is_killed_while_its_worker_is_away_ends_when_that_returns_and_leaves_nothing() {
    let tidy = ["spark.worker.cleanup.interval=1", "spark.worker.cleanup.appDataTtl=0"];
    let mut cluster = Cluster::new(1, &[&KEEPING[..], &tidy].concat());
    let started = cluster.run("away", 1);
    cluster.until_running("away", 1);
    cluster.workers[0].signal("STOP");
    cluster.master.shoot();
    cluster.start_again();
    let kill = format!("http://127.0.0.1:{}/v1/submissions/kill/away", cluster.rest);
    let said = curl(&["-X", "POST", &kill]);
    assert!(said.contains("\"success\" : true"), "{said}");
    cluster.workers[0].signal("CONT");
    started.wait().expect(143, &[]);
    nothing_is_left("away");
    let dir = cluster.home.path().join("work-0/away");
    eventually("its directory goes", || (!dir.exists()).then_some(()));
}

#[test]
#[ignore = "takes a while"]
fn a_master_without_the_secret_ends_nothing_of_what_runs() {
    let home = Home::new();
    let secret = home.file("secret", "of the cluster");
    let conf = [
        "spark.deploy.recoveryMode=FILESYSTEM".to_owned(),
        "spark.deploy.recoveryDirectory=kept".to_owned(),
        format!("spark.anymaster.authenticate.secretFile={}", secret.display()),
    ];
    let mut cluster = Cluster::master(home, &conf.each_ref().map(String::as_str));
    cluster.add_worker(2, "1g");
    let before = cluster.submit_one_that_waits("kept");
    let answer = br#"{"protocol":1,"nonce":"0","secret":false}"#;
    let says = [&(answer.len() as u32).to_be_bytes()[..], answer].concat();
    cluster.replace_for_a_while(&says);
    assert_eq!(processes_of("kept"), before, "nothing was disturbed");
    cluster.call("kill", &["kept"]).expect(0, &[]);
    nothing_is_left("kept");
}
