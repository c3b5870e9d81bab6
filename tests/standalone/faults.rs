//! What a master has to bear.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anymaster_test_support::bytes::{PROTOCOL, frame, noise};
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, eventually, nothing_is_left, processes_of};
use anymaster_test_support::standalone::{Cluster, KEEPING, curl};

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

#[test]
#[ignore = "takes a while"]
fn nonsense_is_refused_and_forgotten() {
    let cluster = Cluster::new(1, &[]);
    serves(&cluster, "before");
    let before = memory_mib(&cluster.master);
    let hello = |json: &str| frame(json.as_bytes());
    for number in 0..1_000_u64 {
        let port = ports(&cluster)[(number % 3) as usize];
        let message = match number % 8 {
            0 => noise(number, 512),
            1 => u32::MAX.to_be_bytes().to_vec(),
            2 => hello("{}"),
            3 => hello(r#"{"protocol":99,"role":"client","nonce":"x"}"#),
            4 => hello(&format!(
                r#"{{"protocol":{PROTOCOL},"role":{{"application":"../../etc"}},"nonce":"x"}}"#
            )),
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
    let answer = format!(r#"{{"protocol":{PROTOCOL},"nonce":"0","secret":false}}"#);
    cluster.replace_for_a_while(&frame(answer.as_bytes()));
    assert_eq!(processes_of("kept"), before, "nothing was disturbed");
    cluster.call("kill", &["kept"]).expect(0, &[]);
    nothing_is_left("kept");
}
