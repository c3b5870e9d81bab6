//! Several masters, one of which leads: a real ZooKeeper says which.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{
    Home, eventually, nothing_is_left, processes_of, so_many_processes_of,
};
use anymaster_test_support::ports::free_port;
use anymaster_test_support::standalone::{curl, variable};

pub(crate) struct ZooKeeper(Child);

impl ZooKeeper {
    /// By a program that stands before it, for example `ip netns exec NAME`.
    pub(crate) fn start(before: &[&str], address: &str, port: u16, dir: &Path) -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clusters/zookeeper/run");
        let (script, dir) = (script.display().to_string(), dir.display().to_string());
        let port = port.to_string();
        let words = [before, &[script.as_str(), &port, &dir, address]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Masters {
    home: Home,
    conf: Vec<String>,
    token: String,
    masters: Vec<(Daemon, u16)>,
    url: String,
}

impl Masters {
    fn new(zookeeper: u16) -> Self {
        let home = Home::new();
        let secret = home.file("secret", "of all masters");
        let conf: Vec<String> = [
            "spark.deploy.recoveryMode=ZOOKEEPER".to_owned(),
            format!("spark.deploy.zookeeper.url=127.0.0.1:{zookeeper}"),
            "spark.anymaster.zookeeper.sessionTimeout=4s".to_owned(),
            format!("spark.anymaster.authenticate.secretFile={}", secret.display()),
        ]
        .into();
        let token = home.call(&["token", "--conf", &conf[3]]).out.trim().to_owned();
        let mut masters = Self { home, conf, token, masters: Vec::new(), url: String::new() };
        (0..2).for_each(|_| masters.add(0));
        let places =
            masters.masters.iter().map(|(daemon, _)| daemon.ready.trim_start_matches("spark://"));
        masters.url = format!("spark://{}", places.collect::<Vec<_>>().join(","));
        masters
    }

    fn options(&self) -> Vec<&str> {
        self.conf.iter().flat_map(|property| ["--conf", property]).collect()
    }

    fn add(&mut self, port: u16) {
        let (web, port) = (free_port(), port.to_string());
        let web_port = web.to_string();
        let own = ["master", "--port", &port, "--rest-port", "0", "--webui-port", &web_port];
        let words = [&own[..], &self.options()].concat();
        let master = Daemon::start(self.home.command(&words));
        self.masters.push((master, web));
    }

    fn call(&self, verb: &str, more: &[&str]) -> anymaster_test_support::home::Said {
        let words = [&[verb, "--master", &self.url][..], &self.options(), more];
        self.home.call(&words.concat())
    }

    fn status(&self, web: u16) -> String {
        let (user, url) = (format!("x:{}", self.token), format!("http://127.0.0.1:{web}/json/"));
        let json: serde_json::Value = serde_json::from_str(&curl(&["-u", &user, &url])).unwrap();
        json["status"].as_str().unwrap().to_owned()
    }

    /// Which of them leads; there is never more than one.
    fn leader(&self) -> usize {
        eventually("a master leads", || {
            let leads = |(_, web): &(Daemon, u16)| self.status(*web) == "ALIVE";
            let ask = || self.masters.iter().map(leads).collect::<Vec<_>>();
            let all = ask();
            // They are asked one after another: who led before may have ended meanwhile.
            let several = |all: &[bool]| all.iter().filter(|leads| **leads).count() > 1;
            assert!(!(several(&all) && several(&ask())), "two masters lead");
            all.iter().position(|leads| *leads)
        })
    }

    fn until_running(&self, app: &str, many: u64) {
        eventually(&format!("{many} executors run"), || {
            let said = self.call("status", &[app, "-o", "json"]);
            let status: serde_json::Value = serde_json::from_str(&said.out).ok()?;
            (status["allocation"]["running"] == many).then_some(())
        });
    }
}

/// What ZooKeeper's own client says, without any password.
fn stranger(zookeeper: u16, words: &[&str]) -> String {
    let server = format!("127.0.0.1:{zookeeper}");
    let jars = format!("{}/jars/*", variable("SPARK_HOME"));
    let class = "org.apache.zookeeper.ZooKeeperMain";
    let output = Command::new(format!("{}/bin/java", variable("JAVA_HOME")))
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &jars, class])
        .args(["-server", &server])
        .args(words)
        .output()
        .unwrap();
    [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat()
}

#[test]
#[ignore = "needs ZooKeeper"]
fn who_has_no_secret_puts_nothing_into_zookeeper_and_takes_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let zookeeper = ZooKeeper::start(&[], "127.0.0.1", port, dir.path());
    let state = "/spark/anymaster/state";
    eventually("ZooKeeper is there", || {
        stranger(port, &["ls", "/"]).contains("[zookeeper]").then_some(())
    });
    // As long as it is open to all.
    for path in ["/spark", "/spark/anymaster", state, &format!("{state}/app:planted")] {
        let said = stranger(port, &["create", path, "{}"]);
        assert!(said.contains(&format!("Created {path}")), "{said}");
    }
    let masters = Masters::new(port);
    masters.leader();
    let sizes = ["--driver-memory", "16m", "--submission-id", "kept"];
    let words = [&["--deploy-mode", "cluster"], &sizes[..], &["sleep", "3600"]].concat();
    masters.call("submit", &words).expect(0, &[]);
    let known = masters.call("ps", &["-a"]).out;
    assert!(known.contains("kept") && !known.contains("planted"), "{known}");
    let election = "/spark/anymaster/leader_election";
    for words in [
        &["create", "/spark/anymaster/state/app:evil", "{}"][..],
        &["create", "/spark/anymaster/other", "{}"],
        &["create", "/spark/anymaster/leader_election/latch-0", "{}"],
        &["delete", "/spark/anymaster/state/app:kept"],
        &["deleteall", election],
        &["setAcl", state, "world:anyone:cdrwa"],
        &["get", "/spark/anymaster/state/app:kept"],
        &["ls", state],
    ] {
        let said = stranger(port, words);
        assert!(said.contains("ermission") || said.contains("not valid"), "{words:?}: {said}");
    }
    drop((masters, zookeeper));
}

#[test]
#[ignore = "needs ZooKeeper"]
fn a_damaged_or_missing_record_in_zookeeper_is_refused_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    variable("SPARK_HOME");
    let _zookeeper = ZooKeeper::start(&[], "127.0.0.1", port, dir.path());
    let home = Home::new();
    let conf = [
        "spark.deploy.recoveryMode=ZOOKEEPER".to_owned(),
        format!("spark.deploy.zookeeper.url=127.0.0.1:{port}"),
        "spark.anymaster.zookeeper.sessionTimeout=4s".to_owned(),
    ];
    let start = |more: &[&str]| {
        let own = ["master", "--port", "0", "--rest-port", "0", "--webui-port", "0"];
        let conf = conf.iter().map(String::as_str).chain(more.iter().copied());
        let conf: Vec<_> = conf.flat_map(|property| ["--conf", property]).collect();
        home.command(&[&own[..], &conf].concat())
    };
    let known = |master: &Daemon| {
        eventually("the master leads", || {
            let said = home.call(&["ps", "-a", "-o", "json", "--master", &master.ready]);
            let all: serde_json::Value = serde_json::from_str(&said.out).ok()?;
            let ids = all.as_array()?.iter().filter_map(|app| app["id"].as_str());
            Some(ids.map(str::to_owned).collect::<std::collections::BTreeSet<_>>())
        })
    };
    let mut master = Daemon::start(start(&[]));
    known(&master);
    for id in ["one", "two", "three"] {
        let words = ["submit", "--deploy-mode", "cluster", "--submission-id", id, "--master"];
        home.call(&[&words[..], &[&master.ready, "sleep", "1"]].concat()).expect(0, &[]);
    }
    let damage = |words: &[&str]| {
        let said = stranger(port, words);
        assert!(!said.contains("does not exist"), "{said}");
    };
    let node = |id: &str| format!("/spark/anymaster/state/app:{id}");
    for (words, why, left) in [
        (&["set", &node("one"), "{}"][..], "app:one is not what a master wrote", "three two"),
        (&["delete", &node("two")], "1 of 3 records are missing", "three"),
    ] {
        master.shoot();
        damage(words);
        let refused = start(&[]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && said.contains("acceptLoss="), "{said}");
        let number = said.rsplit("acceptLoss=").next().unwrap();
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        let accepted = format!("spark.anymaster.standalone.acceptLoss={number}");
        master = Daemon::start(start(&[&accepted]));
        let known = known(&master).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(known, left);
    }
}

#[test]
#[ignore = "needs ZooKeeper"]
fn another_master_goes_on_when_the_one_that_leads_is_shot() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    // It is `variable` that says what is missing.
    variable("SPARK_HOME");
    let zookeeper = ZooKeeper::start(&[], "127.0.0.1", port, dir.path());
    let mut masters = Masters::new(port);
    let workers: Vec<Daemon> = ["one", "two"]
        .into_iter()
        .map(|dir| {
            let own = ["worker", &masters.url, "--webui-port", "0", "--cores", "3"];
            let more = ["--memory", "2g", "--work-dir", dir];
            let words = [&own[..], &more[..], &masters.options()].concat();
            Daemon::start(masters.home.command(&words))
        })
        .collect();
    let run = ["run", "--master", &masters.url, "--submission-id", "kept", "--executors", "3"];
    let sizes = ["--executor-memory", "16m", "--driver-memory", "16m"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600"];
    let words = [&run[..], &masters.options(), &sizes[..], &programs[..]].concat();
    let started = masters.home.start(&words);
    masters.until_running("kept", 3);
    let now = || processes_of("kept");
    let before = so_many_processes_of("kept", 4);

    // Twice: what the second one learned from the first, it hands on.
    for _ in 0..2 {
        let leader = masters.leader();
        let (mut shot, _) = masters.masters.remove(leader);
        let port = shot.ready.rsplit(':').next().unwrap().parse().unwrap();
        shot.shoot();
        masters.leader();
        masters.until_running("kept", 3);
        assert_eq!(now(), before, "nothing was disturbed");
        masters.add(port);
    }

    // Without ZooKeeper nobody leads; what runs goes on, and with it all is as it was.
    drop(zookeeper);
    eventually("nobody leads", || {
        masters.masters.iter().all(|(_, web)| masters.status(*web) == "STANDBY").then_some(())
    });
    assert_eq!(now(), before);
    let zookeeper = ZooKeeper::start(&[], "127.0.0.1", port, dir.path());
    masters.leader();
    masters.until_running("kept", 3);
    assert_eq!(now(), before, "nothing was disturbed");

    masters.call("kill", &["kept"]).expect(0, &[]);
    started.wait().expect(143, &[]);
    nothing_is_left("kept");
    drop((workers, zookeeper));
}
