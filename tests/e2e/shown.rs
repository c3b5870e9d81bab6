//! What `ps`, `status`, `logs`, `watch`, `explain` and `doctor` show, for people and for programs.

use std::io::{BufRead as _, BufReader};

use anymaster_test_support::home::Home;

fn ran(home: &Home, id: &str, driver: &str) {
    let run = ["run", "--master", "local[2]", "--submission-id", id, "--driver", driver];
    home.call(&[&run[..], &["--executor", "echo hello from {{executor.id}}"]].concat());
}

#[test]
fn applications_are_listed() {
    let home = Home::new();
    home.call(&["ps"]).expect(0, &["no applications are running"]);
    assert_eq!(home.json(&["ps", "-o", "json"]), serde_json::json!([]));
    ran(&home, "good", "true");
    ran(&home, "bad", "sh -c 'exit 9'");
    let all = home.json(&["ps", "-a", "-o", "json"]);
    let states: Vec<_> =
        all.as_array().unwrap().iter().map(|app| (&app["id"], &app["state"])).collect();
    assert_eq!(states, [(&"good".into(), &"Finished".into()), (&"bad".into(), &"Failed".into())]);
    let table = home.call(&["ps", "-a"]);
    assert!(table.out.starts_with("ID "), "{table:?}");
    assert_eq!(table.out.lines().count(), 3, "{table:?}");
}

#[test]
fn what_is_not_there_is_an_error() {
    let home = Home::new();
    for verb in ["status", "kill", "logs", "watch", "explain"] {
        home.call(&[verb, "nobody"]).expect(1, &["nobody", "anymaster ps -a"]);
    }
}

#[test]
fn output_is_kept() {
    let home = Home::new();
    let said = home.path().join("said").display().to_string();
    let driver =
        format!("sh -c 'echo out; echo err >&2; until [ -e {said} ]; do sleep 0.02; done'");
    let executor = format!("sh -c 'echo hello from {{{{executor.id}}}}; : > {said}; sleep 3600'");
    let run = ["run", "--submission-id", "talk", "--executors", "1", "--driver", &driver];
    home.call(&[&run[..], &["--executor", &executor]].concat()).expect(0, &[]);
    let logs = home.call(&["logs", "talk"]);
    logs.expect(0, &[]);
    assert!(logs.out.contains("out\n"), "{logs:?}");
    let executor = home.call(&["logs", "talk", "1"]);
    assert_eq!(executor.out, "hello from 1\n", "{executor:?}");
}

#[test]
fn followed_output_comes_as_it_is_written_and_ends_with_the_driver() {
    let home = Home::new();
    let driver = "sh -c 'echo first; until [ -e go ]; do sleep 0.02; done; echo last'";
    let run = ["run", "--submission-id", "slow", "--driver", driver];
    let started = home.start(&run);
    home.until("slow", "the driver runs", |status| status["driver"]["state"] == "running");
    let mut logs = home.command(&["logs", "-f", "slow"]).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    home.file("go", "");
    assert_eq!(lines.next().unwrap().unwrap(), "last");
    assert!(lines.next().is_none());
    assert!(logs.wait().unwrap().success());
    started.wait().expect(0, &[]);
}

#[test]
fn events_are_json_lines() {
    let home = Home::new();
    ran(&home, "seen", "sleep 0.2");
    let watch = home.call(&["watch", "seen", "-o", "json"]);
    let events: Vec<serde_json::Value> =
        watch.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() >= 2, "{watch:?}");
    // The exit code is the driver's: its executors end at once, and so it may have been ended.
    let driver = events.iter().rfind(|event| event["kind"] == "driver").unwrap();
    let code = if driver["cause"]["cause"] == "killed" { 143 } else { 0 };
    watch.expect(code, &[]);
}

#[test]
fn doctor_finds_nothing_wrong_here() {
    let home = Home::new();
    let said = home.call(&["doctor", "--master", "local[2]"]);
    said.expect(0, &[]);
    assert!(said.out.contains("local[2] answers"), "{said:?}");
}

#[test]
fn completions_and_manuals_are_written() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.call(&["completions", shell]);
        script.expect(0, &[]);
        assert!(script.out.contains("anymaster"), "{shell}");
    }
    home.call(&["man", "--dir", "pages"]).expect(0, &[]);
    let submit = std::fs::read_to_string(home.path().join("pages/anymaster-submit.1")).unwrap();
    assert!(submit.contains("driver\\-memory"), "{submit}");
    assert!(home.path().join("pages/spark-submit.1").exists());
}
