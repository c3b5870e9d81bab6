//! The worker processes of `local-cluster[n,c,m]`, as seen by their owner. A worker can be lost while
//! the others go on. Owner and workers exchange JSON lines over the worker's standard streams.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::model::{Cause, ExecutorId, Outcome, Stop};
use anymaster_core::{Backoff, Error, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::host::identity::Process;
use crate::host::process::{Launch, StopRequests, next_stop};

/// How often a worker is restarted before it is given up.
const RESTARTS: u32 = 20;
/// The first pause before a worker is restarted.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(6400);
/// The capacity of the queue of messages to a worker; when it is full, senders wait.
const QUEUE: usize = 256;

/// From the owner to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    Start { id: ExecutorId, launch: Launch },
    Stop { id: ExecutorId, stop: Stop },
}

/// From a worker to the owner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    Started { id: ExecutorId, process: Process },
    Ended { id: ExecutorId, outcome: Outcome },
}

/// The workers of one application. Dropping this ends them.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Arc<Worker>>,
    _tasks: JoinSet<()>,
}

/// One worker, across restarts of its process.
#[derive(Debug, Default)]
struct Worker {
    state: Mutex<WorkerState>,
}

#[derive(Debug, Default)]
struct WorkerState {
    commands: Option<mpsc::Sender<Command>>,
    /// Where the reports about each executor go.
    reports: HashMap<ExecutorId, mpsc::UnboundedSender<Report>>,
    /// How the last worker process ended.
    lost: Option<Box<str>>,
}

impl Workers {
    /// Starts `count` workers as `<program> local-worker`. `changed` is called when a
    /// worker starts (`true`) or is lost (`false`).
    pub(crate) fn start(
        count: u32,
        program: &Path,
        changed: impl Fn(usize, bool) + Clone + Send + Sync + 'static,
    ) -> Self {
        let workers: Vec<_> = (0..count).map(|_| Arc::new(Worker::default())).collect();
        let mut tasks = JoinSet::new();
        for (at, worker) in workers.iter().enumerate() {
            let (worker, program) = (Arc::clone(worker), program.to_owned());
            let changed = changed.clone();
            tasks.spawn(async move { worker.supervise(at, &program, |up| changed(at, up)).await });
        }
        Self { workers, _tasks: tasks }
    }

    /// Runs an executor on a worker, from its start to its end.
    pub(crate) async fn run(
        &self,
        node: usize,
        id: ExecutorId,
        launch: Launch,
        mut stop: StopRequests,
        started: impl FnOnce(Process),
    ) -> Outcome {
        let Some(worker) = self.workers.get(node) else { return lost("there is no such worker") };
        let Some((commands, mut reports)) = worker.subscribe(id) else { return worker.lost() };
        if commands.send(Command::Start { id, launch }).await.is_err() {
            return worker.lost();
        }
        let mut started = Some(started);
        stop.mark_changed();
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(Report::Started { process, .. }) => {
                        if let Some(started) = started.take() {
                            started(process);
                        }
                    }
                    Some(Report::Ended { outcome, .. }) => return outcome,
                    None => return worker.lost(),
                },
                request = next_stop(&mut stop) => if let Some(stop) = request {
                    // If this fails, the worker is gone, which the other branch handles.
                    let _ = commands.send(Command::Stop { id, stop }).await;
                },
            }
        }
    }
}

fn lost(why: &str) -> Outcome {
    Cause::Lost { why: why.into() }.into()
}

impl Worker {
    fn state(&self) -> std::sync::MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> Outcome {
        lost(self.state().lost.as_deref().unwrap_or("its worker has exited"))
    }

    fn subscribe(
        &self,
        id: ExecutorId,
    ) -> Option<(mpsc::Sender<Command>, mpsc::UnboundedReceiver<Report>)> {
        let mut state = self.state();
        let commands = state.commands.clone()?;
        // At most two reports per executor: the start and the end.
        let (sender, reports) = mpsc::unbounded_channel();
        state.reports.insert(id, sender);
        Some((commands, reports))
    }

    /// Starts the worker process, and restarts it when it ends.
    async fn supervise(&self, at: usize, program: &Path, changed: impl Fn(bool)) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        for _ in 0..=RESTARTS {
            let why = match spawn(program) {
                Ok((child, stdin)) => self.serve(at, child, stdin, &changed).await,
                Err(error) => format!("worker {}: {error}", at + 1),
            };
            tracing::warn!("{why}");
            self.set_lost(why.into());
            changed(false);
            backoff.failed(None);
            backoff.pause().await;
        }
        tracing::error!("worker {} ended {RESTARTS} times and is not restarted any more", at + 1);
    }

    fn set_lost(&self, why: Box<str>) {
        let mut state = self.state();
        state.lost = Some(why);
        state.commands = None;
        // Closes the channels of those that wait for a report.
        state.reports.clear();
    }

    /// Serves a worker process until it ends; returns how it ended.
    async fn serve(
        &self,
        at: usize,
        mut child: Child,
        mut stdin: ChildStdin,
        changed: &impl Fn(bool),
    ) -> String {
        let pid = child.id().unwrap_or_default();
        let (commands, mut queue) = mpsc::channel(QUEUE);
        self.state().commands = Some(commands);
        changed(true);
        let Some(stdout) = child.stdout.take() else {
            return format!("worker {} (pid {pid}) has no output", at + 1);
        };
        let mut lines = BufReader::new(stdout).lines();
        let reading = async {
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str::<Report>(&line) {
                    Ok(report) => self.deliver(report),
                    Err(error) => {
                        tracing::warn!(pid, %error, "a worker wrote an invalid line");
                    }
                }
            }
        };
        let writing = async {
            while let Some(command) = queue.recv().await {
                if write_line(&mut stdin, &command).await.is_err() {
                    break;
                }
            }
            // The reader notices the end of the process.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
        match child.wait().await {
            Ok(status) => format!("worker {} (pid {pid}) ended: {status}", at + 1),
            Err(error) => format!("worker {} (pid {pid}) ended: {error}", at + 1),
        }
    }

    fn deliver(&self, report: Report) {
        let (Report::Started { id, .. } | Report::Ended { id, .. }) = &report;
        let id = *id;
        let mut state = self.state();
        let last = matches!(report, Report::Ended { .. });
        if let Some(waiting) = state.reports.get(&id) {
            // Fails only if nobody waits for it any more.
            let _ = waiting.send(report);
        }
        if last {
            state.reports.remove(&id);
        }
    }
}

fn spawn(program: &Path) -> Result<(Child, ChildStdin)> {
    let mut child = tokio::process::Command::new(program)
        .arg("local-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Error::unavailable(format!("cannot start {} local-worker", program.display()))
                .with_source(error)
        })?;
    let stdin = child.stdin.take().ok_or_else(|| Error::unavailable("a worker has no input"))?;
    Ok((child, stdin))
}

/// Writes one message.
pub(crate) async fn write_line(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &impl Serialize,
) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(message)?;
    text.push(b'\n');
    to.write_all(&text).await?;
    to.flush().await
}

/// The path of the `anymaster` program, which runs workers.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is not found.
pub(crate) fn find_program(given: Option<&PathBuf>) -> Result<PathBuf> {
    let named = given
        .cloned()
        .or_else(|| std::env::var_os(anymaster_core::native::ENV_PROGRAM).map(Into::into));
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("anymaster")).find(|file| file.is_file())
    };
    named.or_else(in_path).ok_or_else(|| {
        Error::invalid(
            "local-cluster needs the anymaster program for its workers, and it is not in PATH",
        )
        .with_hint("set ANYMASTER_PROGRAM to its path, or use local[N]")
    })
}
