//! Real Spark applications: its spark-submit with our master, our submit with its master.

use std::process::{Command, Stdio};

use crate::rest::Spark;
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::standalone::{Cluster, curl, variable};

const PI: &str = "org.apache.spark.examples.SparkPi";
/// What Spark's own worker does not pass to drivers on Java 17, and they need.
const OPENS: &str = "spark.driver.extraJavaOptions=--add-opens=java.base/java.lang=ALL-UNNAMED \
    --add-opens=java.base/java.lang.invoke=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED \
    --add-opens=java.base/java.net=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \
    --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
    --add-opens=java.base/java.util.concurrent=ALL-UNNAMED \
    --add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED";

fn spark_submit(words: &[&str]) -> String {
    let program = format!("{}/bin/spark-submit", variable("SPARK_HOME"));
    let rest = ["--conf", "spark.master.rest.enabled=true"];
    let output =
        Command::new(program).args(rest).args(words).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
#[ignore = "needs Spark"]
fn the_real_spark_submit_submits_to_our_master() {
    let cluster = Cluster::new(1, &[]);
    let url = format!("spark://127.0.0.1:{}", cluster.rest);
    let jar = variable("SPARK_PI_JAR");
    let to = ["--master", &url, "--deploy-mode", "cluster"];
    let driver = ["--driver-memory", "512m", "--driver-cores", "2", "--class", PI, &jar];
    let said = spark_submit(&[&to[..], &driver[..], &["10"]].concat());
    for line in
        ["Submission successfully created as driver-", "State of driver driver-", "is now RUNNING"]
    {
        assert!(said.contains(line), "{said}");
    }
    let word = said.split_whitespace().find(|word| word.starts_with("driver-20")).unwrap();
    let id = word.trim_end_matches(['.', ',']).to_owned();
    let until = |id: &str, state: &str| {
        let state = format!("\"driverState\" : \"{state}\"");
        let status = format!("http://127.0.0.1:{}/v1/submissions/status/{id}", cluster.rest);
        eventually(&state, || curl(&[&status]).contains(&state).then_some(()));
    };
    until(&id, "FINISHED");
    spark_submit(&["--master", &url, "--status", &id]);
    let out = cluster.call("logs", &[&id]).out;
    assert!(out.contains("Pi is roughly 3.1"), "{out}");
    // It has executed its tasks on an executor of the cluster.
    let listed = cluster.call("ps", &["--all", "-o", "json"]).out;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of_driver =
        |app: &&serde_json::Value| app["app"].as_str().is_some_and(|app| app.starts_with("app-"));
    let app = listed.as_array().unwrap().iter().find(of_driver).unwrap();
    let status = cluster.status(app["app"].as_str().unwrap()).unwrap();
    assert!(!status["executors"].as_array().unwrap().is_empty(), "{status}");

    // One that would take long is ended by it.
    let said = spark_submit(&[&to[..], &driver[..], &["1000000"]].concat());
    let word = said.split_whitespace().find(|word| word.starts_with("driver-20")).unwrap();
    let id = word.trim_end_matches(['.', ',']).to_owned();
    spark_submit(&["--master", &url, "--kill", &id]);
    until(&id, "KILLED");
}

#[test]
#[ignore = "needs Spark"]
fn the_real_spark_submit_submits_by_its_rpc() {
    let cluster = Cluster::new(1, &[]);
    let url = &cluster.master.ready;
    let program = format!("{}/bin/spark-submit", variable("SPARK_HOME"));
    let jar = variable("SPARK_PI_JAR");
    let submit = |more: &[&str], args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--master", url, "--deploy-mode", "cluster", "--driver-memory", "512m"]);
        command.args(["--conf", "spark.master.rest.enabled=false"]);
        command.args(["--conf", "spark.executor.memory=512m"]).args(more);
        let output = command.args(["--class", PI, &jar]).args(args).stdin(Stdio::null()).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let word = said.split_whitespace().find(|word| word.starts_with("driver-20"));
        let id = word.unwrap_or_else(|| panic!("{said}")).trim_end_matches(['.', ',']).to_owned();
        (id, said)
    };
    let cause = |id: &str| {
        eventually("the driver ends", || {
            let status = cluster.status(id)?;
            status["driver"]["cause"]["cause"].as_str().map(str::to_owned)
        })
    };
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    let (id, said) = submit(&waits, &["10"]);
    assert!(said.contains("FINISHED"), "{said}");
    assert_eq!(cause(&id), "finished");
    let out = cluster.call("logs", &[&id]).out;
    assert!(out.contains("Pi is roughly 3.1"), "{out}");

    let (id, _) = submit(&["--supervise"], &["1000000"]);
    let class = format!("{}/bin/spark-class", variable("SPARK_HOME"));
    let mut kill = Command::new(class);
    kill.args(["org.apache.spark.deploy.Client", "kill", url, &id]).stdin(Stdio::null());
    let killed = kill.output().unwrap();
    let said = String::from_utf8_lossy(&killed.stderr).into_owned();
    assert!(killed.status.success(), "{said}");
    assert_eq!(cause(&id), "killed");
}

#[test]
#[ignore = "needs Spark"]
fn we_submit_to_the_real_master_of_sparks() {
    let home = Home::new();
    let spark = Spark::start(&home);
    let url = format!("spark://127.0.0.1:{}", spark.rest);
    let jar = variable("SPARK_PI_JAR");
    let rest = ["--conf", "spark.master.rest.enabled=true"];
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    let to = ["submit", "--master", &url, "--deploy-mode", "cluster"];
    let sizes = ["--driver-memory", "512m", "--executor-memory", "512m", "--conf", OPENS];
    let submit = |class: &str, more: &[&str]| {
        let class = ["--class", class];
        home.call(&[&to[..], &rest, &waits, &sizes, &class[..], &[jar.as_str()][..], more].concat())
    };
    let said = submit(PI, &["10"]);
    said.expect(0, &["submission id: driver-20", "finished"]);
    let id = said.err.split_whitespace().find(|word| word.starts_with("driver-20")).unwrap();
    let asked = |verb: &str, id: &str| {
        home.call(&[&["submit", "--master", &url][..], &rest[..], &[verb, id]].concat())
    };
    let status = asked("--status", id);
    assert!(status.err.contains(r#""driverState" : "FINISHED","#), "{status:?}");
    submit("org.example.NoSuchClass", &[]).expect(1, &["exited with code 1"]);
    asked("--status", "driver-19990101000000-0000")
        .expect(1, &["the master knows no driver driver-19990101000000-0000"]);
    asked("--kill", "driver-19990101000000-0000").expect(1, &["the master knows no driver"]);
    // What the protocol cannot do is said.
    home.call(&[&["ps", "--master", &url][..], &rest[..]].concat())
        .expect(1, &["Spark's submission protocol cannot list applications"]);
}
