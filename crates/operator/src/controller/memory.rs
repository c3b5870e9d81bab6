//! What a controller remembers of applications, beyond what the cluster has. Nothing of it has to survive.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anymaster_core::Backoff;

use crate::pods::Key;
use crate::v1beta2::Status;

/// The first pause after an error, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long a submission may fail for reasons that pass before that is told.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Key, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    written: Option<Written>,
    backoff: Option<Backoff>,
    /// The submission that does not get through, and since when.
    trouble: Option<(String, Instant)>,
    /// The unreadable status that was told of.
    told: Option<String>,
}

/// A status that was written, and may not have come back by the watch.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Of the application.
    pub(crate) uid: String,
    /// The version of the object with this status.
    pub(crate) version: String,
    pub(crate) status: Status,
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status that was written last, if the object that was seen is older.
    pub(crate) fn newer(&self, key: &Key, uid: &str, seen: &str) -> Option<Written> {
        let mut all = self.all();
        let remembered = all.get_mut(key)?;
        let written = remembered.written.as_ref()?;
        if written.uid == uid && is_older(seen, &written.version) {
            return Some(written.clone());
        }
        remembered.written = None;
        None
    }

    pub(crate) fn wrote(&self, key: &Key, written: Written) {
        self.all().entry(key.clone()).or_default().written = Some(written);
    }

    /// Records an error. Returns how long to wait.
    pub(crate) fn failed(&self, key: &Key, asked: Option<Duration>) -> Duration {
        let mut all = self.all();
        let remembered = all.entry(key.clone()).or_default();
        let backoff = remembered.backoff.get_or_insert_with(|| Backoff::new(PAUSES.0, PAUSES.1));
        backoff.failed(asked)
    }

    /// Records that all went well.
    pub(crate) fn succeeded(&self, key: &Key) {
        let mut all = self.all();
        if let Some(remembered) = all.get_mut(key) {
            remembered.backoff = None;
            remembered.trouble = None;
            if remembered.written.is_none() && remembered.told.is_none() {
                all.remove(key);
            }
        }
    }

    /// Whether a submission that fails for a reason that may pass is worth another attempt that does not count.
    pub(crate) fn may_try_again(&self, key: &Key, id: &str) -> bool {
        let mut all = self.all();
        let trouble = &mut all.entry(key.clone()).or_default().trouble;
        match trouble {
            Some((known, since)) if known == id => since.elapsed() < PATIENCE,
            _ => {
                *trouble = Some((id.to_owned(), Instant::now()));
                true
            }
        }
    }

    /// Whether this was not told of an application yet.
    pub(crate) fn is_new(&self, key: &Key, what: &str) -> bool {
        let mut all = self.all();
        let told = &mut all.entry(key.clone()).or_default().told;
        let is_new = told.as_deref() != Some(what);
        *told = Some(what.to_owned());
        is_new
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.all().remove(key);
    }
}

/// Whether a version of an object is older than another of the same object. Versions are numbers that grow.
fn is_older(seen: &str, written: &str) -> bool {
    match (seen.parse::<u64>(), written.parse::<u64>()) {
        (Ok(seen), Ok(written)) => seen < written,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("ns".to_owned(), "app".to_owned())
    }

    #[test]
    fn what_was_written_counts_until_it_comes_back() {
        let memory = Memory::default();
        let written = Written { uid: "u".into(), version: "12".into(), status: Status::default() };
        memory.wrote(&key(), written);
        assert_eq!(memory.newer(&key(), "u", "9").unwrap().version, "12");
        assert!(memory.newer(&key(), "u", "12").is_none());
        assert!(memory.newer(&key(), "u", "9").is_none(), "it is forgotten then");
    }

    #[test]
    fn another_application_of_the_name_has_nothing_of_the_former() {
        let memory = Memory::default();
        let written = Written { uid: "u".into(), version: "12".into(), status: Status::default() };
        memory.wrote(&key(), written);
        assert!(memory.newer(&key(), "v", "9").is_none());
    }

    #[test]
    fn nothing_is_kept_of_what_goes_well() {
        let memory = Memory::default();
        assert!(memory.failed(&key(), None) >= PAUSES.0);
        assert!(memory.may_try_again(&key(), "s"));
        memory.succeeded(&key());
        assert!(memory.all().is_empty());
        assert!(memory.is_new(&key(), "a") && !memory.is_new(&key(), "a"));
        memory.forget(&key());
        assert!(memory.all().is_empty());
    }
}
