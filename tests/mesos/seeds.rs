//! A command line of Spark's documentation, as typed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::scene::Scene;
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::mesos::Cluster;

/// A home of Spark's with a `spark-submit` that says how it was called.
fn spark(home: &Home) -> String {
    let dir = home.path().join("spark/bin");
    std::fs::create_dir_all(&dir).unwrap();
    let script =
        "#!/bin/sh\nprintf '[%s]\\n' \"$@\"\necho \"$SPARK_SUBMIT_OPTS\"\nls\nsleep 3600\n";
    std::fs::write(dir.join("spark-submit"), script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.join("spark-submit"), mode).unwrap();
    home.path().join("spark").display().to_string()
}

/// Gives every request the same answer, until the test is over.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let many = stream.read(&mut request).unwrap_or(0);
            let found = request[..many].starts_with(b"GET /path/to/examples.jar ");
            let answer = match found {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\njar",
                false => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

const WAITS: [&str; 2] = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];

/// The options of the line, with this jar.
fn line<'a>(url: &'a str, jar: &'a str) -> Vec<&'a str> {
    let class = ["--class", "org.apache.spark.examples.SparkPi", "--master", url];
    let more = ["--deploy-mode", "cluster", "--supervise", "--executor-memory", "20G"];
    [&class[..], &more, &["--total-executor-cores", "100", jar, "1000"]].concat()
}

#[test]
#[ignore = "needs Mesos"]
fn the_line_of_sparks_documentation_becomes_a_driver_of_sparks() {
    let home = Home::new();
    let spark_home = spark(&home);
    let scene = Scene::on(Cluster::new(1, 1, &[]), home, &[], &[("SPARK_HOME", &spark_home)]);
    let (url, server) = (scene.url(), server());
    let jar = format!("http://127.0.0.1:{server}/path/to/examples.jar");
    let submitted = scene.home.call(&[&["submit"][..], &line(&url, &jar)].concat());
    submitted.expect(0, &[r#""action" : "CreateSubmissionResponse","#]);
    let task = eventually("its driver runs", || {
        scene.running_tasks().into_iter().find(|task| task["name"].as_str().is_some())
    });
    assert!(task["name"].as_str().unwrap().starts_with("Driver for "), "{task}");
    assert_eq!(task["resources"]["cpus"], 1.0, "{task}");
    assert_eq!(task["resources"]["mem"], 1024.0 + 384.0, "{task}");
    let id = task["id"].as_str().unwrap();
    let out = eventually("it has said how it was called", || {
        scene.sandbox(id, "stdout").filter(|out| out.contains("examples.jar\nstd"))
    });
    let app = id.strip_suffix(".driver").unwrap();
    let framework = scene.framework();
    for word in [
        "[--class]\n[org.apache.spark.examples.SparkPi]\n".to_owned(),
        format!("[--master]\n[mesos://{}]\n", scene.mesos.url),
        "[--driver-cores]\n[1]\n[--driver-memory]\n[1024M]\n".to_owned(),
        "[--executor-memory]\n[20G]\n[--total-executor-cores]\n[100]\n".to_owned(),
        "[./examples.jar]\n[1000]\n".to_owned(),
        format!("-Dspark.mesos.driver.frameworkId={framework}-{app}\n"),
    ] {
        assert!(out.contains(&word), "{word}: {out}");
    }
    assert!(!out.contains("spark.submit.deployMode"), "{out}");
    assert!(submitted.err.contains(&format!("submission id: {app}")), "{submitted:?}");
    scene.call("kill", &[app]).expect(0, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn a_jar_that_cannot_be_fetched_is_a_clear_end() {
    let home = Home::new();
    let spark_home = spark(&home);
    let scene = Scene::on(Cluster::new(1, 1, &[]), home, &[], &[("SPARK_HOME", &spark_home)]);
    let (url, server) = (scene.url(), server());
    let jar = format!("http://127.0.0.1:{server}/no/such.jar");
    let words: Vec<_> =
        line(&url, &jar).into_iter().filter(|word| *word != "--supervise").collect();
    let own = ["submit", "--submission-id", "jarless"];
    let said = scene.home.call(&[&own[..], &WAITS, &words].concat());
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("fetch"), "{said:?}");
    let told = scene.call("explain", &["jarless"]);
    assert!(told.out.contains("fetch"), "{told:?}");

    // Without any Spark it says what to set.
    let scene = Scene::new(1, &[]);
    let url = scene.url();
    let said = scene.home.call(&[&["submit"][..], &WAITS, &line(&url, &jar)].concat());
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("spark.mesos.executor.home"), "{said:?}");
}
