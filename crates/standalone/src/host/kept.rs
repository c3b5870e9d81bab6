//! The parts of applications that have processes on a host, and how these are found wherever they go.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anymaster_core::Result;

use super::cgroup::OURS;
use super::identity::Process;
use super::limits::Enforcement;
use super::traces::{self, Traces};
use super::watchdog::Watchdog;

/// How many marks there are between that of one host and that of the next one.
pub(super) const MARKS: u64 = 1_000_000;
/// The hosts have twelve digits.
const HOSTS: std::ops::Range<u64> = 100_000_000_000..1_000_000_000_000;

/// A part of an application, for the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    number: u64,
    /// What its processes are known by where there are no groups.
    pub(super) mark: Option<u64>,
}

/// All parts that have processes.
#[derive(Debug)]
pub(super) struct Kept {
    token: String,
    /// The beginnings of the paths of all groups of this host.
    groups: Vec<PathBuf>,
    /// The upper digits of all marks of this host.
    marks: Option<u64>,
    parts: Mutex<Parts>,
    /// Of parts, and of groups.
    numbers: AtomicU64,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct Parts {
    /// By the beginnings of their traces: how many processes each has.
    running: HashMap<PathBuf, (Part, usize)>,
    /// How many parts may have processes, those among them whose last one has just ended.
    not_over: usize,
}

impl Kept {
    /// Must be called within a runtime.
    pub(super) fn start(token: &str, enforcement: &Enforcement) -> Result<Self> {
        let begin = format!("{OURS}{token}-");
        let groups = enforcement.hierarchies().map(|found| found.parent.join(&begin)).collect();
        let marks = enforcement.plain.is_none().then(|| rand::random_range(HOSTS));
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

    /// The name of a group for one process of a part.
    pub(super) fn group_name(&self, part: Part, process: &str) -> String {
        // A name of a file has at most 255 bytes; and it is a number that makes this one different.
        let process: String = process.chars().take(60).collect();
        format!("{OURS}{}-{}-{}-{process}", self.token, part.number, self.number())
    }

    /// One more process of the part with these traces; with the first one, they are written down.
    pub(super) fn enter(&self, begin: &Path) -> io::Result<Part> {
        let mut parts = self.parts();
        if let Some((part, running)) = parts.running.get_mut(begin) {
            *running += 1;
            return Ok(*part);
        }
        let number = self.number();
        let part = Part { number, mark: self.marks.map(|marks| marks * MARKS + number % MARKS) };
        let of_part = |begin: &PathBuf| {
            let mut begin = begin.clone().into_os_string();
            begin.push(format!("{number}-"));
            begin.into()
        };
        let traces = Traces {
            owner: Process::current(),
            groups: self.groups.iter().map(of_part).collect(),
            mark: part.mark,
        };
        if parts.not_over == 0 {
            self.watchdog.is_busy()?;
        }
        traces::write(&self.file(begin, part), &traces)?;
        parts.running.insert(begin.to_owned(), (part, 1));
        parts.not_over += 1;
        Ok(part)
    }

    fn file(&self, begin: &Path, part: Part) -> PathBuf {
        traces::file(begin, &format!("{}-{}", self.token, part.number))
    }

    /// One process less; the part is returned if that was the last one.
    fn count_down(&self, begin: &Path) -> Option<Part> {
        let mut parts = self.parts();
        let (part, running) = parts.running.get_mut(begin)?;
        *running -= 1;
        let part = *part;
        (*running == 0).then(|| parts.running.remove(begin))?;
        Some(part)
    }

    /// Nothing is left of a part.
    fn is_over(&self, begin: &Path, part: Part) {
        traces::forget(&self.file(begin, part));
        let mut parts = self.parts();
        parts.not_over -= 1;
        if parts.not_over == 0 {
            self.watchdog.is_idle();
        }
    }

    /// A process of the part could not be started, and nothing of the attempt is left.
    pub(super) fn step_back(&self, begin: &Path) {
        if let Some(part) = self.count_down(begin) {
            self.is_over(begin, part);
        }
    }

    /// A process of the part has ended, and its group with it. Where there are none, what the part left
    /// ends with its last process.
    pub(super) async fn leave(&self, begin: &Path) {
        if let Some(part) = self.count_down(begin) {
            if let Some(mark) = part.mark {
                traces::end_marked(mark).await;
            }
            self.is_over(begin, part);
        }
    }
}
