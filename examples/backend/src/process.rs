//! One process of the cluster, and the directory in which it is written down.

use std::fs;
use std::io::ErrorKind as Io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anymaster_core::model::{Cause, CommandLine, KilledBy, StartFailure, State};
use anymaster_core::{Error, Result};
use jiff::Timestamp;

/// Starts a process in a session of its own, waits for it, and writes down how it ended. When a driver has
/// ended, its executors do. `$1` is the directory of the process, `$2` that of executors, or nothing.
const SUPERVISOR: &str = r#"
dir=$1 executors=$2
shift 2
setsid "$@" >"$dir/stdout" 2>"$dir/stderr" </dev/null &
child=$!
echo "$child" >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
# It was asked to end before it was known by its number.
[ ! -e "$dir/asked" ] || kill -KILL "-$child" "$child" 2>/dev/null
wait "$child"
code=$?
# What it has left in its session.
kill -KILL "-$child" 2>/dev/null
echo "$code" >"$dir/end.new" && mv "$dir/end.new" "$dir/end"
[ -n "$executors" ] || exit 0
for executor in "$executors"/*/; do
  [ ! -e "$executor/end" ] || continue
  (set -C; echo driver-end >"$executor/asked") 2>/dev/null
  [ ! -e "$executor/pid" ] || kill -KILL "-$(cat "$executor/pid")" 2>/dev/null
done
"#;

/// Ends a process by its number; after `$3` seconds without mercy. `$1` is its directory.
const ENDER: &str = r#"
kill -TERM "-$2" 2>/dev/null
sleep "$3"
[ -e "$1/end" ] || kill -KILL "-$2" 2>/dev/null
"#;

/// The directory of a process.
#[derive(Debug, Clone)]
pub(crate) struct Process(pub(crate) PathBuf);

impl Process {
    /// Starts a command with these variables in addition. Of a driver, `executors` end with it.
    pub(crate) fn start(
        &self,
        command: &CommandLine,
        env: &[(String, String)],
        working_dir: Option<&Path>,
        executors: Option<&Path>,
    ) -> Result<()> {
        if let Err(why) = check_program(&command.program, working_dir) {
            return self.write("cannot-start", &why);
        }
        let mut supervisor = Command::new("setsid");
        supervisor.args(["/bin/sh", "-c", SUPERVISOR, "sh"]).arg(&self.0);
        supervisor.arg(executors.unwrap_or(Path::new("")));
        // Variables are the command's, and not the shell's.
        supervisor.arg("env").args(env.iter().map(|(name, value)| format!("{name}={value}")));
        supervisor.arg(&command.program).args(&command.args);
        if let Some(directory) = working_dir {
            supervisor.current_dir(directory);
        }
        spawn(&mut supervisor)
    }

    /// Asks the process to end, for this reason, and makes it after a while.
    pub(crate) fn end(&self, why: KilledBy, grace: Duration) -> Result<()> {
        if self.state().is_ended() {
            return Ok(());
        }
        let word = match why {
            KilledBy::ScaleDown => "scale-down",
            KilledBy::DriverEnd => "driver-end",
            _ => "request",
        };
        // The first reason counts.
        if !self.0.join("asked").exists() {
            self.write("asked", word)?;
        }
        let Some(pid) = self.read("pid") else { return Ok(()) };
        let seconds = grace.as_secs_f64().to_string();
        let mut ender = Command::new("setsid");
        ender.args(["/bin/sh", "-c", ENDER, "sh"]).arg(&self.0).args([pid.as_str(), &seconds]);
        spawn(&mut ender)
    }

    /// Where it is in its life.
    pub(crate) fn state(&self) -> State {
        let ended = |cause, file: &str| {
            let at = fs::metadata(self.0.join(file)).and_then(|data| data.modified()).ok();
            let at =
                at.and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
            State::ended(cause, at)
        };
        if let Some(why) = self.read("cannot-start") {
            let failure = StartFailure::BadCommand;
            return ended(Cause::CouldNotStart { failure, why: why.into() }, "cannot-start");
        }
        match (self.read("end"), self.0.join("pid").exists()) {
            (Some(code), _) => ended(self.cause(code.parse().unwrap_or(1)), "end"),
            (None, true) => State::Running,
            (None, false) => State::Pending { why: None },
        }
    }

    fn cause(&self, code: i32) -> Cause {
        let by = match self.read("asked").as_deref() {
            Some("scale-down") => Some(KilledBy::ScaleDown),
            Some("driver-end") => Some(KilledBy::DriverEnd),
            Some(_) => Some(KilledBy::Request),
            None => None,
        };
        match (by, code) {
            (Some(by), _) => Cause::Killed { by },
            (None, 0) => Cause::Finished,
            // As a shell tells of signals.
            (None, code @ 129..) => Cause::Signaled { signal: code - 128 },
            (None, code) => Cause::Exited { code },
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.0.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Whole or not at all.
    fn write(&self, file: &str, text: &str) -> Result<()> {
        let (new, file) = (self.0.join(format!("{file}.new")), self.0.join(file));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        written.map_err(|error| unavailable(&format!("cannot write {}", file.display()), error))
    }
}

/// Why a program cannot be started, if it is known beforehand.
fn check_program(program: &str, working_dir: Option<&Path>) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = match program.contains('/') {
        true => vec![working_dir.unwrap_or(Path::new("")).join(program)],
        false => std::env::split_paths(&path).map(|dir| dir.join(program)).collect(),
    };
    let mut found = Err(format!("there is no program {program}"));
    for candidate in candidates {
        match fs::metadata(candidate) {
            Ok(data) if data.is_file() && data.permissions().mode() & 0o111 != 0 => return Ok(()),
            Ok(_) => found = Err(format!("{program} is not executable")),
            Err(error) if error.kind() == Io::NotFound => {}
            Err(error) => found = Err(format!("{program}: {error}")),
        }
    }
    found
}

/// Starts a shell that goes on without us; what is left of it when it ends is taken by a thread.
fn spawn(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn();
    let mut child = child.map_err(|error| unavailable("cannot start a shell", error))?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

pub(crate) fn unavailable(what: &str, error: std::io::Error) -> Error {
    Error::unavailable(what).with_source(error)
}
