//! The applications' parts (driver or executors) that have processes on a host. Writes the record by which
//! orphaned processes are found, and tells the watchdog whether any process may be running.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anymaster_core::Result;

use super::cgroup::GROUP_PREFIX;
use super::identity::Process;
use super::limits::Enforcement;
use super::process_record::{self, ProcessRecord};
use super::watchdog::Watchdog;

/// How many marks each host has.
pub(super) const MARKS_PER_HOST: u64 = 1_000_000;
/// The upper digits of a host's marks: a random number of twelve digits.
const HOST_MARKS: std::ops::Range<u64> = 100_000_000_000..1_000_000_000_000;

/// The driver or the executors of one application on a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    number: u64,
    /// The mark of its processes where there are no cgroups.
    pub(super) mark: Option<u64>,
}

/// All parts that have processes on this host.
#[derive(Debug)]
pub(super) struct Registry {
    token: String,
    /// The path prefixes of all cgroups of this host.
    groups: Vec<PathBuf>,
    /// The upper digits of the marks of this host, where there are no cgroups.
    marks: Option<u64>,
    parts: Mutex<Parts>,
    /// The next number of a part or cgroup.
    numbers: AtomicU64,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct Parts {
    /// The number of processes of each part, by the path prefix of its records.
    running: HashMap<PathBuf, (Part, usize)>,
    /// How many parts may have processes, including those whose last process has just ended.
    unfinished: usize,
}

impl Registry {
    /// Must be called within a Tokio runtime.
    pub(super) fn start(token: &str, enforcement: &Enforcement) -> Result<Self> {
        let prefix = format!("{GROUP_PREFIX}{token}-");
        let groups = enforcement.hierarchies().map(|found| found.parent.join(&prefix)).collect();
        let marks = enforcement.plain.is_none().then(|| rand::random_range(HOST_MARKS));
        let watchdog = Watchdog::start(token, enforcement, marks)?;
        let (token, parts, numbers) = (token.to_owned(), Mutex::default(), AtomicU64::new(1));
        Ok(Self { token, groups, marks, parts, numbers, watchdog })
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn watchdog(&self) -> Process {
        self.watchdog.process().unwrap()
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The name of a cgroup for one process of a part.
    pub(super) fn group_name(&self, part: Part, process: &str) -> String {
        // File names have at most 255 bytes; the number makes the name unique.
        let process: String = process.chars().take(60).collect();
        format!("{GROUP_PREFIX}{}-{}-{}-{process}", self.token, part.number, self.number())
    }

    /// Counts one more process of a part. For the first one, the record of the part is written.
    pub(super) fn add_process(&self, prefix: &Path) -> io::Result<Part> {
        let mut parts = self.parts();
        if let Some((part, running)) = parts.running.get_mut(prefix) {
            *running += 1;
            return Ok(*part);
        }
        let number = self.number();
        let part = Part {
            number,
            mark: self.marks.map(|marks| marks * MARKS_PER_HOST + number % MARKS_PER_HOST),
        };
        let of_part = |prefix: &PathBuf| {
            let mut prefix = prefix.clone().into_os_string();
            prefix.push(format!("{number}-"));
            prefix.into()
        };
        let record = ProcessRecord {
            owner: Process::current(),
            groups: self.groups.iter().map(of_part).collect(),
            mark: part.mark,
        };
        if parts.unfinished == 0 {
            self.watchdog.set_busy()?;
        }
        process_record::write(&self.file(prefix, part), &record)?;
        parts.running.insert(prefix.to_owned(), (part, 1));
        parts.unfinished += 1;
        Ok(part)
    }

    fn file(&self, prefix: &Path, part: Part) -> PathBuf {
        process_record::path(prefix, &format!("{}-{}", self.token, part.number))
    }

    /// Counts one process less; returns the part if that was the last one.
    fn count_down(&self, prefix: &Path) -> Option<Part> {
        let mut parts = self.parts();
        let (part, running) = parts.running.get_mut(prefix)?;
        *running -= 1;
        let part = *part;
        (*running == 0).then(|| parts.running.remove(prefix))?;
        Some(part)
    }

    /// Removes the record of a part that has no processes any more.
    fn finish_part(&self, prefix: &Path, part: Part) {
        process_record::remove(&self.file(prefix, part));
        let mut parts = self.parts();
        parts.unfinished -= 1;
        if parts.unfinished == 0 {
            self.watchdog.set_idle();
        }
    }

    /// Undoes [`add_process`](Self::add_process) after a process could not be started.
    pub(super) fn cancel_process(&self, prefix: &Path) {
        if let Some(part) = self.count_down(prefix) {
            self.finish_part(prefix, part);
        }
    }

    /// A process of the part and its cgroup have ended. Without cgroups, the descendants of all processes
    /// of the part are killed with the last one.
    pub(super) async fn remove_process(&self, prefix: &Path) {
        if let Some(part) = self.count_down(prefix) {
            if let Some(mark) = part.mark {
                process_record::kill_marked(mark).await;
            }
            self.finish_part(prefix, part);
        }
    }
}
