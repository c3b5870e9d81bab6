//! Where images come from.

use super::{Containers, KINDS, PROGRAM, docker};
use crate::scene::variable;
use anymaster_test_support::home::eventually;

/// An image that differs from others of its kind, under this name.
fn build(name: &str, version: &str) {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("FROM {PROGRAM}\nENV VERSION={version}\nWORKDIR /var/tmp\n");
    std::fs::write(dir.path().join("Dockerfile"), text).unwrap();
    docker(&["build", "--quiet", "--tag", name, dir.path().to_str().unwrap()]);
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn an_image_is_pulled_again_only_where_that_is_asked_for() {
    let containers = Containers::new();
    for kind in KINDS {
        let name = format!("127.0.0.1:80/changes-{kind}:{}", std::process::id());
        build(&name, "first");
        docker(&["push", "--quiet", &name]);
        let version = |id: &str, force: &str| {
            let id = format!("{id}-{kind}");
            let force = format!("spark.mesos.executor.docker.forcePullImage={force}");
            let line = "echo version $VERSION in $(pwd)";
            containers.submit(&id, kind, &name, &[&force], line).expect(0, &[]);
            containers.output(&id, "version").trim().to_owned()
        };
        assert_eq!(version("a", "false"), "version first in /var/tmp");
        // The registry has another one by this name, and this machine does not.
        let first = docker(&["images", "--quiet", &name]);
        build(&name, "second");
        docker(&["push", "--quiet", &name]);
        docker(&["tag", &first, &name]);
        assert_eq!(version("b", "false"), "version first in /var/tmp", "{kind}: it is there");
        assert_eq!(version("c", "true"), "version second in /var/tmp", "{kind}: it is pulled");
        docker(&["rmi", "--force", &name]);
    }
}

/// Spark's own driver needs libmesos, which there is not: it is the real one up to there.
#[test]
#[ignore = "needs Mesos, Docker and Spark"]
fn the_real_spark_starts_out_of_its_image_as_its_own_user() {
    let containers = Containers::new();
    let jar = format!("file://{}", variable("SPARK_PI_JAR"));
    let conf = [
        "spark.mesos.executor.docker.image=127.0.0.1:80/spark:3.5",
        // A secret, by the look of it: it is in a file that the image's user has to be able to write.
        "spark.driver.extraJavaOptions=-Dtoken=hidden -showversion",
    ];
    let conf: Vec<String> = conf.iter().map(|property| (*property).to_owned()).collect();
    let own = ["--deploy-mode", "cluster", "--submission-id", "spark", "--driver-memory", "512m"];
    let class = ["--class", "org.apache.spark.examples.SparkPi", &jar, "10"];
    let words = [&own[..], &crate::scene::options(&conf), &class].concat();
    containers.scene.call("submit", &words).expect(0, &[]);
    let said = eventually("Spark says what it lacks", || {
        let said = containers.scene.sandbox("spark.driver", "stderr")?;
        (said.contains("Exception") || said.contains("ERROR")).then_some(said)
    });
    assert!(said.contains("Running Spark version 3.5") && said.contains("mesos"), "{said}");
    assert!(said.contains("Runtime Environment") && !said.contains("hidden"), "{said}");
    containers.scene.until("spark", "it ended", |status| status["driver"]["state"] == "ended");
}
