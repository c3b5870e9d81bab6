//! What is in a directory, so that a later look finds what has changed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Two changes that are closer to each other may have the same time of modification: the clock of file
/// systems ticks up to a hundred times a second.
const TICK: Duration = Duration::from_millis(20);

/// What is in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    is_there: bool,
    /// When its entries changed, where files are not looked at.
    entries: Option<SystemTime>,
    /// A change of entries at this very moment would not be told from the one before.
    is_recent: bool,
    /// The size of each file, and when it changed.
    files: HashMap<OsString, (u64, Option<SystemTime>)>,
}

impl Snapshot {
    /// What is there now: with `entries_only`, that there are others is seen, but not which.
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
            // One that was removed in between is not there.
            let data = entry.metadata().ok()?;
            Some((entry.file_name(), (data.len(), data.modified().ok())))
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        Self { is_there: true, files: entries.filter_map(file).collect(), ..Self::default() }
    }

    /// What changed since `before`: files, or `None` for the directory itself. What may have changed
    /// counts.
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
