//! One process of an application: in a group and under a limit of its own, its output in rotated
//! files, ended on request, its end told with the cause.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{Cause, StartFailure};
use anymaster_core::{Result, native};
use anymaster_dispatcher::wire::{Outcome, Stop};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::identity::{ENV_OWNER, PidFd, Process, signal_group};
use super::limits::{Enforcement, Group, set_rlimit};
use super::logs::{Rotation, Writer, last_lines};
use super::watchdog::Watchdog;

/// How long output that is still in the pipe is waited for after the end: something that left the
/// process group may hold the other side open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// Starts and keeps processes of this machine; what it started ends with it.
#[derive(Debug)]
pub(crate) struct Host {
    token: String,
    enforcement: Enforcement,
    /// How many starts are under way at once: they are short, and block their thread.
    starts: Semaphore,
    /// Variables of its own that those whom it starts do not get.
    hidden: &'static [&'static str],
    _watchdog: Watchdog,
}

/// What is to be started.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: PathBuf,
    /// Where its output goes; made if it does not exist.
    pub(crate) dir: PathBuf,
    /// The memory at which it is ended, in MiB.
    pub(crate) limit_mib: u64,
    pub(crate) rotation: Rotation,
    /// What it is called among those of this host.
    pub(crate) name: String,
}

impl fmt::Debug for Launch {
    /// Arguments and environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).field("program", &self.program).finish()
    }
}

/// Where requests to end a process arrive; the last one counts.
pub(crate) type StopRequests = watch::Receiver<Option<Stop>>;

/// The next request, or the one that was there before; never, when nobody can make one any more.
pub(crate) async fn next_stop(requests: &mut StopRequests) -> Option<Stop> {
    if requests.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *requests.borrow_and_update()
}

impl Host {
    /// Must be called within a runtime.
    pub(crate) fn start(
        enforcement: Enforcement,
        hidden: &'static [&'static str],
    ) -> Result<Arc<Self>> {
        let token = format!("{:016x}", rand::random::<u64>());
        let watchdog = Watchdog::start(&token, enforcement.parent())?;
        let parallel = std::thread::available_parallelism().map_or(2, usize::from);
        let starts = Semaphore::new(parallel * 2);
        Ok(Arc::new(Self { token, enforcement, starts, hidden, _watchdog: watchdog }))
    }

    /// Runs a process from its start to its end.
    pub(crate) async fn run(
        self: &Arc<Self>,
        launch: Launch,
        stop: StopRequests,
        started: impl FnOnce(Process),
    ) -> Outcome {
        let (dir, rotation, limit_mib) = (launch.dir.clone(), launch.rotation, launch.limit_mib);
        // The semaphore is never closed; were it, starts would just not wait for each other.
        let permit = self.starts.acquire().await.ok();
        let host = Arc::clone(self);
        let spawned = tokio::task::spawn_blocking(move || host.spawn(&launch)).await;
        drop(permit);
        let running = match spawned {
            Ok(Ok(running)) => running,
            Ok(Err(cause)) => return cause.into(),
            Err(error) => return cannot_start(StartFailure::Other, error.to_string()).into(),
        };
        started(running.process);
        running.finish(&dir, rotation, limit_mib, stop).await
    }

    /// Starts a process. Blocks for as long as `fork` and `exec` take.
    fn spawn(&self, launch: &Launch) -> Result<Running, Cause> {
        let other = |error: &dyn fmt::Display| cannot_start(StartFailure::Other, error.to_string());
        fs::create_dir_all(&launch.dir).map_err(|error| {
            other(&format_args!("cannot make {}: {error}", launch.dir.display()))
        })?;
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .current_dir(&launch.working_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in native::ENV_NAMES.iter().chain(self.hidden) {
            command.env_remove(name);
        }
        command.envs(&launch.env).env(ENV_OWNER, &self.token);
        let group = match launch.limit_mib {
            0 => None,
            limit => {
                self.enforcement.group(&format!("anymaster-{}-{}", self.token, launch.name), limit)
            }
        };
        let mut child = command.spawn().map_err(|error| explain(launch, &error))?;
        let pid = child.id().cast_signed();
        let joined = group.as_ref().is_some_and(|group| group.join(pid));
        if launch.limit_mib > 0 && !joined {
            set_rlimit(pid, launch.limit_mib);
        }
        let watched = Watched::new(&mut child);
        match watched {
            Ok(watched) => {
                // A process that is gone already is known by its pid until it is reaped.
                let process = Process::of(pid).unwrap_or(Process { pid, start: 0 });
                Ok(Running { child, process, watched, group })
            }
            Err(error) => {
                signal_group(pid, Signal::KILL);
                // Reaps it; how it ended is our doing.
                let _ = child.wait();
                Err(other(&format_args!("cannot watch the process: {error}")))
            }
        }
    }
}

/// A process that was started and is not reaped yet: so long, its pid is its own.
struct Running {
    child: Child,
    process: Process,
    watched: Watched,
    group: Option<Group>,
}

/// The events of a process: its end, and its output.
struct Watched {
    pidfd: PidFd,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Watched {
    fn new(child: &mut Child) -> io::Result<Self> {
        let gone = || io::Error::from(ErrorKind::NotFound);
        let pidfd = PidFd::open(child.id().cast_signed())?;
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(gone)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(gone)?);
        Ok(Self {
            pidfd,
            stdout: pipe::Receiver::from_owned_fd(stdout)?,
            stderr: pipe::Receiver::from_owned_fd(stderr)?,
        })
    }
}

impl Running {
    async fn finish(
        self,
        dir: &Path,
        rotation: Rotation,
        limit_mib: u64,
        mut stop: StopRequests,
    ) -> Outcome {
        let Self { mut child, process, watched, group } = self;
        let Watched { pidfd, stdout, stderr } = watched;
        let output = futures::future::join(
            pump(stdout, Writer::new(dir.join("stdout"), rotation)),
            pump(stderr, Writer::new(dir.join("stderr"), rotation)),
        );
        let mut output = std::pin::pin!(output);
        let (mut silent, mut asked, mut deadline) = (false, None, None);
        // A request may have come before the process.
        stop.mark_changed();
        loop {
            let patience = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = pidfd.ended() => break,
                _ = &mut output, if !silent => silent = true,
                request = next_stop(&mut stop) => if let Some(Stop { by, grace }) = request {
                    // The first one to ask is the cause; who is in more of a hurry is heard as well.
                    asked.get_or_insert(by);
                    signal_group(process.pid, Signal::TERM);
                    let at = Instant::now() + grace;
                    deadline = Some(deadline.map_or(at, |before: Instant| before.min(at)));
                },
                () = patience => {
                    deadline = None;
                    end_rest(process.pid, group.as_ref());
                }
            }
        }
        end_rest(process.pid, group.as_ref());
        let status = child.wait();
        if !silent {
            // What is in the pipe is read; what a process outside the group writes later is not.
            let _ = tokio::time::timeout(DRAIN, output).await;
        }
        let out_of_memory = group.as_ref().is_some_and(|group| group.oom_kills() > 0);
        drop(group);
        let cause = match status {
            Ok(status) if out_of_memory && !status.success() => {
                Cause::OutOfMemory { limit_mib: Some(limit_mib) }
            }
            Ok(status) => asked.map_or_else(|| cause_of(status), |by| Cause::Killed { by }),
            Err(error) => Cause::Lost { why: format!("cannot learn how it ended: {error}").into() },
        };
        let last_lines = if cause.is_failure() { last_lines(dir) } else { None };
        Outcome { cause, last_lines }
    }
}

/// Kills what is left of a process: of its group, and of its cgroup.
fn end_rest(pid: i32, group: Option<&Group>) {
    signal_group(pid, Signal::KILL);
    if let Some(group) = group {
        group.kill();
    }
}

fn cause_of(status: ExitStatus) -> Cause {
    match (status.code(), status.signal()) {
        (Some(0), _) => Cause::Finished,
        (Some(code), _) => Cause::Exited { code },
        (None, Some(signal)) => Cause::Signaled { signal },
        (None, None) => Cause::Lost { why: format!("it ended with {status}").into() },
    }
}

/// Copies output until the other side is closed.
async fn pump(receiver: pipe::Receiver, mut writer: Writer) {
    while receiver.readable().await.is_ok() && transfer(&receiver, &mut writer) {}
}

/// Copies what is there now. False at the end. The buffer lives for this call only: most of many
/// executors are silent most of the time.
fn transfer(receiver: &pipe::Receiver, writer: &mut Writer) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match receiver.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(len) => writer.write(&buffer[..len]),
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        }
    }
}

fn cannot_start(failure: StartFailure, why: String) -> Cause {
    Cause::CouldNotStart { failure, why: why.into() }
}

/// Says in words why a program could not be started.
fn explain(launch: &Launch, error: &io::Error) -> Cause {
    let program = &launch.program;
    let bad = |why: String| cannot_start(StartFailure::BadCommand, why);
    if !launch.working_dir.is_dir() {
        return bad(format!(
            "the working directory {} does not exist",
            launch.working_dir.display()
        ));
    }
    let path = launch.working_dir.join(program);
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) if !program.contains('/') => {
            bad(format!("there is no program {program:?} in PATH"))
        }
        Some(rustix::io::Errno::NOENT) if path.exists() => {
            bad(format!("the interpreter that {program} names in its first line does not exist"))
        }
        Some(rustix::io::Errno::NOENT) => bad(format!("there is no program {program}")),
        Some(rustix::io::Errno::ACCESS) if path.is_dir() => {
            bad(format!("{program} is a directory"))
        }
        Some(rustix::io::Errno::ACCESS) => {
            bad(format!("{program} is not executable (chmod +x {program})"))
        }
        Some(rustix::io::Errno::NOEXEC) => bad(format!(
            "{program} is neither a program for this machine nor a script that begins with #!"
        )),
        _ => cannot_start(StartFailure::Other, format!("cannot start {program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_hidden_is_not_handed_on_unless_it_is_meant() {
        const HIDDEN: &str = "CARGO_MANIFEST_DIR";
        let host = Host::start(Enforcement::Rlimit, &[HIDDEN]).unwrap();
        assert!(std::env::var_os(HIDDEN).is_some());
        let meant = BTreeMap::from([(HIDDEN.to_owned(), "meant".to_owned())]);
        for (env, told) in [(BTreeMap::new(), "none"), (meant, "meant")] {
            let dir = tempfile::tempdir().unwrap();
            let launch = Launch {
                program: "sh".to_owned(),
                args: ["-c".to_owned(), format!("printf %s ${{{HIDDEN}-none}}")].into(),
                env,
                working_dir: dir.path().to_owned(),
                dir: dir.path().to_owned(),
                limit_mib: 0,
                rotation: Rotation { max_size: None, retained: 0 },
                name: told.to_owned(),
            };
            let (_stop, requests) = watch::channel(None);
            let outcome = host.run(launch, requests, |_| {}).await;
            assert_eq!(outcome.cause, Cause::Finished);
            assert_eq!(fs::read_to_string(dir.path().join("stdout")).unwrap(), told);
        }
    }
}
