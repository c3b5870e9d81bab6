//! Applications from their submission to their end.

use serde_json::json;

use crate::cluster::{Submitter, hdfs, id_of, pi, staging};

const DETACHED: &str = "spark.yarn.submit.waitAppCompletion=false";

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn an_application_runs_to_its_end_and_its_files_are_removed() {
    let submitter = Submitter::new();
    let said = submitter.submit(&[], &words(&pi("2")));
    said.expect(0, &[]);
    let id = id_of(&said);
    for state in ["ACCEPTED", "RUNNING", "FINISHED"] {
        let report = format!("Application report for {id} (state: {state})");
        assert!(said.err.contains(&report), "{said:?}");
    }
    assert!(
        said.err.contains("final status: SUCCEEDED") && said.err.contains("finished"),
        "{said:?}"
    );
    assert_eq!(hdfs(&staging(&id), "GETFILESTATUS"), None);
    let driver = submitter.status(&id)["driver"].clone();
    assert_eq!(
        (&driver["state"], &driver["cause"]["cause"]),
        (&json!("ended"), &json!("finished"))
    );
    let listed = submitter.call(&["ps", "--all"]);
    assert!(listed.expect(0, &[]).out.contains(&id), "{listed:?}");
    // What all submissions need of Spark is there now.
    let again = submitter.submit(&[DETACHED], &words(&pi("2")));
    assert!(!again.expect(0, &[]).err.contains("uploading"), "{again:?}");
    submitter.call(&["kill", &id_of(&again)]).expect(0, &[]);
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn the_same_submission_is_one_application_and_can_be_killed_by_its_own_id() {
    let submitter = Submitter::new();
    let name = format!("Mine-{}", std::process::id());
    let options = ["--submission-id", &name];
    let long = pi("100000");
    let line = [&options[..], &words(&long)].concat();
    let first = submitter.submit(&[DETACHED], &line);
    first.expect(0, &["ACCEPTED"]);
    let second = submitter.submit(&[DETACHED], &line);
    assert_eq!(id_of(second.expect(0, &[])), id_of(&first));
    let other = pi("3");
    let conflict = submitter.submit(&[DETACHED], &[&options[..], &words(&other)].concat());
    assert_ne!(conflict.code, Some(0));
    assert!(conflict.err.contains("another application"), "{conflict:?}");
    submitter.until(&name, "running");
    submitter.call(&["kill", &name]).expect(0, &[]);
    let driver = submitter.until(&name, "ended");
    assert_eq!(driver["cause"]["cause"], "killed");
    assert_eq!(driver["chosen"], name.as_str());
    assert_eq!(hdfs(&staging(&id_of(&first)), "GETFILESTATUS"), None);
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn what_yarn_refuses_is_said_and_leaves_nothing() {
    let submitter = Submitter::new();
    let cases = [
        ("spark.yarn.queue=nowhere", "unknown queue: nowhere"),
        (
            "spark.driver.memory=900g",
            "Required AM memory (921600+92160 MB) is above the max threshold",
        ),
        (
            "spark.executor.memory=900g",
            "Required executor memory (921600 MB), offHeap memory (0) MB",
        ),
        ("spark.yarn.driver.resource.unicorn.amount=1", "the cluster has no resource unicorn"),
        ("spark.yarn.stagingDir=s3a://bucket/x", "files cannot be written to s3a"),
        ("spark.yarn.dist.files=/no/such/file", "/no/such/file: there is no such file"),
        ("spark.kerberos.keytab=/x", "Kerberos is not implemented"),
    ];
    for (number, (property, words_of_it)) in cases.into_iter().enumerate() {
        let name = format!("refused-{}-{number}", std::process::id());
        let line = pi("2");
        let line = [&["--submission-id", &name][..], &words(&line)].concat();
        let said = submitter.submit(&[property], &line);
        assert_ne!(said.code, Some(0), "{property}: {said:?}");
        assert!(said.err.contains(words_of_it), "{property}: {said:?}");
        if let Some(begin) = said.err.find("application_") {
            let id: String = said.err[begin..].split_whitespace().next().unwrap().to_owned();
            assert_eq!(hdfs(&staging(&id), "GETFILESTATUS"), None, "{property}");
        }
    }
}

/// Writes what it was given, waits to be read, and ends as it is told.
const SCRIPT: &str = r#"
import json, os, sys, time
from pyspark.sql import SparkSession
import helper
session = SparkSession.builder.getOrCreate()
assert session.range(10).count() == 10
print("arguments", json.dumps(sys.argv[2:]), helper.WORD, os.environ["VALUE"], open("data.txt").read(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
sys.exit(7)
"#;

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn a_python_application_gets_its_files_and_arguments_and_its_code_is_told() {
    let submitter = Submitter::new();
    let home = &submitter.home;
    let script = home.file("script.py", SCRIPT).display().to_string();
    let helper = home.file("helper.py", "WORD = 'helped'").display().to_string();
    let data = home.file("data", "data").display().to_string();
    let mark = home.path().join("end").display().to_string();
    let hard = ["it's", r#"{"a":{"b":1}}"#, "$HOME `id` \\", "{{PWD}}<LOG_DIR>", "", "two words"];
    let properties = [
        DETACHED,
        "spark.yarn.maxAppAttempts=1",
        "spark.yarn.appMasterEnv.VALUE=value",
        &format!("spark.yarn.dist.files={data}#data.txt"),
    ];
    let line = [&["--py-files", &helper, &script, &mark][..], &hard].concat();
    let said = submitter.submit(&properties, &line);
    said.expect(0, &[]);
    let id = id_of(&said);
    submitter.until(&id, "running");
    let wanted = format!("arguments {} helped value data", serde_json::to_string(&hard).unwrap());
    let spaced = wanted.replace("\",\"", "\", \"");
    anymaster_test_support::home::eventually("its output is there", || {
        let logs = submitter.call(&["logs", &id, "--stdout"]);
        logs.out.contains(&spaced).then_some(())
    });
    std::fs::write(&mark, "").unwrap();
    let driver = submitter.until(&id, "ended");
    assert_eq!(driver["cause"], json!({"cause": "exited", "code": 7}), "{driver}");
}
