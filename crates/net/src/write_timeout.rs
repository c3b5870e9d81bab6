//! A write time-out: fails a connection whose peer does not read, or reads too slowly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long writes may be blocked.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The peer gets one more second for each of this many bytes that it reads.
const BYTES_PER_SECOND: usize = 4 << 10;

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] when the peer reads too slowly.
pub(crate) struct WriteTimeout<S> {
    stream: S,
    /// How long writes may still be blocked.
    left: Duration,
    waits: Option<Waits>,
}

struct Waits {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, left: TIMEOUT, waits: None }
    }

    /// Accounts for an attempt to write, and fails if the time is used up.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        tried: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match tried {
            Poll::Ready(done) => {
                if let Some(waited) = self.waits.take() {
                    self.left = self.left.saturating_sub(waited.since.elapsed());
                }
                let taken = done.as_ref().map_or(0, bytes);
                let earned = Duration::from_secs_f64(taken as f64 / BYTES_PER_SECOND as f64);
                self.left = (self.left + earned).min(TIMEOUT);
                Poll::Ready(done)
            }
            Poll::Pending => {
                let left = self.left;
                let waits = self.waits.get_or_insert_with(|| {
                    let since = Instant::now();
                    Waits { since, end: Box::pin(tokio::time::sleep_until(since + left)) }
                });
                ready!(waits.end.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, tried, |taken| *taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, tried, |taken| *taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, tried, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, tried, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_or_a_byte_a_second_times_out() {
        for drip in [0, 1] {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            let mut stream = WriteTimeout::new(ours);
            let began = Instant::now();
            let reading = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    theirs.read_exact(&mut [0; 1][..drip]).await.unwrap();
                }
            };
            let written = tokio::select! {
                written = stream.write_all(&[7; 1 << 20]) => written,
                () = reading => unreachable!(),
            };
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let took = began.elapsed();
            assert!((TIMEOUT..TIMEOUT * 2).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_reader_is_served() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut stream = WriteTimeout::new(ours);
        let mut buffer = vec![0; 2 * BYTES_PER_SECOND];
        let reading = async {
            for _ in 0..128 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
        };
        let bytes = vec![7; 2 * BYTES_PER_SECOND * 128];
        let (written, ()) = tokio::join!(stream.write_all(&bytes), reading);
        written.unwrap();
    }
}
