//! The program with a home of its own, so that tests see nothing of each other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The built program, which Cargo puts beside the tests.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().unwrap().with_file_name("anymaster");
        assert!(program.is_file(), "{} is built: cargo build", program.display());
        program
    })
}

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Home(TempDir);

/// What a finished call of the program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it, with this content.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A call of `anymaster`, not yet made.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        self.command_of(program(), args)
    }

    fn command_of<S: AsRef<str>>(&self, program: &Path, args: &[S]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args.iter().map(AsRef::as_ref))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("ANYMASTER_STATE_DIR", self.path().join("state"))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Calls `anymaster`, waits for it.
    pub fn call<S: AsRef<str>>(&self, args: &[S]) -> Said {
        said(&self.command(args).output().unwrap())
    }

    /// Calls it by the name spark-submit.
    pub fn spark_submit<S: AsRef<str>>(&self, args: &[S]) -> Said {
        let link = self.path().join("spark-submit");
        if !link.exists() {
            std::os::unix::fs::symlink(program(), &link).unwrap();
        }
        said(&self.command_of(&link, args).output().unwrap())
    }

    /// The document that a call with `-o json` prints.
    pub fn json<S: AsRef<str>>(&self, args: &[S]) -> Value {
        let said = self.call(args);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// Calls it and goes on.
    pub fn start<S: AsRef<str>>(&self, args: &[S]) -> Started {
        Started(Some(self.command(args).spawn().unwrap()))
    }

    /// Waits until the application is in a state: running, or so many executors are.
    pub fn until(&self, id: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let asked = ["status", id, "-o", "json"];
        eventually(what, || {
            let said = self.call(&asked);
            serde_json::from_str(&said.out).ok().filter(|status| reached(status))
        })
    }

    /// Waits until that many executors run.
    pub fn until_executors(&self, id: &str, running: u64) -> Value {
        let what = format!("{running} executors of {id} run");
        self.until(id, &what, |status| status["allocation"]["running"] == running)
    }
}

/// Asks again and again, with growing pauses: the other side is another program.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

pub fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Said {
    /// It ended with this code, and said each of these on standard error.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "it does not say {word:?}: {self:?}");
        }
        self
    }
}

/// A program that runs; killed when it is forgotten.
pub struct Started(Option<Child>);

impl Started {
    pub fn of(child: Child) -> Self {
        Self(Some(child))
    }

    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.0.as_ref().unwrap().id();
        signal(name, pid);
    }

    pub fn wait(mut self) -> Said {
        said(&self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal, as a shell does.
pub fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.unwrap().success(), "kill -{name} {pid}");
}

/// The live processes that have this variable in their environment, sorted.
pub fn processes(variable: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{variable}={value}");
    let entries = std::fs::read_dir("/proc").unwrap();
    let mut all: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
            !zombie && read("environ").split(|b| *b == 0).any(|entry| entry == wanted.as_bytes())
        })
        .collect();
    all.sort_unstable();
    all
}

/// The same, of an application.
pub fn processes_of(app: &str) -> Vec<u32> {
    processes("ANYMASTER_APPLICATION_ID", app)
}

/// The same, once there are so many: one that has just been started has no environment for a moment.
pub fn so_many_processes_of(app: &str, count: usize) -> Vec<u32> {
    eventually("its processes run", || Some(processes_of(app)).filter(|all| all.len() == count))
}

/// Waits until nothing of an application is left.
pub fn nothing_is_left(app: &str) {
    eventually("its processes are gone", || processes_of(app).is_empty().then_some(()));
}
