//! Real processes, in every way in which this machine lets them be kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{Cause, KilledBy, Outcome, StartFailure, Stop};
use tokio::sync::watch;

use super::cgroup::{CgroupFiles, Hierarchy};
use super::identity::Process;
use super::limits::Enforcement;
use super::logs::{Rotation, Tail, Writer, last_lines};
use super::process::{Host, Launch};
use super::process_record;

/// As this machine has it, with v2 groups alone, and without groups.
fn ways() -> Vec<Enforcement> {
    let found = Enforcement::detect();
    let plain = CgroupFiles::read().v2().filter(|v2| v2.is_usable(0));
    let v2 = plain.map(|plain| Enforcement { memory: None, plain: Some(plain) });
    let mut ways = vec![found, Enforcement::default()];
    ways.extend(v2.filter(|v2| !ways.contains(v2)));
    ways
}

fn shell(dir: &Path, script: &str) -> Launch {
    Launch {
        program: "sh".to_owned(),
        args: ["-c".to_owned(), script.to_owned()].into(),
        env: BTreeMap::new(),
        working_dir: dir.to_owned(),
        dir: dir.to_owned(),
        limit_mib: 0,
        rotation: Rotation { max_size: None, retained: 0 },
        name: "app-driver".to_owned(),
        process_records: dir.join("driver.traces"),
    }
}

async fn run(way: &Enforcement, launch: Launch) -> Outcome {
    let host = Host::start(way.clone(), None, &[]).unwrap();
    let (_stop, requests) = watch::channel(None);
    let records = launch.process_records.clone();
    let outcome = host.run(launch, requests, |_| {}).await;
    assert!(process_record::read_all(&records).is_empty(), "{way:?}: nothing is left to be found");
    outcome
}

fn output(dir: &Path) -> String {
    fs::read_to_string(dir.join("stdout")).unwrap_or_default()
}

/// The process whose id a script has written.
fn written(dir: &Path) -> Option<Process> {
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    Process::of(pid.trim().parse().unwrap())
}

/// In a session of its own, without any environment, and nobody's child.
const STRAY: &str = "env -i setsid sh -c 'echo $$ >pid.new; mv pid.new pid; exec sleep 600' & \
                     while ! [ -e pid ]; do sleep 0.01; done";

#[tokio::test]
async fn what_is_hidden_is_not_handed_on_unless_it_is_meant() {
    const HIDDEN: &str = "CARGO_MANIFEST_DIR";
    assert!(std::env::var_os(HIDDEN).is_some());
    let meant = BTreeMap::from([(HIDDEN.to_owned(), "meant".to_owned())]);
    for way in ways() {
        let host = Host::start(way, None, &[HIDDEN]).unwrap();
        for (env, told) in [(BTreeMap::new(), "none"), (meant.clone(), "meant")] {
            let dir = tempfile::tempdir().unwrap();
            let script = format!("printf %s ${{{HIDDEN}-none}}");
            let launch = Launch { env, ..shell(dir.path(), &script) };
            let (_stop, requests) = watch::channel(None);
            let outcome = host.run(launch, requests, |_| {}).await;
            assert_eq!(outcome.cause, Cause::Finished);
            assert_eq!(output(dir.path()), told);
        }
    }
}

#[tokio::test]
async fn a_memory_limit_holds_for_what_is_started_at_once() {
    for way in ways() {
        let dir = tempfile::tempdir().unwrap();
        // One line of 200 MiB, which is held as a whole.
        let script = "head -c 209715200 /dev/zero | tail -n 1 | wc -c & wait; exit 3";
        let outcome = run(&way, Launch { limit_mib: 64, ..shell(dir.path(), script) }).await;
        assert_ne!(output(dir.path()).trim(), "209715200", "{way:?}: the limit is 64 MiB");
        let expected = match way.memory {
            Some(_) => Cause::OutOfMemory { limit_mib: Some(64) },
            None => Cause::Exited { code: 3 },
        };
        assert_eq!(outcome.cause, expected, "{way:?}");
    }
}

/// What a shell starts at once begins before anything could be done to the shell from outside.
#[tokio::test]
async fn what_is_started_at_once_is_in_the_group_of_its_process_every_time() {
    for way in ways() {
        for time in 0..25 {
            let dir = tempfile::tempdir().unwrap();
            let script = "cat /proc/self/cgroup >group & cat /proc/self/limits >limits & wait";
            let launch = Launch { limit_mib: 64, ..shell(dir.path(), script) };
            let name = launch.name.clone();
            assert_eq!(run(&way, launch).await.cause, Cause::Finished, "{way:?}");
            let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
            match way.hierarchy(64) {
                Some(_) => assert!(read("group").contains(&name), "{way:?}, {time}: outside"),
                None => assert!(!mark_of(&read("limits")).is_empty(), "{way:?}, {time}: unmarked"),
            }
            if way.memory.is_none() {
                let limits = read("limits");
                let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
                assert!(data.contains(&(64 << 20).to_string()), "{way:?}, {time}: {data}");
            }
        }
    }
}

/// The digits of a mark: no machine has such a limit of file locks else.
fn mark_of(limits: &str) -> &str {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks")).unwrap();
    let limit = line.split_ascii_whitespace().next().unwrap();
    if limit.bytes().all(|byte| byte.is_ascii_digit()) { limit } else { "" }
}

#[tokio::test]
async fn a_watchdog_looks_for_processes_only_if_there_may_be_some() {
    for way in ways() {
        for runs in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let host = Host::start(way.clone(), None, &[]).unwrap();
            let (_stop, requests) = watch::channel(None);
            for script in ["true", "exit 3"] {
                host.run(shell(dir.path(), script), requests.clone(), |_| {}).await;
            }
            if runs {
                let launch = shell(dir.path(), "echo $$ >pid.new; mv pid.new pid; exec sleep 600");
                let (host, requests) = (Arc::clone(&host), requests.clone());
                let running = tokio::spawn(async move { host.run(launch, requests, |_| {}).await });
                while !dir.path().join("pid").exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // Whoever would wait for it is gone.
                running.abort();
                let _ = running.await;
            }
            let watchdog = host.watchdog();
            drop(host);
            let began = std::time::Instant::now();
            watchdog.ended().await;
            // It looks in rounds of 0.2 s, and twice at least.
            assert_eq!(began.elapsed() >= Duration::from_millis(400), runs, "{way:?}");
            assert!(!runs || written(dir.path()).is_none(), "{way:?}: it is ended");
        }
    }
}

#[test]
fn what_stands_in_the_place_of_a_file_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (prefix, output) = (dir.path().join("driver.traces"), dir.path().join("stdout"));
    let other = process_record::path(&prefix, "0123456789abcdef-1");
    fs::create_dir(process_record::path(&prefix, "0123456789abcdef-2")).unwrap();
    for fifo in [&other, &output] {
        let made = std::process::Command::new("mkfifo").arg(fifo).status().unwrap();
        assert!(made.success());
    }
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        assert!(process_record::read_all(&prefix).is_empty());
        assert!(Tail::open(output.clone(), Some(1)).is_err());
        assert!(Tail::open(output.clone(), None).unwrap().read().is_err());
        assert_eq!(last_lines(output.parent().unwrap()), None);
        Writer::new(output, Rotation { max_size: None, retained: 0 }).write(b"lost");
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("nothing waits for the other end");
}

#[tokio::test]
async fn what_left_its_session_and_its_environment_ends_with_its_process() {
    for way in ways() {
        for limit_mib in [0, 256] {
            let dir = tempfile::tempdir().unwrap();
            let launch = Launch { limit_mib, ..shell(dir.path(), STRAY) };
            assert_eq!(run(&way, launch).await.cause, Cause::Finished, "{way:?}");
            assert_eq!(written(dir.path()), None, "{way:?}, limit {limit_mib}");
        }
    }
}

#[tokio::test]
async fn what_a_host_left_is_found_by_its_traces() {
    for way in ways() {
        let dir = tempfile::tempdir().unwrap();
        let launch = shell(dir.path(), &format!("{STRAY}; sleep 600"));
        let (host, prefix) =
            (Host::start(way.clone(), None, &[]).unwrap(), launch.process_records.clone());
        let (stop, requests) = watch::channel(None);
        let running = tokio::spawn(async move { host.run(launch, requests, |_| {}).await });
        let pid = dir.path().join("pid");
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // As whoever finds them when the host is gone.
        let [(file, found)] = &process_record::read_all(&prefix)[..] else { panic!("one host") };
        assert!(found.has_owner());
        let stray = written(dir.path()).unwrap();
        assert!(found.processes().contains(&stray), "{way:?}");
        // To look is not to end.
        assert!(found.processes().contains(&stray), "{way:?}");
        found.end(file).await;
        assert!(!stray.is_alive(), "{way:?}");
        stop.send_replace(Some(Stop { by: KilledBy::Request, grace: Duration::ZERO }));
        let outcome = running.await.unwrap();
        assert!(
            outcome.cause.is_failure() || outcome.cause == Cause::Killed { by: KilledBy::Request }
        );
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told_in_words_however_it_is_started() {
    for way in ways() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "no program").unwrap();
        let text = text.to_str().unwrap().to_owned();
        let cases = [
            ("no-such-program", "in PATH"),
            ("/no/such", "there is no program"),
            (&text, "executable"),
        ];
        for (program, words) in cases {
            let program = program.to_owned();
            let launch = Launch { program, limit_mib: 64, ..shell(dir.path(), "") };
            let cause = run(&way, launch).await.cause;
            let Cause::CouldNotStart { failure: StartFailure::BadCommand, why } = &cause else {
                panic!("{way:?}: {cause:?}")
            };
            assert!(why.contains(words), "{way:?}: {why}");
        }
    }
}

#[tokio::test]
async fn a_group_is_gone_with_its_process() {
    let way = Enforcement::detect();
    let parents: Vec<_> = way.hierarchies().map(|found| found.parent.clone()).collect();
    let host = Host::start(way, None, &[]).unwrap();
    let prefix = host.group_names();
    let left = || {
        let entries =
            parents.iter().flat_map(|dir: &std::path::PathBuf| fs::read_dir(dir).unwrap());
        entries.filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        })
    };
    let dir = tempfile::tempdir().unwrap();
    for (limit_mib, program) in [(0, "true"), (64, "true"), (64, "no-such-program")] {
        let program = program.to_owned();
        let launch = Launch { program, limit_mib, args: Vec::new(), ..shell(dir.path(), "") };
        let (_stop, requests) = watch::channel(None);
        host.run(launch, requests, |_| {}).await;
        assert_eq!(left().count(), 0, "limit {limit_mib}");
    }
}

#[test]
fn groups_without_a_limit_are_made_where_that_is_cheap() {
    let found = Enforcement::detect();
    let (limited, plain) = (found.hierarchy(64), found.hierarchy(0));
    if found.memory.is_some() {
        assert!(limited.is_some_and(Hierarchy::has_memory));
        assert!(plain.is_some());
    } else {
        assert_eq!(limited, plain);
    }
}
