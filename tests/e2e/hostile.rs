//! Text that moves cursors, records that are damaged, and output that nobody can take.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anymaster_test_support::home::Home;

/// Clears the screen, sets the title, forges a line, turns text around.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\nerror: forged\r\u{9b}1m\u{202e}y";

fn ran(home: &Home, id: &str) {
    home.call(&["run", "--submission-id", id, "--driver", "echo said"]).expect(0, &[]);
}

/// What a terminal acts on, but for line ends and the tabs of usage texts.
fn acts(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}')
}

#[test]
fn names_move_no_cursor_and_forge_no_line() {
    let home = Home::new();
    let run =
        ["run", "--submission-id", "hostile", "--name", HOSTILE, "--driver", "sh -c 'exit 3'"];
    let run = home.call(&run);
    run.expect(3, &[]);
    assert!(!acts(&run.err), "{run:?}");
    let calls: [&[&str]; 12] = [
        &["ps", "-a"],
        &["ps", "-a", "-o", "wide"],
        &["ps", "-a", "-o", "json"],
        &["ps", "-a", "-o", "yaml"],
        &["status", "hostile"],
        &["status", "hostile", "-o", "json"],
        &["explain", "hostile"],
        &["watch", "hostile"],
        &["status", HOSTILE],
        &["kill", HOSTILE, "*"],
        &["--no-such", HOSTILE],
        &[HOSTILE],
    ];
    for call in calls {
        let said = home.call(call);
        // The last thing that YAML leaves as it is turns text around in the reader's editor only.
        let shown =
            said.out.replace('\u{202e}', if call.contains(&"yaml") { "" } else { "\u{202e}" });
        assert!(!acts(&shown) && !acts(&said.err), "{call:?}: {said:?}");
        let forged = |text: &str| text.lines().any(|line| line.starts_with("error: forged"));
        assert!(!forged(&said.out) && !forged(&said.err), "{call:?}: {said:?}");
    }
    let table = home.call(&["ps", "-a"]);
    assert_eq!(table.out.lines().count(), 2, "{table:?}");
    assert_eq!(home.json(&["ps", "-a", "-o", "json"])[0]["name"], HOSTILE);
}

#[test]
fn a_log_that_moves_cursors_is_raw_in_logs_and_written_out_elsewhere() {
    let home = Home::new();
    let driver = r"sh -c 'printf \\033[2Jbad\\n >&2; exit 3'";
    home.call(&["run", "--submission-id", "a", "--driver", driver]).expect(3, &[]);
    assert!(home.call(&["logs", "a"]).out.contains("\u{1b}[2Jbad"));
    let story = home.call(&["explain", "a"]);
    assert!(story.out.contains(r"\u{1b}[2Jbad") && !acts(&story.out), "{story:?}");
}

#[test]
fn a_wide_name_is_cut_in_tables_and_one_of_64_kib_is_refused() {
    let home = Home::new();
    let name = "w".repeat(4000);
    home.call(&["run", "--submission-id", "wide", "--name", &name, "--driver", "true"]);
    ran(&home, "other");
    let table = home.call(&["ps", "-a"]);
    table.expect(0, &[]);
    assert!(table.out.lines().all(|line| line.len() < 300), "{table:?}");
    let wide = home.call(&["ps", "-a", "-o", "wide"]);
    assert!(wide.out.contains(&name) && wide.out.contains("other"), "{wide:?}");
    let refused = [
        ("huge", format!("spark.app.name={}", "x".repeat(64 << 10)), "4096"),
        ("nul", "spark.app.name=a\\u0000b".to_owned(), "NUL"),
        ("value", "spark.app.comment=a\\u0000b".to_owned(), "spark.app.comment"),
    ];
    for (id, line, word) in refused {
        let file = home.file("properties", &line).display().to_string();
        let call = ["run", "--submission-id", id, "--properties-file", &file, "--driver", "true"];
        for dry_run in [true, false] {
            let said = home.call(&[&call[..], if dry_run { &["--dry-run"] } else { &[] }].concat());
            said.expect(2, &[word]);
            assert!(said.err.len() < 1000, "{} bytes", said.err.len());
        }
        let submit = ["submit", "--properties-file", &file, "/bin/true"];
        home.call(&submit).expect(2, &[word]);
    }
    assert_eq!(home.json(&["ps", "-a", "-o", "json"]).as_array().unwrap().len(), 2);
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    ran(&home, "a");
    let calls: [&[&str]; 19] = [
        &["--help"],
        &["-h"],
        &["--version"],
        &["help", "ps"],
        &["ps", "--help"],
        &["submit", "--help"],
        &["submit", "--version"],
        &["submit", "--dry-run", "/bin/true"],
        &["run", "--dry-run", "--driver", "true"],
        &["run", "--driver", "echo x"],
        &["ps", "-a"],
        &["ps", "-a", "-o", "json"],
        &["status", "a"],
        &["explain", "a", "-o", "yaml"],
        &["watch", "a"],
        &["logs", "a"],
        &["doctor"],
        &["completions", "bash"],
        &["man"],
    ];
    for call in calls {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = home.command(call).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{call:?}: {err}");
        assert!(err.contains("No space left on device"), "{call:?}: {err}");

        // Who reads no more, as head does, needs no complaint.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = home.command(call).stdout(writer).output().unwrap();
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(0), "{call:?}: {err}");
        assert!(!err.contains("error") && !err.contains("panic"), "{call:?}: {err}");
    }
}

struct Damaged {
    home: Home,
}

impl Damaged {
    fn new(ids: &[&str]) -> Self {
        let home = Home::new();
        ids.iter().for_each(|id| ran(&home, id));
        Self { home }
    }

    fn path(&self, id: &str, file: &str) -> PathBuf {
        self.home.path().join("state/local").join(id).join(file)
    }

    fn fifo(&self, id: &str, file: &str) {
        let path = self.path(id, file);
        let _ = fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
    }

    fn directory(&self, id: &str, file: &str) {
        let path = self.path(id, file);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
}

#[test]
fn what_cannot_be_read_hides_nothing_else() {
    const DAMAGED: [&str; 8] =
        ["directory", "empty", "executors", "fifo", "file", "garbage", "gone", "other"];
    let damaged = Damaged::new(&[&DAMAGED[..], &["good", "lock", "record"]].concat());
    let home = &damaged.home;
    damaged.directory("directory", "driver.journal");
    fs::write(damaged.path("empty", "driver.journal"), "").unwrap();
    damaged.fifo("executors", "executors.journal");
    damaged.fifo("fifo", "driver.journal");
    fs::remove_dir_all(damaged.path("file", "")).unwrap();
    fs::write(damaged.path("", "file"), "not a directory").unwrap();
    fs::write(damaged.path("garbage", "driver.journal"), [0xff, b'\n', 0, b'\n', b'{']).unwrap();
    fs::remove_file(damaged.path("gone", "driver.journal")).unwrap();
    fs::copy(damaged.path("good", "driver.journal"), damaged.path("other", "driver.journal"))
        .unwrap();
    // What nobody needs to show them may be anything.
    damaged.fifo("lock", "driver.lock");
    damaged.fifo("lock", "summary.json");
    damaged.directory("record", "application.json");

    let began = Instant::now();
    let table = home.call(&["ps", "-a"]);
    table.expect(1, &DAMAGED);
    for id in ["good", "lock", "record"] {
        assert!(table.out.contains(id), "{table:?}");
    }
    assert_eq!(table.out.lines().count(), 4, "{table:?}");
    let list = home.call(&["ps", "-a", "-o", "json"]);
    list.expect(1, &DAMAGED);
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    let unreadable: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|app| app["state"] == "Unreadable")
        .map(|app| {
            assert!(app["reason"].as_str().is_some_and(|why| why.contains("state/local")), "{app}");
            app["id"].as_str().unwrap()
        })
        .collect();
    assert_eq!(unreadable, DAMAGED);
    assert_eq!(list.as_array().unwrap().len(), DAMAGED.len() + 3);

    for verb in ["status", "explain", "logs", "watch"] {
        let said = home.call(&[verb, "good"]);
        said.expect(0, &[]);
        assert_eq!(said.err, "", "{verb}");
        for id in DAMAGED {
            home.call(&[verb, id]).expect(1, &[id]);
        }
    }
    home.call(&["kill", "*"]).expect(1, &["fifo", "garbage"]);
    home.call(&["doctor"]).expect(0, &[]);
    assert!(home.call(&["doctor"]).out.contains("8 cannot be read"));
    // An application that comes now comes as ever.
    ran(home, "new");
    // Nothing waited for the other end of a FIFO.
    assert!(began.elapsed() < Duration::from_secs(100));
}

#[test]
fn a_watch_of_all_tells_what_cannot_be_read_and_goes_on() {
    let damaged = Damaged::new(&["bad", "good"]);
    let home = &damaged.home;
    damaged.fifo("bad", "driver.journal");
    let mut watch = home.command(&["watch", "-o", "json"]).stderr(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut events =
        lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let mut until = |kind: &str, app: &str| {
        events.by_ref().find(|event| event["kind"] == kind && event["app"] == app).unwrap()
    };
    assert!(until("unreadable", "bad")["why"].as_str().unwrap().contains("driver.journal"));
    until("driver", "good");
    ran(home, "new");
    until("driver", "new");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn an_application_that_ended_is_listed_from_its_summary_as_from_its_journals() {
    let home = Home::new();
    let run = ["run", "--submission-id", "a", "--driver", "true", "--executor", "true"];
    home.call(&run).expect(0, &[]);
    ran(&home, "b");
    let local = home.path().join("state/local");
    let first = home.json(&["ps", "-a", "-o", "json"]);
    for id in ["a", "b"] {
        assert!(local.join(id).join("summary.json").is_file(), "{id}");
    }
    assert_eq!(home.json(&["ps", "-a", "-o", "json"]), first);
    let status = home.json(&["status", "a", "-o", "json"]);
    assert_eq!(status["driver"]["state"], "ended");
    // One that does not fit the journals counts for nothing.
    fs::write(local.join("a/driver.journal"), "").unwrap();
    home.call(&["ps", "-a"]).expect(1, &["a cannot be shown"]);
    fs::write(local.join("b/summary.json"), "{").unwrap();
    assert!(home.call(&["ps", "-a"]).out.contains("b "));
}
