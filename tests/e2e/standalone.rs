//! A cluster of its own: a master and workers, and what runs on it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use anymaster_test_support::bytes::frame;
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::example::{digits, pi};
use anymaster_test_support::home::{Home, eventually, processes_of, so_many_processes_of};

/// A master and two workers that share a secret.
pub(crate) struct Cluster {
    pub(crate) home: Home,
    pub(crate) secret: String,
    pub(crate) master: Daemon,
    workers: Vec<Daemon>,
}

impl Cluster {
    fn new() -> Self {
        Self::of_workers(2)
    }

    pub(crate) fn of_workers(many: usize) -> Self {
        let home = Home::new();
        let file = home.file("secret", "of all of them\n");
        let secret = format!("spark.anymaster.authenticate.secretFile={}", file.display());
        let master = Self::master(&home, "0", &secret);
        let mut cluster = Self { home, secret, master, workers: Vec::new() };
        for number in 0..many {
            let worker = cluster.worker(number);
            cluster.workers.push(worker);
        }
        cluster
    }

    fn master(home: &Home, port: &str, secret: &str) -> Daemon {
        let keeping =
            ["spark.deploy.recoveryMode=FILESYSTEM", "spark.deploy.recoveryDirectory=kept"];
        let options = [
            "master",
            "--port",
            port,
            "--webui-port",
            "0",
            "--rest-port",
            "0",
            "--conf",
            secret,
            "--conf",
            keeping[0],
            "--conf",
            keeping[1],
        ];
        Daemon::start(home.command(&options))
    }

    fn worker(&self, number: usize) -> Daemon {
        let dir = format!("work-{number}");
        let url = self.master.ready.as_str();
        let args = [
            "worker",
            url,
            "--webui-port",
            "0",
            "--cores",
            "3",
            "--memory",
            "2g",
            "--work-dir",
            &dir,
        ];
        Daemon::start(self.home.command(&[&args[..], &["--conf", &self.secret]].concat()))
    }

    /// The words of a verb for this cluster.
    pub(crate) fn words<'a>(&'a self, verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&[verb, "--master", &self.master.ready, "--conf", &self.secret][..], more].concat()
    }

    fn until_running(&self, app: &str, many: u64) -> Value {
        let words = self.words("status", &[app, "-o", "json"]);
        eventually(&format!("{many} executors run"), || {
            let said = self.home.call(&words);
            let status: Value = serde_json::from_str(&said.out).ok()?;
            (status["allocation"]["running"] == many).then_some(status)
        })
    }

    fn executors(app: &str) -> Vec<u32> {
        let of_app = processes_of(app);
        let has_id = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(22).any(|name| name == b"ANYMASTER_EXECUTOR_ID=")
        };
        of_app.into_iter().filter(has_id).collect()
    }
}

#[test]
fn pi_is_worked_out_by_a_driver_here() {
    let cluster = Cluster::new();
    let pi = pi().to_str().unwrap();
    let sizes = ["--submission-id", "here", "--executor-memory", "64m", "--executor-cores", "1"];
    let more = ["--conf", "spark.executor.instances=2", pi, "50"];
    let ran = cluster.home.call(&cluster.words("submit", &[&sizes[..], &more].concat()));
    ran.expect(0, &[]);
    assert!(digits(&ran.out).starts_with("3.1"), "{ran:?}");
    assert!(ran.out.contains("by 2 executors"), "{ran:?}");
    eventually("nothing of it is left", || processes_of("here").is_empty().then_some(()));
    // The cluster knows it as one that came by itself; this machine as what ran here.
    let there = cluster.home.json(&cluster.words("ps", &["-a", "-o", "json"]));
    assert_eq!(there[0]["id"], "here", "{there}");
    assert!(cluster.home.call(&["ps", "-a"]).out.contains("Finished"));
}

#[test]
fn pi_is_worked_out_by_a_driver_on_a_worker() {
    let cluster = Cluster::new();
    let pi = pi().to_str().unwrap();
    let options = ["--deploy-mode", "cluster", "--submission-id", "pi"];
    let sizes = ["--driver-memory", "64m", "--executor-memory", "64m"];
    let more = ["--conf", "spark.executor.instances=3", "--executor-cores", "1", pi, "50"];
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    let words = cluster.words("submit", &[&options[..], &sizes, &waits, &more].concat());
    cluster.home.call(&words).expect(0, &["submission id: pi", "finished"]);
    let out = cluster.home.call(&cluster.words("logs", &["pi"])).out;
    assert!(digits(&out).starts_with("3.14"), "{out}");
    let status = cluster.home.json(&cluster.words("status", &["pi", "-o", "json"]));
    assert_eq!(status["executors"].as_array().map(Vec::len), Some(3), "{status}");
    eventually("nothing of it is left", || processes_of("pi").is_empty().then_some(()));
}

#[test]
fn a_property_that_makes_no_sense_is_refused_before_anything_starts() {
    let cluster = Cluster::new();
    let property = "spark.standalone.submit.waitAppCompletion";
    let wrong = format!("{property}=perhaps");
    let options = ["--deploy-mode", "cluster", "--conf", &wrong, "sleep", "60"];
    cluster.home.call(&cluster.words("submit", &options)).expect(2, &[property, "perhaps"]);
    let all = cluster.home.json(&cluster.words("ps", &["-a", "-o", "json"]));
    assert_eq!(all, serde_json::json!([]));
}

#[test]
fn executors_of_a_worker_that_is_shot_are_replaced_on_another() {
    let mut cluster = Cluster::new();
    let run = ["--submission-id", "shot", "--executors", "3", "--executor-memory", "16m"];
    let programs = ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = cluster.words("run", &[&run[..], &programs[..]].concat());
    let started = cluster.home.start(&words);
    cluster.until_running("shot", 3);
    // The one without the driver.
    let driver = eventually("the driver is a process", || {
        let all = so_many_processes_of("shot", 4);
        let executors = Cluster::executors("shot");
        all.into_iter().find(|pid| !executors.contains(pid))
    });
    let parent = |pid: u32| -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let with_driver = parent(driver);
    let other = cluster.workers.iter().position(|worker| worker.id() != with_driver).unwrap();
    drop(cluster.workers.remove(other));
    let status = eventually("all were lost and two came back", || {
        let status = cluster.until_running("shot", 2);
        let lost =
            status["executors"].as_array()?.iter().filter(|one| one["cause"]["cause"] == "lost");
        (lost.count() > 0).then_some(status)
    });
    assert_eq!(status["allocation"]["failed"], 0, "{status}");
    // There is room for two beside the driver; the third one says what it waits for.
    let explained = cluster.home.call(&cluster.words("explain", &["shot"])).out;
    assert!(explained.contains("needs 1 core"), "{explained}");
    let worker = cluster.worker(7);
    cluster.workers.push(worker);
    cluster.until_running("shot", 3);
    cluster.home.call(&cluster.words("kill", &["shot"])).expect(0, &[]);
    started.wait().expect(143, &[]);
    eventually("nothing of it is left", || processes_of("shot").is_empty().then_some(()));
}

#[test]
fn strangers_are_refused_and_masters_stop_when_asked() {
    let cluster = Cluster::new();
    let url = cluster.master.ready.as_str();
    let said = cluster.home.call(&["ps", "--master", url]);
    said.expect(1, &["wants to know who is there", "spark.authenticate.secret"]);
    let wrong = ["ps", "--master", url, "--conf", "spark.authenticate.secret=guessed"];
    cluster.home.call(&wrong).expect(1, &["its secret is another one than ours"]);
    let said = cluster.home.call(&[
        "worker",
        url,
        "--webui-port",
        "0",
        "--conf",
        "spark.authenticate.secret=guessed",
    ]);
    said.expect(1, &["its secret is another one than ours"]);
    let said = cluster.home.call(&["worker", "local[2]"]);
    said.expect(2, &["workers belong to standalone masters"]);
    let Cluster { home, mut master, .. } = cluster;
    master.signal("TERM");
    assert_eq!(master.wait(), Some(0));
    drop(home);
}

#[test]
fn a_master_that_is_shot_and_started_again_disturbs_nothing() {
    let mut cluster = Cluster::new();
    let run = ["--submission-id", "kept", "--executors", "3", "--executor-memory", "16m"];
    let programs = ["--driver-memory", "16m", "--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = cluster.words("run", &[&run[..], &programs[..]].concat());
    let started = cluster.home.start(&words);
    cluster.until_running("kept", 3);
    let now = || processes_of("kept");
    let before = so_many_processes_of("kept", 4);

    let port = cluster.master.ready.rsplit(':').next().unwrap().to_owned();
    cluster.master.shoot();
    cluster.master = Cluster::master(&cluster.home, &port, &cluster.secret);
    let status = cluster.until_running("kept", 3);
    assert_eq!(status["allocation"]["phase"], "reached", "{status}");
    assert_eq!(now(), before);

    // It is as good as the one before: what is killed is replaced, under an id that nobody had.
    cluster.home.call(&cluster.words("kill", &["kept", "--executor", "1"])).expect(0, &[]);
    let status = eventually("another one runs", || {
        let status = cluster.until_running("kept", 3);
        (now() != before).then_some(status)
    });
    let ids = status["executors"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap());
    assert!(ids.max().unwrap() > 1_000, "{status}");
    cluster.home.call(&cluster.words("kill", &["kept"])).expect(0, &[]);
    started.wait().expect(143, &[]);
    eventually("nothing of it is left", || now().is_empty().then_some(()));
}

#[test]
fn daemons_on_one_machine_do_not_need_ports_for_their_pages() {
    let cluster = Cluster::of_workers(0);
    let url = cluster.master.ready.as_str();
    let start = |dir: &str| {
        let words = ["worker", url, "--work-dir", dir, "--cores", "1", "--memory", "1g"];
        Daemon::start(cluster.home.command(&[&words[..], &["--conf", &cluster.secret]].concat()))
    };
    let (_one, _two) = (start("one"), start("two"));
    let taken = url.rsplit(':').next().unwrap();
    let said =
        cluster.home.call(&["master", "--port", taken, "--webui-port", "0", "--rest-port", "0"]);
    said.expect(1, &["cannot listen on 127.0.0.1:", "another process may use the port"]);
}

#[test]
fn what_waits_for_a_worker_goes_on_when_one_comes() {
    let mut cluster = Cluster::of_workers(0);
    let run = ["--submission-id", "early", "--executors", "1", "--executor-memory", "16m"];
    let programs = ["--driver-memory", "16m", "--driver", "echo at last", "--executor", "sleep 9"];
    let started = cluster.home.start(&cluster.words("run", &[&run[..], &programs[..]].concat()));
    eventually("it waits", || {
        let said = cluster.home.call(&cluster.words("explain", &["early"])).out;
        said.contains("no worker has registered").then_some(())
    });
    let worker = cluster.worker(0);
    cluster.workers.push(worker);
    let said = started.wait();
    assert!(said.out.contains("at last"), "{said:?}");
    said.expect(0, &[]);
}

#[test]
fn a_worker_that_is_decommissioned_gives_its_executors_away_and_keeps_its_driver() {
    let mut cluster = Cluster::of_workers(1);
    let run = ["--submission-id", "moves", "--executors", "2", "--executor-memory", "16m"];
    let driver = "sh -c 'while [ ! -e over ]; do sleep 0.1; done'";
    let over = cluster.home.path().join("work-0/moves/driver/over");
    let programs = ["--driver-memory", "16m", "--driver", driver, "--executor", "sleep 3600"];
    let started = cluster.home.start(&cluster.words("run", &[&run[..], &programs[..]].concat()));
    cluster.until_running("moves", 2);
    let worker = cluster.worker(1);
    cluster.workers.push(worker);
    cluster.workers[0].signal("PWR");
    let status = eventually("both run elsewhere", || {
        let status = cluster.until_running("moves", 2);
        let evicted =
            status["executors"].as_array()?.iter().filter(|one| one["cause"]["cause"] == "evicted");
        (evicted.count() == 2).then_some(status)
    });
    assert_eq!(status["allocation"]["failed"], 0, "{status}");
    std::fs::write(over, "").unwrap();
    started.wait().expect(0, &[]);
    assert_eq!(cluster.workers[0].wait(), Some(0), "its driver has ended, and so does it");
}

#[test]
fn a_driver_may_do_what_concerns_its_application_and_nothing_else() {
    let cluster = Cluster::new();
    let run = ["--executors", "1", "--driver-memory", "16m", "--executor-memory", "16m"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600"];
    let start = |id| {
        let words = [&["--submission-id", id][..], &run[..], &programs[..]].concat();
        let started = cluster.home.start(&cluster.words("run", &words));
        cluster.until_running(id, 1);
        started
    };
    let (one, _other) = (start("one"), start("other"));
    // What the driver of the first one finds.
    let place = ["work-0", "work-1"]
        .map(|dir| cluster.home.path().join(dir).join("one"))
        .into_iter()
        .find(|dir| dir.join("driver").is_dir());
    let place = place.unwrap();
    let properties = std::fs::read_to_string(place.join("application.properties")).unwrap();
    assert!(properties.contains("applicationKeyFile"), "{properties}");
    assert!(!properties.contains("secretFile"), "{properties}");
    // With that, it is this application; and no other, nor the cluster's.
    let key = place.join("key").display().to_string();
    let key = format!("spark.anymaster.authenticate.applicationKeyFile={key}");
    let call = |app: &str, words: &[&str]| {
        let app = format!("spark.app.id={app}");
        let who = ["--master", &cluster.master.ready, "--conf", &key, "--conf", &app];
        cluster.home.call(&[&words[..1], &who[..], &words[1..]].concat())
    };
    call("one", &["ps"]).expect(1, &["this is the business of others than one"]);
    call("one", &["submit", "--deploy-mode", "cluster", "true"])
        .expect(1, &["this is the business of others than one"]);
    call("other", &["ps"]).expect(1, &["its secret is another one than ours"]);
    cluster.home.call(&cluster.words("kill", &["one", "other"])).expect(0, &[]);
    one.wait().expect(143, &[]);
}

#[test]
fn a_master_of_another_release_is_refused_at_once_and_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let master = format!("spark://{}", listener.local_addr().unwrap());
    // It answers as an older one, whoever comes.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut hello = [0; 512];
            // An error: it has gone again.
            let _ = stream.read(&mut hello);
            let answer = br#"{"protocol":1,"nonce":"0","secret":false}"#;
            let _ = stream.write_all(&frame(answer));
        }
    });
    let home = Home::new();
    let worker = ["worker", &master, "--webui-port", "0", "--work-dir", "work"];
    for call in [&["ps", "--master", &master][..], &worker] {
        let said = home.call(call);
        let versions = "it speaks version 1 of the protocol, and this speaks version 3";
        said.expect(1, &[versions, "it is of an older release", "upgrade that one first"]);
        assert_eq!(said.err.matches("it speaks version").count(), 1, "it is said once: {said:?}");
    }
}
