//! What a machine is short of: a run goes on without it, or says what is missing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anymaster_test_support::home::{Home, Started, said};

/// Whether this machine lets us have a user namespace, which has limits of its own.
#[expect(clippy::print_stdout, reason = "a test that is left out says why")]
fn has_namespaces() -> bool {
    let has = Command::new("unshare").args(["-r", "true"]).output();
    let has = has.is_ok_and(|output| output.status.success());
    if !has {
        println!("not tested: no user namespace may be made here");
    }
    has
}

/// A call of the program in a shell that did something before: `"$@"` is the call.
fn after(home: &Home, wrap: &[&str], script: &str, line: &[&str]) -> Command {
    let call = home.command(line);
    let mut command = Command::new(wrap.first().copied().unwrap_or("bash"));
    let shell = [wrap, &["bash"]].concat();
    command.args(&shell[1..]).args(["-c", script, "bash"]).arg(call.get_program());
    command.args(call.get_args()).current_dir(home.path()).env_clear();
    command.envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(std::process::Stdio::null());
    command
}

/// As many instances as the machine gives a user, all of them in use: none.
const NO_INOTIFY: &str = "echo 0 >/proc/sys/user/max_inotify_instances; exec timeout 60 \"$@\"";

#[test]
fn without_inotify_a_run_ends_as_ever() {
    if !has_namespaces() {
        return;
    }
    let home = Home::new();
    let run =
        |line: &[&str]| said(&after(&home, &["unshare", "-r"], NO_INOTIFY, line).output().unwrap());
    let driver = "sh -c 'echo words; exit 3'";
    let said = run(&["run", "--driver", driver]);
    assert_eq!((said.code, said.out.as_str()), (Some(3), "words\n"), "{said:?}");
    let executors = ["--executors", "2", "--executor", "sleep 3600", "--master", "local[2]"];
    let said = run(&[&["run", "--driver", "sleep 1"], &executors[..]].concat());
    said.expect(0, &["2 of 2 running"]);
}

#[test]
fn without_inotify_a_signal_or_another_process_ends_a_run() {
    if !has_namespaces() {
        return;
    }
    let start = |home: &Home, driver: &str| {
        let line = ["run", "--submission-id", "deaf", "--driver", driver];
        let script = "echo 0 >/proc/sys/user/max_inotify_instances; exec \"$@\"";
        let mut command = after(home, &["unshare", "-r"], script, &line);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        Started::of(command.spawn().unwrap())
    };
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let home = Home::new();
        let run = start(&home, "sleep 3600");
        home.until("deaf", "it runs", |status| status["driver"]["state"] == "running");
        run.signal(signal);
        run.wait().expect(code, &[]);
    }
    let home = Home::new();
    let run = start(&home, "sleep 3600");
    home.until("deaf", "it runs", |status| status["driver"]["state"] == "running");
    home.call(&["kill", "deaf"]).expect(0, &[]);
    assert_ne!(run.wait().code, Some(0));
}

#[test]
fn many_runs_at_once_all_end() {
    let home = Home::new();
    let runs: Vec<_> = (0..40).map(|_| home.start(&["run", "--driver", "true"])).collect();
    for run in runs {
        run.wait().expect(0, &[]);
    }
}

/// A copy of the program that any user may run: root has as many processes as it wants.
fn for_all(home: &Home) -> std::path::PathBuf {
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    let program = home.path().join("anymaster");
    let built = home.command::<&str>(&[]).get_program().to_owned();
    if std::fs::hard_link(&built, &program).is_err() {
        std::fs::copy(&built, &program).unwrap();
    }
    open(home.path());
    program
}

#[test]
fn too_few_threads_or_files_are_an_error_in_words() {
    let home = Home::new();
    let program = for_all(&home);
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let user = ["timeout", "60", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrap = if is_root { &user } else { &user[..2] };
    let limits = (1..=12).map(|limit| ("u", limit)).chain((4..=24).map(|limit| ("n", limit)));
    for (what, limit) in limits {
        let script = format!("shift; ulimit -{what} {limit}; exec {} \"$@\"", program.display());
        let output = after(&home, wrap, &script, &["run", "--driver", "true"]).output().unwrap();
        let said = said(&output);
        assert!(!said.err.contains("panicked"), "ulimit -{what} {limit}: {said:?}");
        match said.code {
            // There may be enough of them.
            Some(0) => {}
            Some(1) => {
                let system = ["Too many open files", "Resource temporarily unavailable"];
                assert!(system.iter().any(|words| said.err.contains(words)), "{said:?}");
            }
            _ => panic!("ulimit -{what} {limit}: {said:?}"),
        }
    }
    let script = format!("shift; ulimit -u 1; exec {} \"$@\"", program.display());
    let output = after(&home, wrap, &script, &["ps"]).output().unwrap();
    said(&output).expect(1, &["cannot start threads", "ulimit -u"]);
}
