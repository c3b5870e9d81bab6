//! `anymaster gateway`: unmodified Spark drivers get their executors from it.

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, Said, said};
use anymaster_test_support::spark;
use serde_json::Value;

/// A gateway to this machine, and a real Spark beside it.
struct Served {
    home: Home,
    gateway: Daemon,
    properties: Vec<String>,
}

impl Served {
    /// Gateway and drivers have these properties.
    fn new(properties: &[&str]) -> Self {
        let home = Home::new();
        let properties: Vec<String> =
            properties.iter().flat_map(|it| ["--conf".to_owned(), (*it).to_owned()]).collect();
        let words: Vec<_> = properties.iter().map(String::as_str).collect();
        let gateway = spark::gateway(&home, "local[2]", &words);
        Self { home, gateway, properties }
    }

    /// What a driver of the real Spark is given.
    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.properties.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }

    fn driver(&self, more: &[&str], part: &[&str]) -> Said {
        let mut job = spark::job(&self.home, &self.gateway.ready, &self.options(more), part);
        said(&job.output().unwrap())
    }

    fn runs(&self, more: &[&str], part: &[&str]) {
        spark::succeeds(&self.home, &self.gateway.ready, &self.options(more), part);
    }

    /// The one application that there was.
    fn application(&self) -> Value {
        let all = self.home.json(&["ps", "--all", "--master", "local", "-o", "json"]);
        let all = all.as_array().unwrap_or_else(|| panic!("{all}"));
        assert_eq!(all.len(), 1, "{all:?}");
        let id = all[0]["app"].as_str().unwrap();
        self.home.json(&["status", id, "-o", "json"])
    }
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn a_real_driver_has_executors_of_this_machine_and_ps_shows_them() {
    let mut served = Served::new(&[]);
    served.runs(&[], &["sql"]);
    let application = served.application();
    assert_eq!(application["driver"]["name"], "gateway");
    let executors = application["executors"].as_array().unwrap();
    assert_eq!(executors.len(), 2, "{application}");
    served.gateway.signal("TERM");
    assert_eq!(served.gateway.wait(), Some(0));
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn an_executor_that_is_killed_in_the_middle_of_a_job_is_replaced() {
    let served = Served::new(&[]);
    let mark = served.home.path().join("killed");
    served.runs(&[], &["killed", mark.to_str().unwrap()]);
    assert_eq!(served.application()["executors"].as_array().unwrap().len(), 3);
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn dynamic_allocation_goes_up_and_down_and_up() {
    let served = Served::new(&[]);
    let more = spark::DYNAMIC_ALLOCATION.map(|property| ["--conf", property]).concat();
    served.runs(&more, &["dynamic"]);
    let executors = served.application()["executors"].as_array().unwrap().clone();
    assert!(executors.len() >= 2, "{executors:?}");
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn drivers_prove_that_they_know_the_secret_and_connections_are_encrypted() {
    let known = ["spark.authenticate=true", "spark.authenticate.secret=s3cret"];
    let served = Served::new(&known);
    served.runs(&[], &["sql"]);
    let other = served.driver(&["--conf", "spark.authenticate.secret=other"], &["sql"]);
    assert_ne!(other.code, Some(0), "{other:?}");
    let encrypted = [
        &known[..],
        &["spark.network.crypto.enabled=true"],
        &["spark.network.crypto.saslFallback=false"],
    ];
    Served::new(&encrypted.concat()).runs(&[], &["sql"]);
}

#[test]
fn a_gateway_says_when_it_is_ready_and_ends_on_sigterm() {
    let home = Home::new();
    for dir in ["spark/jars", "spark/bin"] {
        std::fs::create_dir_all(home.path().join(dir)).unwrap();
    }
    std::fs::write(home.path().join("spark/bin/spark-submit"), "").unwrap();
    let java = home.path().join("java/bin");
    std::fs::create_dir_all(&java).unwrap();
    std::fs::write(java.join("java"), "").unwrap();
    let mut command = home.command(&["gateway", "--master", "local[2]", "--port", "0"]);
    command.env("SPARK_HOME", home.path().join("spark")).env("JAVA_HOME", home.path().join("java"));
    let mut gateway = Daemon::start(command);
    assert!(gateway.ready.starts_with("spark://127.0.0.1:"), "{}", gateway.ready);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn what_a_gateway_lacks_is_said_with_what_to_do() {
    let home = Home::new();
    let call = |args: &[&str]| {
        let all = [&["gateway", "--port", "0"], args].concat();
        let mut command = home.command(&all);
        said(&command.env("PATH", "/nowhere").output().unwrap())
    };
    let none = call(&["--master", "local[2]"]);
    assert!(none.err.contains("spark.anymaster.gateway.sparkHomes"), "{none:?}");
    let empty = call(&["--conf", "spark.anymaster.gateway.sparkHomes=/nowhere"]);
    assert!(empty.err.contains("there is no Spark in /nowhere"), "{empty:?}");
    let rest = call(&["--master", "spark://127.0.0.1:6066"]);
    assert!(rest.err.contains("does not run executors for drivers outside"), "{rest:?}");
    for said in [none, empty, rest] {
        assert_ne!(said.code, Some(0), "{said:?}");
    }
}
