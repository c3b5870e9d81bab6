//! What may become of a store: of a master, of a dispatcher, of the local cluster, of a worker. Each is
//! flipped, cut off, emptied, full, on a file system that is read only, or gone. What was acknowledged is not
//! lost in silence, nothing stands still, and what is said tells how to go on.
//!
//! What is done to single files of local applications: `tests/e2e/hostile.rs`. Records in ZooKeeper:
//! `tests/standalone/several.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, Said, eventually, nothing_is_left, processes_of};
use anymaster_test_support::standalone::{Cluster, KEEPING};
use anymaster_test_support::submissions::{rest, state, submit_program};

/// Says that a part of a test is left out, as only root may mount file systems.
#[expect(clippy::print_stdout, reason = "a test that is left out says why")]
fn may_mount() -> bool {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        println!("not tested: a file system of a few MiB, which root may mount");
    }
    is_root
}

/// A file system of a few MiB.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=4m,mode=700", "none"];
        let mounted = Command::new("mount").args(options).arg(&path).status().unwrap();
        assert!(mounted.success(), "{} is mounted", path.display());
        Self(path)
    }

    /// Changes it: `size=32m`, `ro`, `rw`.
    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        let mounted = Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap();
        assert!(mounted.success(), "{}: {option}", self.0.display());
    }

    /// Takes all that is left of it.
    fn fill(&self) -> PathBuf {
        let file = self.0.join("filler");
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=1k", &format!("of={}", file.display())])
            .output()
            .unwrap();
        file
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
        assert!(unmounted.success(), "{} is unmounted", self.0.display());
    }
}

/// A daemon that keeps what it has acknowledged in the directory `small` of its home.
struct Keeper {
    home: Home,
    words: Vec<String>,
    port: u16,
    daemon: Option<Daemon>,
}

impl Keeper {
    /// A master, and a dispatcher of a Mesos that cannot be reached: it serves nevertheless.
    const KINDS: [fn(Home) -> Self; 2] = [Self::master, Self::dispatcher];

    fn master(home: Home) -> Self {
        Self::of(home, &["master", "--port", "0", "--webui-port", "0", "--rest-port"])
    }

    fn dispatcher(home: Home) -> Self {
        let words = ["dispatcher", "--master", "mesos://127.0.0.1:1", "--webui-port", "0"];
        Self::of(home, &[&words[..], &["--port"]].concat())
    }

    /// The last word is for the port to which submissions go.
    fn of(home: Home, words: &[&str]) -> Self {
        let port = anymaster_test_support::ports::free_port();
        let mut words: Vec<_> = words.iter().copied().map(str::to_owned).collect();
        words.push(port.to_string());
        words.extend(KEEPING.iter().flat_map(|property| ["--conf", property]).map(str::to_owned));
        let mut keeper = Self { home, words, port, daemon: None };
        keeper.start(&[]);
        keeper
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let more = more.iter().flat_map(|property| ["--conf", property]).map(str::to_owned);
        self.words.iter().cloned().chain(more).collect()
    }

    /// Starts it where it was, with these properties.
    fn start(&mut self, more: &[&str]) {
        assert!(self.daemon.is_none());
        self.daemon = Some(Daemon::start(self.home.command(&self.words(more))));
    }

    fn shoot(&mut self) {
        self.daemon.take().unwrap().shoot();
    }

    /// How it refuses to start.
    fn refused(&self, more: &[&str]) -> Said {
        let said = self.home.call(&self.words(more));
        assert_eq!(said.code, Some(1), "{said:?}");
        said
    }

    fn submit(&self) -> Result<String, String> {
        submit_program(self.port, "true", &[])
    }

    /// It knows all of these, which were acknowledged.
    fn knows(&self, acknowledged: &[String]) {
        for id in acknowledged {
            assert!(self.has(id), "{id} was acknowledged, and is not known");
        }
    }

    /// A dispatcher has a word for one that it does not know.
    fn has(&self, id: &str) -> bool {
        state(self.port, id).is_some_and(|word| word != "NOT_FOUND")
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("small")
    }

    fn log(&self) -> PathBuf {
        self.directory().join("state.log")
    }
}

/// Where the second of these is first, in bytes.
fn find(content: &[u8], what: &str) -> usize {
    content.windows(what.len()).position(|some| some == what.as_bytes()).unwrap()
}

#[test]
#[ignore = "takes a while"]
fn a_damaged_store_is_refused_and_says_how_to_go_on() {
    for kind in Keeper::KINDS {
        let mut keeper = kind(Home::new());
        let ids: Vec<_> = (0..3).map(|_| keeper.submit().unwrap()).collect();
        keeper.shoot();
        let log = keeper.log();
        let sound = fs::read(&log).unwrap();
        // The last acknowledged one: cut off, flipped, emptied.
        let mut flipped = sound.clone();
        let at = find(&sound, &ids[2]);
        flipped[at] ^= 0x10;
        for damaged in [&sound[..sound.len() - 1], &sound[..at - 40], &flipped, &[]] {
            fs::write(&log, damaged).unwrap();
            keeper.refused(&[]).expect(1, &["is damaged at byte", "acceptLoss="]);
            assert_eq!(fs::read(&log).unwrap(), damaged, "nothing is changed");
        }
        // Nor is what cannot be a log.
        fs::remove_file(&log).unwrap();
        fs::create_dir(&log).unwrap();
        keeper.refused(&[]).expect(1, &["cannot read", "state.log"]);
        fs::remove_dir(&log).unwrap();
        fs::write(&log, &flipped).unwrap();
        let said = keeper.refused(&["spark.anymaster.standalone.acceptLoss=1"]).err;
        let number = said.rsplit("acceptLoss=").next().unwrap();
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        keeper.start(&[&format!("spark.anymaster.standalone.acceptLoss={number}")]);
        keeper.knows(&ids[..2]);
        assert!(!keeper.has(&ids[2]), "that one is lost");
        // A sound copy has all of them.
        keeper.shoot();
        fs::write(&log, &sound).unwrap();
        keeper.start(&[]);
        keeper.knows(&ids);
    }
}

#[test]
#[ignore = "takes a while"]
fn a_store_that_is_gone_acknowledges_nothing_until_it_is_there_again() {
    for kind in Keeper::KINDS {
        let mut keeper = kind(Home::new());
        let directory = keeper.directory();
        let mut acknowledged = vec![keeper.submit().unwrap()];
        fs::remove_dir_all(&directory).unwrap();
        for _ in 0..2 {
            let said = keeper.submit().unwrap_err();
            assert!(said.contains("cannot write down what it is to remember"), "{said}");
            assert!(said.contains("its directory is gone"), "{said}");
        }
        keeper.knows(&acknowledged);
        fs::create_dir(&directory).unwrap();
        let more = eventually("it goes on", || keeper.submit().ok());
        acknowledged.push(more);
        keeper.shoot();
        keeper.start(&[]);
        keeper.knows(&acknowledged);
    }
}

#[test]
#[ignore = "takes a while, and wants root"]
fn a_full_or_read_only_store_refuses_what_it_cannot_keep_and_loses_nothing() {
    if !may_mount() {
        return;
    }
    for kind in Keeper::KINDS {
        let home = Home::new();
        let small = Small::mount(home.path().join("small"));
        let mut keeper = kind(home);
        let long = "x".repeat(100_000);
        let submit = |port| submit_program(port, "true", &[&long]);
        let mut acknowledged = Vec::new();
        let refusal = loop {
            match submit(keeper.port) {
                Ok(id) => acknowledged.push(id),
                Err(said) => break said,
            }
            assert!(acknowledged.len() < 100, "4 MiB hold no {} of them", acknowledged.len());
        };
        assert!(refusal.contains("cannot write down what it is to remember"), "{refusal}");
        assert!(acknowledged.len() > 3, "{acknowledged:?}");
        // It still answers, and as soon as there is room it takes more.
        keeper.knows(&acknowledged);
        small.remount("size=32m");
        acknowledged.push(eventually("there is room again", || submit(keeper.port).ok()));
        keeper.shoot();
        keeper.start(&[]);
        keeper.knows(&acknowledged);

        // One that may not be written any more is refused from the start.
        keeper.shoot();
        small.remount("ro");
        keeper.refused(&[]).expect(1, &["cannot use small", "Read-only file system"]);
        small.remount("rw");
        keeper.start(&[]);
        keeper.knows(&acknowledged);
    }
}

#[test]
#[ignore = "takes a while, and wants root"]
fn what_a_full_store_refused_neither_runs_nor_is_known() {
    if !may_mount() {
        return;
    }
    let home = Home::new();
    let small = Small::mount(home.path().join("small"));
    let mut cluster = Cluster::master(home, &KEEPING);
    let long = "x".repeat(100_000);
    let mut acknowledged: Vec<_> =
        std::iter::repeat_with(|| submit_program(cluster.rest, "true", &[&long]))
            .map_while(Result::ok)
            .take(100)
            .collect();
    assert!((4..100).contains(&acknowledged.len()), "{} fit", acknowledged.len());
    acknowledged.sort();
    let known = |cluster: &Cluster| {
        let all = cluster.call("ps", &["-a", "-o", "json"]).out;
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        let ids = all.as_array().unwrap().iter().filter_map(|one| one["id"].as_str());
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(known(&cluster), acknowledged, "what is refused is not taken in");
    small.remount("size=32m");
    cluster.add_worker(4, "4g");
    eventually("all have finished", || {
        let said = cluster.call("ps", &["-o", "json"]).out;
        let left: serde_json::Value = serde_json::from_str(&said).ok()?;
        left.as_array()?.is_empty().then_some(())
    });
    assert_eq!(known(&cluster), acknowledged);
}

/// How often something is in a directory, hidden or not.
fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
#[ignore = "takes a while, and wants root"]
fn a_full_or_read_only_local_cluster_says_so_and_shows_what_there_is() {
    if !may_mount() {
        return;
    }
    let home = Home::new();
    let small = Small::mount(home.path().join("state"));
    let run = |id: &str| home.call(&["run", "--submission-id", id, "--driver", "echo said"]);
    run("before").expect(0, &[]);
    let local = home.path().join("state/local");
    let before = entries(&local);

    let filler = small.fill();
    run("refused").expect(1, &["No space left on device", "state/local"]);
    assert_eq!(entries(&local), before, "nothing is left of it");
    let shows = || {
        let table = home.call(&["ps", "-a"]);
        table.expect(0, &[]);
        assert!(table.out.contains("before") && !table.out.contains("refused"), "{table:?}");
        home.call(&["status", "before"]).expect(0, &[]);
        assert_eq!(home.call(&["logs", "before"]).out, "said\n");
    };
    shows();
    fs::remove_file(filler).unwrap();

    // Full while one runs: it goes on, and ends.
    let waits = ["run", "--submission-id", "runs", "--driver", "sh -c 'read x; exit 3'"];
    let fifo = home.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let script = format!("read x <{}; echo more; exit 3", fifo.display());
    let driver = home.file("driver", &format!("#!/bin/sh\n{script}\n"));
    assert!(Command::new("chmod").arg("+x").arg(&driver).status().unwrap().success());
    let driver = driver.display().to_string();
    let running = home.start(&[&waits[..4], &[&driver]].concat());
    home.until("runs", "it runs", |status| status["driver"]["state"] == "running");
    let filler = small.fill();
    fs::write(&fifo, "go on\n").unwrap();
    let said = running.wait();
    assert_eq!(said.code, Some(3), "{said:?}");
    nothing_is_left("runs");
    fs::remove_file(filler).unwrap();

    small.remount("ro");
    run("refused").expect(1, &["Read-only file system", "state/local"]);
    shows();
    small.remount("rw");
    run("after").expect(0, &[]);
}

#[test]
#[ignore = "takes a while"]
fn a_local_cluster_that_is_gone_is_a_new_one_and_what_runs_ends() {
    let home = Home::new();
    let run = ["run", "--submission-id", "runs", "--executors", "1"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600"];
    let running = home.start(&[&run[..], &programs].concat());
    home.until_executors("runs", 1);
    fs::remove_dir_all(home.path().join("state")).unwrap();
    home.call(&["ps", "-a", "-o", "json"]).expect(0, &[]);
    home.call(&["run", "--driver", "true"]).expect(0, &[]);
    running.signal("TERM");
    running.wait().expect(1, &["no application runs on this machine"]);
    nothing_is_left("runs");
}

/// Runs `true` on the cluster: Spark's word for how it ended, and why.
fn ends(cluster: &Cluster) -> (String, String) {
    let id = submit_program(cluster.rest, "true", &[]).unwrap();
    let word = eventually("it ends", || {
        state(cluster.rest, &id).filter(|word| !["SUBMITTED", "RUNNING"].contains(&word.as_str()))
    });
    (word, rest(cluster.rest, "GET", &format!("status/{id}"), "").unwrap().to_string())
}

#[test]
#[ignore = "takes a while, and wants root"]
fn a_worker_whose_directory_is_full_read_only_or_gone_says_so_and_goes_on() {
    let mut cluster = Cluster::master(Home::new(), &[]);
    let work = cluster.home.path().join("work-0");
    let small = may_mount().then(|| Small::mount(work.clone()));
    cluster.add_worker(2, "1g");
    assert_eq!(ends(&cluster).0, "FINISHED");
    if let Some(small) = &small {
        let filler = small.fill();
        let (word, why) = ends(&cluster);
        assert!(word == "ERROR" && why.contains("No space left on device"), "{why}");
        fs::remove_file(filler).unwrap();
        assert_eq!(ends(&cluster).0, "FINISHED");
        small.remount("ro");
        let (word, why) = ends(&cluster);
        assert!(word == "ERROR" && why.contains("Read-only file system"), "{why}");
        small.remount("rw");
        assert_eq!(ends(&cluster).0, "FINISHED");
    } else {
        fs::remove_dir_all(&work).unwrap();
        assert_eq!(ends(&cluster).0, "FINISHED", "its directory is made again");
    }
    let before = cluster.submit_one_that_waits("waits");
    for entry in fs::read_dir(&work).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    assert_eq!(ends(&cluster).0, "FINISHED");
    assert_eq!(processes_of("waits"), before, "nothing was disturbed");
    cluster.call("kill", &["waits"]).expect(0, &[]);
    nothing_is_left("waits");
}

#[test]
#[ignore = "takes a while"]
fn damaged_traces_keep_no_worker_from_its_work() {
    let mut cluster = Cluster::master(Home::new(), &[]);
    let work = cluster.home.path().join("work-0");
    for (number, content) in ["", "{", "\0\u{1}\u{2}", "[]"].iter().enumerate() {
        let app = work.join(format!("app-{number}"));
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("driver.traces-0123456789abcdef-1"), content).unwrap();
    }
    let fifo = work.join("app-0/executors.traces-0123456789abcdef-1");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    cluster.add_worker(2, "1g");
    assert_eq!(ends(&cluster).0, "FINISHED");
}
