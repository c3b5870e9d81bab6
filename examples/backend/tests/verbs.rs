//! What the program can do with a backend that nobody told it about, but for one line.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Cluster(tempfile::TempDir);

impl Cluster {
    fn call(&self, verb: &str, rest: &[&str]) -> Output {
        let home = self.0.path();
        Command::new(env!("CARGO_BIN_EXE_anymaster-dir"))
            .args([verb, "--master", &format!("dir://{}", home.join("cluster").display())])
            .args(rest)
            .env("HOME", home)
            .env("ANYMASTER_STATE_DIR", home.join("state"))
            .env_remove("SPARK_HOME")
            .current_dir(home)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn text(&self, verb: &str, rest: &[&str]) -> String {
        let output = self.call(verb, rest);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{verb}: {:?}: {err}", output.status);
        String::from_utf8(output.stdout).unwrap() + &err
    }

    fn json(&self, verb: &str, rest: &[&str]) -> Value {
        let output = self.call(verb, &[rest, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    assert!(Path::new("/bin/sh").exists());
    Cluster(directory)
}

#[test]
fn a_run_with_executors_is_seen_by_every_verb() {
    let cluster = cluster();
    // The driver waits until both executors have been there.
    let driver = "sh -c 'until [ -e one ] && [ -e two ]; do sleep 0.05; done; echo both were here'";
    let executor = "sh -c 'case {{executor.id}} in 1) touch one;; *) touch two;; esac; echo of {{app.id}}; sleep 3600'";
    let run = [
        "--submission-id",
        "first",
        "--executors",
        "2",
        "--driver",
        driver,
        "--executor",
        executor,
    ];
    assert!(cluster.text("run", &run).contains("both were here"));

    assert!(cluster.text("ps", &["-a"]).contains("first"));
    let status = cluster.json("status", &["first"]);
    assert_eq!(status["executors"].as_array().unwrap().len(), 2, "{status}");
    assert!(cluster.text("logs", &["first"]).contains("both were here"));
    assert!(cluster.text("logs", &["first", "1"]).contains("of first"));
    assert!(cluster.text("watch", &["first"]).contains("first"));
    assert!(cluster.text("explain", &["first"]).contains("first"));
}

#[test]
fn a_submission_goes_on_and_is_killed() {
    let cluster = cluster();
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_anymaster-dir"));
    let url = format!("dir://{}", cluster.0.path().join("cluster").display());
    waiting.args(["submit", "--master", &url, "--submission-id", "long", "sleep", "3600"]);
    let mut waiting = waiting.env("HOME", cluster.0.path()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let all = cluster.json("ps", &[]);
        if all.as_array().is_some_and(|all| all.iter().any(|app| app["state"] == "Running")) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{all}");
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.text("kill", &["long"]);
    assert!(!waiting.wait().unwrap().success());
    let status = cluster.json("status", &["long"]);
    assert_eq!(status["driver"]["state"], "ended", "{status}");
}

#[test]
fn a_url_without_a_path_is_refused_with_an_example() {
    let output = Command::new(env!("CARGO_BIN_EXE_anymaster-dir"))
        .args(["ps", "--master", "dir://relative"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not an absolute path") && said.contains("dir:///a/directory"), "{said}");
}
