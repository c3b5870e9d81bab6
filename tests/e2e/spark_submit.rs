//! Called by the name spark-submit: its exit codes and streams.

use anymaster_test_support::home::Home;

#[test]
fn without_arguments_it_shows_its_usage() {
    let said = Home::new().spark_submit::<&str>(&[]);
    said.expect(255, &["Usage: spark-submit"]);
    assert_eq!(said.out, "");
}

#[test]
fn kill_and_status_work_on_what_was_submitted() {
    let home = Home::new();
    let started = home.start(&["submit", "--submission-id", "s1", "sleep", "60"]);
    home.until("s1", "it runs", |status| status["driver"]["state"] == "running");
    let status = home.spark_submit(&["--master", "local", "--status", "s1"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(format!("{}{}", status.out, status.err).contains("s1"), "{status:?}");
    home.spark_submit(&["--master", "local", "--kill", "s1"]).expect(0, &[]);
    assert_ne!(started.wait().code, Some(0));
    home.spark_submit(&["--master", "local", "--kill", "none"]).expect(1, &["none"]);
}

#[test]
fn a_jar_without_a_spark_is_explained() {
    let home = Home::new();
    home.file("an app.jar", "");
    home.spark_submit(&["--master", "local", "--class", "A", "an app.jar"])
        .expect(1, &["SPARK_HOME"]);
}

#[test]
fn an_application_that_is_not_there_is_said_before_a_jvm_starts() {
    let home = Home::new();
    for (file, words) in [("none.jar", "path right?"), ("none/none.py", "neither is there")] {
        let line = ["--master", "local", "--class", "A", file];
        home.spark_submit(&line).expect(1, &["there is no application", file, words]);
    }
}
