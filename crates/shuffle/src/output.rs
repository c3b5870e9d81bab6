//! What goes out of a connection: small messages and blocks together, large blocks from the file to the socket
//! (`sendfile`) where the connection is not encrypted.
//!
//! A peer that does not take 2 MiB within the time of a connection is given up.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::Lease;
use anymaster_spark_wire::auth::Sealer;
use rustix::fs::sendfile;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::files::{Segment, read_cached};

/// What waits to be sent together at most, where there is memory for it.
const LARGE: usize = 128 << 10;
/// The same, where there is not.
const SMALL: usize = 16 << 10;
/// Blocks of at most so many bytes are copied, not sent from their files.
const COPIED: usize = 64 << 10;
/// What `sendfile` is asked for at once.
const STEP: u64 = 2 << 20;

/// The way out of a connection.
pub(crate) struct Output {
    stream: Arc<TcpStream>,
    bytes: Vec<u8>,
    limit: usize,
    lease: Lease,
    sealer: Option<Sealer>,
    /// Bounds the threads that wait for disks.
    disk: Arc<Semaphore>,
    timeout: Duration,
}

fn gone(error: io::Error) -> Error {
    Error::unavailable("cannot write to an executor").with_source(error)
}

fn unreadable(error: io::Error) -> Error {
    Error::unavailable("a file of blocks cannot be read").with_source(error)
}

impl Output {
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        lease: Lease,
        disk: Arc<Semaphore>,
        timeout: Duration,
    ) -> Self {
        Self { stream, bytes: Vec::new(), limit: SMALL, lease, sealer: None, disk, timeout }
    }

    /// All that follows is encrypted.
    pub(crate) fn encrypt(&mut self, sealer: Sealer) {
        self.sealer = Some(sealer);
    }

    /// Counts on memory for what is sent together from now on, if there is any.
    pub(crate) fn begin(&mut self) {
        self.limit = match self.lease.try_grow_to(LARGE + SMALL) {
            Ok(()) => LARGE,
            Err(_) => SMALL,
        };
    }

    /// Nothing is to be sent for now: the memory is for others.
    pub(crate) fn rest(&mut self) {
        self.bytes = Vec::new();
        self.lease.clear();
    }

    /// Sends a message, now or with those that follow.
    pub(crate) async fn put(&mut self, message: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(message);
        match self.bytes.len() >= self.limit {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Sends a block behind its head, as far as it can be read. If it cannot, nothing is sent, or the connection is
    /// of no use any more: the error says so.
    pub(crate) async fn put_block(&mut self, head: &[u8], block: &Segment) -> Result<()> {
        let Some(file) = &block.file else { return self.put(head).await };
        if block.length <= self.limit.min(COPIED) as u64 {
            if self.bytes.len() + head.len() + block.length as usize > LARGE {
                self.flush().await?;
            }
            self.bytes.extend_from_slice(head);
            self.copy(file, block.offset, block.length as usize).await?;
            return match self.bytes.len() >= self.limit {
                true => self.flush().await,
                false => Ok(()),
            };
        }
        self.bytes.extend_from_slice(head);
        match self.sealer {
            None => {
                self.flush().await?;
                self.send_file(file, block.offset, block.length).await
            }
            Some(_) => {
                let (mut at, end) = (block.offset, block.offset + block.length);
                while at < end {
                    let piece = (end - at).min(self.limit as u64);
                    self.copy(file, at, piece as usize).await?;
                    self.flush().await?;
                    at += piece;
                }
                Ok(())
            }
        }
    }

    /// Appends what is in a file.
    async fn copy(&mut self, file: &Arc<File>, offset: u64, length: usize) -> Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + length, 0);
        if read_cached(file, offset, &mut self.bytes[before..]) {
            return Ok(());
        }
        let file = Arc::clone(file);
        let read = on_disk(&self.disk, move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        });
        let bytes = read.await?.map_err(unreadable)?;
        self.bytes[before..].copy_from_slice(&bytes);
        Ok(())
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let sealed = match &mut self.sealer {
            None => None,
            Some(sealer) => {
                let sealed = sealer.seal(&self.bytes);
                Some(sealed.map_err(|error| Error::protocol(error.to_string()))?)
            }
        };
        let bytes = sealed.as_ref().unwrap_or(&self.bytes);
        let write = async {
            let mut done = 0;
            while done < bytes.len() {
                match self.stream.try_write(&bytes[done..]) {
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.stream.writable().await.map_err(gone)?;
                    }
                    Err(error) => return Err(gone(error)),
                }
            }
            Ok(())
        };
        in_time(self.timeout, write).await?;
        self.bytes.clear();
        Ok(())
    }

    /// Sends what is in a file from its pages in memory. Reading it may wait for the disk, so that it is done
    /// elsewhere; sending it never waits for the peer there.
    async fn send_file(&mut self, file: &Arc<File>, offset: u64, length: u64) -> Result<()> {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let until = (at + STEP).min(end);
            let step = async {
                while at < until {
                    self.stream.writable().await.map_err(gone)?;
                    let (stream, file) = (Arc::clone(&self.stream), Arc::clone(file));
                    let sent =
                        on_disk(&self.disk, move || send_some(&stream, &file, at, until)).await?;
                    match sent {
                        Ok(now) => at = now,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(gone(error)),
                    }
                }
                Ok(at)
            };
            at = in_time(self.timeout, step).await?;
        }
        Ok(())
    }
}

/// Sends as much as the socket takes: up to where.
fn send_some(stream: &TcpStream, file: &File, begin: u64, end: u64) -> io::Result<u64> {
    stream.try_io(Interest::WRITABLE, || {
        let mut at = begin;
        while at < end {
            let many = (end - at) as usize;
            match sendfile(stream, file, Some(&mut at), many) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file of blocks has become shorter",
                    ));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if at > begin => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(at)
    })
}

/// Does something that waits for a disk, on a thread of its own; at most so many at once.
pub(crate) async fn on_disk<T: Send + 'static>(
    disk: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let ends = |_| Error::unavailable("the service ends");
    let permit = Arc::clone(disk).acquire_owned().await.map_err(ends)?;
    let working = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    working.await.map_err(|error| Error::unavailable("what reads a disk failed").with_source(error))
}

async fn in_time<T>(timeout: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "an executor does not take what it asked for"))
    })
}
