//! Files of the submitter's machine, uploaded to a staging server and fetched by a real Spark driver. The server is in
//! the network of the node, as pods have to reach it.

use std::path::Path;
use std::process::Stdio;

use anymaster_test_support::daemon::Daemon;

use crate::cluster::{Namespace, Ran};
use crate::node::{NODE, inside, variable};

const IMAGE: &str = "registry.test/spark:3.5";

/// How many files the server has, and how many were ever fetched.
fn counted(server: &str, name: &str) -> u64 {
    let mut curl = std::process::Command::new("curl");
    let url = format!("{server}/metrics");
    let output = inside(curl.args(["-sS", "--max-time", "60", &url])).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

fn submit(namespace: &Namespace, server: &str, token: &Path, more: &[&str], jar: &str) -> Ran {
    let properties = [
        format!("spark.kubernetes.namespace={}", namespace.name),
        format!("spark.kubernetes.container.image={IMAGE}"),
        "spark.kubernetes.authenticate.driver.serviceAccountName=spark".to_owned(),
        "spark.kubernetes.driver.request.cores=100m".to_owned(),
        "spark.kubernetes.executor.request.cores=100m".to_owned(),
        "spark.executor.instances=1".to_owned(),
        "spark.executor.memory=512m".to_owned(),
        format!("spark.anymaster.staging.url={server}"),
        format!("spark.anymaster.staging.tokenFile={}", token.display()),
    ];
    let master = crate::cluster::master();
    let mut line = vec!["submit", "--master", &master, "--deploy-mode", "cluster"];
    line.extend(properties.iter().flat_map(|property| ["--conf", property.as_str()]));
    line.extend(["--class", "org.apache.spark.examples.SparkPi", "--name", "staged"]);
    line.extend(more);
    line.extend([jar, "4"]);
    Ran::of(inside(&namespace.anymaster(&line)).stdin(Stdio::null()))
}

#[test]
#[ignore = "needs a cluster with a real node and Spark's image"]
fn a_jar_of_the_submitter_runs_on_the_node_and_is_removed_when_the_application_has_ended() {
    let namespace = Namespace::new("staging");
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    std::fs::write(path("token"), "the-token-of-this-test").unwrap();
    // Nowhere in the image under this name.
    std::fs::copy(variable("SPARK_PI_JAR"), path("pi of here.jar")).unwrap();
    std::fs::write(path("table +1%.csv"), "a table").unwrap();
    let (dir, token) = (path("staging"), path("token"));
    let words = ["staging", "--host", NODE, "--port", "0", "--dir", dir.to_str().unwrap()];
    let words = [&words[..], &["--token-file", token.to_str().unwrap()]].concat();
    let server = Daemon::start(inside(&namespace.anymaster(&words)));
    let (jar, url) = (path("pi of here.jar").display().to_string(), &server.ready);

    let files = path("table +1%.csv").display().to_string();
    let ran = submit(&namespace, url, &token, &["--files", &files], &jar);
    assert!(ran.stderr.contains(&format!("uploaded 2 files to {url}")), "{}", ran.stderr);
    let log = namespace.verb(&["logs", &ran.id()]).expect(0).stdout;
    assert_eq!(ran.code, Some(0), "{}\n{log}", ran.stderr);
    assert!(log.contains("Pi is roughly 3.1"), "{log}");
    assert!(counted(url, "anymaster_staging_downloads_total") >= 2, "{log}");
    assert_eq!(counted(url, "anymaster_staging_uploads_total"), 2);
    // It has ended, and the submission saw that.
    assert_eq!(counted(url, "anymaster_staging_files"), 0);
    let pods = namespace.objects("pods");
    assert_eq!(pods[0]["metadata"]["annotations"]["anymaster.dev/staging"], url.as_str());
    for said in [&ran.stderr, &ran.stdout] {
        assert!(!said.contains("/token/") && !said.contains("the-token-of"), "{said}");
    }

    // One that is killed before it runs: no node has so many cores.
    let waits = ["--conf", "spark.kubernetes.driver.request.cores=1000", "--conf"];
    let waits = [&waits[..], &["spark.kubernetes.submission.waitAppCompletion=false"]].concat();
    let waiting = submit(&namespace, url, &token, &waits, &jar).expect(0);
    assert_eq!(counted(url, "anymaster_staging_files"), 1);
    let conf = [
        format!("spark.anymaster.staging.url={url}"),
        format!("spark.anymaster.staging.tokenFile={}", token.display()),
    ];
    let id = waiting.id();
    let kill =
        ["kill", &id, "--namespace", &namespace.name, "--conf", &conf[0], "--conf", &conf[1]];
    Ran::of(&mut inside(&namespace.anymaster(&kill))).expect(0);
    assert_eq!(counted(url, "anymaster_staging_files"), 0);
}
