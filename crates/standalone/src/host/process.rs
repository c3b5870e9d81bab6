//! Runs one process of an application in its own cgroup: limits its memory, writes its output to rotated
//! files, ends it on request, and reports the cause of its end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{Cause, Outcome, StartFailure, Stop};
use anymaster_core::{Result, native};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::cgroup::Group;
use super::identity::{ENV_OWNER, PidFd, Process, signal_group};
use super::limits::Enforcement;
use super::logs::{Rotation, Writer, last_lines};
use super::registry::{Part, Registry};
use super::spawn::{PreExec, Starter, on_new_thread};

/// How long to read output that is still in the pipe after the process has ended: a descendant may hold the
/// pipe open for ever.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Starts processes on this machine. They end, at the latest, when this process does (see the watchdog).
#[derive(Debug)]
pub(crate) struct Host {
    token: String,
    enforcement: Enforcement,
    starter: Starter,
    /// Limits concurrent starts: they are short, but block a thread.
    starts: Semaphore,
    /// Environment variables that started processes do not inherit.
    removed_env: &'static [&'static str],
    registry: Registry,
}

/// A process to start.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: PathBuf,
    /// The directory of its output; created if it does not exist.
    pub(crate) dir: PathBuf,
    /// Its memory limit in MiB; 0: none.
    pub(crate) limit_mib: u64,
    pub(crate) rotation: Rotation,
    /// Its name, part of the name of its cgroup.
    pub(crate) name: String,
    /// The path prefix of the files in which hosts record how to find it.
    #[serde(rename = "traces")]
    pub(crate) process_records: PathBuf,
}

impl fmt::Debug for Launch {
    /// Arguments and environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).field("program", &self.program).finish()
    }
}

/// Requests to end a process; the last one counts.
pub(crate) type StopRequests = watch::Receiver<Option<Stop>>;

/// Waits for the next request. Pending for ever if the sender was dropped.
pub(crate) async fn next_stop(requests: &mut StopRequests) -> Option<Stop> {
    if requests.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *requests.borrow_and_update()
}

impl Host {
    /// Must be called within a Tokio runtime. `program`: the path of `anymaster`, if known; `removed_env`: the
    /// environment variables that processes do not inherit.
    pub(crate) fn start(
        enforcement: Enforcement,
        program: Option<&Path>,
        removed_env: &'static [&'static str],
    ) -> Result<Arc<Self>> {
        let token = format!("{:016x}", rand::random::<u64>());
        let registry = Registry::start(&token, &enforcement)?;
        let parallel = std::thread::available_parallelism().map_or(2, usize::from);
        let starts = Semaphore::new(parallel * 2);
        let starter = Starter::new(program);
        let host = Self { token, enforcement, starter, starts, removed_env, registry };
        Ok(Arc::new(host))
    }

    /// Its watchdog.
    #[cfg(test)]
    pub(super) fn watchdog(&self) -> Process {
        self.registry.watchdog()
    }

    /// How the names of all its groups begin.
    #[cfg(test)]
    pub(super) fn group_names(&self) -> String {
        format!("{}{}-", super::cgroup::GROUP_PREFIX, self.token)
    }

    /// Runs a process from its start to its end.
    pub(crate) async fn run(
        self: &Arc<Self>,
        launch: Launch,
        stop: StopRequests,
        started: impl FnOnce(Process),
    ) -> Outcome {
        let (dir, rotation, limit_mib) = (launch.dir.clone(), launch.rotation, launch.limit_mib);
        let records = launch.process_records.clone();
        // The semaphore is never closed.
        let permit = self.starts.acquire().await.ok();
        let host = Arc::clone(self);
        let spawned = on_new_thread(move || host.spawn(&launch)).await;
        drop(permit);
        let running = match spawned {
            Ok(Ok(running)) => running,
            Ok(Err(SpawnError { cause, group, is_registered })) => {
                if let Some(group) = group {
                    group.end().await;
                }
                if is_registered {
                    self.registry.cancel_process(&records);
                }
                return cause.into();
            }
            Err(error) => return start_failed(format!("cannot start a thread: {error}")).into(),
        };
        started(running.process);
        let outcome = running.finish(&dir, rotation, limit_mib, stop).await;
        self.registry.remove_process(&records).await;
        outcome
    }

    /// Starts a process. Needs a thread of its own, which may stay in the process's cgroup (v1).
    fn spawn(&self, launch: &Launch) -> Result<Running, SpawnError> {
        fs::create_dir_all(&launch.dir).map_err(|error| {
            start_failed(format!("cannot make {}: {error}", launch.dir.display()))
        })?;
        let part = self.registry.add_process(&launch.process_records).map_err(|error| {
            let dir = launch.process_records.parent().unwrap_or(&launch.process_records);
            start_failed(format!("cannot write into {}: {error}", dir.display()))
        })?;
        let failed = |cause, group| SpawnError { cause, group, is_registered: true };
        let group = self.group(launch, part).map_err(|cause| failed(cause, None))?;
        match self.spawn_in(launch, part, group.as_ref()) {
            Ok((child, process, watched)) => Ok(Running { child, process, watched, group }),
            Err(cause) => Err(failed(cause, group)),
        }
    }

    /// Whether a process with this limit is limited by its cgroup.
    fn limits_memory(&self, limit_mib: u64) -> bool {
        limit_mib > 0 && self.enforcement.memory.is_some()
    }

    /// Creates the cgroup of a process, where there are cgroups.
    fn group(&self, launch: &Launch, part: Part) -> Result<Option<Group>, Cause> {
        let Some(hierarchy) = self.enforcement.hierarchy(launch.limit_mib) else { return Ok(None) };
        let limit_mib = if self.limits_memory(launch.limit_mib) { launch.limit_mib } else { 0 };
        let made = hierarchy.group(&self.registry.group_name(part, &launch.name), limit_mib);
        made.map(Some)
            .map_err(|error| start_failed(format!("cannot make a cgroup for it: {error}")))
    }

    fn spawn_in(
        &self,
        launch: &Launch,
        part: Part,
        group: Option<&Group>,
    ) -> Result<(Child, Process, ProcessEvents), Cause> {
        if let Some(Err(error)) = group.and_then(Group::add_current_thread) {
            return Err(start_failed(format!("cannot enter the cgroup made for it: {error}")));
        }
        let before = PreExec {
            procs_file: group.and_then(Group::procs_file),
            data_mib: Some(launch.limit_mib)
                .filter(|limit_mib| *limit_mib > 0 && !self.limits_memory(*limit_mib)),
            mark: part.mark,
        };
        let mut start =
            self.starter.command(launch, &before).map_err(|error| explain(launch, &error))?;
        start
            .command
            .current_dir(&launch.working_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in native::ENV_NAMES.iter().chain(self.removed_env) {
            start.command.env_remove(name);
        }
        start.command.envs(&launch.env).env(ENV_OWNER, &self.token);
        let mut child = start.spawn().map_err(|error| explain(launch, &error))?;
        let pid = child.id().cast_signed();
        match ProcessEvents::new(&mut child) {
            Ok(watched) => {
                // It may have ended already; until it is reaped, its pid identifies it.
                let process = Process::of(pid).unwrap_or(Process { pid, start: 0 });
                Ok((child, process, watched))
            }
            Err(error) => {
                signal_group(pid, Signal::KILL);
                // Reaps it; its status does not matter.
                let _ = child.wait();
                Err(start_failed(format!("cannot watch the process: {error}")))
            }
        }
    }
}

/// Why a process could not be started, and the cgroup that was created for it.
struct SpawnError {
    cause: Cause,
    group: Option<Group>,
    /// It is counted in its part.
    is_registered: bool,
}

impl From<Cause> for SpawnError {
    fn from(cause: Cause) -> Self {
        Self { cause, group: None, is_registered: false }
    }
}

/// A started process. It is not reaped yet, so its pid is not reused.
struct Running {
    child: Child,
    process: Process,
    watched: ProcessEvents,
    group: Option<Group>,
}

/// The events of a process: its end, and its output.
struct ProcessEvents {
    pidfd: PidFd,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl ProcessEvents {
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
        let ProcessEvents { pidfd, stdout, stderr } = watched;
        let output = futures::future::join(
            copy_output(stdout, Writer::new(dir.join("stdout"), rotation)),
            copy_output(stderr, Writer::new(dir.join("stderr"), rotation)),
        );
        let mut output = std::pin::pin!(output);
        let (mut output_closed, mut killed_by, mut deadline) = (false, None, None);
        // A request may have been made before the start.
        stop.mark_changed();
        loop {
            let grace_period = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = pidfd.ended() => break,
                _ = &mut output, if !output_closed => output_closed = true,
                request = next_stop(&mut stop) => if let Some(Stop { by, grace }) = request {
                    // The first request is the cause; later ones can only shorten the grace period.
                    killed_by.get_or_insert(by);
                    signal_group(process.pid, Signal::TERM);
                    let at = Instant::now() + grace;
                    deadline = Some(deadline.map_or(at, |before: Instant| before.min(at)));
                },
                () = grace_period => {
                    deadline = None;
                    kill_rest(process.pid, group.as_ref());
                }
            }
        }
        kill_rest(process.pid, group.as_ref());
        let out_of_memory = group.as_ref().is_some_and(|group| group.oom_kills() > 0);
        let group_ends = async {
            if let Some(group) = group {
                group.end().await;
            }
        };
        // The pipes are read meanwhile: a process that is blocked in a write would not end otherwise.
        tokio::select! {
            () = group_ends => {}
            () = async { (&mut output).await; output_closed = true; std::future::pending().await }, if !output_closed => {}
        }
        let status = child.wait();
        if !output_closed {
            // Reads what is in the pipe, but not what a descendant writes later.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, output).await;
        }
        let cause = match status {
            Ok(status) if out_of_memory && !status.success() => {
                Cause::OutOfMemory { limit_mib: Some(limit_mib) }
            }
            Ok(status) => killed_by.map_or_else(|| cause_of(status), |by| Cause::Killed { by }),
            Err(error) => Cause::Lost { why: format!("cannot learn how it ended: {error}").into() },
        };
        let last_lines = if cause.is_failure() { last_lines(dir) } else { None };
        Outcome { cause, last_lines }
    }
}

/// Kills the process group of a process, and everything in its cgroup.
fn kill_rest(pid: i32, group: Option<&Group>) {
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
async fn copy_output(receiver: pipe::Receiver, mut writer: Writer) {
    while receiver.readable().await.is_ok() && copy_available(&receiver, &mut writer) {}
}

/// Copies what is available now; false at the end. The buffer exists during the call only, because most
/// executors write nothing most of the time.
fn copy_available(receiver: &pipe::Receiver, writer: &mut Writer) -> bool {
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

fn start_failed(why: String) -> Cause {
    cannot_start(StartFailure::Other, why)
}

fn cannot_start(failure: StartFailure, why: String) -> Cause {
    Cause::CouldNotStart { failure, why: why.into() }
}

/// The cause of an error of `exec`, with an explanation.
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
        _ => start_failed(format!("cannot start {program}: {error}")),
    }
}
