//! What a user does with a dispatcher.

use serde_json::Value;

use crate::scene::{Scene, curl};
use anymaster_test_support::example::{digits, pi};
use anymaster_test_support::home::{eventually, nothing_is_left};

#[test]
#[ignore = "needs Mesos"]
fn a_native_program_is_submitted_asked_about_killed_and_explained() {
    let scene = Scene::new(1, &[]);
    assert_eq!(scene.dispatcher.ready, scene.url());
    let said = scene.submit("good", &[], &["/bin/sh", "-c", "echo said; echo told >&2"]);
    said.expect(0, &["submission id: good", "finished"]);
    assert_eq!(scene.call("logs", &["good"]).out.lines().next(), Some("said"));
    assert!(scene.call("logs", &["good"]).out.contains("told"));
    scene.submit("bad", &[], &["/bin/sh", "-c", "echo no luck >&2; exit 7"]).expect(7, &["code 7"]);
    let told = scene.call("explain", &["bad"]);
    told.expect(0, &[]);
    for word in ["exited with code 7", "no luck"] {
        assert!(told.out.contains(word), "{told:?}");
    }
    scene.submit("none", &[], &["/no/such/program"]).expect(127, &["could not start"]);
    let told = scene.call("explain", &["none"]);
    assert!(told.out.contains("cannot start /no/such/program: no such file"), "{told:?}");

    let waits = scene.start_driver("waits", &[], &["/bin/sleep", "3600"]);
    scene.until("waits", "it runs", |status| status["driver"]["state"] == "running");
    let status = scene.call("submit", &["--status", "waits"]);
    status.expect(0, &[]);
    assert!(status.err.contains(r#""driverState" : "RUNNING","#), "{status:?}");
    let listed = scene.call("ps", &["-a", "-o", "json"]).out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");
    let page = curl(&[&format!("http://127.0.0.1:{}/", scene.web)]).unwrap();
    assert!(page.contains("waits"), "{page}");
    scene.call("submit", &["--kill", "waits"]).expect(0, &[]);
    waits.wait().expect(143, &[]);
    nothing_is_left("waits");
    let status = scene.call("submit", &["--status", "waits"]);
    assert!(status.err.contains(r#""driverState" : "KILLED","#), "{status:?}");
    scene.call("submit", &["--kill", "nobody"]).expect(1, &["nobody"]);
    scene.call("submit", &["--status", "nobody"]).expect(1, &["nobody"]);
    eventually("Mesos has no task of it left", || scene.running_tasks().is_empty().then_some(()));
}

#[test]
#[ignore = "needs Mesos"]
fn a_run_has_its_executors_on_agents_and_ends_with_its_drivers_code() {
    let scene = Scene::new(2, &[]);
    let run = scene.run("run", 3, &[]);
    let status = scene.until_running("run", 3);
    assert_eq!(status["executors"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(scene.running_tasks().len(), 4, "{:?}", scene.running_tasks());
    scene.call("ps", &[]).expect(0, &[]);
    scene.call("kill", &["run"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    nothing_is_left("run");
    eventually("Mesos has no task of it left", || scene.running_tasks().is_empty().then_some(()));

    for (driver, code) in [("true", 0), ("sh -c 'exit 7'", 7), ("sh -c 'kill -9 $$'", 137)] {
        let sizes = ["--driver-memory", "16m", "--executor-memory", "16m"];
        let programs = ["--driver", driver, "--executor", "sleep 60"];
        let said = scene.call("run", &[&sizes[..], &programs].concat());
        assert_eq!(said.code, Some(code), "{driver}: {said:?}");
    }
}

#[test]
#[ignore = "needs Mesos"]
fn pi_is_worked_out_by_a_driver_on_an_agent() {
    let scene = Scene::new(2, &["spark.authenticate.secret=of the cluster"]);
    let secret = ["--conf", "spark.authenticate.secret=of the cluster"];
    let pi = pi().to_str().unwrap();
    let sizes = ["--executor-memory", "64m", "--executor-cores", "1"];
    let more = ["--conf", "spark.executor.instances=3"];
    let said = scene.submit("pi", &[&secret[..], &sizes, &more].concat(), &[pi, "50"]);
    said.expect(0, &["submission id: pi", "finished"]);
    let out = scene.call("logs", &[&secret[..], &["pi"]].concat()).out;
    assert!(digits(&out).starts_with("3.14"), "{out}");
    nothing_is_left("pi");
    // Who does not know the secret sees nothing.
    scene.call("ps", &[]).expect(1, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn a_dispatcher_of_which_nobody_wants_anything_suppresses_offers() {
    let scene = Scene::new(1, &[]);
    let name = format!("/{}/calls/suppress", scene.framework());
    eventually("it does so", || {
        let metrics = scene.master("metrics/snapshot")?;
        let mut all = metrics.as_object()?.iter();
        all.find(|(key, value)| key.ends_with(&name) && value.as_f64() > Some(0.0)).map(|_| ())
    });
}
