//! The example: a driver and its executors, one of which is lost on the way.

use anymaster_test_support::example::{digits, pi};
use anymaster_test_support::home::{Home, eventually, processes, processes_of, signal};

const SUBMIT: [&str; 5] =
    ["submit", "--master", "local[2]", "--conf", "spark.executor.instances=2"];

#[test]
fn pi_is_the_same_when_an_executor_is_lost() {
    let home = Home::new();
    let pi = pi().to_str().unwrap();
    let calm = home.call(&[&SUBMIT[..], &[pi, "50"]].concat());
    calm.expect(0, &["executors: 2 of 2 running"]);
    assert!(digits(&calm.out).starts_with("3.14"), "{calm:?}");
    assert!(calm.out.contains(" 0 units handed out again"), "{calm:?}");

    let started = home.start(&[&SUBMIT[..], &["--submission-id", "lossy", pi, "50"]].concat());
    // An executor that runs has a unit to do: there are more units than executors.
    home.until_executors("lossy", 2);
    let executor = eventually("executor 2 is a process", || {
        let app = processes_of("lossy");
        processes("ANYMASTER_EXECUTOR_ID", "2").into_iter().find(|pid| app.contains(pid))
    });
    signal("KILL", executor);
    let lossy = started.wait();
    lossy.expect(0, &["executor 2", "SIGKILL"]);
    assert_eq!(digits(&lossy.out), digits(&calm.out));

    let status = home.json(&["status", "lossy", "-o", "json"]);
    assert_eq!(status["executors"][1]["cause"]["signal"], 9, "{status}");
    assert_eq!(status["allocation"]["failed"], 1, "{status}");
}
