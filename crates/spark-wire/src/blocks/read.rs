//! How the messages of block transfer are read.

use super::message::{
    BLOCKS_REMOVED, BlockMessage, CORRUPTION_CAUSE, CorruptionCause, DIAGNOSE_CORRUPTION,
    DiagnoseCorruption, FETCH_SHUFFLE_BLOCKS, FetchShuffleBlocks, GET_LOCAL_DIRS, HEARTBEAT,
    LOCAL_DIRS, LocalDirs, NAMES, OPEN_BLOCKS, REGISTER_DRIVER, REGISTER_EXECUTOR, REMOVE_BLOCKS,
    STREAM_HANDLE,
};
use crate::cursor::Cursor;
use crate::error::{Result, WireError};

/// The bytes of a number of elements, and of the length of a text.
const COUNT: usize = 4;
const I64: usize = 8;

fn texts(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let count = cursor.count(COUNT)?;
    (0..count).map(|_| cursor.text()).collect()
}

impl BlockMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Unsupported`](crate::WireErrorKind::Unsupported) for a type that is not known, and
    /// [`Malformed`](crate::WireErrorKind::Malformed) for what is not of its type's form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.u8()?;
        let message = Self::decode_kind(kind, &mut cursor)?;
        // Of messages that are known by their names, nothing else is read.
        if cursor.remaining() > 0 && !matches!(message, Self::Upload { .. } | Self::Merge { .. }) {
            return Err(WireError::malformed(format!(
                "{} bytes behind a message of type {kind}",
                cursor.remaining()
            )));
        }
        Ok(message)
    }

    fn decode_kind(kind: u8, cursor: &mut Cursor<'_>) -> Result<Self> {
        Ok(match kind {
            OPEN_BLOCKS => Self::OpenBlocks {
                app: cursor.text()?,
                executor: cursor.text()?,
                blocks: texts(cursor)?,
            },
            REGISTER_EXECUTOR => Self::RegisterExecutor {
                app: cursor.text()?,
                executor: cursor.text()?,
                local_dirs: texts(cursor)?,
                sub_dirs: cursor.i32()?,
                shuffle_manager: cursor.text()?,
            },
            STREAM_HANDLE => Self::StreamHandle { stream: cursor.i64()?, chunks: cursor.i32()? },
            REGISTER_DRIVER => {
                Self::RegisterDriver { app: cursor.text()?, heartbeat_timeout_ms: cursor.i64()? }
            }
            HEARTBEAT => Self::Heartbeat { app: cursor.text()? },
            REMOVE_BLOCKS => Self::RemoveBlocks {
                app: cursor.text()?,
                executor: cursor.text()?,
                blocks: texts(cursor)?,
            },
            BLOCKS_REMOVED => Self::BlocksRemoved(cursor.i32()?),
            FETCH_SHUFFLE_BLOCKS => Self::FetchShuffleBlocks(fetch(cursor)?),
            GET_LOCAL_DIRS => Self::GetLocalDirs { app: cursor.text()?, executors: texts(cursor)? },
            LOCAL_DIRS => Self::LocalDirs(local_dirs(cursor)?),
            DIAGNOSE_CORRUPTION => Self::DiagnoseCorruption(DiagnoseCorruption {
                app: cursor.text()?,
                executor: cursor.text()?,
                shuffle: cursor.i32()?,
                map: cursor.i64()?,
                reduce: cursor.i32()?,
                checksum: cursor.i64()?,
                algorithm: cursor.text()?,
            }),
            CORRUPTION_CAUSE => Self::CorruptionCause(match cursor.u8()? {
                0 => CorruptionCause::Disk,
                1 => CorruptionCause::Network,
                3 => CorruptionCause::ChecksumVerified,
                4 => CorruptionCause::UnsupportedAlgorithm,
                _ => CorruptionCause::Unknown,
            }),
            other => match NAMES.iter().find(|(known, _)| *known == other) {
                Some((_, name)) if name.starts_with("Upload") => Self::Upload { name },
                Some((_, name)) => Self::Merge { name },
                None => {
                    return Err(WireError::unsupported(format!("Unknown message type: {other}")));
                }
            },
        })
    }
}

fn fetch(cursor: &mut Cursor<'_>) -> Result<FetchShuffleBlocks> {
    let (app, executor, shuffle) = (cursor.text()?, cursor.text()?, cursor.i32()?);
    let count = cursor.count(I64)?;
    let maps = (0..count).map(|_| cursor.i64()).collect::<Result<Vec<_>>>()?;
    let rows = cursor.count(COUNT)?;
    if rows != maps.len() {
        return Err(WireError::malformed(format!(
            "{} map tasks with reduce tasks for {rows}",
            maps.len()
        )));
    }
    let (mut ends, mut reduces) = (Vec::with_capacity(rows), Vec::new());
    for _ in 0..rows {
        for _ in 0..cursor.count(COUNT)? {
            reduces.push(cursor.i32()?);
        }
        // There are fewer of them than bytes in a frame.
        ends.push(reduces.len() as u32);
    }
    let batch = cursor.u8()? != 0;
    let fetch = FetchShuffleBlocks { app, executor, shuffle, maps, ends, reduces, batch };
    if batch && fetch.rows().any(|(_, row)| row.len() != 2) {
        return Err(WireError::malformed("a batch is from one reduce task to another"));
    }
    Ok(fetch)
}

fn local_dirs(cursor: &mut Cursor<'_>) -> Result<Vec<LocalDirs>> {
    let executors = texts(cursor)?;
    let count = cursor.count(COUNT)?;
    let counts = (0..count).map(|_| cursor.length()).collect::<Result<Vec<_>>>()?;
    let mut dirs = texts(cursor)?.into_iter();
    if counts.len() != executors.len()
        || counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count)) != Some(dirs.len())
    {
        return Err(WireError::malformed("local directories that are not as many as announced"));
    }
    let of = |(executor, count)| LocalDirs { executor, dirs: dirs.by_ref().take(count).collect() };
    Ok(executors.into_iter().zip(counts).map(of).collect())
}
