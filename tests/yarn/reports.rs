//! What is told of a cluster, and of applications that wait for it: `explain`, `doctor`, `leaks`.

use std::process::{Child, Command, Stdio};

use anymaster_test_support::home::{Said, eventually, program, said};
use serde_json::Value;

use crate::cluster::{Submitter, hdfs, kill_without_us, staging};

const DETACHED: &str = "spark.yarn.submit.waitAppCompletion=false";

/// Submits a program that waits, and does not end when it is asked to: so its application master is ended first, as
/// with the machine that it is on. Returns how it is known.
fn waiting(submitter: &Submitter, name: &str, options: &[&str]) -> String {
    let name = format!("{name}-{}", std::process::id());
    let local = format!("spark.anymaster.yarn.program=local:{}", program().display());
    let line = [
        &["submit", "--deploy-mode", "cluster", "--submission-id", &name][..],
        &["--conf", DETACHED, "--conf", &local],
        options,
        &["--master", "yarn", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
    ]
    .concat();
    submitter.call_with(&line).expect(0, &[]);
    name
}

fn output_of(command: &mut Command) -> Said {
    said(&command.output().unwrap())
}

fn explained(submitter: &Submitter, name: &str, words: &str) -> Said {
    eventually(&format!("{name} is explained with {words:?}"), || {
        Some(submitter.call(&["explain", name])).filter(|said| said.out.contains(words))
    })
}

/// One that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn why_drivers_and_executors_wait_is_explained_in_numbers() {
    let submitter = Submitter::new();
    let small = ["--driver-memory", "300m", "--conf", "spark.yarn.queue=small"];
    let first = waiting(&submitter, "first", &small);
    submitter.until(&first, "running");
    // Its queue may give 384 MiB to drivers.
    let second = waiting(&submitter, "second", &small);
    let said = explained(&submitter, &second, "(AM limit)");
    for words in [
        "the drivers of the queue root.small use 384 MiB and 1 core and may use 384 MiB and",
        "this one wants 384 MiB and 1 core",
        "yarn.scheduler.capacity.root.small.maximum-am-resource-percent (0.1)",
        "1 application has a driver, 1 waits for one",
        "The cluster has 2 nodes",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let json = submitter.call(&["explain", &second, "-o", "json"]);
    let json: Value = serde_json::from_str(&json.expect(0, &[]).out).unwrap();
    assert_eq!(json["state"], "Pending", "{json}");
    assert!(json["findings"][0]["what"].as_str().unwrap().contains("AM limit"), "{json}");
    for name in [&first, &second] {
        submitter.call(&["kill", "--grace", "0s", name]).expect(0, &[]);
        submitter.until(name, "ended");
    }

    // A queue that has 3276 MiB never gives 4096 MiB.
    let run = format!("run-{}", std::process::id());
    let line = [
        &["run", "--submission-id", &run, "--conf", "spark.yarn.queue=small"][..],
        &["--driver-memory", "64m", "--executors", "2", "--executor-memory", "4g"],
        &["--driver", "sleep 3600", "--executor", "sleep 3600"],
    ]
    .concat();
    let mut command = submitter.command_as("root", &line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let said = explained(&submitter, &run, "it will never come");
    for words in [
        "2 executors wait, and want 4608 MiB and 1 core each",
        "all of the queue root.small together may have no more than 3276 MiB",
        "spark.executor.memory",
        "yarn.scheduler.capacity.root.small.maximum-capacity",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    submitter.call(&["kill", &run]).expect(0, &[]);
    drop(running);
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn why_a_queue_takes_nothing_is_explained() {
    let submitter = Submitter::new();
    for (queue, words) in
        [("stopped", "root.stopped is STOPPED"), ("nowhere", "to unknown queue: nowhere")]
    {
        let name = format!("{queue}-{}", std::process::id());
        let property = format!("spark.yarn.queue={queue}");
        let line = ["submit", "--deploy-mode", "cluster", "--submission-id", &name];
        let program = ["--conf", &property, "/bin/sleep", "1"];
        let refused = submitter.call_with(&[&line[..], &["--master", "yarn"], &program].concat());
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
        let said = explained(&submitter, &name, "Choose another one (spark.yarn.queue)");
        assert!(said.out.contains("root.default, root.small.\n"), "{said:?}");
    }
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn a_doctor_says_what_a_submission_would_lack() {
    let submitter = Submitter::new();
    let said = submitter.call(&["doctor"]);
    for words in [
        "core-site.xml, hdfs-site.xml, yarn-site.xml in ",
        "no Kerberos: the cluster takes root for who calls",
        "answers: YARN 3.",
        "default is RUNNING: 90 %",
        "2 nodes",
        "/user/root/.sparkStaging can be written",
        "aggregated when an application ends",
    ] {
        assert!(said.expect(0, &[]).out.contains(words), "{words}: {said:?}");
    }
    assert!(said.out.contains("ResourceManager's"), "the clock: {said:?}");
    for (conf, words) in [
        ("spark.yarn.queue=stopped", "stopped is STOPPED: it takes nothing"),
        ("spark.yarn.queue=root", "root has queues in it, and takes nothing itself"),
        ("spark.yarn.queue=nowhere", "there is no queue nowhere"),
        ("spark.hadoop.yarn.resourcemanager.address=127.0.0.1:1", "cannot connect to 127.0.0.1:1"),
        ("spark.yarn.stagingDir=s3a://bucket/x", "files cannot be written to s3a"),
        ("spark.anymaster.yarn.program=/no/such/program", "there is no /no/such/program"),
    ] {
        let said = submitter.call(&["doctor", "--conf", conf]);
        said.expect(1, &[]);
        assert!(said.out.contains(words), "{conf}: {said:?}");
    }
    // Somebody who has no directory there, and may not use that queue.
    let line = ["doctor", "--conf", "spark.yarn.queue=private", "-o", "json"];
    let said = output_of(&mut submitter.command_as("mallory", &line));
    let checks: Vec<Value> = serde_json::from_str(&said.expect(1, &[]).out).unwrap();
    let check = |name| checks.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(check("queue")["detail"], "mallory may not submit to private");
    let remedy = check("queue")["remedy"].as_str().unwrap();
    assert!(remedy.contains("root.default") && !remedy.contains("root.private"), "{remedy}");
    let staging = check("staging directory");
    assert_eq!(staging["verdict"], "missing");
    assert!(staging["detail"].as_str().unwrap().contains("Permission denied: user=mallory"));
    let mut command = submitter.command_as("root", &["doctor"]);
    let said = output_of(command.env_remove("HADOOP_CONF_DIR"));
    said.expect(1, &[]);
    assert!(said.out.contains("export HADOOP_CONF_DIR=the directory of yarn-site.xml"), "{said:?}");
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn files_of_applications_that_have_ended_are_found_and_removed() {
    let submitter = Submitter::new();
    let place = format!("/tmp/leaks-{}", std::process::id());
    let there = format!("spark.yarn.stagingDir={place}");
    let leaks = |more: &[&str]| {
        let line = ["leaks", "--older-than", "0s", "--conf", &there];
        submitter.call(&[&line[..], more].concat())
    };
    let listed = |more: &[&str]| -> Vec<Value> {
        let said = leaks(&[&["-o", "json"], more].concat());
        serde_json::from_str(&said.expect(0, &[]).out).unwrap()
    };
    let keep = "spark.yarn.preserve.staging.files=true";
    let killed = waiting(&submitter, "killed", &["--conf", &there]);
    let kept = waiting(&submitter, "kept", &["--conf", &there, "--conf", keep]);
    let lives = waiting(&submitter, "lives", &["--conf", &there]);
    let until = |name: &str, state: &str| {
        eventually(&format!("{name} is {state}"), || {
            let said = submitter.call(&["status", name, "-o", "json", "--conf", &there]);
            let status: Value =
                serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
            Some(status["driver"].clone()).filter(|driver| driver["state"] == state)
        })
    };
    let id = |name: &str| until(name, "running")["uid"].as_str().unwrap().to_owned();
    let (killed_id, kept_id, lives_id) = (id(&killed), id(&kept), id(&lives));
    assert!(listed(&[]).is_empty(), "{:?}", listed(&[]));
    // Whoever else ends an application leaves its files.
    for (name, id) in [(&killed, &killed_id), (&kept, &kept_id)] {
        kill_without_us(id);
        until(name, "ended");
    }
    let found = listed(&[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["name"], killed_id.as_str());
    assert_eq!(found[0]["why"], "its application has ended");
    let namespace = found[0]["namespace"].as_str().unwrap();
    assert!(namespace.ends_with(&format!("{place}/root/.sparkStaging")), "{namespace}");
    leaks(&["--delete"]).expect(0, &["1 object deleted"]);
    let status = |id: &str| {
        let path = staging(id).replace("/user/root", &format!("{place}/root"));
        hdfs(&path, "GETFILESTATUS")
    };
    assert_eq!(status(&killed_id), None);
    assert!(status(&kept_id).is_some() && status(&lives_id).is_some());
    // It goes on, and removes its own.
    let line = ["kill", "--grace", "0s", &lives, "--conf", &there];
    submitter.call(&line).expect(0, &[]);
    until(&lives, "ended");
    eventually("its files are removed", || status(&lives_id).is_none().then_some(()));
}
