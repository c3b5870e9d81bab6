//! A real Spark driver whose executors are pods, by way of a gateway. All of it is in the network of the
//! node, as pods have to reach the driver.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::cluster::{Namespace, kubectl, until};
use crate::node::{NODE, inside, variable};

const IMAGE: &str = "registry.test/spark:3.5";
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs a cluster with a real node and Spark's image"]
fn a_gateway_gives_a_real_driver_pods_and_takes_them_away() {
    let namespace = Namespace::new("gateway");
    let properties = [
        format!("spark.kubernetes.namespace={}", namespace.name),
        format!("spark.kubernetes.container.image={IMAGE}"),
        "spark.kubernetes.executor.request.cores=100m".to_owned(),
    ];
    let conf: Vec<_> = properties.iter().flat_map(|it| ["--conf", it.as_str()]).collect();
    let line = [&["gateway", "--host", NODE, "--port", "0"], &conf[..]].concat();
    let mut command = inside(&namespace.anymaster(&line));
    let mut gateway = Gateway(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut ready = String::new();
    BufReader::new(gateway.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let url = ready.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{ready:?}"));

    let mut driver = Command::new(format!("{}/bin/spark-submit", variable("SPARK_HOME")));
    driver.args(["--master", url, "--class", "org.apache.spark.examples.SparkPi"]);
    for property in [
        format!("spark.driver.host={NODE}").as_str(),
        format!("spark.driver.bindAddress={NODE}").as_str(),
        "spark.executor.memory=512m",
        "spark.executor.cores=1",
        "spark.cores.max=2",
        // The work begins when both executors are there: one alone might do it all.
        "spark.scheduler.minRegisteredResourcesRatio=1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime=10min",
    ] {
        driver.args(["--conf", property]);
    }
    driver.args([&variable("SPARK_PI_JAR"), "20"]);
    let output = inside(&driver).output().unwrap();
    let (out, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("Pi is roughly 3.1"), "{out}\n{log}");
    assert!(log.matches("Executor added").count() >= 2, "{log}");
    let of_spark =
        ["-n", &namespace.name, "get", "pods", "-l", "spark-role=executor", "-o", "name"];
    until("the executors are gone", || kubectl(&of_spark).trim().is_empty().then_some(()));
}
