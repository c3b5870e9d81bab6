//! The start of a process: in its group and under its limits before its program begins, so that nothing
//! it starts is outside of them.
//!
//! A thread can be in a v1 group of its own, and what it starts begins there. With v2, and for resource
//! limits, the process has to see to it itself before `exec`: the program `anymaster` calls itself for
//! that; other programs, which only link the library, call `/bin/sh`.

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

/// The verb by which `anymaster` calls itself to start a process.
pub const VERB: &str = "start-process";

/// `$1`: the file by which its group is entered, or empty. `$2`: the limit of its data in KiB, or empty.
/// `$3`: its mark, or empty. Shells do not agree on the letter of the limit that is the mark.
const SCRIPT: &str = r#"
[ -z "$1" ] || echo 0 >"$1" || exit 126
[ -z "$2" ] || ulimit -d "$2" || exit 126
[ -z "$3" ] || ulimit -S -w "$3" 2>/dev/null || ulimit -S -x "$3" 2>/dev/null
shift 3
exec "$@"
"#;

/// What is done between the fork and the program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// The file by which a group is entered.
    pub(super) door: Option<PathBuf>,
    /// The limit of its data, in MiB.
    pub(super) data_mib: Option<u64>,
    /// What the process and all that it starts are known by: its soft `RLIMIT_LOCKS`, of which Linux
    /// makes no use since 2.4.25, and which nobody clears with the environment.
    pub(super) mark: Option<u64>,
}

/// How this program starts processes that have something to do before their program begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    /// By calling itself.
    Itself,
    /// By `/bin/sh`. It leaves out variables whose names are none for a shell.
    Shell,
}

impl Starter {
    /// `program`: where `anymaster` is, if that is known.
    pub(super) fn new(program: Option<&Path>) -> Self {
        match (program, std::env::current_exe()) {
            (Some(program), Ok(own)) if program == own => Self::Itself,
            _ => Self::Shell,
        }
    }

    /// A command that does what is to be done before, and then becomes the program. What it needs
    /// besides, as its environment, is still to be said.
    pub(super) fn command(self, launch: &Launch, before: &Before) -> io::Result<Start> {
        let text = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let door = before.door.as_deref().unwrap_or(Path::new(""));
        let (mut command, report) = match self {
            _ if *before == Before::default() => {
                let mut command = Command::new(&launch.program);
                command.args(&launch.args);
                (command, None)
            }
            Self::Itself => {
                let (reader, writer) = io::pipe()?;
                // Itself, even if its file was replaced meanwhile.
                let mut command = Command::new("/proc/self/exe");
                command.arg(VERB).arg(door).arg(text(before.data_mib)).arg(text(before.mark));
                command.arg(&launch.program).args(&launch.args).stdin(writer);
                return Ok(Start { command, report: Some(reader) });
            }
            Self::Shell => {
                let program = find(launch)?;
                let mut command = Command::new("/bin/sh");
                let kib = before.data_mib.map(|mib| mib.saturating_mul(1024));
                command.args(["-c", SCRIPT, "sh"]).arg(door).arg(text(kib)).arg(text(before.mark));
                command.arg(program).args(&launch.args);
                (command, None)
            }
        };
        command.stdin(Stdio::null());
        Ok(Start { command, report })
    }
}

/// A process that is about to be started.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) command: Command,
    /// Where `anymaster` tells why it could not become the program.
    report: Option<PipeReader>,
}

impl Start {
    /// Starts it; returns when its program has begun. An error is that of `exec`, or says what it is of.
    pub(super) fn spawn(self) -> io::Result<Child> {
        let Self { mut command, report } = self;
        let mut child = command.spawn()?;
        // Its end of the pipe goes with it: only the process has it now.
        drop(command);
        let Some(mut report) = report else { return Ok(child) };
        let mut told = Vec::new();
        let read = report.read_to_end(&mut told);
        if told.is_empty() && read.is_ok() {
            return Ok(child);
        }
        // It has ended, or is of no use; how it ended is not of interest.
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

/// What `anymaster start-process DOOR MIB MARK PROGRAM ARGUMENT…` does. Returns only if it fails, which
/// it tells its standard input, a pipe.
pub fn become_program(arguments: Vec<OsString>) -> ExitCode {
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
    // An error: whoever started it is gone.
    let _ = File::from(report).write_all(why.as_bytes());
    ExitCode::from(126)
}

fn prepare(arguments: &[OsString]) -> Result<Command, String> {
    let [door, data_mib, mark, program, arguments @ ..] = arguments else {
        return Err(format!("{VERB} is for anymaster itself"));
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
    let null =
        File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;
    rustix::stdio::dup2_stdin(OwnedFd::from(null))
        .map_err(|error| format!("cannot close its input: {error}"))?;
    if !door.is_empty() {
        std::fs::write(door, "0").map_err(|error| {
            format!("cannot enter its cgroup by {}: {error}", Path::new(door).display())
        })?;
    }
    if let Some(mark) = number(mark) {
        let maximum = rustix::process::getrlimit(Resource::Locks).maximum;
        rustix::process::setrlimit(Resource::Locks, Rlimit { current: Some(mark), maximum })
            .map_err(|error| format!("cannot mark it: {error}"))?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    // Last: from here on there may be no memory for anything else.
    if let Some(mib) = number(data_mib) {
        let bytes = Some(mib.saturating_mul(1 << 20));
        rustix::process::setrlimit(Resource::Data, Rlimit { current: bytes, maximum: bytes })
            .map_err(|error| format!("cannot limit its memory to {mib} MiB: {error}"))?;
    }
    Ok(command)
}

/// The program as a shell is told it, if it can be run at all: from a shell that fails it is not to be
/// learnt why.
fn find(launch: &Launch) -> io::Result<PathBuf> {
    let runs = |path: &Path| -> io::Result<()> {
        let metadata = path.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
        let mut magic = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read(&mut magic));
        // What may be run but not read is no script.
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

/// Runs something short on a thread that ends with it.
pub(super) async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    thread::Builder::new().name("start".to_owned()).spawn(move || {
        let _inside = runtime.enter();
        // An error: nobody waits any more.
        let _ = done.send(work());
    })?;
    // It can only fail if the work panicked, which the panic has told.
    result.await.map_err(|_| io::Error::other("the thread that starts it ended"))
}
