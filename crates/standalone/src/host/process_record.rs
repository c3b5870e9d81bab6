//! Process records: files that say how to find the processes of an application's driver or executors (by
//! cgroup, or by mark), so that another process can end them if the host that started them was killed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::cgroup::{Group, is_managed_name};
use super::files;
use super::identity::{self, OrphanFilter, Process};

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 64 << 10;

/// How to find the processes of an application's driver or executors on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    /// The process that started them.
    pub(super) owner: Option<Process>,
    /// The path prefixes of their cgroups.
    pub(super) groups: Vec<PathBuf>,
    /// Their soft `RLIMIT_LOCKS`, where there are no cgroups.
    pub(super) mark: Option<u64>,
}

impl ProcessRecord {
    /// Whether the process that started them is alive, and will end them.
    #[cfg(any(test, feature = "daemons"))]
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.is_some_and(Process::is_alive)
    }

    /// The living processes.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let groups = self.groups().map(Group::at);
        let mut all: Vec<_> = groups.flat_map(|group| group.processes()).collect();
        all.extend(self.mark.into_iter().flat_map(marked));
        all.into_iter().filter_map(Process::of).collect()
    }

    /// Kills all of them, and removes the record `file`.
    pub(crate) async fn end(&self, file: &Path) {
        for dir in self.groups() {
            Group::at(dir).end().await;
        }
        if let Some(mark) = self.mark {
            kill_marked(mark).await;
        }
        remove(file);
    }

    fn groups(&self) -> impl Iterator<Item = PathBuf> {
        self.groups.iter().filter_map(|prefix| split_prefix(prefix)).flat_map(|(parent, prefix)| {
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            entries
                .filter(move |entry| {
                    entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))
                })
                .map(|entry| entry.path())
        })
    }
}

/// Splits a path prefix into directory and name prefix. `None` unless the name is that of a cgroup created
/// by a host: a damaged record must not lead to others.
fn split_prefix(path: &Path) -> Option<(&Path, &str)> {
    let prefix = path.file_name()?.to_str()?;
    is_managed_name(prefix).then(|| Some((path.parent()?, prefix)))?
}

/// The pids of the processes with this soft `RLIMIT_LOCKS`.
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

/// Kills all processes with this soft `RLIMIT_LOCKS`, and waits until they have ended.
pub(super) async fn kill_marked(mark: u64) {
    end_all("mark", Duration::ZERO, || marked(mark).into_iter().filter_map(Process::of).collect())
        .await;
}

/// Ends the orphaned processes of a driver or of executors: with SIGTERM, and after `grace` with SIGKILL.
/// Returns when all have ended.
pub(crate) async fn end_orphans(
    filter: OrphanFilter<'_>,
    state_dir: &Path,
    prefix: &Path,
    grace: Duration,
) {
    let records = read_all(prefix);
    let left = || {
        let mut all = identity::find_processes(filter, state_dir);
        all.extend(records.iter().flat_map(|(_, record)| record.processes()));
        all
    };
    end_all(filter.application(), grace, left).await;
    for (file, record) in records {
        record.end(&file).await;
    }
}

async fn end_all(whose: &str, grace: Duration, left: impl Fn() -> Vec<Process>) {
    let mut signal = if grace.is_zero() { Signal::KILL } else { Signal::TERM };
    // Processes that fork meanwhile need another round.
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
    tracing::warn!(whose, "processes do not end after SIGKILL");
}

/// The path of a host's record.
pub(super) fn path(prefix: &Path, host: &str) -> PathBuf {
    let mut file = prefix.as_os_str().to_owned();
    file.push(format!("-{host}"));
    file.into()
}

/// Removes a record.
pub(super) fn remove(file: &Path) {
    match fs::remove_file(file) {
        // Another process may remove it at the same time.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %error, "cannot remove a file");
        }
        _ => {}
    }
}

/// Writes a record, readable by the user only.
pub(super) fn write(file: &Path, record: &ProcessRecord) -> io::Result<()> {
    let text = serde_json::to_vec(record)?;
    fs::File::options().write(true).create_new(true).mode(0o600).open(file)?.write_all(&text)
}

/// Reads the records of all hosts, whose paths begin with `prefix`.
pub(crate) fn read_all(prefix: &Path) -> Vec<(PathBuf, ProcessRecord)> {
    let (Some(dir), Some(name)) =
        (prefix.parent(), prefix.file_name().and_then(|name| name.to_str()))
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
            // The host of an incomplete record has not started a process yet.
            let record =
                serde_json::from_slice(&files::read(&entry.path(), MAX_SIZE).ok()?).ok()?;
            Some((entry.path(), record))
        })
        .collect()
}
