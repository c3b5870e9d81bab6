//! Spark's submission protocol at the dispatcher's port: the states and the words of Spark's own
//! (Spark 3.5, `MesosClusterScheduler`).

use serde_json::Value;

use crate::scene::Scene;
use anymaster_test_support::home::{eventually, nothing_is_left};

fn id(answer: &Value) -> String {
    assert_eq!(answer["success"], true, "{answer}");
    let id = answer["submissionId"].as_str().unwrap();
    assert!(id.starts_with("driver-20") && id.len() == "driver-20261120211223-0002".len(), "{id}");
    id.to_owned()
}

#[test]
#[ignore = "needs Mesos"]
fn states_and_kills_have_the_words_of_sparks_dispatcher() {
    let scene = Scene::new(1, &[]);
    let kill = |id: &str| {
        let answer = scene.rest("POST", &format!("kill/{id}"), None);
        (answer["success"] == true, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let good = id(&scene.create("/bin/true", &[], &[]));
    let answer = scene.until_state(&good, "FINISHED");
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(kill(&good), (false, "Driver already terminated".to_owned()));

    let answer = scene.asked("driver-19990101000000-0001");
    assert_eq!(answer["success"], false, "{answer}");
    assert_eq!(answer["driverState"], "NOT_FOUND", "{answer}");
    let unknown = kill("driver-19990101000000-0001");
    assert_eq!(unknown, (false, "Cannot find driver".to_owned()));

    let runs = id(&scene.create("/bin/sleep", &["3600"], &[]));
    scene.until_state(&runs, "RUNNING");
    eventually("it runs", || {
        scene.task(&format!("{runs}.driver")).filter(|task| task["state"] == "TASK_RUNNING")
    });
    assert_eq!(kill(&runs), (true, "Killing running driver".to_owned()));
    scene.until_state(&runs, "FINISHED");
    nothing_is_left(&runs);

    // As much as no agent has.
    let large = id(&scene.create("/bin/true", &[], &[("spark.driver.memory", "64g")]));
    let answer = scene.until_state(&large, "QUEUED");
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(kill(&large), (true, "Removed driver while it's still pending".to_owned()));
    scene.until_state(&large, "FINISHED");

    let supervised = [("spark.driver.supervise", "true")];
    let fails = id(&scene.create("/bin/false", &[], &supervised));
    scene.until_state(&fails, "RETRYING");
    // Long enough after a few of them.
    eventually("a pause is long", || {
        scene.until_state(&fails, "RETRYING");
        scene.task(&format!("{fails}.driver-retry-1"))
    });
    scene.until_state(&fails, "RETRYING");
    assert_eq!(kill(&fails), (true, "Removed driver while it's being retried".to_owned()));
    scene.until_state(&fails, "FINISHED");
}

#[test]
#[ignore = "needs Mesos"]
fn no_driver_is_accepted_while_as_many_are_launched_as_there_may_be() {
    let scene = Scene::new(1, &["spark.mesos.maxDrivers=3"]);
    let three: Vec<String> =
        (0..3).map(|_| id(&scene.create("/bin/sleep", &["3600"], &[]))).collect();
    three.iter().for_each(|id| drop(scene.until_state(id, "RUNNING")));
    let refused = scene.create("/bin/sleep", &["3600"], &[]);
    assert_eq!(refused["success"], false, "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("Already reached maximum submission size"), "{message}");
    let said = scene.submit("fourth", &[], &["/bin/true"]);
    said.expect(1, &["Already reached maximum submission size"]);
    scene.rest("POST", &format!("kill/{}", three[0]), None);
    scene.until_state(&three[0], "FINISHED");
    id(&scene.create("/bin/true", &[], &[]));
}
