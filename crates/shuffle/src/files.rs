//! Blocks in files: where each is, what is wrong with those that cannot be had, and their checksums.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anymaster_core::Error;
use anymaster_spark_wire::blocks::{CorruptionCause, DiagnoseCorruption};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};

use crate::checksum::Algorithm;
use crate::index::{Index, IndexCache, IndexFault, MAX_KEPT};
use crate::metrics::Metrics;
use crate::names::{Block, FileName};
use crate::registry::Executor;
use crate::roots::Patience;

/// What is read at once to compute a checksum.
const PIECE: usize = 256 << 10;
/// An index of up to so many bytes is read without waiting, if it is in memory.
const SMALL_INDEX: u64 = 64 << 10;

/// A block.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Where it is; `None`: it is empty, and there may be no file.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The data of a map task that was read last.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    shuffle: i32,
    map: i64,
    file: Arc<File>,
    length: u64,
}

/// Why there is no block.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The disk has to be waited for.
    Disk,
    /// There never will be one: the caller is told so, in Spark's words.
    Final(String),
    /// There may be one later: the connection is closed, and the caller tries again.
    Later(Error),
}

/// What went wrong with a file.
fn fault(executor: &Executor, name: FileName<'_>, error: io::Error) -> Fault {
    let path = || {
        let place = executor.file(name);
        place.map_or_else(|| name.to_string(), |(dir, path)| format!("{}/{path}", dir.name()))
    };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if error.kind() == io::ErrorKind::WouldBlock => Fault::Disk,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::BUSY) => Fault::Later(
            Error::unavailable(format!("cannot open {}", path()))
                .with_source(error)
                .with_hint("raise the number of open files (ulimit -n)"),
        ),
        Some(Errno::NOENT) => {
            Fault::Final(format!("java.lang.RuntimeException: Failed to open file: {}", path()))
        }
        _ => Fault::Final(format!(
            "java.lang.RuntimeException: Failed to open file: {}: {error}",
            path()
        )),
    }
}

/// Finds blocks.
#[derive(Debug)]
pub(crate) struct Files {
    indexes: IndexCache,
    metrics: Arc<Metrics>,
}

impl Files {
    /// With so many bytes of memory for indexes.
    pub(crate) fn new(index_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Self { indexes: IndexCache::new(index_bytes), metrics }
    }

    /// Where a block is. `last`: what the same stream has opened last; it is what this opens, then.
    pub(crate) fn find(
        &self,
        executor: &Executor,
        block: Block,
        last: &mut Option<Opened>,
        patience: Patience,
    ) -> Result<Segment, Fault> {
        let (shuffle, map, begin, end) = match block {
            Block::Rdd { rdd, partition } => {
                let name = FileName::Rdd { rdd, partition };
                let (file, length) =
                    executor.open(name, patience).map_err(|error| match error.kind() {
                        io::ErrorKind::NotFound => Fault::Final(
                            "java.lang.IllegalStateException: Chunk was not found".to_owned(),
                        ),
                        _ => fault(executor, name, error),
                    })?;
                let file = (length > 0).then(|| Arc::new(file));
                return Ok(Segment { file, offset: 0, length });
            }
            Block::Shuffle { shuffle, map, begin, end } => (shuffle, map, begin, end),
        };
        let (from, to) = self.range(executor, shuffle, map, (begin, end), patience)?;
        if from == to {
            return Ok(Segment { file: None, offset: from, length: 0 });
        }
        let name = FileName::Data { shuffle, map };
        let opened = match last {
            Some(opened) if (opened.shuffle, opened.map) == (shuffle, map) => opened,
            _ => {
                let (file, length) =
                    executor.open(name, patience).map_err(|error| fault(executor, name, error))?;
                last.insert(Opened { shuffle, map, file: Arc::new(file), length })
            }
        };
        if to > opened.length {
            return Err(Fault::Final(format!(
                "java.io.IOException: {name} has {} bytes, and its index says {to}",
                opened.length
            )));
        }
        Ok(Segment { file: Some(Arc::clone(&opened.file)), offset: from, length: to - from })
    }

    /// From where to where in the data of a map task the blocks of these reduce tasks are.
    fn range(
        &self,
        executor: &Executor,
        shuffle: i32,
        map: i64,
        (begin, end): (i32, i32),
        patience: Patience,
    ) -> Result<(u64, u64), Fault> {
        let name = FileName::Index { shuffle, map };
        let failed = |error| fault(executor, name, error);
        let damaged = |fault| match fault {
            IndexFault::OutOfRange => {
                Fault::Final("java.lang.IndexOutOfBoundsException".to_owned())
            }
            IndexFault::Damaged(why) => {
                Fault::Final(format!("java.io.IOException: {name} is damaged: {why}"))
            }
        };
        let key = (executor.number, shuffle, map);
        if let Some(index) = self.indexes.get(key) {
            self.metrics.index_hits.inc();
            return index.range(begin, end).map_err(damaged);
        }
        let (file, length) = executor.open(name, patience).map_err(failed)?;
        if length > MAX_KEPT {
            if patience == Patience::Cached {
                return Err(Fault::Disk);
            }
            self.metrics.index_misses.inc();
            let range = Index::range_in(&file, length, begin, end).map_err(failed)?;
            return range.map_err(damaged);
        }
        if patience == Patience::Cached && length > SMALL_INDEX {
            return Err(Fault::Disk);
        }
        let mut bytes = vec![0; length as usize];
        match patience {
            Patience::Cached if !read_cached(&file, 0, &mut bytes) => return Err(Fault::Disk),
            Patience::Cached => {}
            Patience::Disk => file.read_exact_at(&mut bytes, 0).map_err(failed)?,
        }
        self.metrics.index_misses.inc();
        let index = Arc::new(Index::check(bytes.into()).map_err(damaged)?);
        self.indexes.insert(key, &index);
        index.range(begin, end).map_err(damaged)
    }

    /// Why a block is not what was written (Spark 3.5, `ShuffleChecksumHelper`).
    pub(crate) fn diagnose(
        &self,
        executor: &Executor,
        asked: &DiagnoseCorruption,
    ) -> CorruptionCause {
        let Some(algorithm) = Algorithm::of_name(&asked.algorithm) else {
            return CorruptionCause::UnsupportedAlgorithm;
        };
        match self.checksums(executor, asked, algorithm) {
            Ok(Some((written, there))) if written != there => CorruptionCause::Disk,
            Ok(Some((written, _))) if written != asked.checksum => CorruptionCause::Network,
            Ok(Some(_)) => CorruptionCause::ChecksumVerified,
            Ok(None) => CorruptionCause::Unknown,
            Err(error) => {
                tracing::debug!(asked.app, "a corrupt block cannot be diagnosed: {error}");
                CorruptionCause::Unknown
            }
        }
    }

    /// The checksum that was written with a block, and that of what is there.
    fn checksums(
        &self,
        executor: &Executor,
        asked: &DiagnoseCorruption,
        algorithm: Algorithm,
    ) -> io::Result<Option<(i64, i64)>> {
        let DiagnoseCorruption { shuffle, map, reduce, .. } = *asked;
        let name = FileName::Checksums { shuffle, map, algorithm: algorithm.name() };
        let (checksums, _) = executor.open(name, Patience::Disk)?;
        let Ok(at) = u64::try_from(reduce) else { return Ok(None) };
        let mut written = [0; 8];
        checksums.read_exact_at(&mut written, at * 8)?;
        let block = Block::Shuffle { shuffle, map, begin: reduce, end: reduce.saturating_add(1) };
        let Ok(segment) = self.find(executor, block, &mut None, Patience::Disk) else {
            return Ok(None);
        };
        let mut sum = algorithm.begin();
        if let Some(file) = &segment.file {
            let mut piece = vec![0; PIECE.min(segment.length as usize)];
            let (mut at, end) = (segment.offset, segment.offset + segment.length);
            while at < end {
                let length = piece.len().min((end - at) as usize);
                file.read_exact_at(&mut piece[..length], at)?;
                sum.update(&piece[..length]);
                at += length as u64;
            }
        }
        Ok(Some((i64::from_be_bytes(written), sum.finish())))
    }

    /// Removes files of an executor by their names: how many there were.
    pub(crate) fn remove(&self, executor: &Executor, names: &[String]) -> usize {
        let mut removed = 0;
        for name in names {
            // Nothing else is a block.
            let Some(file) = FileName::parse(name) else { continue };
            let Some((dir, path)) = executor.file(file) else { continue };
            if let FileName::Index { shuffle, map } = file {
                self.indexes.forget((executor.number, shuffle, map));
            }
            match crate::cleanup::remove_file(dir, &path) {
                Ok(()) => removed += 1,
                Err(error) => tracing::debug!("cannot remove {name}: {error}"),
            }
        }
        self.metrics.removed_blocks.inc_by(removed as u64);
        removed
    }
}

/// Fills a buffer from a file, if it is all in memory.
pub(crate) fn read_cached(file: &File, offset: u64, buffer: &mut [u8]) -> bool {
    let mut done = 0;
    while done < buffer.len() {
        let mut rest = [IoSliceMut::new(&mut buffer[done..])];
        match preadv2(file, &mut rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => return false,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            // Some file systems cannot tell.
            Err(_) => return false,
        }
    }
    true
}
