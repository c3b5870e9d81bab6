//! Copies the output of drivers and executors to ours.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anymaster_core::{LogSource, LogStream, Result};
use futures::StreamExt as _;
use tokio::sync::watch;

use crate::progress::Progress;

/// How long output may fail to end after its process has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line of an executor that is longer is printed in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// Copies a driver's standard output to ours, and its standard error to ours.
///
/// When nobody reads ours any more (`| head`), the rest is dropped: the driver goes on, and its
/// whole output stays in its log. So it does when ours cannot be written, which `lost` then says.
pub(crate) async fn driver(
    mut chunks: LogStream,
    progress: Progress,
    mut ended: watch::Receiver<bool>,
    lost: Arc<AtomicBool>,
) -> Result<()> {
    let mut closed = [false; 2];
    while let Some(chunk) = next(&mut chunks, &mut ended).await {
        let chunk = chunk?;
        let closed = &mut closed[usize::from(chunk.source == LogSource::Stderr)];
        if *closed {
            continue;
        }
        let terminal = match chunk.source {
            LogSource::Stdout => io::stdout().is_terminal(),
            LogSource::Stderr => io::stderr().is_terminal(),
        };
        let ends_line = chunk.bytes.ends_with(b"\n");
        // Whoever reads us may be slow; the other threads go on meanwhile.
        let written = tokio::task::block_in_place(|| {
            progress.around(terminal, ends_line, || match chunk.source {
                LogSource::Stdout => write(io::stdout().lock(), &chunk.bytes),
                LogSource::Stderr => write(io::stderr().lock(), &chunk.bytes),
            })
        });
        if let Err(error) = written {
            *closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                lost.store(true, Ordering::Relaxed);
                progress.talk(format!("warning: cannot write the driver's output: {error}"));
            }
        }
    }
    Ok(())
}

/// Copies an executor's output to our standard error, each line with its number before it.
pub(crate) async fn executor(
    mut chunks: LogStream,
    id: u64,
    progress: Progress,
    mut ended: watch::Receiver<bool>,
) -> Result<()> {
    let mut lines = [Lines::default(), Lines::default()];
    let tell = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        tokio::task::block_in_place(|| progress.relay(&format!("[executor {id}] {line}")));
    };
    while let Some(chunk) = next(&mut chunks, &mut ended).await {
        let chunk = chunk?;
        lines[usize::from(chunk.source == LogSource::Stderr)].push(&chunk.bytes, tell);
    }
    lines.iter_mut().for_each(|lines| lines.finish(tell));
    Ok(())
}

/// The next piece of output. Once the process has ended, one that does not come soon never will.
async fn next(
    chunks: &mut LogStream,
    ended: &mut watch::Receiver<bool>,
) -> Option<Result<anymaster_core::LogChunk>> {
    if !*ended.borrow() {
        tokio::select! {
            chunk = chunks.next() => return chunk,
            // An error means that the session is over, too.
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }
    match tokio::time::timeout(PATIENCE, chunks.next()).await {
        Ok(chunk) => chunk,
        Err(_) => {
            tracing::warn!("the log did not end with its process; the rest is not shown");
            None
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
