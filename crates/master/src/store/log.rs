//! The format of the file: a header, and behind it frames, each of which is a write: some changes that
//! became durable together.
//!
//! A frame has a number, one more than the one before, and a checksum. When it is durable, and before it
//! is acknowledged, the *mark* in the header says up to which number and length the file was
//! acknowledged. So what was cut off, or has become unreadable, is noticed where a log alone would only
//! seem to end earlier. Behind the mark there may be the rest of a write that was never acknowledged.
//!
//! ```text
//! 0    "anymstr1", the number before the first frame (8 bytes), checksum of these (16)
//! 64   the mark: number (8), length of the file (8), checksum of these (16)
//! 512  frames: length of the changes (4), number (8), checksum of number and changes (16), changes
//!      a change: length of its name (4), name, length of its value or ffffffff where it is to go (4), value
//! ```
//!
//! Numbers are in little-endian order; checksums are the first 16 bytes of SHA-256.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::Change;

const MAGIC: &[u8; 8] = b"anymstr1";
const MARK: u64 = 64;
/// Where the first frame begins.
pub(super) const HEADER: u64 = 512;
/// What is before the changes of a frame.
const FRAME: usize = 4 + 8 + SUM;
const SUM: usize = 16;
/// How many frames may be missing where nobody knows how many there were.
const MOST_MISSING: u64 = 1 << 20;
/// The length of a value that is none.
const NONE: u32 = u32::MAX;

/// Up to where a log is: the number of its last frame, and the length of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) number: u64,
    pub(super) length: u64,
}

/// What could be read of a log.
#[derive(Debug)]
pub(super) struct Found {
    /// What was acknowledged; `None`: the header does not say, as it is damaged.
    pub(super) acknowledged: Option<End>,
    /// Where the last readable frame ends.
    pub(super) end: End,
    /// Whether all that was acknowledged was read, frame by frame.
    pub(super) is_whole: bool,
    /// Where the first frame is that cannot be read, if something follows the last readable one.
    pub(super) fault: Option<u64>,
}

fn sum(parts: &[&[u8]]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash.finalize()[..SUM]);
    sum
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
}

/// Two numbers and their checksum.
fn pair(first: &[u8; 8], second: u64) -> Vec<u8> {
    let second = second.to_le_bytes();
    [&first[..], &second, &sum(&[first, &second])].concat()
}

/// Reads that again.
fn read_pair(bytes: &[u8]) -> Option<([u8; 8], u64)> {
    let first: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let second = number(bytes, 8)?;
    let is_sound = bytes.get(16..16 + SUM)? == sum(&[&first, &second.to_le_bytes()]);
    is_sound.then_some((first, second))
}

/// Begins a log behind that number.
pub(super) fn begin(file: &File, before: u64) -> io::Result<End> {
    let mut header = vec![0; HEADER as usize];
    header[..32].copy_from_slice(&pair(MAGIC, before));
    file.write_all_at(&header, 0)?;
    let end = End { number: before, length: HEADER };
    mark(file, end)?;
    Ok(end)
}

/// Says that all up to there is acknowledged.
pub(super) fn mark(file: &File, end: End) -> io::Result<()> {
    file.write_all_at(&pair(&end.number.to_le_bytes(), end.length), MARK)
}

/// The changes as they are written.
pub(super) fn encode<'a>(
    changes: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> io::Result<Vec<u8>> {
    let long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a record is too long");
    let mut bytes = Vec::new();
    for (name, value) in changes {
        bytes.extend(u32::try_from(name.len()).map_err(long)?.to_le_bytes());
        bytes.extend(name.as_bytes());
        let length = value.map_or(Ok(NONE), |value| u32::try_from(value.len()).map_err(long))?;
        bytes.extend(length.to_le_bytes());
        bytes.extend(value.unwrap_or_default());
    }
    Ok(bytes)
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    let take = |bytes: &mut &[u8], many: usize| {
        let (taken, rest) = bytes.split_at_checked(many)?;
        *bytes = rest;
        Some(taken.to_vec())
    };
    while !bytes.is_empty() {
        let many = length(&take(&mut bytes, 4)?, 0)?;
        let name = String::from_utf8(take(&mut bytes, many)?).ok()?;
        let many = length(&take(&mut bytes, 4)?, 0)?;
        let value = match many {
            none if none == NONE as usize => None,
            many => Some(take(&mut bytes, many)?),
        };
        changes.push((name, value));
    }
    Some(changes)
}

/// Writes a frame behind the end, and makes it durable; it is not acknowledged yet.
pub(super) fn append(file: &File, end: End, changes: &[u8]) -> io::Result<End> {
    let long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a write is too long");
    let (many, number) =
        (u32::try_from(changes.len()).map_err(long)?, (end.number + 1).to_le_bytes());
    let frame = [&many.to_le_bytes(), &number[..], &sum(&[&number, changes]), changes].concat();
    file.write_all_at(&frame, end.length)?;
    file.sync_data()?;
    Ok(End { number: end.number + 1, length: end.length + frame.len() as u64 })
}

/// The changes of the frame that begins there, if its number is one that may come, and where it ends.
fn frame(
    file: &File,
    at: u64,
    size: u64,
    may_come: impl FnOnce(u64) -> bool,
) -> io::Result<Option<(Vec<Change>, End)>> {
    let mut head = [0; FRAME];
    if size.saturating_sub(at) < FRAME as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, at)?;
    let (Some(many), Some(number)) = (length(&head, 0), number(&head, 4)) else { return Ok(None) };
    let begin = at + FRAME as u64;
    if many as u64 > size - begin || !may_come(number) {
        return Ok(None);
    }
    let mut changes = vec![0; many];
    file.read_exact_at(&mut changes, begin)?;
    if sum(&[&number.to_le_bytes(), &changes]) != head[12..] {
        return Ok(None);
    }
    let end = End { number, length: begin + many as u64 };
    Ok(decode(&changes).map(|changes| (changes, end)))
}

/// Reads the frames one after the other, up to the first that cannot be read. `salvage`: those behind it
/// as well.
pub(super) fn read(
    file: &File,
    salvage: bool,
    mut each: impl FnMut(Vec<Change>),
) -> io::Result<Found> {
    let size = file.metadata()?.len();
    let mut header = vec![0; HEADER.min(size) as usize];
    file.read_exact_at(&mut header, 0)?;
    let begun = read_pair(&header).filter(|(magic, _)| magic == MAGIC).map(|(_, before)| before);
    let marked = header.get(MARK as usize..).and_then(read_pair);
    let marked = marked.map(|(number, length)| End { number: u64::from_le_bytes(number), length });
    // Where the header is damaged, nobody knows what was acknowledged.
    let acknowledged = begun.and(marked);
    let mut end = End { number: begun.unwrap_or(0), length: HEADER };
    let (mut is_whole, mut fault) = (acknowledged == Some(end), None);
    let mut at = HEADER;
    while at < size {
        let last = acknowledged.map_or(end.number + MOST_MISSING, |end| end.number);
        let may_come = |number| match fault {
            None => number == end.number + 1,
            // Some are missing.
            Some(_) => number > end.number && number <= last,
        };
        match frame(file, at, size, may_come)? {
            Some((changes, read)) => {
                (end, at) = (read, read.length);
                is_whole |= fault.is_none() && acknowledged == Some(end);
                each(changes);
            }
            None => {
                fault.get_or_insert(at);
                if !salvage {
                    break;
                }
                at += 1;
            }
        }
    }
    Ok(Found { acknowledged, end, is_whole, fault })
}
