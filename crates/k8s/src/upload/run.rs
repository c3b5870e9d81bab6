//! Uploads the files of a plan, and takes them back.

use std::sync::atomic::{AtomicBool, Ordering};

use anymaster_core::conf::{Conf, places};
use anymaster_core::{Error, Observer, Result};
use futures::{StreamExt as _, stream};

use super::{Place, Upload, Uploaded, Uploads};
use crate::keys;
use crate::staging::{StagedFile, StagingClient};
use crate::store::Store;
use crate::submitter_env::SubmitterEnv;

/// How many files are uploaded concurrently.
const MAX_CONCURRENT: usize = 4;

impl Uploads {
    /// Uploads all files, several concurrently.
    ///
    /// # Errors
    /// The first failure; uploads of this submission are deleted then.
    pub(crate) async fn run(
        &self,
        submitter: &SubmitterEnv,
        observer: &Observer,
    ) -> Result<Uploaded> {
        if self.files.is_empty() {
            return Ok(Uploaded::default());
        }
        let destination = Destination::open(&self.to, &self.conf, submitter)?;
        let total = self.files.len();
        let failed = &AtomicBool::new(false);
        let uploads = self.files.clone().into_iter().enumerate().map(|(index, file)| {
            let (destination, observer) = (destination.clone(), observer.clone());
            async move {
                // After a failure, none is begun; those under way are finished, and known: they are to be deleted.
                if failed.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let name = file.from.file_name().unwrap_or_default().display();
                observer.tell(format!("uploading {name} ({} of {total})", index + 1));
                let put = destination.put(&self.app, &file).await;
                failed.fetch_or(put.is_err(), Ordering::Relaxed);
                put
            }
        });
        let done: Vec<Result<Option<StagedFile>>> =
            stream::iter(uploads).buffered(MAX_CONCURRENT).collect().await;
        let mut uploaded = Uploaded::default();
        let mut failure = None;
        for file in done {
            match file {
                Ok(staged) => uploaded.staged.extend(staged),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            None => {
                let files = if total == 1 { "file" } else { "files" };
                observer.tell(format!("uploaded {total} {files} to {}", places(self.place())));
                Ok(uploaded)
            }
            Some(error) => {
                self.undo(&uploaded, submitter).await;
                Err(match &self.to {
                    Place::Path(_) => error.context(keys::FILE_UPLOAD_PATH.info.name),
                    Place::Staging(_) => error,
                })
            }
        }
    }

    fn place(&self) -> &str {
        match &self.to {
            Place::Path(to) | Place::Staging(to) => to,
        }
    }

    /// Deletes the uploaded files.
    pub(crate) async fn undo(&self, uploaded: &Uploaded, submitter: &SubmitterEnv) {
        if self.files.is_empty() {
            return;
        }
        let removed = async {
            match Destination::open(&self.to, &self.conf, submitter)? {
                Destination::Store(store) => {
                    for file in &self.files {
                        store.remove(&file.name).await?;
                    }
                }
                Destination::Staging(client) => {
                    for file in &uploaded.staged {
                        client.remove(file).await?;
                    }
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!("uploaded files are left behind in {}: {error}", places(self.place()));
        }
    }
}

/// A connection to a place.
#[derive(Clone)]
enum Destination {
    Store(Store),
    Staging(StagingClient),
}

impl Destination {
    fn open(to: &Place, conf: &Conf, submitter: &SubmitterEnv) -> Result<Self> {
        match to {
            Place::Path(path) => {
                let property = keys::FILE_UPLOAD_PATH.info.name;
                Store::open(property, path, conf, submitter).map(Self::Store)
            }
            Place::Staging(base) => StagingClient::new(base, conf, submitter).map(Self::Staging),
        }
    }

    async fn put(&self, app: &str, file: &Upload) -> Result<Option<StagedFile>> {
        match self {
            Self::Store(store) => store.put_file(&file.from, &file.name).await.map(|()| None),
            Self::Staging(client) => client.upload(app, &file.from, &file.name).await.map(Some),
        }
    }
}
