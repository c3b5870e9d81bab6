//! What is on the disk: `records/ID`, a file or an upload in JSON; `uploads/ID`, what was received of an upload; and
//! `contents/SHA-256`. Everything is written beside, synchronised and renamed. All of it blocks.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use rustix::fs::{FlockOperation, flock};

use crate::catalog::Record;
use crate::ids::{ContentDigest, UploadId};

const RECORDS: &str = "records";
const UPLOADS: &str = "uploads";
const CONTENTS: &str = "contents";
/// The end of the name of what is being written.
const NEW: &str = ".new";

/// A directory that only this server uses.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// Locked as long as the server lives.
    _lock: File,
}

/// Not an error if there is nothing to remove.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Directory {
    /// Opens a directory, or makes it, readable by its user only.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be used, and
    /// [`Conflict`](anymaster_core::ErrorKind::Conflict) if another server uses it.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("cannot use the directory {}", root.display()))
                .with_source(error)
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in [RECORDS, UPLOADS, CONTENTS] {
            builder.create(root.join(part)).map_err(failed)?;
        }
        let root = root.canonicalize().map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(root.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::conflict(format!(
                "another staging server uses the directory {}",
                root.display()
            ))
            .with_hint("name another one with --dir")),
            Err(error) => Err(failed(error.into())),
        }
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    fn record(&self, id: UploadId) -> PathBuf {
        self.root.join(RECORDS).join(id.to_string())
    }

    pub(crate) fn upload(&self, id: UploadId) -> PathBuf {
        self.root.join(UPLOADS).join(id.to_string())
    }

    pub(crate) fn content(&self, content: ContentDigest) -> PathBuf {
        self.root.join(CONTENTS).join(content.to_string())
    }

    /// Makes the names in a part durable.
    fn sync(&self, part: &str) -> io::Result<()> {
        File::open(self.root.join(part))?.sync_all()
    }

    /// Opens what was received of an upload.
    pub(crate) fn open_upload(&self, id: UploadId) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.upload(id))
    }

    /// Writes a record; it is durable then.
    pub(crate) fn write_record(&self, id: UploadId, record: &Record) -> io::Result<()> {
        let path = self.record(id);
        let new = self.root.join(RECORDS).join(format!("{id}{NEW}"));
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        })();
        if written.is_err() {
            // What is left of it is removed at the next start, if it cannot be now.
            let _ = remove(&new);
        }
        written?;
        self.sync(RECORDS)
    }

    /// Removes a record; that is durable after [`sync_removals`](Self::sync_removals).
    pub(crate) fn remove_record(&self, id: UploadId) -> io::Result<()> {
        remove(&self.record(id))
    }

    pub(crate) fn sync_removals(&self) -> io::Result<()> {
        self.sync(RECORDS)
    }

    pub(crate) fn remove_upload(&self, id: UploadId) -> io::Result<()> {
        remove(&self.upload(id))
    }

    pub(crate) fn remove_content(&self, content: ContentDigest) -> io::Result<()> {
        remove(&self.content(content))
    }

    /// What was received becomes a content; it has been synchronised.
    pub(crate) fn keep(&self, id: UploadId, content: ContentDigest) -> io::Result<()> {
        std::fs::rename(self.upload(id), self.content(content))?;
        self.sync(CONTENTS)
    }

    /// A content becomes again what was received.
    pub(crate) fn give_back(&self, id: UploadId, content: ContentDigest) -> io::Result<()> {
        std::fs::rename(self.content(content), self.upload(id))
    }

    /// Reads all records, and removes what belongs to none: what a server that was killed has left.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be read.
    pub(crate) fn load(&self) -> Result<Vec<(UploadId, Record)>> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("cannot read what is in {}", self.root.display()))
                .with_source(error)
        };
        let mut records = Vec::new();
        for name in self.names(RECORDS).map_err(failed)? {
            let path = self.root.join(RECORDS).join(&name);
            let Some(id) = UploadId::parse(&name) else {
                remove(&path).map_err(failed)?;
                continue;
            };
            let bytes = std::fs::read(&path).map_err(failed)?;
            let record: Record = match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!("{} is damaged, and left as it is: {error}", path.display());
                    continue;
                }
            };
            let is_there = match record.content {
                Some(content) => std::fs::metadata(self.content(content))
                    .is_ok_and(|file| file.len() == record.length),
                None => true,
            };
            match is_there {
                true => records.push((id, record)),
                false => {
                    tracing::error!(
                        "{} of {} is lost: it is not in {CONTENTS}",
                        record.name,
                        record.app
                    );
                    remove(&path).map_err(failed)?;
                }
            }
        }
        let uploads: HashSet<String> = records
            .iter()
            .filter(|(_, record)| record.content.is_none())
            .map(|(id, _)| id.to_string())
            .collect();
        let contents: HashSet<String> =
            records.iter().filter_map(|(_, record)| Some(record.content?.to_string())).collect();
        for (part, known) in [(UPLOADS, uploads), (CONTENTS, contents)] {
            for name in self.names(part).map_err(failed)? {
                if !known.contains(&name) {
                    remove(&self.root.join(part).join(&name)).map_err(failed)?;
                }
            }
        }
        Ok(records)
    }

    fn names(&self, part: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(part))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::ErrorKind;
    use anymaster_core::model::AppId;

    use super::*;
    use crate::ids::Capability;
    use crate::names::FileName;

    fn record(content: Option<ContentDigest>) -> Record {
        Record {
            app: AppId::new("app").unwrap(),
            name: FileName::new("a.jar").unwrap(),
            length: 3,
            created: 1,
            capability: Capability::random().digest(),
            expected: None,
            content,
        }
    }

    #[test]
    fn what_belongs_to_no_record_is_removed_and_the_rest_is_there_again() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("staging");
        let directory = Directory::open(&root).unwrap();
        assert_eq!(Directory::open(&root).unwrap_err().kind(), ErrorKind::Conflict);
        let [done, open, lost, stray] = [(); 4].map(|()| UploadId::random());
        let content = ContentDigest([5; 32]);
        for id in [done, open, stray] {
            directory.open_upload(id).unwrap().write_all(b"abc").unwrap();
        }
        directory.keep(done, content).unwrap();
        let want = [(done, record(Some(content))), (open, record(None))];
        for (id, record) in &want {
            directory.write_record(*id, record).unwrap();
        }
        directory.write_record(lost, &record(Some(ContentDigest([6; 32])))).unwrap();
        std::fs::write(root.join("records").join(format!("{stray}.new")), "half").unwrap();
        std::fs::write(directory.content(ContentDigest([9; 32])), "stray").unwrap();
        drop(directory);
        let directory = Directory::open(&root).unwrap();
        let mut loaded = directory.load().unwrap();
        loaded.sort_by_key(|(id, _)| *id);
        let mut want = want.to_vec();
        want.sort_by_key(|(id, _)| *id);
        assert_eq!(loaded, want);
        assert_eq!(directory.names(UPLOADS).unwrap(), [open.to_string()]);
        assert_eq!(directory.names(CONTENTS).unwrap(), [content.to_string()]);
        assert_eq!(directory.names(RECORDS).unwrap().len(), 2);
        let mode = |path: &Path| {
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
        };
        assert_eq!((mode(&root), mode(&directory.record(done))), (0o700, 0o600));
    }
}
