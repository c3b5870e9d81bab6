//! Programs as drivers and executors, by the verbs of `anymaster`.

use anymaster_test_support::example::{digits, pi};

use crate::cluster::{Submitter, hdfs, staging};

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn pi_is_worked_out_by_a_driver_in_a_container() {
    let submitter = Submitter::new();
    let name = format!("pi-{}", std::process::id());
    // Our program is brought to the cluster, once.
    let line = [
        &["submit", "--deploy-mode", "cluster", "--submission-id", &name][..],
        &["--executor-memory", "64m", "--executor-cores", "1"],
        &["--conf", "spark.executor.instances=3", "--master", "yarn"],
        &[pi().to_str().unwrap(), "50"],
    ]
    .concat();
    let said = submitter.call_with(&line);
    said.expect(0, &["finished"]);
    let out = submitter.call(&["logs", &name]).out;
    assert!(digits(&out).starts_with("3.14"), "{out}");
    let status = submitter.status(&name);
    assert_eq!(status["driver"]["cause"]["cause"], "finished", "{status}");
    // Nothing of it is left in HDFS but our program.
    let id = status["driver"]["uid"].as_str().unwrap_or_default();
    assert!(id.starts_with("application_"), "{status}");
    assert_eq!(hdfs(&staging(id), "GETFILESTATUS"), None);
    let again = submitter.call_with(&line);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(!again.err.contains("uploading"), "{again:?}");
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn a_run_ends_with_the_code_of_its_driver_and_shows_its_output() {
    let submitter = Submitter::new();
    for (driver, code) in [("echo done", 0), ("sh -c 'exit 7'", 7), ("sh -c 'kill -9 $$'", 137)] {
        let line =
            ["run", "--driver-memory", "64m", "--executor-memory", "64m", "--executors", "1"];
        let programs = ["--driver", driver, "--executor", "sleep 60"];
        let said = submitter.call(&[&line[..], &programs].concat());
        assert_eq!(said.code, Some(code), "{driver}: {said:?}");
        assert!(code != 0 || said.out.contains("done"), "{said:?}");
    }
}
