//! The parts of applications that have processes on a host, and how these are found wherever they go.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cgroup::OURS;
use super::identity::Process;
use super::limits::Enforcement;
use super::traces::{self, Traces};

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
    parts: Mutex<HashMap<PathBuf, (Part, usize)>>,
    /// Of parts, and of groups.
    numbers: AtomicU64,
}

impl Kept {
    pub(super) fn new(token: &str, enforcement: &Enforcement) -> Self {
        let begin = format!("{OURS}{token}-");
        let groups = enforcement.hierarchies().map(|found| found.parent.join(&begin)).collect();
        let marks = enforcement.plain.is_none().then(|| rand::random_range(HOSTS));
        let parts = Mutex::default();
        Self { token: token.to_owned(), groups, marks, parts, numbers: AtomicU64::new(1) }
    }

    /// The upper digits of all marks of this host.
    pub(super) fn marks(&self) -> Option<u64> {
        self.marks
    }

    fn parts(&self) -> MutexGuard<'_, HashMap<PathBuf, (Part, usize)>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some((part, running)) = parts.get_mut(begin) {
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
        traces::write(&self.file(begin, part), &traces)?;
        parts.insert(begin.to_owned(), (part, 1));
        Ok(part)
    }

    fn file(&self, begin: &Path, part: Part) -> PathBuf {
        traces::file(begin, &format!("{}-{}", self.token, part.number))
    }

    /// One process less; the part is returned if that was the last one.
    fn count_down(&self, begin: &Path) -> Option<Part> {
        let mut parts = self.parts();
        let (part, running) = parts.get_mut(begin)?;
        *running -= 1;
        let part = *part;
        (*running == 0).then(|| parts.remove(begin))?;
        Some(part)
    }

    /// A process of the part could not be started.
    pub(super) fn step_back(&self, begin: &Path) {
        if let Some(part) = self.count_down(begin) {
            traces::forget(&self.file(begin, part));
        }
    }

    /// A process of the part has ended, and its group with it. Where there are none, what the part left
    /// ends with its last process.
    pub(super) async fn leave(&self, begin: &Path) {
        if let Some(part) = self.count_down(begin) {
            if let Some(mark) = part.mark {
                traces::end_marked(mark).await;
            }
            traces::forget(&self.file(begin, part));
        }
    }
}
