//! What is left of processes, wherever they went: the groups and the mark that they cannot shake off,
//! written down for whoever finds that their host is gone.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::cgroup::{Group, is_ours};
use super::files;
use super::identity::{self, Mark, Process};

/// Larger files are not ours.
const MAX_SIZE: u64 = 64 << 10;

/// How the processes of one part of an application (its driver, its executors) on one host are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traces {
    /// The process that started them.
    pub(super) owner: Option<Process>,
    /// The beginnings of the paths of their groups.
    pub(super) groups: Vec<PathBuf>,
    /// Their soft `RLIMIT_LOCKS`, where there are no groups.
    pub(super) mark: Option<u64>,
}

impl Traces {
    /// Whether the process that started them is there, and will end them.
    #[cfg(any(test, feature = "daemons"))]
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.is_some_and(Process::is_alive)
    }

    /// The living.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let groups = self.found().map(Group::at);
        let mut all: Vec<_> = groups.flat_map(|group| group.processes()).collect();
        all.extend(self.mark.into_iter().flat_map(marked));
        all.into_iter().filter_map(Process::of).collect()
    }

    /// Ends what is left at once, and removes what was written down in `file`.
    pub(crate) async fn end(&self, file: &Path) {
        for dir in self.found() {
            Group::at(dir).end().await;
        }
        if let Some(mark) = self.mark {
            end_marked(mark).await;
        }
        forget(file);
    }

    fn found(&self) -> impl Iterator<Item = PathBuf> {
        self.groups.iter().filter_map(|begin| begin_of(begin)).flat_map(|(parent, begin)| {
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            entries
                .filter(move |entry| {
                    entry.file_name().to_str().is_some_and(|name| name.starts_with(begin))
                })
                .map(|entry| entry.path())
        })
    }
}

/// Only groups of ours are meant, whatever is written.
fn begin_of(path: &Path) -> Option<(&Path, &str)> {
    let begin = path.file_name()?.to_str()?;
    is_ours(begin).then(|| Some((path.parent()?, begin)))?
}

/// The processes with this soft `RLIMIT_LOCKS`.
fn marked(mark: u64) -> Vec<i32> {
    let mark = mark.to_string();
    let has = |limits: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"));
        line.and_then(|rest| rest.split_ascii_whitespace().next()) == Some(&mark)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/limits")).is_ok_and(|l| has(&l))
        })
        .collect()
}

/// Ends all processes with this soft `RLIMIT_LOCKS`, and waits until they are gone.
pub(super) async fn end_marked(mark: u64) {
    end_all("mark", Duration::ZERO, || marked(mark).into_iter().filter_map(Process::of).collect())
        .await;
}

/// Ends what is left of a part of an application that has no owner any more: first by the signal that
/// can be handled, after `grace` by the other one. Returns when nothing is left.
pub(crate) async fn end_left(mark: Mark<'_>, state_dir: &Path, begin: &Path, grace: Duration) {
    let traces = read(begin);
    let left = || {
        let mut all = identity::marked(mark, state_dir);
        all.extend(traces.iter().flat_map(|(_, traces)| traces.processes()));
        all
    };
    end_all(mark.application(), grace, left).await;
    for (file, traces) in traces {
        traces.end(&file).await;
    }
}

async fn end_all(whose: &str, grace: Duration, left: impl Fn() -> Vec<Process>) {
    let mut signal = if grace.is_zero() { Signal::KILL } else { Signal::TERM };
    // What forks while it is being killed needs another round; it can't run away for ever.
    for _ in 0..20 {
        let processes = left();
        if processes.is_empty() {
            return;
        }
        for pid in processes.iter().filter_map(|process| Pid::from_raw(process.pid)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
        let all = futures::future::join_all(processes.iter().map(|process| process.ended()));
        let wait = if signal == Signal::TERM { grace } else { Duration::from_secs(1) };
        let _ = tokio::time::timeout(wait, all).await;
        signal = Signal::KILL;
    }
    tracing::warn!(whose, "processes are left that do not end");
}

/// The file of a host, among those that begin with `begin`.
pub(super) fn file(begin: &Path, host: &str) -> PathBuf {
    let mut file = begin.as_os_str().to_owned();
    file.push(format!("-{host}"));
    file.into()
}

/// Removes what was written down.
pub(super) fn forget(file: &Path) {
    match fs::remove_file(file) {
        // Another process may be at it as well.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %error, "cannot remove a file");
        }
        _ => {}
    }
}

/// Writes them down, for the user only.
pub(super) fn write(file: &Path, traces: &Traces) -> io::Result<()> {
    let text = serde_json::to_vec(traces)?;
    fs::File::options().write(true).create_new(true).mode(0o600).open(file)?.write_all(&text)
}

/// What hosts wrote down in files that begin with `begin`.
pub(crate) fn read(begin: &Path) -> Vec<(PathBuf, Traces)> {
    let (Some(dir), Some(name)) =
        (begin.parent(), begin.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let found = entry.file_name();
            let rest = found.to_str().and_then(|found| found.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with('-'))
        })
        .filter_map(|entry| {
            // One that was not written whole is of a process that has started nothing yet.
            let traces =
                serde_json::from_slice(&files::read(&entry.path(), MAX_SIZE).ok()?).ok()?;
            Some((entry.path(), traces))
        })
        .collect()
}
