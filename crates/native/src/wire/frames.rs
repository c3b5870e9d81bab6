//! Messages on a connection, each behind its length: four bytes, the highest first. What is announced is
//! believed as it arrives: before that it costs no memory.

use std::io;
use std::time::Duration;

use anymaster_core::Result;
use anymaster_net::{Lease, transfer_timeout};
use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes of the length.
const HEAD: usize = 4;
/// What is kept ready for messages: a longer buffer is given back as soon as it can be.
const BUFFER: usize = 8 << 10;
/// How long a short message may take from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many messages are read before others have their turn.
const IN_A_ROW: u32 = 8;

/// Reads messages.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    bounds: Bounds,
    /// When the message that is not complete yet began.
    began: Option<Instant>,
    in_a_row: u32,
}

/// What a message may be.
pub(super) struct Bounds {
    /// In bytes.
    pub(super) longest: usize,
    /// For the memory of long ones, where that is bounded.
    pub(super) lease: Option<Lease>,
    /// By when the next one has to be there, where it has to.
    pub(super) due: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, longest: usize) -> Self {
        let bounds = Bounds { longest, lease: None, due: None };
        Self { stream, buffer: BytesMut::new(), bounds, began: None, in_a_row: 0 }
    }

    /// Takes other messages from now on.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// For messages that are not the first any more.
    pub(super) fn lift(&mut self, longest: usize) {
        (self.bounds.longest, self.bounds.due) = (longest, None);
    }

    /// The next message; `None` when the other side has closed. May be dropped and called again. The
    /// message before does not count as memory in use any more.
    ///
    /// # Errors
    /// For a message that is too long or takes too long, and if the connection breaks.
    pub(super) async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        if let Some(lease) = &mut self.bounds.lease {
            lease.clear();
        }
        if self.in_a_row >= IN_A_ROW {
            tokio::task::yield_now().await;
            self.in_a_row = 0;
        }
        loop {
            if let Some(frame) = self.take()? {
                self.in_a_row += 1;
                return Ok(Some(frame));
            }
            let filled = match self.deadline() {
                Some(deadline) => timeout_at(deadline, self.fill()).await.unwrap_or_else(|_| {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the other side is too slow"))
                }),
                None => self.fill().await,
            };
            if filled? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            self.began.get_or_insert_with(Instant::now);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let complete =
            self.began.map(|began| began + transfer_timeout(PATIENCE, self.buffer.len()));
        [complete, self.bounds.due].into_iter().flatten().min()
    }

    /// A message that has arrived as a whole.
    fn take(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.bounds.longest {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message of {length} bytes; the longest is {}", self.bounds.longest),
            ));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let frame = self.buffer.split_to(length);
        if length > BUFFER {
            // The memory goes with the message.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.began = (!self.buffer.is_empty()).then(Instant::now);
        Ok(Some(frame))
    }

    /// Reads what there is, into no more memory than twice what has arrived; how much that was.
    async fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.capacity() == self.buffer.len() {
            let more = self.buffer.len().max(BUFFER);
            if let Some(lease) = &mut self.bounds.lease {
                lease.grow_to(self.buffer.len() + more).await;
            }
            self.buffer.reserve(more);
        }
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// Writes messages.
pub(super) struct FrameWriter<W> {
    stream: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Writes a message, or keeps it for the next [`flush`](Self::flush) if it is short.
    ///
    /// # Errors
    /// If the connection breaks, or the other side does not read.
    pub(super) async fn feed(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "a message is longer than 4 GiB")
        })?;
        if self.buffer.len() + message.len() > BUFFER {
            self.write_out().await?;
        }
        self.buffer.put_u32(length);
        if message.len() <= BUFFER {
            self.buffer.put_slice(message);
            return Ok(());
        }
        self.write_out().await?;
        in_time(message.len(), self.stream.write_all(message)).await
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// If the connection breaks, or the other side does not read.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        in_time(0, self.stream.flush()).await
    }

    async fn write_out(&mut self) -> io::Result<()> {
        in_time(self.buffer.len(), self.stream.write_all(&self.buffer)).await?;
        self.buffer.clear();
        Ok(())
    }
}

async fn in_time(bytes: usize, writing: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(transfer_timeout(PATIENCE, bytes), writing).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read"))
    })
}

/// Reads all messages of some bytes, for tests with bytes of strangers: how many there are.
///
/// # Errors
/// As for a connection.
pub async fn read_frames(bytes: &[u8], longest: usize) -> Result<usize> {
    let mut reader = FrameReader::new(bytes, longest);
    let mut count = 0;
    while reader.next().await.map_err(super::channel::broken)?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_come_as_they_were_sent_in_whatever_pieces() {
        let messages: Vec<Vec<u8>> = [0, 1, 5, BUFFER - 1, BUFFER, BUFFER + 1, 300_000, 3]
            .iter()
            .map(|length| (0..*length).map(|at| at as u8).collect())
            .collect();
        for room in [1, 7, 4096, 1 << 20] {
            let (ours, theirs) = tokio::io::duplex(room);
            let (mut writer, mut reader) =
                (FrameWriter::new(ours), FrameReader::new(theirs, 1 << 20));
            let writing = async {
                for message in &messages {
                    writer.feed(message).await.unwrap();
                }
                writer.flush().await.unwrap();
                drop(writer);
            };
            let reading = async {
                for message in &messages {
                    assert_eq!(reader.next().await.unwrap().unwrap(), message);
                    assert!(reader.buffer.capacity() <= 4 * BUFFER, "long buffers are given back");
                }
                assert!(reader.next().await.unwrap().is_none());
            };
            tokio::join!(writing, reading);
        }
    }

    #[tokio::test]
    async fn what_is_only_announced_takes_no_memory() {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let mut reader = FrameReader::new(theirs, 16 << 20);
        ours.write_all(&[&(15_u32 << 20).to_be_bytes()[..], &[7; 1000]].concat()).await.unwrap();
        assert!(timeout(Duration::from_millis(50), reader.next()).await.is_err());
        assert!(reader.buffer.capacity() <= 2 * BUFFER, "{}", reader.buffer.capacity());
        ours.write_all(&(17_u32 << 20).to_be_bytes()).await.unwrap();
        let announced = 17_000_000_u32.to_be_bytes();
        let mut reader = FrameReader::new(&announced[..], 16 << 20);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_arrive_and_one_that_does_not_begin_are_not_waited_for() {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let mut reader = FrameReader::new(theirs, 1 << 20);
        let dripping = async {
            ours.write_all(&1000_u32.to_be_bytes()).await.unwrap();
            while ours.write_all(&[7]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let began = Instant::now();
        let read = tokio::select! {
            read = reader.next() => read,
            () = dripping => unreachable!(),
        };
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), PATIENCE);

        let (_ours, theirs) = tokio::io::duplex(64 << 10);
        let mut reader = FrameReader::new(theirs, 1 << 20);
        let due = Some(Instant::now() + PATIENCE);
        reader.set_bounds(Bounds { longest: 10, lease: None, due });
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
