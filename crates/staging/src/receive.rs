//! Receives the bytes of an upload: bounded in number, time and memory; hashed while they are written.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::{FutureExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::buffers::{Buffer, SIZE};
use crate::fault::Fault;
use crate::ids::{ContentDigest, UploadId};
use crate::staging::{Staging, now};

/// How many bytes of what a server before this one has received are read at once.
const BATCH: usize = 64 << 10;
/// How long a submitter may be silent.
const PATIENCE: Duration = Duration::from_secs(15);
/// What each byte that it sends gives it: a second for so many.
const SLOWEST: f64 = 16_384.0;

/// How far an upload is.
#[derive(Debug, Default)]
pub(crate) struct Progress(Option<Hashed>);

#[derive(Debug)]
struct Hashed {
    /// The bytes on the disk.
    received: u64,
    hash: Sha256,
}

/// Who writes to which upload: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Locks(SyncMutex<HashMap<UploadId, Arc<Mutex<Progress>>>>);

impl Locks {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<Mutex<Progress>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self, id: UploadId) -> Option<OwnedMutexGuard<Progress>> {
        let lock = Arc::clone(self.all().entry(id).or_default());
        lock.try_lock_owned().ok()
    }

    pub(crate) fn forget(&self, id: UploadId) {
        self.all().remove(&id);
    }
}

/// An upload that is being written. It goes into the thread that writes and comes back, so that nobody else has it
/// before a write has ended, whatever becomes of the connection.
pub(crate) struct Writing {
    id: UploadId,
    length: u64,
    file: File,
    progress: OwnedMutexGuard<Progress>,
}

impl Writing {
    /// Opens an upload; what a server before this one has received is read again. Blocks.
    fn open(
        staging: &Staging,
        id: UploadId,
        length: u64,
        mut progress: OwnedMutexGuard<Progress>,
    ) -> Result<Self, Fault> {
        let failed = |error: io::Error| Fault::of_disk("open an upload", &error);
        let file = staging.directory().open_upload(id).map_err(failed)?;
        if staging.catalog().get(id).is_none() {
            // It was removed meanwhile.
            staging.directory().remove_upload(id).map_err(failed)?;
            staging.locks.forget(id);
            return Err(Fault::not_found());
        }
        if progress.0.is_none() {
            progress.0 = Some(hashed(&file, length).map_err(failed)?);
        }
        Ok(Self { id, length, file, progress })
    }

    fn received(&self) -> u64 {
        self.progress.0.as_ref().map_or(0, |hashed| hashed.received)
    }

    /// Appends. After an error it is not known how much there is: it is looked up when it is opened again.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(mut hashed) = self.progress.0.take() else { return Err(Fault::not_found()) };
        self.file
            .write_all_at(bytes, hashed.received)
            .map_err(|error| Fault::of_disk("write an upload", &error))?;
        hashed.hash.update(bytes);
        hashed.received += bytes.len() as u64;
        self.progress.0 = Some(hashed);
        Ok(())
    }

    /// Makes a file of it, if all of it is there. Blocks.
    fn finish(mut self, staging: &Staging) -> Result<Option<ContentDigest>, Fault> {
        if self.received() < self.length {
            return Ok(None);
        }
        let Some(hashed) = self.progress.0.take() else { return Ok(None) };
        let content = ContentDigest(hashed.hash.finalize().into());
        staging.finish(self.id, &self.file, content)?;
        staging.locks.forget(self.id);
        Ok(Some(content))
    }
}

/// Reads the beginning of a file of at most so many bytes.
fn hashed(file: &File, longest: u64) -> io::Result<Hashed> {
    let on_disk = file.metadata()?.len();
    if on_disk > longest {
        file.set_len(longest)?;
    }
    let (mut hash, mut received, mut buffer) = (Sha256::new(), 0, vec![0; BATCH]);
    loop {
        let read = file.read_at(&mut buffer, received)?;
        if read == 0 {
            return Ok(Hashed { received, hash });
        }
        hash.update(&buffer[..read]);
        received += read as u64;
    }
}

/// Where an upload is after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) offset: u64,
    /// If all of it was received.
    pub(crate) content: Option<ContentDigest>,
}

/// How many bytes of an upload are there.
pub(crate) async fn offset(staging: &Arc<Staging>, id: UploadId) -> Result<(u64, u64), Fault> {
    let record = staging.catalog().get(id).cloned().ok_or_else(Fault::not_found)?;
    if record.content.is_some() {
        return Ok((record.length, record.length));
    }
    let progress = staging.lock_upload(id)?;
    let length = record.length;
    let open = move |staging: &Staging| Writing::open(staging, id, length, progress);
    let writing = staging.blocking(open).await?;
    Ok((writing.received(), length))
}

/// Receives a part of an upload that begins at `offset`. What was received before an error stays.
pub(crate) async fn receive(
    staging: &Arc<Staging>,
    id: UploadId,
    offset: u64,
    announced: Option<u64>,
    body: Body,
) -> Result<Received, Fault> {
    let progress = staging.lock_upload(id)?;
    let record = staging.catalog().get(id).cloned().ok_or_else(Fault::not_found)?;
    let length = record.length;
    if record.content.is_some() {
        return match offset == length {
            true => Ok(Received { offset, content: record.content }),
            false => Err(elsewhere(length, offset)),
        };
    }
    let open = move |staging: &Staging| Writing::open(staging, id, length, progress);
    let mut writing = staging.blocking(open).await?;
    if writing.received() != offset {
        return Err(elsewhere(writing.received(), offset));
    }
    if announced.is_some_and(|announced| announced > length - offset) {
        return Err(too_long(length));
    }
    let mut incoming = Incoming::new(body, length - offset);
    let mut more = incoming.wait().await?;
    while more {
        // Only who has something to write has a buffer.
        let permit = staging.permit().await?;
        let mut batch = staging.buffers.take();
        let ready = incoming.fill(&mut batch.bytes);
        let append = append(staging, permit, writing, batch);
        let (next, appended) = tokio::join!(incoming.wait(), append);
        writing = appended?;
        staging.catalog().touch(id, now());
        ready?;
        more = next?;
    }
    let offset = writing.received();
    let content = staging.blocking(move |staging| writing.finish(staging)).await?;
    Ok(Received { offset, content })
}

async fn append(
    staging: &Arc<Staging>,
    permit: SemaphorePermit<'_>,
    mut writing: Writing,
    batch: Buffer,
) -> Result<Writing, Fault> {
    staging.metrics.received.inc_by(batch.bytes.len() as u64);
    let work = move |_: &Staging| {
        writing.append(&batch.bytes)?;
        Ok(writing)
    };
    staging.blocking_with(permit, work).await
}

fn elsewhere(is: u64, asked: u64) -> Fault {
    Fault::new(StatusCode::CONFLICT, format!("the upload is at byte {is}, not at {asked}"))
}

fn too_long(length: u64) -> Fault {
    Fault::bad_request(format!("there are more bytes than the {length} that were announced"))
}

/// A body, in batches.
struct Incoming {
    pieces: axum::body::BodyDataStream,
    /// How many bytes may come.
    left: u64,
    /// How long may still be waited for them.
    patience: Duration,
    /// What was received and is in no batch yet.
    rest: Bytes,
}

impl Incoming {
    fn new(body: Body, left: u64) -> Self {
        Self { pieces: body.into_data_stream(), left, patience: PATIENCE, rest: Bytes::new() }
    }

    /// Waits until there is something; false at the end.
    async fn wait(&mut self) -> Result<bool, Fault> {
        while self.rest.is_empty() {
            match self.piece().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Fills a buffer with what is there without waiting.
    fn fill(&mut self, batch: &mut Vec<u8>) -> Result<(), Fault> {
        loop {
            let length = self.rest.len().min(SIZE - batch.len());
            batch.extend_from_slice(&self.rest.split_to(length));
            if batch.len() == SIZE {
                return Ok(());
            }
            match self.piece().now_or_never().transpose()?.flatten() {
                Some(piece) => self.rest = piece,
                None => return Ok(()),
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let began = Instant::now();
        let piece = timeout(self.patience, self.pieces.try_next()).await.map_err(|_| {
            Fault::new(
                StatusCode::REQUEST_TIMEOUT,
                "the bytes did not arrive in time: go on where the upload is",
            )
        })?;
        let piece = piece.map_err(|_| Fault::bad_request("the request is incomplete"))?;
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(length).ok_or_else(|| too_long(self.left))?;
        let earned = Duration::from_secs_f64(length as f64 / SLOWEST);
        let patience = self.patience.saturating_sub(began.elapsed()) + earned;
        self.patience = patience.min(PATIENCE);
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    /// A body of pieces, of which each comes after a second.
    fn drip(pieces: usize, bytes: usize) -> Body {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![7; bytes]))
        });
        Body::from_stream(pieces)
    }

    /// How many bytes come, and what ends them.
    async fn drained(body: Body, left: u64) -> (usize, Option<StatusCode>) {
        let (mut incoming, mut received) = (Incoming::new(body, left), 0);
        loop {
            match incoming.wait().await {
                Ok(true) => {}
                Ok(false) => return (received, None),
                Err(fault) => return (received, Some(fault.status)),
            }
            let mut batch = Vec::new();
            let filled = incoming.fill(&mut batch);
            assert!((1..=SIZE).contains(&batch.len()), "{}", batch.len());
            received += batch.len();
            if let Err(fault) = filled {
                return (received, Some(fault.status));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_time_and_bytes() {
        let slow = drained(drip(1000, 1), 1000).await;
        assert_eq!(slow, (15, Some(StatusCode::REQUEST_TIMEOUT)), "a byte a second");
        let steady = drained(drip(100, 64 << 10), 100 << 20).await;
        assert_eq!(steady, (100 * (64 << 10), None));
        let odd = drained(drip(100, 50_001), 100 << 20).await;
        assert_eq!(odd, (100 * 50_001, None));
        assert_eq!(drained(Body::from("12345"), 5).await, (5, None));
        assert_eq!(drained(Body::from("123456"), 5).await, (0, Some(StatusCode::BAD_REQUEST)));
        assert_eq!(drained(Body::empty(), 5).await, (0, None));
    }
}
