//! Drivers that are started again.

use std::time::Duration;

use crate::scene::Scene;
use anymaster_test_support::home::eventually;

/// Writes the time down, and fails.
fn failing(log: &std::path::Path, end: &str) -> String {
    // Of a clock that every Linux has: the `date` of small systems knows no fractions.
    format!("cut -d ' ' -f 1 /proc/uptime >> {}; {end}", log.display())
}

fn times(log: &std::path::Path) -> Vec<f64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
#[ignore = "needs Mesos"]
fn a_supervised_driver_that_fails_is_started_again_after_growing_pauses() {
    let scene = Scene::new(1, &["spark.mesos.cluster.retry.wait.max=4"]);
    let log = scene.home.path().join("times");
    let program = failing(&log, "exit 3");
    let supervised = ["--supervise"];
    let submitted = scene.start_driver("fails", &supervised, &["/bin/sh", "-c", &program]);
    scene.until_state("fails", "RETRYING");
    eventually("it was started five times", || (times(&log).len() >= 5).then_some(()));
    let times = times(&log);
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, wanted) in pauses.iter().zip([1.0, 2.0, 4.0, 4.0]) {
        assert!((wanted..wanted + 3.9).contains(pause), "{pauses:?}");
    }
    let answer = scene.until_state("fails", "RETRYING");
    assert_eq!(answer["success"], true, "{answer}");
    let answer = scene.rest("POST", "kill/fails", None);
    assert_eq!(answer["message"], "Removed driver while it's being retried", "{answer}");
    submitted.wait().expect(143, &[]);
    scene.until_state("fails", "FINISHED");
    let many = self::times(&log).len();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(self::times(&log).len(), many, "it was killed, and started again");
}

#[test]
#[ignore = "needs Mesos"]
fn a_supervised_driver_that_succeeds_or_is_killed_is_not_started_again() {
    let scene = Scene::new(1, &[]);
    let [good, killed, twice] =
        ["good", "killed", "twice"].map(|name| scene.home.path().join(name));
    let supervised = ["--supervise"];
    let program = failing(&good, "exit 0");
    let said = scene.submit("good", &supervised, &["/bin/sh", "-c", &program]);
    said.expect(0, &["finished"]);
    // It fails once.
    let program = failing(&twice, &format!("[ $(wc -l < {}) = 2 ]", twice.display()));
    scene.submit("twice", &supervised, &["/bin/sh", "-c", &program]).expect(0, &["finished"]);
    let program = failing(&killed, "sleep 3600");
    let runs = scene.start_driver("killed", &supervised, &["/bin/sh", "-c", &program]);
    eventually("it runs", || (times(&killed).len() == 1).then_some(()));
    scene.call("kill", &["killed"]).expect(0, &[]);
    runs.wait().expect(143, &[]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!([&good, &killed, &twice].map(|log| times(log).len()), [1, 1, 2]);
}
