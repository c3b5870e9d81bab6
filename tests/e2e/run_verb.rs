//! `anymaster run`: programs that know nothing of us.

use anymaster_test_support::home::{Home, nothing_is_left};

fn run<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--master", "local[4]"], rest].concat()
}

#[test]
fn its_exit_code_is_the_drivers() {
    let home = Home::new();
    for (driver, code) in [("true", 0), ("sh -c 'exit 7'", 7), ("sh -c 'kill -9 $$'", 137)] {
        let said = home.call(&run(&["--driver", driver, "--executor", "sleep 60"]));
        assert_eq!(said.code, Some(code), "{driver}: {said:?}");
    }
}

#[test]
fn both_commands_know_where_the_driver_is() {
    let home = Home::new();
    let driver = "sh -c 'echo $ANYMASTER_DRIVER_HOST $ANYMASTER_DRIVER_PORT; \
                  until [ -e met-1 ] && [ -e met-2 ]; do sleep 0.05; done; cat met-1 met-2'";
    // The driver's working directory is the caller's; executors have their own.
    let meeting = home.path().display().to_string();
    let executor = format!(
        "sh -c 'echo {{{{driver.host}}}} {{{{driver.port}}}} {{{{executor.id}}}} > t-$0; mv t-$0 {meeting}/met-$0; sleep 60' {{{{executor.id}}}}"
    );
    let said = home.call(&run(&["--driver", driver, "--executor", &executor]));
    said.expect(0, &[]);
    let lines: Vec<_> = said.out.lines().collect();
    let [address, one, two] = lines[..] else { panic!("{said:?}") };
    assert_eq!([one, two], [format!("{address} 1"), format!("{address} 2")]);
}

#[test]
fn executors_that_keep_failing_end_it() {
    let home = Home::new();
    let executor = "sh -c 'echo no luck; exit 3'";
    let said = home.call(&run(&[
        "--submission-id",
        "unlucky",
        "--executors",
        "2",
        "--driver",
        "sleep 60",
        "--executor",
        executor,
    ]));
    said.expect(11, &["no luck", "exited with code 3", "spark.executor.maxNumFailures"]);
    nothing_is_left("unlucky");
    let told = home.call(&["explain", "unlucky"]);
    told.expect(0, &[]);
    assert!(told.out.contains("exited with code 3"), "{told:?}");
}

#[test]
fn what_cannot_start_is_named() {
    let home = Home::new();
    home.call(&run(&["--driver", "no-such-program", "--executor", "sleep 60"]))
        .expect(127, &["no-such-program"]);
    let file = home.file("data.txt", "no program");
    let driver = file.display().to_string();
    home.call(&run(&["--driver", &driver, "--executor", "sleep 60"])).expect(127, &["data.txt"]);
}

#[test]
fn more_executors_than_cores_wait_and_say_for_what() {
    let home = Home::new();
    let started = home.start(&run(&[
        "--submission-id",
        "crowded",
        "--executors",
        "6",
        "--driver",
        "sleep 60",
        "--executor",
        "sleep 60",
    ]));
    let status = home.until("crowded", "4 of 6 run", |status| {
        status["allocation"]["running"] == 4 && status["allocation"]["phase"] == "blocked"
    });
    assert_eq!(status["allocation"]["pending"], 2, "{status}");
    let told = home.call(&["explain", "crowded"]);
    assert!(told.out.contains("core"), "{told:?}");
    home.call(&["kill", "crowded"]).expect(0, &[]);
    started.wait();
    nothing_is_left("crowded");
}

/// It may have ended before its executors are asked for.
#[test]
fn a_driver_that_ends_at_once_has_its_own_exit_code() {
    let home = Home::new();
    for _ in 0..25 {
        for (driver, code) in [("true", 0), ("no-such-program", 127)] {
            home.call(&run(&["--driver", driver, "--executor", "sleep 3600"])).expect(code, &[]);
        }
    }
}

#[test]
fn there_are_as_many_executors_as_there_is_work_for() {
    let home = Home::new();
    let say = |work: &str| {
        // The whole document at once.
        home.file("draft", work);
        std::fs::rename(home.path().join("draft"), home.path().join("work.json")).unwrap();
    };
    say(r#"{"pending": 4}"#);
    let run = home.start(&run(&[
        "--submission-id",
        "elastic",
        "--driver",
        "sleep 1000",
        "--executor",
        "sleep 1000",
        "--pending-work",
        "work.json",
        "--conf",
        "spark.dynamicAllocation.executorIdleTimeout=1s",
    ]));
    home.until_executors("elastic", 4);
    // Two of them still have something to do, and so they are the ones that stay.
    say(
        r#"{"pending": 0, "running": 2, "executors": {"1": "idle", "2": "busy", "3": "idle", "4": "busy"}}"#,
    );
    let status = home.until_executors("elastic", 2);
    let running = status["executors"].as_array().unwrap().iter();
    let running = running.filter(|executor| executor["state"] == "running");
    let ids: Vec<_> = running.map(|executor| executor["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [2, 4]);
    say(r#"{"pending": 3, "running": 2, "executors": {"2": "busy", "4": "busy"}}"#);
    home.until_executors("elastic", 4);
    say(r#"{"pending": 0}"#);
    home.until_executors("elastic", 0);
    home.call(&["kill", "elastic"]).expect(0, &[]);
    assert_eq!(run.wait().code, Some(143));
    nothing_is_left("elastic");
}

#[test]
fn work_that_cannot_be_read_is_named_and_changes_nothing() {
    let home = Home::new();
    let line = |work: &'static str| {
        let driver = ["--driver", "sleep 2", "--executor", "sleep 60"];
        run(&[&driver[..], &["--pending-work", work]].concat())
    };
    home.call(&line("ftp://host/work")).expect(2, &["ftp://", "http://"]);
    home.call(&line("none.json")).expect(0, &["none.json", "the pending work is not known"]);
    let dynamic = ["--conf", "spark.dynamicAllocation.enabled=true", "--dry-run"];
    let driver = ["--driver", "true", "--executor", "true"];
    home.call(&run(&[&driver[..], &dynamic].concat())).expect(0, &["--pending-work"]);
}
