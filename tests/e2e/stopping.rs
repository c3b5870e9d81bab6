//! However a run is stopped, nothing of it is left.

use anymaster_test_support::home::{
    Home, Started, eventually, nothing_is_left, so_many_processes_of,
};

const APP: &str = "long";

fn started(home: &Home, driver: &str) -> Started {
    let started = home.start(&[
        "run",
        "--master",
        "local[2]",
        "--submission-id",
        APP,
        "--executors",
        "2",
        "--driver",
        driver,
        "--executor",
        "sleep 3600",
    ]);
    home.until_executors(APP, 2);
    started
}

#[test]
fn ctrl_c_ends_all_of_it() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let home = Home::new();
        let run = started(&home, "sleep 3600");
        run.signal(signal);
        run.wait().expect(code, &[]);
        nothing_is_left(APP);
        let status = home.json(&["status", APP, "-o", "json"]);
        assert_eq!(status["driver"]["cause"]["cause"], "killed", "{status}");
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let home = Home::new();
    let stubborn = "sh -c \"trap '' TERM INT; echo deaf; while :; do sleep 1; done\"";
    let run = started(&home, stubborn);
    let is_deaf = || home.call(&["logs", APP]).out.contains("deaf");
    eventually("it is deaf", || is_deaf().then_some(()));
    run.signal("INT");
    home.until(APP, "it was asked to end", |status| status["driver"]["state"] == "ending");
    run.signal("INT");
    run.wait().expect(130, &[]);
    nothing_is_left(APP);
}

#[test]
fn kill_minus_nine_of_the_program_leaves_nothing() {
    let home = Home::new();
    let run = started(&home, "sleep 3600");
    so_many_processes_of(APP, 3);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    nothing_is_left(APP);
    let status = home.json(&["status", APP, "-o", "json"]);
    assert_eq!(status["driver"]["state"], "ended", "{status}");
}

/// In a session of its own and without any environment: nothing in it says whose it is.
const STRAY: &str = "env -i setsid sleep";

/// The processes that are such a stray, by the time that they sleep.
fn strays(time: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| *line == format!("sleep\0{time}\0").as_bytes()).count()
}

/// A run of which driver and executor have left one such process each, and how long these sleep: by
/// that, no other test's are meant.
fn started_with_strays(home: &Home) -> (Started, String) {
    let time = format!(
        "3600.{}",
        home.path().display().to_string().bytes().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte)) % 1_000_000_007
        })
    );
    let command = format!("sh -c '{STRAY} {time} & sleep 3600'");
    let line = ["run", "--submission-id", APP, "--driver", &command, "--executor", &command];
    let run = home.start(&[&line[..], &["--executors", "1"]].concat());
    eventually("both have left one", || (strays(&time) == 2).then_some(()));
    (run, time)
}

#[test]
fn what_left_its_session_and_its_environment_ends_with_the_run() {
    let home = Home::new();
    let (run, time) = started_with_strays(&home);
    run.signal("TERM");
    run.wait().expect(143, &[]);
    assert_eq!(strays(&time), 0);
}

#[test]
fn what_left_its_session_and_its_environment_ends_when_the_program_is_killed() {
    let home = Home::new();
    let (run, time) = started_with_strays(&home);
    run.signal("KILL");
    run.wait();
    eventually("they are gone", || (strays(&time) == 0).then_some(()));
}

#[test]
fn what_is_left_when_the_watchdog_is_killed_too_ends_when_somebody_looks() {
    let home = Home::new();
    let (run, time) = started_with_strays(&home);
    let threads = std::fs::read_dir(format!("/proc/{}/task", run.id())).unwrap();
    let children = threads.map(|thread| thread.unwrap().path().join("children"));
    let children: String =
        children.filter_map(|children| std::fs::read_to_string(children).ok()).collect();
    let is_watchdog = |pid: &&str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(18).any(|word| word == b"anymaster-watchdog")
    };
    let watchdog = children.split_whitespace().find(is_watchdog).unwrap().parse().unwrap();
    anymaster_test_support::home::signal("KILL", watchdog);
    run.signal("KILL");
    run.wait();
    assert_eq!(strays(&time), 2);
    home.call(&["ps"]).expect(0, &[]);
    assert_eq!(strays(&time), 0);
    nothing_is_left(APP);
}

#[test]
fn another_process_kills_it() {
    let home = Home::new();
    let run = started(&home, "sleep 3600");
    home.call(&["kill", APP]).expect(0, &[]);
    let said = run.wait();
    assert_ne!(said.code, Some(0), "{said:?}");
    nothing_is_left(APP);
    // Gone already is success, and said.
    home.call(&["kill", APP]).expect(0, &["had ended already"]);
}

#[test]
fn one_executor_is_killed_and_replaced() {
    let home = Home::new();
    let run = started(&home, "sleep 3600");
    home.call(&["kill", APP, "--executor", "1"]).expect(0, &[]);
    let status = home.until(APP, "executor 3 takes its place", |status| {
        status["allocation"]["running"] == 2 && status["executors"][2]["state"] == "running"
    });
    assert_eq!(status["executors"][0]["cause"]["by"], "request", "{status}");
    run.signal("TERM");
    run.wait();
    nothing_is_left(APP);
}

#[test]
fn a_driver_goes_on_when_nobody_reads_its_output_any_more() {
    use std::io::Read as _;

    let home = Home::new();
    let driver = "sh -c 'i=0; while [ $i -lt 20000 ]; do echo words $i; i=$((i+1)); done; exit 3'";
    let mut run = home.command(&["run", "--submission-id", APP, "--driver", driver]);
    let mut run = run.spawn().unwrap();
    // As `| head` does.
    let mut some = [0; 64];
    run.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let said = run.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(!words.contains("panicked"), "{words}");
    let logs = home.call(&["logs", APP]);
    assert!(logs.out.ends_with("words 19999\n"), "{}", logs.out.len());
}
