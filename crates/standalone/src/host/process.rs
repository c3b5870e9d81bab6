//! One process of an application: in a group and under a limit of its own, its output in rotated
//! files, ended on request, its end told with the cause.

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
use super::kept::{Kept, Part};
use super::limits::Enforcement;
use super::logs::{Rotation, Writer, last_lines};
use super::starting::{Before, Starter, on_own_thread};

/// How long output that is still in the pipe is waited for after the end: something that left the
/// process group may hold the other side open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// Starts and keeps processes of this machine; what it started ends with it.
#[derive(Debug)]
pub(crate) struct Host {
    token: String,
    enforcement: Enforcement,
    starter: Starter,
    /// How many starts are under way at once: they are short, and block their thread.
    starts: Semaphore,
    /// Variables of its own that those whom it starts do not get.
    hidden: &'static [&'static str],
    kept: Kept,
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
    /// Where the files begin in which hosts write down how it is found.
    pub(crate) traces: PathBuf,
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
    /// Must be called within a runtime. `program`: where `anymaster` is, if that is known.
    pub(crate) fn start(
        enforcement: Enforcement,
        program: Option<&Path>,
        hidden: &'static [&'static str],
    ) -> Result<Arc<Self>> {
        let token = format!("{:016x}", rand::random::<u64>());
        let kept = Kept::start(&token, &enforcement)?;
        let parallel = std::thread::available_parallelism().map_or(2, usize::from);
        let starts = Semaphore::new(parallel * 2);
        let starter = Starter::new(program);
        let host = Self { token, enforcement, starter, starts, hidden, kept };
        Ok(Arc::new(host))
    }

    /// Its watchdog.
    #[cfg(test)]
    pub(super) fn watchdog(&self) -> Process {
        self.kept.watchdog()
    }

    /// How the names of all its groups begin.
    #[cfg(test)]
    pub(super) fn group_names(&self) -> String {
        format!("{}{}-", super::cgroup::OURS, self.token)
    }

    /// Runs a process from its start to its end.
    pub(crate) async fn run(
        self: &Arc<Self>,
        launch: Launch,
        stop: StopRequests,
        started: impl FnOnce(Process),
    ) -> Outcome {
        let (dir, rotation, limit_mib) = (launch.dir.clone(), launch.rotation, launch.limit_mib);
        let traces = launch.traces.clone();
        // The semaphore is never closed; were it, starts would just not wait for each other.
        let permit = self.starts.acquire().await.ok();
        let host = Arc::clone(self);
        let spawned = on_own_thread(move || host.spawn(&launch)).await;
        drop(permit);
        let running = match spawned {
            Ok(Ok(running)) => running,
            Ok(Err(NotStarted { cause, group, has_entered })) => {
                if let Some(group) = group {
                    group.end().await;
                }
                if has_entered {
                    self.kept.step_back(&traces);
                }
                return cause.into();
            }
            Err(error) => return other(format!("cannot start a thread: {error}")).into(),
        };
        started(running.process);
        let outcome = running.finish(&dir, rotation, limit_mib, stop).await;
        self.kept.leave(&traces).await;
        outcome
    }

    /// Starts a process, on a thread of its own: that may be left in the process's group.
    fn spawn(&self, launch: &Launch) -> Result<Running, NotStarted> {
        fs::create_dir_all(&launch.dir)
            .map_err(|error| other(format!("cannot make {}: {error}", launch.dir.display())))?;
        let part = self.kept.enter(&launch.traces).map_err(|error| {
            let dir = launch.traces.parent().unwrap_or(&launch.traces);
            other(format!("cannot write into {}: {error}", dir.display()))
        })?;
        let failed = |cause, group| NotStarted { cause, group, has_entered: true };
        let group = self.group(launch, part).map_err(|cause| failed(cause, None))?;
        match self.spawn_in(launch, part, group.as_ref()) {
            Ok((child, process, watched)) => Ok(Running { child, process, watched, group }),
            Err(cause) => Err(failed(cause, group)),
        }
    }

    /// Whether the memory of a process with this limit is limited by its group.
    fn limits_memory(&self, limit_mib: u64) -> bool {
        limit_mib > 0 && self.enforcement.memory.is_some()
    }

    /// A group for a process, where there are groups.
    fn group(&self, launch: &Launch, part: Part) -> Result<Option<Group>, Cause> {
        let Some(hierarchy) = self.enforcement.hierarchy(launch.limit_mib) else { return Ok(None) };
        let limit_mib = if self.limits_memory(launch.limit_mib) { launch.limit_mib } else { 0 };
        let made = hierarchy.group(&self.kept.group_name(part, &launch.name), limit_mib);
        made.map(Some).map_err(|error| other(format!("cannot make a cgroup for it: {error}")))
    }

    fn spawn_in(
        &self,
        launch: &Launch,
        part: Part,
        group: Option<&Group>,
    ) -> Result<(Child, Process, Watched), Cause> {
        if let Some(Err(error)) = group.and_then(Group::enter) {
            return Err(other(format!("cannot enter the cgroup made for it: {error}")));
        }
        let before = Before {
            door: group.and_then(Group::door),
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
        for name in native::ENV_NAMES.iter().chain(self.hidden) {
            start.command.env_remove(name);
        }
        start.command.envs(&launch.env).env(ENV_OWNER, &self.token);
        let mut child = start.spawn().map_err(|error| explain(launch, &error))?;
        let pid = child.id().cast_signed();
        match Watched::new(&mut child) {
            Ok(watched) => {
                // A process that is gone already is known by its pid until it is reaped.
                let process = Process::of(pid).unwrap_or(Process { pid, start: 0 });
                Ok((child, process, watched))
            }
            Err(error) => {
                signal_group(pid, Signal::KILL);
                // Reaps it; how it ended is our doing.
                let _ = child.wait();
                Err(other(format!("cannot watch the process: {error}")))
            }
        }
    }
}

/// A process that could not be started, and the group that was made for it.
struct NotStarted {
    cause: Cause,
    group: Option<Group>,
    /// It counts as one of its part.
    has_entered: bool,
}

impl From<Cause> for NotStarted {
    fn from(cause: Cause) -> Self {
        Self { cause, group: None, has_entered: false }
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
        let out_of_memory = group.as_ref().is_some_and(|group| group.oom_kills() > 0);
        let group_ends = async {
            if let Some(group) = group {
                group.end().await;
            }
        };
        // What is in the pipes is read meanwhile: who waits to write into them does not end else.
        tokio::select! {
            () = group_ends => {}
            () = async { (&mut output).await; silent = true; std::future::pending().await }, if !silent => {}
        }
        let status = child.wait();
        if !silent {
            // What is in the pipe is read; what a process outside the group writes later is not.
            let _ = tokio::time::timeout(DRAIN, output).await;
        }
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

fn other(why: String) -> Cause {
    cannot_start(StartFailure::Other, why)
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
        _ => other(format!("cannot start {program}: {error}")),
    }
}
