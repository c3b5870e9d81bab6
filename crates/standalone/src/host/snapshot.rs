//! Snapshots of a directory; comparing two of them finds what has changed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Changes closer to each other than this may have the same modification time: file systems take it from a
/// clock with at least a hundred ticks per second.
const TICK: Duration = Duration::from_millis(20);

/// The state of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    is_there: bool,
    /// The modification time of the directory, if only entries are compared.
    entries: Option<SystemTime>,
    /// The directory was modified so recently that another change might get the same time.
    is_recent: bool,
    /// The size and modification time of each file.
    files: HashMap<OsString, (u64, Option<SystemTime>)>,
}

impl Snapshot {
    /// Takes a snapshot. With `entries_only`, [`differences`](Self::differences) finds that entries changed,
    /// but not which.
    pub(crate) fn of(dir: &Path, entries_only: bool) -> Self {
        let now = SystemTime::now();
        let Ok(data) = fs::metadata(dir) else { return Self::default() };
        if entries_only {
            let entries = data.modified().ok();
            let age = entries.and_then(|entries| now.duration_since(entries).ok());
            let is_recent = age.is_none_or(|age| age < TICK);
            return Self { is_there: true, entries, is_recent, files: HashMap::new() };
        }
        let file = |entry: fs::DirEntry| {
            // `None` if it was removed in between.
            let data = entry.metadata().ok()?;
            Some((entry.file_name(), (data.len(), data.modified().ok())))
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        Self { is_there: true, files: entries.filter_map(file).collect(), ..Self::default() }
    }

    /// What has, or may have, changed since `before`: files, or `None` for the directory itself.
    pub(crate) fn differences(&self, before: &Self) -> Vec<Option<OsString>> {
        let is_other =
            before.is_recent || (self.is_there, self.entries) != (before.is_there, before.entries);
        let changed =
            self.files.iter().filter(|(name, file)| before.files.get(*name) != Some(file));
        let gone = before.files.keys().filter(|name| !self.files.contains_key(*name));
        let names = changed.map(|(name, _)| name).chain(gone).cloned().map(Some);
        is_other.then_some(None).into_iter().chain(names).collect()
    }
}
