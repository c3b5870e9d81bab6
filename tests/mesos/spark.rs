//! The real spark-submit at our dispatcher, and the real Spark as its driver.
//!
//! Spark's own driver on `mesos://` needs libmesos for Java, which does not exist here: what is started is
//! the real `spark-submit` with the line that Spark's dispatcher would give it, up to where it looks for
//! that library.

use std::process::{Command, Stdio};

use crate::scene::{Scene, variable};
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::mesos::Cluster;

const PI: &str = "org.apache.spark.examples.SparkPi";

fn scene() -> Scene {
    let spark_home = variable("SPARK_HOME");
    Scene::on(Cluster::new(1, 1, &[]), Home::new(), &[], &[("SPARK_HOME", &spark_home)])
}

fn spark_submit(words: &[&str]) -> String {
    let program = format!("{}/bin/spark-submit", variable("SPARK_HOME"));
    let rest = ["--conf", "spark.master.rest.enabled=true"];
    let mut command = Command::new(program);
    let output = command.args(rest).args(words).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
#[ignore = "needs Mesos and Spark"]
fn the_real_spark_submit_submits_asks_and_kills_at_our_dispatcher() {
    let scene = scene();
    let (url, jar) = (scene.url(), format!("file:{}", variable("SPARK_PI_JAR")));
    let to = ["--master", &url, "--deploy-mode", "cluster"];
    let java = format!("spark.mesos.driverEnv.JAVA_HOME={}", variable("JAVA_HOME"));
    // A secret, by the look of it: Spark finds it in a file.
    let secret = ["--conf", "spark.driver.extraJavaOptions=-Dtoken=hidden -showversion"];
    let own = ["--conf", java.as_str(), "--driver-memory", "512m", "--class", PI, &jar, "10"];
    let said = spark_submit(&[&to[..], &secret, &own].concat());
    for line in ["Submission successfully created as driver-", "State of driver driver-"] {
        assert!(said.contains(line), "{said}");
    }
    let word = said.split_whitespace().find(|word| word.starts_with("driver-20")).unwrap();
    let id = word.trim_end_matches(['.', ',']).to_owned();
    // Its driver is the real Spark, up to where it needs libmesos.
    let task = format!("{id}.driver");
    let said = eventually("Spark says what it lacks", || {
        scene.sandbox(&task, "stderr").filter(|said| {
            said.contains("mesos") && said.contains("ERROR") || said.contains("Exception")
        })
    });
    assert!(said.contains("Running Spark version 3.5") || said.contains("mesos"), "{said}");
    assert!(said.contains("Runtime Environment") && !said.contains("hidden"), "{said}");
    let file = scene.sandbox(&task, "spark.properties").unwrap();
    assert!(file.contains("hidden"), "{file}");
    scene.until_state(&id, "FINISHED");
    spark_submit(&["--master", &url, "--status", &id]);

    // One that waits is ended by it.
    let large = ["--conf", "spark.driver.memory=64g", "--class", PI, &jar, "10"];
    let said = spark_submit(&[&to[..], &large].concat());
    let word = said.split_whitespace().find(|word| word.starts_with("driver-20")).unwrap();
    let id = word.trim_end_matches(['.', ',']).to_owned();
    assert!(said.contains("is now QUEUED"), "{said}");
    spark_submit(&["--master", &url, "--kill", &id]);
    scene.until_state(&id, "FINISHED");
}
