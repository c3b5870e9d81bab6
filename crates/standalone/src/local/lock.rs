//! File locks that say which process owns a driver or the executors, and may write the journal. The
//! kernel releases a lock when its owner exits.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use anymaster_core::{Error, Result};
use rustix::fs::FlockOperation;

use crate::host::files;
use crate::host::identity::Process;

/// The largest lock file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 10;

/// An exclusive lock on a file that says who holds it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // This process may go on: without a pid in the file it is not taken for the holder. If this
        // fails, it counts as the holder until it exits.
        let _ = self.file.set_len(0);
    }
}

impl Lock {
    /// Takes the lock; `None` if another holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("cannot lock {}", path.display())).with_source(error)
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = files::open(path, &mut options).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        let holder = serde_json::to_string(&Process::current()).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(failed)?;
        Ok(Some(Self { file }))
    }

    /// Waits until the lock is free, and takes it. Blocks its thread.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            let waiting = files::open(path, File::options().read(true).write(true));
            let waited = waiting
                .and_then(|file| Ok(rustix::fs::flock(&file, FlockOperation::LockExclusive)?));
            waited.map_err(|error| {
                Error::unavailable(format!("cannot lock {}", path.display())).with_source(error)
            })?;
        }
    }

    /// The living process that holds the lock, if any.
    pub(crate) fn holder(path: &Path) -> Option<Process> {
        let text = files::read(path, MAX_SIZE).ok()?;
        serde_json::from_slice::<Option<Process>>(&text).ok()?.filter(|process| process.is_alive())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert_eq!(Lock::holder(&path), Process::current());
        drop(lock);
        assert_eq!(Lock::holder(&path), None, "although this process is alive");
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
