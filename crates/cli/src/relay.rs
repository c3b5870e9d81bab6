//! Copies the output of drivers and executors to ours.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anymaster_core::model::{ExecutorId, Subject};
use anymaster_core::{LogChunk, LogSource};
use tokio::task::block_in_place;

use crate::progress::Progress;

/// A line of an executor that is longer is printed in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// Copies a driver's standard output to ours, and its standard error to ours; and the output of executors
/// to our standard error, each line with the executor's number before it.
///
/// When nobody reads ours any more (`| head`), the rest is dropped: the driver goes on, and its whole
/// output stays in its log. So it does when ours cannot be written.
pub(crate) struct Relay {
    progress: Progress,
    /// Standard output and standard error that nobody reads any more.
    closed: [AtomicBool; 2],
    lost: AtomicBool,
    /// What executors have written of lines that have not ended.
    lines: Mutex<HashMap<ExecutorId, [Lines; 2]>>,
}

impl Relay {
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, closed: Default::default(), lost: false.into(), lines: Mutex::default() }
    }

    /// Whether output of the driver could not be written to ours.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Copies a piece of output. Whoever reads ours may be slow; the other threads go on meanwhile.
    pub(crate) fn chunk(&self, of: &Subject, chunk: &LogChunk) {
        block_in_place(|| match of {
            Subject::Driver(_) => self.of_driver(chunk),
            Subject::Executor(_, id) => {
                let at = usize::from(chunk.source == LogSource::Stderr);
                let mut lines = self.lines();
                lines.entry(*id).or_default()[at].push(&chunk.bytes, |line| self.print(*id, line));
            }
        });
    }

    /// No more will come of this process.
    pub(crate) fn end(&self, of: &Subject) {
        let Subject::Executor(_, id) = of else { return };
        block_in_place(|| {
            let lines = self.lines().remove(id);
            for mut lines in lines.into_iter().flatten() {
                lines.finish(|line| self.print(*id, line));
            }
        });
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<ExecutorId, [Lines; 2]>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, id: ExecutorId, line: &[u8]) {
        self.progress.relay(&format!("[executor {id}] {}", String::from_utf8_lossy(line)));
    }

    fn of_driver(&self, chunk: &LogChunk) {
        let closed = &self.closed[usize::from(chunk.source == LogSource::Stderr)];
        if closed.load(Ordering::Relaxed) {
            return;
        }
        let terminal = match chunk.source {
            LogSource::Stdout => io::stdout().is_terminal(),
            LogSource::Stderr => io::stderr().is_terminal(),
        };
        let ends_line = chunk.bytes.ends_with(b"\n");
        let written = self.progress.around(terminal, ends_line, || match chunk.source {
            LogSource::Stdout => write(io::stdout().lock(), &chunk.bytes),
            LogSource::Stderr => write(io::stderr().lock(), &chunk.bytes),
        });
        if let Err(error) = written {
            closed.store(true, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.lost.store(true, Ordering::Relaxed);
                let words = format!("warning: cannot write the driver's output: {error}");
                self.progress.message(words);
            }
        }
    }
}

fn write(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(rest) if self.begun.is_empty() => tell(rest),
                Some(rest) => {
                    self.begun.extend_from_slice(rest);
                    tell(&std::mem::take(&mut self.begun));
                }
                None => self.begun.extend_from_slice(piece),
            }
            if self.begun.len() >= LONGEST_LINE {
                tell(&std::mem::take(&mut self.begun));
            }
        }
    }

    fn finish(&mut self, mut tell: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            tell(&std::mem::take(&mut self.begun));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for bytes in ["a\nb", "c", "\n\nd"] {
            lines.push(bytes.as_bytes(), |line| told.push(line.to_vec()));
        }
        lines.finish(|line| told.push(line.to_vec()));
        assert_eq!(told, [&b"a"[..], b"bc", b"", b"d"]);

        let mut lengths = Vec::new();
        lines.push(&vec![b'x'; LONGEST_LINE + 1], |line| lengths.push(line.len()));
        assert_eq!(lengths, [LONGEST_LINE + 1]);
    }
}
