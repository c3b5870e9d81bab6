//! Starts a process in its cgroup and with its resource limits set before its program begins, so that its
//! descendants cannot escape them.
//!
//! With cgroups v1, the thread that forks is in the cgroup, so that the child is too. With v2, and for
//! resource limits, the child has to set them itself between fork and `exec`. To do so, the program
//! `anymaster` executes itself; other programs, which only link the library, execute `/bin/sh`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use rustix::process::{Resource, Rlimit};

use super::process::Launch;

/// The subcommand by which `anymaster` executes itself to start a process.
pub const VERB: &str = "start-process";

/// `$1`: the `cgroup.procs` file of its cgroup, or empty. `$2`: its `RLIMIT_DATA` in KiB, or empty. `$3`: its
/// mark, or empty. The option of `ulimit` for the mark differs between shells.
const SCRIPT: &str = r#"
[ -z "$1" ] || echo 0 >"$1" || exit 126
[ -z "$2" ] || ulimit -d "$2" || exit 126
[ -z "$3" ] || ulimit -S -w "$3" 2>/dev/null || ulimit -S -x "$3" 2>/dev/null
shift 3
exec "$@"
"#;

/// What the child does between fork and `exec`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PreExec {
    /// The `cgroup.procs` file of its cgroup.
    pub(super) procs_file: Option<PathBuf>,
    /// Its `RLIMIT_DATA`, in MiB.
    pub(super) data_mib: Option<u64>,
    /// A number by which the process and its descendants are found: its soft `RLIMIT_LOCKS`. Linux does not
    /// use this limit since 2.4.25, and unlike an environment variable it is not cleared by descendants.
    pub(super) mark: Option<u64>,
}

/// How to run code between fork and `exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    /// By executing this program, which is `anymaster`.
    Itself,
    /// By `/bin/sh`, which drops environment variables whose names are not valid in a shell.
    Shell,
}

impl Starter {
    /// `program`: the path of `anymaster`, if known.
    pub(super) fn new(program: Option<&Path>) -> Self {
        match (program, std::env::current_exe()) {
            (Some(program), Ok(own)) if program == own => Self::Itself,
            _ => Self::Shell,
        }
    }

    /// A command that performs `before` and then executes the program. The caller still has to set its
    /// environment and working directory.
    pub(super) fn command(self, launch: &Launch, before: &PreExec) -> io::Result<Start> {
        let text = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let procs_file = before.procs_file.as_deref().unwrap_or(Path::new(""));
        let (mut command, report) = match self {
            _ if *before == PreExec::default() => {
                let mut command = Command::new(&launch.program);
                command.args(&launch.args);
                (command, None)
            }
            Self::Itself => {
                let (reader, writer) = io::pipe()?;
                // This executable, even if its file was replaced meanwhile.
                let mut command = Command::new("/proc/self/exe");
                command.arg(VERB).arg(procs_file).arg(text(before.data_mib)).arg(text(before.mark));
                command.arg(&launch.program).args(&launch.args).stdin(writer);
                return Ok(Start { command, report: Some(reader) });
            }
            Self::Shell => {
                let program = find(launch)?;
                let mut command = Command::new("/bin/sh");
                let kib = before.data_mib.map(|mib| mib.saturating_mul(1024));
                command
                    .args(["-c", SCRIPT, "sh"])
                    .arg(procs_file)
                    .arg(text(kib))
                    .arg(text(before.mark));
                command.arg(program).args(&launch.args);
                (command, None)
            }
        };
        command.stdin(Stdio::null());
        Ok(Start { command, report })
    }
}

/// A prepared command.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) command: Command,
    /// The pipe on which `anymaster` reports why it could not execute the program.
    report: Option<PipeReader>,
}

impl Start {
    /// Starts it; returns when its program has been executed.
    ///
    /// # Errors
    /// The error of `exec`, or of what comes before it.
    pub(super) fn spawn(self) -> io::Result<Child> {
        let Self { mut command, report } = self;
        let mut child = command.spawn()?;
        // Closes this side's copy of the pipe's end.
        drop(command);
        let Some(mut report) = report else { return Ok(child) };
        let mut told = Vec::new();
        let read = report.read_to_end(&mut told);
        if told.is_empty() && read.is_ok() {
            return Ok(child);
        }
        // It has ended or is of no use; its status does not matter.
        let _ = child.kill();
        let _ = child.wait();
        read?;
        let told = String::from_utf8_lossy(&told).into_owned();
        Err(match told.strip_prefix("exec ").and_then(|code| code.parse().ok()) {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(told),
        })
    }
}

/// Implements `anymaster start-process CGROUP_PROCS MIB MARK PROGRAM ARGUMENT…`. Returns only if it fails;
/// the error is written to standard input, which is a pipe.
pub fn exec_program(arguments: Vec<OsString>) -> ExitCode {
    let Ok(report) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::from(126);
    };
    let why = match prepare(&arguments) {
        Ok(mut command) => {
            let error = command.exec();
            match error.raw_os_error() {
                Some(code) => format!("exec {code}"),
                None => error.to_string(),
            }
        }
        Err(why) => why,
    };
    // Fails only if the parent has exited.
    let _ = File::from(report).write_all(why.as_bytes());
    ExitCode::from(126)
}

fn prepare(arguments: &[OsString]) -> Result<Command, String> {
    let [procs_file, data_mib, mark, program, arguments @ ..] = arguments else {
        return Err(format!("{VERB} is for internal use"));
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
    let null =
        File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;
    rustix::stdio::dup2_stdin(OwnedFd::from(null))
        .map_err(|error| format!("cannot close its input: {error}"))?;
    if !procs_file.is_empty() {
        std::fs::write(procs_file, "0").map_err(|error| {
            format!("cannot enter its cgroup through {}: {error}", Path::new(procs_file).display())
        })?;
    }
    if let Some(mark) = number(mark) {
        let maximum = rustix::process::getrlimit(Resource::Locks).maximum;
        rustix::process::setrlimit(Resource::Locks, Rlimit { current: Some(mark), maximum })
            .map_err(|error| format!("cannot set RLIMIT_LOCKS: {error}"))?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    // Last: from here on, allocations may fail.
    if let Some(mib) = number(data_mib) {
        let bytes = Some(mib.saturating_mul(1 << 20));
        rustix::process::setrlimit(Resource::Data, Rlimit { current: bytes, maximum: bytes })
            .map_err(|error| format!("cannot limit its memory to {mib} MiB: {error}"))?;
    }
    Ok(command)
}

/// The path of the program for the shell. Checked here, because the exit code of a shell does not say why a
/// program could not be executed.
fn find(launch: &Launch) -> io::Result<PathBuf> {
    let runs = |path: &Path| -> io::Result<()> {
        let metadata = path.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
        let mut magic = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read(&mut magic));
        // A program that is executable but not readable is not a script.
        match read {
            Ok(len) if !magic[..len].starts_with(b"#!") && magic != *b"\x7fELF" => {
                Err(rustix::io::Errno::NOEXEC.into())
            }
            _ => Ok(()),
        }
    };
    if launch.program.contains('/') {
        runs(&launch.working_dir.join(&launch.program))?;
        return Ok(PathBuf::from(&launch.program));
    }
    let set = launch.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    let mut fault = io::Error::from(rustix::io::Errno::NOENT);
    for dir in std::env::split_paths(&set.unwrap_or_default()) {
        let path = launch.working_dir.join(dir).join(&launch.program);
        match runs(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

/// Runs a short function on a new thread.
pub(super) async fn on_new_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    thread::Builder::new().name("start".to_owned()).spawn(move || {
        let _inside = runtime.enter();
        // Fails only if nobody waits for the result any more.
        let _ = done.send(work());
    })?;
    // Fails only if the function panicked, which the panic message reports.
    result.await.map_err(|_| io::Error::other("the thread that starts it ended"))
}
