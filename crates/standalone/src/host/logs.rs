//! Log files of processes: rotated by size when written, and read as one stream.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, keys};
use anymaster_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::files::open;

/// The block size of reads, in bytes.
const BLOCK: u64 = 64 << 10;

/// When output is rotated, and how much is kept (`spark.executor.logs.rolling.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotation {
    /// The size in bytes at which a file is rotated; `None`: never.
    pub(crate) max_size: Option<u64>,
    /// The number of rotated files that are kept in addition to the current one.
    pub(crate) retained: u32,
}

impl Rotation {
    pub(crate) fn from_conf(conf: &Conf) -> Result<Self> {
        let strategy = conf.read(&keys::EXECUTOR_LOGS_STRATEGY)?;
        let max_size = conf.read(&keys::EXECUTOR_LOGS_MAX_SIZE)?;
        let max_size = match strategy.as_str() {
            "size" if max_size > 0 => Some(max_size),
            "" => None,
            "size" => {
                return Err(Error::invalid(
                    "spark.executor.logs.rolling.maxSize must be more than 0",
                ));
            }
            other => {
                let message = format!(
                    "spark.executor.logs.rolling.strategy: {other:?} is not supported here"
                );
                return Err(Error::unsupported(message)
                    .with_hint("use \"size\", or an empty value for no rotation"));
            }
        };
        Ok(Self { max_size, retained: conf.read(&keys::EXECUTOR_LOGS_MAX_RETAINED)? })
    }
}

/// Writes one stream of output. The file is created with the first write.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    size: u64,
    /// A write failed and was reported; output is dropped, so that the process is not blocked.
    failed: bool,
}

impl Writer {
    pub(crate) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, file: None, size: 0, failed: false }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let result = self.try_write(bytes);
        if let Err(error) = &result
            && !self.failed
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot write output; it is lost");
        }
        self.failed = result.is_err();
    }

    fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self
            .rotation
            .max_size
            .is_some_and(|max| self.size > 0 && self.size + bytes.len() as u64 > max)
        {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = open(&self.path, File::options().create(true).append(true))?;
                self.size = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Renames `stdout` to `stdout.1`, `stdout.1` to `stdout.2`, and so on.
    fn rotate(&mut self) -> std::io::Result<()> {
        self.file = None;
        self.size = 0;
        for number in (0..=self.rotation.retained).rev() {
            let from = numbered(&self.path, number);
            if number == self.rotation.retained {
                match fs::remove_file(from) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error);
                    }
                    _ => continue,
                }
            }
            match fs::rename(from, numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open_to_read(path: &Path) -> std::io::Result<File> {
    open(path, File::options().read(true))
}

/// The files of one stream, the newest first.
fn files(path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..).map(|number| numbered(path, number)).take_while(|file| file.exists())
}

/// Reads one stream of output, from its beginning or from its last lines, across rotations.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// The files still to be read, newest first.
    unread: Vec<PathBuf>,
}

impl Tail {
    pub(crate) fn open(path: PathBuf, lines: Option<u64>) -> std::io::Result<Self> {
        let unread = files(&path).collect();
        let mut tail = Self { path, open: None, unread };
        if let Some(lines) = lines {
            tail.skip_to(lines)?;
        }
        Ok(tail)
    }

    /// Seeks to the beginning of the last `lines` lines, reading backwards from the end.
    fn skip_to(&mut self, lines: u64) -> std::io::Result<()> {
        // The newline of the last line does not begin another one.
        let mut wanted = lines + 1;
        let mut last = true;
        for newest in 0..self.unread.len() {
            let mut file = open_to_read(&self.unread[newest])?;
            let mut end = file.metadata()?.len();
            while end > 0 {
                let start = end.saturating_sub(BLOCK);
                let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(&mut block)?;
                for (at, byte) in block.iter().enumerate().rev() {
                    // An unfinished line at the very end counts as one.
                    if std::mem::take(&mut last) && *byte != b'\n' {
                        wanted -= 1;
                    }
                    if *byte == b'\n' {
                        wanted = wanted.saturating_sub(1);
                    }
                    if wanted == 0 {
                        file.seek(SeekFrom::Start(start + at as u64 + 1))?;
                        self.open = Some((file.try_clone()?, file.metadata()?.ino()));
                        self.unread.truncate(newest);
                        return Ok(());
                    }
                }
                end = start;
            }
        }
        Ok(())
    }

    /// Reads what is available, at most 64 KiB; empty at the end.
    pub(crate) fn read(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some((file, inode)) = &mut self.open {
                let mut bytes = Vec::new();
                file.take(BLOCK).read_to_end(&mut bytes)?;
                if !bytes.is_empty() {
                    return Ok(bytes);
                }
                // At the end of this file. It was rotated if the path now has another inode.
                let inode = *inode;
                let current = fs::metadata(&self.path).map(|file| file.ino()).ok();
                if self.unread.is_empty() && (current.is_none() || current == Some(inode)) {
                    return Ok(bytes);
                }
                if self.unread.is_empty() {
                    self.queue_newer_than(inode);
                }
                self.open = None;
            }
            let next = self.unread.pop().or_else(|| self.path.exists().then(|| self.path.clone()));
            let Some(next) = next else { return Ok(Vec::new()) };
            match open_to_read(&next) {
                Ok(file) => {
                    let inode = file.metadata()?.ino();
                    self.open = Some((file, inode));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// After a rotation: queues the files that are newer than the one with this inode.
    fn queue_newer_than(&mut self, inode: u64) {
        let newer = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.ino() != inode);
        self.unread = files(&self.path).take_while(newer).collect();
    }
}

/// The last lines of a process's output, for the report of its end: of stderr or, if that is empty, of
/// stdout.
pub(crate) fn last_lines(dir: &Path) -> Option<Box<str>> {
    const LINES: usize = 8;
    const BYTES: u64 = 2048;
    ["stderr", "stdout"].into_iter().find_map(|name| {
        let mut file = open_to_read(&dir.join(name)).ok()?;
        let len = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        (!last.trim().is_empty()).then(|| last.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(tail: &mut Tail) -> String {
        let mut text = String::new();
        loop {
            let bytes = tail.read().unwrap();
            if bytes.is_empty() {
                return text;
            }
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    #[test]
    fn output_is_rotated_and_read_as_one_stream() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let rotation = Rotation { max_size: Some(20), retained: 2 };
        let mut writer = Writer::new(path.clone(), rotation);
        let mut follower = Tail::open(path.clone(), None).unwrap();
        let mut followed = String::new();
        for number in 0..8 {
            writer.write(format!("line {number}\n").as_bytes());
            followed.push_str(&all(&mut follower));
        }
        // Two lines a file, three files at most.
        assert_eq!(files(&path).count(), 3);
        let kept: String = (2..8).map(|number| format!("line {number}\n")).collect();
        assert_eq!(all(&mut Tail::open(path.clone(), None).unwrap()), kept);
        let everything: String = (0..8).map(|number| format!("line {number}\n")).collect();
        assert_eq!(followed, everything);
        for lines in 0..=6 {
            let want: String = (8 - lines..8).map(|number| format!("line {number}\n")).collect();
            let got = all(&mut Tail::open(path.clone(), Some(lines)).unwrap());
            assert_eq!(got, want, "the last {lines}");
        }
        assert_eq!(all(&mut Tail::open(path.clone(), Some(100)).unwrap()), kept);
        assert_eq!(last_lines(dir.path()).as_deref(), Some("line 6\nline 7"));
    }

    #[test]
    fn a_reader_that_missed_rotations_reads_the_remaining_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let mut writer = Writer::new(path.clone(), Rotation { max_size: Some(2), retained: 9 });
        let mut follower = Tail::open(path.clone(), None).unwrap();
        writer.write(b"a\n");
        assert_eq!(all(&mut follower), "a\n");
        for text in ["b\n", "c\n", "d\n"] {
            writer.write(text.as_bytes());
        }
        assert_eq!(all(&mut follower), "b\nc\nd\n");
    }
}
