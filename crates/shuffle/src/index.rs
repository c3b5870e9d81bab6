//! The indexes of shuffle files, which say where in the data of a map task the blocks of its reduce tasks are: read
//! once, checked before they are believed, and kept in a bounded memory.
//!
//! A file of a name is never another one: the id of a map task is unique in its application.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::fs::File;

/// The bytes of an offset.
const OFFSET: u64 = 8;
/// The longest index that is kept; of longer ones, two offsets are read each time.
pub(crate) const MAX_KEPT: u64 = 1 << 20;
/// What an entry takes beside the offsets, about.
const ENTRY: usize = 96;

/// Whose index it is: of which registration, shuffle and map task.
pub(crate) type Key = (u64, i32, i64);

/// The offsets of an index.
#[derive(Debug)]
pub(crate) struct Index(Box<[u8]>);

/// What is wrong with an index, or with what was asked of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IndexFault {
    /// There are no such reduce tasks.
    OutOfRange,
    /// It is none.
    Damaged(&'static str),
}

fn offset(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at * OFFSET as usize..)?.first_chunk()?;
    u64::try_from(i64::from_be_bytes(*bytes)).ok()
}

fn is_index(length: u64) -> Result<(), IndexFault> {
    match length >= OFFSET && length.is_multiple_of(OFFSET) {
        true => Ok(()),
        false => Err(IndexFault::Damaged("its length is not that of an index")),
    }
}

impl Index {
    /// An index of which all offsets were checked.
    ///
    /// # Errors
    /// If they do not begin with 0 or do not rise.
    pub(crate) fn check(bytes: Box<[u8]>) -> Result<Self, IndexFault> {
        is_index(bytes.len() as u64)?;
        let mut last = 0;
        for at in 0..bytes.len() / OFFSET as usize {
            match offset(&bytes, at) {
                Some(next) if next >= last && (at > 0 || next == 0) => last = next,
                _ => return Err(IndexFault::Damaged("its offsets do not rise from 0")),
            }
        }
        Ok(Self(bytes))
    }

    /// From where to where the blocks of these reduce tasks are.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn range(&self, begin: i32, end: i32) -> Result<(u64, u64), IndexFault> {
        let at = |reduce: i32| offset(&self.0, usize::try_from(reduce).ok()?);
        match (at(begin), at(end)) {
            (Some(from), Some(to)) if begin <= end => Ok((from, to)),
            _ => Err(IndexFault::OutOfRange),
        }
    }

    /// The same, read from a file of `length` bytes.
    ///
    /// # Errors
    /// As the system's, beside those of the index.
    pub(crate) fn range_in(
        file: &File,
        length: u64,
        begin: i32,
        end: i32,
    ) -> io::Result<Result<(u64, u64), IndexFault>> {
        let check = || {
            is_index(length)?;
            let at = |reduce: i32| u64::try_from(reduce).ok().filter(|at| *at < length / OFFSET);
            at(begin).zip(at(end)).filter(|(from, to)| from <= to).ok_or(IndexFault::OutOfRange)
        };
        let (begin, end) = match check() {
            Ok(range) => range,
            Err(fault) => return Ok(Err(fault)),
        };
        let read = |at: u64| {
            let mut bytes = [0; OFFSET as usize];
            file.read_exact_at(&mut bytes, at * OFFSET)?;
            io::Result::Ok(offset(&bytes, 0))
        };
        Ok(match (read(begin)?, read(end)?) {
            (Some(from), Some(to)) if from <= to => Ok((from, to)),
            _ => Err(IndexFault::Damaged("its offsets do not rise from 0")),
        })
    }
}

/// Indexes in memory: those that were used since about half of it was filled.
#[derive(Debug)]
pub(crate) struct IndexCache {
    bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    young: HashMap<Key, Arc<Index>>,
    old: HashMap<Key, Arc<Index>>,
    young_bytes: usize,
}

impl IndexCache {
    /// One that takes at most about so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index, if it is here.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<Index>> {
        let mut entries = self.entries();
        if let Some(index) = entries.young.get(&key) {
            return Some(Arc::clone(index));
        }
        let index = entries.old.remove(&key)?;
        self.put(&mut entries, key, &index);
        Some(index)
    }

    /// Keeps an index.
    pub(crate) fn insert(&self, key: Key, index: &Arc<Index>) {
        self.put(&mut self.entries(), key, index);
    }

    fn put(&self, entries: &mut Entries, key: Key, index: &Arc<Index>) {
        let bytes = index.0.len() + ENTRY;
        if bytes > self.bytes / 2 {
            return;
        }
        if entries.young_bytes + bytes > self.bytes / 2 {
            entries.old = std::mem::take(&mut entries.young);
            entries.young_bytes = 0;
        }
        if entries.young.insert(key, Arc::clone(index)).is_none() {
            entries.young_bytes += bytes;
        }
    }

    /// The file of an index was removed.
    pub(crate) fn forget(&self, key: Key) {
        let mut entries = self.entries();
        if let Some(index) = entries.young.remove(&key) {
            entries.young_bytes -= index.0.len() + ENTRY;
        }
        entries.old.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(offsets: &[i64]) -> Box<[u8]> {
        offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect()
    }

    #[test]
    fn an_index_is_checked_before_it_is_believed() {
        let index = Index::check(bytes(&[0, 100, 100, 500])).unwrap();
        assert_eq!(index.range(0, 1), Ok((0, 100)));
        assert_eq!(index.range(1, 2), Ok((100, 100)));
        assert_eq!(index.range(0, 3), Ok((0, 500)));
        for (begin, end) in [(3, 4), (-1, 0), (2, 1), (0, i32::MAX), (i32::MIN, i32::MAX)] {
            assert_eq!(index.range(begin, end), Err(IndexFault::OutOfRange), "{begin}..{end}");
        }
        for bad in [&[1, 2][..], &[0, 5, 4], &[0, -1], &[-1], &[0, i64::MAX, i64::MIN]] {
            assert!(Index::check(bytes(bad)).is_err(), "{bad:?}");
        }
        for length in [0, 7, 9] {
            assert!(Index::check(vec![0; length].into()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn offsets_are_read_from_a_file_as_from_memory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("index");
        std::fs::write(&path, bytes(&[0, 100, 90, -1])).unwrap();
        let file = File::open(&path).unwrap();
        let range = |begin, end| Index::range_in(&file, 32, begin, end).unwrap();
        assert_eq!(range(0, 1), Ok((0, 100)));
        assert!(matches!(range(1, 2), Err(IndexFault::Damaged(_))));
        assert!(matches!(range(2, 3), Err(IndexFault::Damaged(_))));
        assert_eq!(range(3, 4), Err(IndexFault::OutOfRange));
        assert_eq!(range(-1, 1), Err(IndexFault::OutOfRange));
        assert!(matches!(Index::range_in(&file, 31, 0, 1).unwrap(), Err(IndexFault::Damaged(_))));
        // It has become shorter.
        assert!(Index::range_in(&file, 80, 8, 9).is_err());
    }

    #[test]
    fn the_memory_is_bounded_and_what_is_used_stays() {
        let cache = IndexCache::new(100 * (ENTRY + 16));
        let index = Arc::new(Index::check(bytes(&[0, 1])).unwrap());
        for map in 0..1000 {
            cache.insert((1, 0, map), &index);
            assert!(cache.get((1, 0, 0)).is_some(), "after {map}");
        }
        let entries = cache.entries();
        assert!(entries.young.len() + entries.old.len() <= 100);
        drop(entries);
        assert!(cache.get((1, 0, 500)).is_none());
        cache.forget((1, 0, 0));
        assert!(cache.get((1, 0, 0)).is_none());
        let large = Index::check(bytes(&vec![0; 100_000])).unwrap();
        cache.insert((2, 0, 0), &Arc::new(large));
        assert!(cache.get((2, 0, 0)).is_none());
    }
}
