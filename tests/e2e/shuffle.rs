//! `anymaster shuffle`: executors of an unmodified Spark use it, and what they wrote is there when they are not.

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, said};
use anymaster_test_support::spark;
use anymaster_test_support::standalone::curl;

/// A service for directories below a home, and where its administration is.
struct Served {
    home: Home,
    service: Daemon,
    administration: String,
}

impl Served {
    fn new(properties: &[&str]) -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path().join("blocks")).unwrap();
        let port = anymaster_test_support::ports::free_port();
        let administration = format!("http://127.0.0.1:{port}");
        let service = Self::start(&home, "0", port, properties);
        Self { home, service, administration }
    }

    fn start(home: &Home, port: &str, admin_port: u16, properties: &[&str]) -> Daemon {
        let admin_port = admin_port.to_string();
        let mut words = vec!["shuffle", "--port", port, "--admin-port", &admin_port];
        words.extend(["--dirs", "blocks"]);
        words.extend(properties.iter().flat_map(|property| ["--conf", property]));
        Daemon::start(home.command(&words))
    }

    fn port(&self) -> &str {
        self.service.ready.rsplit(':').next().unwrap()
    }

    /// A number that the service counts.
    fn metric(&self, name: &str) -> u64 {
        let text = curl(&[&format!("{}/metrics", self.administration)]);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    /// The end of an application, as its manager tells it: the status of the answer.
    fn end(&self, app: &str) -> String {
        let own = self.home.path().join("blocks/.anymaster-shuffle");
        let mut files = std::fs::read_dir(own).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.extension().is_some_and(|kind| kind == "token"));
        let token = std::fs::read_to_string(file.unwrap()).unwrap();
        let bearer = format!("Authorization: Bearer {}", token.trim());
        let url = format!("{}/applications/{app}", self.administration);
        curl(&["-X", "DELETE", "-H", &bearer, "-w", "%{http_code}", "-o", "/dev/null", &url])
    }

    /// A job whose executors are killed after their map tasks have right results, and no map task runs twice.
    fn runs(&self, properties: &[&str]) {
        let mark = self.home.path().join("ran");
        let port = format!("spark.shuffle.service.port={}", self.port());
        let mut more = vec!["--conf", "spark.shuffle.service.enabled=true", "--conf", &port];
        more.extend(["--conf", "spark.shuffle.readHostLocalDisk=false"]);
        more.extend(["--conf", "spark.shuffle.service.fetch.rdd.enabled=true"]);
        more.extend(properties.iter().flat_map(|property| ["--conf", property]));
        let part = ["shuffled", mark.to_str().unwrap()];
        let mut job = spark::job(&self.home, "local-cluster[2,1,512]", &more, &part);
        let said =
            said(&job.env("SPARK_LOCAL_DIRS", self.home.path().join("blocks")).output().unwrap());
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains("right"), "{said:?}");
        // Two at first, and two after each time that all were killed.
        assert_eq!(self.metric("anymaster_shuffle_executors"), 6);
        assert!(self.metric("anymaster_shuffle_blocks_total") >= 48);
    }
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn what_executors_wrote_is_read_when_they_were_killed_and_no_map_task_runs_again() {
    let served = Served::new(&[]);
    served.runs(&[]);
    assert_eq!(served.metric("anymaster_shuffle_block_failures_total"), 0);
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn executors_prove_that_they_know_the_secret() {
    let known = ["spark.authenticate=true", "spark.authenticate.secret=s3cret"];
    let served = Served::new(&known);
    served.runs(&known);
    assert_eq!(served.metric("anymaster_shuffle_authentication_failures_total"), 0);
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn connections_of_executors_are_encrypted() {
    let known = [
        "spark.authenticate=true",
        "spark.authenticate.secret=s3cret",
        "spark.network.crypto.enabled=true",
        "spark.network.crypto.saslFallback=false",
    ];
    for more in [
        &[][..],
        &[
            "spark.network.crypto.cipher=AES/GCM/NoPadding",
            "spark.network.crypto.authEngineVersion=2",
        ],
    ] {
        let properties = [&known[..], more].concat();
        Served::new(&properties).runs(&properties);
    }
}

#[test]
fn a_service_says_when_it_is_ready_and_is_asked_with_its_token() {
    let mut served = Served::new(&[]);
    assert!(served.service.ready.starts_with("127.0.0.1:"), "{}", served.service.ready);
    assert_eq!(served.metric("anymaster_shuffle_executors"), 0);
    assert_eq!(served.end("app"), "404");
    let url = format!("{}/applications", served.administration);
    let stranger = curl(&["-w", "%{http_code}", "-o", "/dev/null", &url]);
    assert_eq!(stranger, "401");
    served.service.signal("TERM");
    assert_eq!(served.service.wait(), Some(0));
}

#[test]
fn what_a_service_lacks_is_said_with_what_to_do() {
    let home = Home::new();
    let call = |more: &[&str]| {
        let words = [&["shuffle", "--port", "0", "--admin-port", "0"], more].concat();
        said(&home.command(&words).output().unwrap())
    };
    for (more, words) in [
        (&["--dirs", "missing"][..], "cannot serve the directory missing"),
        (&["--dirs", "/"], "all files of this machine"),
        (&["--dirs", ".", "--conf", "spark.authenticate=true"], "there is no secret"),
        (&["--dirs", ".", "--conf", "spark.ssl.rpc.enabled=true"], "has no TLS"),
        (&[], "--dirs"),
    ] {
        let said = call(more);
        assert!(said.err.contains(words), "{said:?}");
        assert_ne!(said.code, Some(0), "{said:?}");
    }
}
