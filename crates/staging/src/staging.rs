//! What all connections share: the catalog, the directory behind it, and the order in which they change.

use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anymaster_core::Result;
use anymaster_core::model::AppId;
use axum::http::StatusCode;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

use crate::buffers::Buffers;
use crate::catalog::{Catalog, Limits, Record, Removed, Usage};
use crate::directory::Directory;
use crate::fault::Fault;
use crate::ids::{Capability, ContentDigest, UploadId};
use crate::metrics::Metrics;
use crate::names::FileName;
use crate::receive::{Locks, Progress};

/// How many threads use the disk at most, for each processor and beside that.
const DISK_THREADS: (usize, usize) = (2, 4);

/// A staging server without its port.
pub(crate) struct Staging {
    catalog: Mutex<Catalog>,
    directory: Directory,
    /// Held while the directory and the catalog change together: so no content is removed that a new file has.
    changing: Mutex<()>,
    pub(crate) locks: Locks,
    pub(crate) buffers: Arc<Buffers>,
    disk: Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) largest: u64,
    /// By which URL drivers reach the server, if it was said.
    pub(crate) public_url: Option<String>,
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staging").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// An upload that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) id: UploadId,
    pub(crate) capability: Capability,
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn ends() -> Fault {
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the staging server ends")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Staging {
    /// Loads what is in a directory.
    pub(crate) fn open(
        directory: Directory,
        limits: Limits,
        public_url: Option<String>,
    ) -> Result<Self> {
        let (largest, now) = (limits.file, now());
        let mut catalog = Catalog::new(limits);
        for (id, record) in directory.load()? {
            catalog.insert(id, record, now);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let staging = Self {
            catalog: Mutex::new(catalog),
            directory,
            changing: Mutex::new(()),
            locks: Locks::default(),
            buffers: Arc::default(),
            disk: Semaphore::new(DISK_THREADS.0 * processors + DISK_THREADS.1),
            metrics: Metrics::default(),
            largest,
            public_url,
        };
        staging.count();
        Ok(staging)
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        lock(&self.catalog)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    fn count(&self) {
        let (files, unfinished, bytes) = self.catalog().counts();
        self.metrics.files.set(files as i64);
        self.metrics.unfinished.set(unfinished as i64);
        self.metrics.stored.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Does something that blocks, in a thread of its own; only so many at once.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.blocking_with(self.permit().await?, work).await
    }

    /// The right to do one such thing.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, Fault> {
        self.disk.acquire().await.map_err(|_| ends())
    }

    /// As [`blocking`](Self::blocking), with a permit.
    pub(crate) async fn blocking_with<T: Send + 'static>(
        self: &Arc<Self>,
        permit: SemaphorePermit<'_>,
        work: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let staging = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&staging)).await;
        drop(permit);
        done.map_err(|_| ends())?
    }

    /// Begins an upload: its record is durable then.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        app: AppId,
        name: FileName,
        length: u64,
        expected: Option<ContentDigest>,
    ) -> Result<Begun, Fault> {
        let begun = Begun { id: UploadId::random(), capability: Capability::random() };
        let (created, capability) = (now(), begun.capability.digest());
        let record = Record { app, name, length, created, capability, expected, content: None };
        self.catalog().begin(begun.id, record.clone(), created)?;
        let written = self
            .blocking(move |staging| {
                let written = staging.directory.write_record(begun.id, &record);
                written.map_err(|error| {
                    staging.forget(begun.id);
                    Fault::of_disk("begin an upload", &error)
                })
            })
            .await;
        self.count();
        written.map(|()| begun)
    }

    /// Takes an upload out of the catalog that never got to the disk.
    fn forget(&self, id: UploadId) {
        self.catalog().remove(id);
    }

    /// All of an upload was received: synchronises it, and makes a file of it. Blocks.
    pub(crate) fn finish(
        &self,
        id: UploadId,
        file: &File,
        content: ContentDigest,
    ) -> Result<(), Fault> {
        let failed = |error: std::io::Error| Fault::of_disk("store a file", &error);
        file.sync_all().map_err(failed)?;
        let changing = lock(&self.changing);
        let mut record = self.catalog().get(id).cloned().ok_or_else(Fault::not_found)?;
        if record.expected.is_some_and(|expected| expected != content) {
            drop(changing);
            self.remove(&[id])?;
            // As of tus.
            let mismatch = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
            return Err(Fault::new(
                mismatch,
                format!("the content of {} has another SHA-256 than was announced", record.name),
            ));
        }
        record.content = Some(content);
        let is_known = self.catalog().has_content(content);
        if !is_known {
            self.directory.keep(id, content).map_err(failed)?;
        }
        // If it is killed before that, the upload begins anew, and a content without a record is removed.
        if let Err(error) = self.directory.write_record(id, &record) {
            if !is_known && let Err(error) = self.directory.give_back(id, content) {
                tracing::warn!("a content is removed at the next start: {error}");
            }
            return Err(failed(error));
        }
        self.catalog().complete(id, content);
        drop(changing);
        if is_known && let Err(error) = self.directory.remove_upload(id) {
            self.metrics.removal_failures.inc();
            tracing::warn!("cannot remove an upload: {error}");
        }
        self.metrics.uploads.inc();
        self.count();
        Ok(())
    }

    /// Removes files and uploads, those that there are: their URLs are unknown at once. Blocks.
    pub(crate) fn remove(&self, ids: &[UploadId]) -> Result<usize, Fault> {
        let _changing = lock(&self.changing);
        let (mut removed, mut failure) = (0, None);
        for id in ids {
            let Some(what) = self.catalog().remove(*id) else { continue };
            removed += 1;
            self.locks.forget(*id);
            let done = self.directory.remove_record(*id).and_then(|()| match what {
                Removed::Partial => self.directory.remove_upload(*id),
                Removed::Content(content) => self.directory.remove_content(content),
                Removed::Shared => Ok(()),
            });
            if let Err(error) = done {
                self.metrics.removal_failures.inc();
                failure = Some(error);
            }
        }
        if removed > 0 {
            failure = failure.or(self.directory.sync_removals().err());
        }
        self.count();
        match failure {
            None => Ok(removed),
            Some(error) => Err(Fault::of_disk("remove files", &error)),
        }
    }

    /// An application has ended. Blocks.
    pub(crate) fn remove_app(&self, app: &AppId) -> Result<(), Fault> {
        let ids = self.catalog().of_app(app);
        if self.remove(&ids)? == 0 {
            return Err(Fault::not_found());
        }
        tracing::info!(%app, "removed {} files", ids.len());
        Ok(())
    }

    /// Removes what is too old. Blocks.
    pub(crate) fn remove_expired(&self) -> Result<(), Fault> {
        let ids = self.catalog().expired(now());
        if ids.is_empty() {
            return Ok(());
        }
        let removed = self.remove(&ids)?;
        self.metrics.expired.inc_by(removed as u64);
        tracing::info!("removed {removed} files for their age");
        Ok(())
    }

    /// Makes an upload this caller's, as long as the guard lives.
    pub(crate) fn lock_upload(&self, id: UploadId) -> Result<OwnedMutexGuard<Progress>, Fault> {
        if self.catalog().get(id).is_none() {
            return Err(Fault::not_found());
        }
        self.locks.try_lock(id).ok_or_else(|| {
            Fault::new(StatusCode::LOCKED, "another request writes to this upload: try again")
        })
    }

    pub(crate) fn apps(&self) -> Vec<(AppId, Usage)> {
        self.catalog().apps()
    }
}
