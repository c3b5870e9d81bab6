//! What is stored and being uploaded, by id, application, content and download URL; and what still may be. No I/O.

use std::collections::HashMap;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::ids::{CapabilityDigest, ContentDigest, UploadId};
use crate::keys;
use crate::names::FileName;

/// The most files and uploads in all.
const MAX_ENTRIES: usize = 100_000;
/// The most uploads that are not finished.
const MAX_UNFINISHED: usize = 1_000;

/// A file or an upload, as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) app: AppId,
    pub(crate) name: FileName,
    /// In bytes.
    pub(crate) length: u64,
    /// When the upload began, in seconds since 1970.
    pub(crate) created: u64,
    pub(crate) capability: CapabilityDigest,
    /// What the submitter says that the content will be.
    pub(crate) expected: Option<ContentDigest>,
    /// What the content is, when all of it is there.
    pub(crate) content: Option<ContentDigest>,
}

/// How much may be stored, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) file: u64,
    app_bytes: u64,
    app_files: usize,
    bytes: u64,
    names: Option<Vec<String>>,
    max_age: Duration,
    upload_max_age: Duration,
}

impl Limits {
    /// The shorter one of both ages.
    pub(crate) fn shortest_age(&self) -> Duration {
        self.max_age.min(self.upload_max_age)
    }

    pub(crate) fn of(conf: &Conf) -> Result<Self> {
        let names = conf.read_optional(&keys::NAMES)?;
        let (max_age, upload_max_age) =
            (conf.read(&keys::MAX_AGE)?, conf.read(&keys::UPLOAD_MAX_AGE)?);
        for (key, age) in [(&keys::MAX_AGE, max_age), (&keys::UPLOAD_MAX_AGE, upload_max_age)] {
            if age.is_zero() {
                return Err(Error::invalid(format!("{}: 0 is too short", key.info.name)));
            }
        }
        Ok(Self {
            file: conf.read(&keys::MAX_FILE_SIZE)?,
            app_bytes: conf.read(&keys::APPLICATION_QUOTA)?,
            app_files: conf.read(&keys::APPLICATION_FILES)? as usize,
            bytes: conf.read(&keys::QUOTA)?,
            names: names.filter(|names| !names.is_empty()),
            max_age,
            upload_max_age,
        })
    }
}

/// What an application has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// When something was done with it, for uploads.
    touched: u64,
}

/// What is to be removed from the disk with an entry, besides its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// What was received of an upload.
    Partial,
    /// A content that no other file has.
    Content(ContentDigest),
    /// Nothing: another file has the same content.
    Shared,
}

/// All entries.
#[derive(Debug)]
pub(crate) struct Catalog {
    limits: Limits,
    entries: HashMap<UploadId, Entry>,
    by_capability: HashMap<CapabilityDigest, UploadId>,
    apps: HashMap<AppId, Usage>,
    /// By content: its length, and how many files have it.
    contents: HashMap<ContentDigest, (u64, usize)>,
    /// The bytes of contents, and those that uploads have announced.
    used: u64,
    unfinished: usize,
}

impl Catalog {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            by_capability: HashMap::new(),
            apps: HashMap::new(),
            contents: HashMap::new(),
            used: 0,
            unfinished: 0,
        }
    }

    /// Adds an upload that begins, if there is room for all of it.
    pub(crate) fn begin(&mut self, id: UploadId, record: Record, now: u64) -> Result<(), Fault> {
        let Limits { file, app_bytes, app_files, bytes, names, .. } = &self.limits;
        let full = |what: String| Err(Fault::new(StatusCode::INSUFFICIENT_STORAGE, what));
        if record.length > *file {
            return Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{} has {} bytes: files may have {file}", record.name, record.length),
            ));
        }
        if let Some(names) = names
            && !names.iter().any(|end| record.name.as_str().ends_with(end.as_str()))
        {
            let names = names.join(", ");
            return Err(Fault::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("{}: names of files have to end with one of {names}", record.name),
            ));
        }
        let of_app = self.apps.get(&record.app).copied().unwrap_or_default();
        if of_app.bytes.saturating_add(record.length) > *app_bytes || of_app.files >= *app_files {
            return full(format!(
                "the quota of the application {} is used up: {} of {app_bytes} bytes, {} of {app_files} files",
                record.app, of_app.bytes, of_app.files
            ));
        }
        if self.used.saturating_add(record.length) > *bytes || self.entries.len() >= MAX_ENTRIES {
            return full("the quota of the staging server is used up".to_owned());
        }
        if self.unfinished >= MAX_UNFINISHED {
            return Err(Fault::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many uploads are not finished: try again",
            ));
        }
        self.insert(id, record, now);
        Ok(())
    }

    /// Adds what is on the disk, whatever the limits are now.
    pub(crate) fn insert(&mut self, id: UploadId, record: Record, now: u64) {
        let usage = self.apps.entry(record.app.clone()).or_default();
        usage.files += 1;
        usage.bytes += record.length;
        match record.content {
            Some(content) => self.share(content, record.length),
            None => {
                self.used += record.length;
                self.unfinished += 1;
            }
        }
        self.by_capability.insert(record.capability, id);
        self.entries.insert(id, Entry { record, touched: now });
    }

    fn share(&mut self, content: ContentDigest, length: u64) {
        let (_, files) = self.contents.entry(content).or_insert((length, 0));
        if *files == 0 {
            self.used += length;
        }
        *files += 1;
    }

    pub(crate) fn get(&self, id: UploadId) -> Option<&Record> {
        self.entries.get(&id).map(|entry| &entry.record)
    }

    pub(crate) fn has_content(&self, content: ContentDigest) -> bool {
        self.contents.contains_key(&content)
    }

    /// Something was received of an upload.
    pub(crate) fn touch(&mut self, id: UploadId, now: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.touched = now;
        }
    }

    /// All of an upload is there: from now on it is downloaded.
    pub(crate) fn complete(&mut self, id: UploadId, content: ContentDigest) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.record.content.replace(content).is_some() {
            return;
        }
        let length = entry.record.length;
        self.used -= length;
        self.unfinished -= 1;
        self.share(content, length);
    }

    /// Removes a file or an upload.
    pub(crate) fn remove(&mut self, id: UploadId) -> Option<Removed> {
        let Entry { record, .. } = self.entries.remove(&id)?;
        self.by_capability.remove(&record.capability);
        if let Some(usage) = self.apps.get_mut(&record.app) {
            usage.files -= 1;
            usage.bytes -= record.length;
            if usage.files == 0 {
                self.apps.remove(&record.app);
            }
        }
        let Some(content) = record.content else {
            self.used -= record.length;
            self.unfinished -= 1;
            return Some(Removed::Partial);
        };
        let Some((length, files)) = self.contents.get_mut(&content) else {
            return Some(Removed::Shared);
        };
        *files -= 1;
        if *files > 0 {
            return Some(Removed::Shared);
        }
        self.used -= *length;
        self.contents.remove(&content);
        Some(Removed::Content(content))
    }

    /// The file of a download URL: its content and length.
    pub(crate) fn download(&self, capability: CapabilityDigest) -> Option<(ContentDigest, u64)> {
        let Entry { record, .. } = self.entries.get(self.by_capability.get(&capability)?)?;
        let is_it = record.capability.is(capability);
        record.content.filter(|_| is_it).map(|content| (content, record.length))
    }

    /// All applications, sorted.
    pub(crate) fn apps(&self) -> Vec<(AppId, Usage)> {
        let mut apps: Vec<_> = self.apps.iter().map(|(app, usage)| (app.clone(), *usage)).collect();
        apps.sort_by(|(one, _), (other, _)| one.cmp(other));
        apps
    }

    /// What an application has.
    pub(crate) fn of_app(&self, app: &AppId) -> Vec<UploadId> {
        if !self.apps.contains_key(app) {
            return Vec::new();
        }
        let all = self.entries.iter().filter(|(_, entry)| entry.record.app == *app);
        all.map(|(id, _)| *id).collect()
    }

    /// When an entry is too old, in seconds since 1970.
    fn end(&self, entry: &Entry) -> u64 {
        match entry.record.content {
            Some(_) => entry.record.created.saturating_add(self.limits.max_age.as_secs()),
            None => entry.touched.saturating_add(self.limits.upload_max_age.as_secs()),
        }
    }

    /// What is too old now.
    pub(crate) fn expired(&self, now: u64) -> Vec<UploadId> {
        let old = self.entries.iter().filter(|(_, entry)| self.end(entry) <= now);
        old.map(|(id, _)| *id).collect()
    }

    /// Files that can be downloaded, uploads, and bytes.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        (self.entries.len() - self.unfinished, self.unfinished, self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Capability;

    fn record(app: &str, length: u64) -> Record {
        Record {
            app: AppId::new(app).unwrap(),
            name: FileName::new("a.jar").unwrap(),
            length,
            created: 100,
            capability: Capability::random().digest(),
            expected: None,
            content: None,
        }
    }

    fn catalog(properties: &[(&str, &str)]) -> Catalog {
        let conf: Conf = properties.iter().copied().collect();
        Catalog::new(Limits::of(&conf).unwrap())
    }

    #[test]
    fn quotas_count_what_uploads_announce_and_the_same_content_once() {
        let mut catalog = catalog(&[
            ("spark.anymaster.staging.maxFileSize", "60"),
            ("spark.anymaster.staging.applicationQuota", "100"),
            ("spark.anymaster.staging.quota", "150"),
        ]);
        let ids = [(); 4].map(|()| UploadId::random());
        let status = |tried: Result<(), Fault>| tried.map_err(|fault| fault.status.as_u16());
        assert_eq!(status(catalog.begin(ids[0], record("a", 61), 0)), Err(413));
        assert_eq!(status(catalog.begin(ids[0], record("a", 60), 0)), Ok(()));
        assert_eq!(status(catalog.begin(ids[1], record("a", 60), 0)), Err(507));
        assert_eq!(status(catalog.begin(ids[1], record("b", 60), 0)), Ok(()));
        assert_eq!(status(catalog.begin(ids[2], record("c", 60), 0)), Err(507));
        let content = ContentDigest([7; 32]);
        catalog.complete(ids[0], content);
        catalog.complete(ids[1], content);
        catalog.complete(ids[1], content);
        assert_eq!(catalog.counts(), (2, 0, 60));
        assert_eq!(status(catalog.begin(ids[2], record("c", 60), 0)), Ok(()));
        assert_eq!(catalog.remove(ids[0]), Some(Removed::Shared));
        assert_eq!(catalog.remove(ids[1]), Some(Removed::Content(content)));
        assert_eq!(catalog.remove(ids[1]), None);
        assert_eq!(catalog.remove(ids[2]), Some(Removed::Partial));
        assert_eq!((catalog.counts(), catalog.apps()), ((0, 0, 0), vec![]));
    }

    #[test]
    fn names_may_be_limited_and_ages_are() {
        let mut catalog = catalog(&[
            ("spark.anymaster.staging.names", ".py,.zip"),
            ("spark.anymaster.staging.maxAge", "50"),
            ("spark.anymaster.staging.uploadMaxAge", "10"),
        ]);
        let id = UploadId::random();
        let fault = catalog.begin(id, record("a", 1), 100).unwrap_err();
        assert_eq!(fault.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let mut good = record("a", 1);
        good.name = FileName::new("a.py").unwrap();
        let capability = good.capability;
        catalog.begin(id, good, 100).unwrap();
        assert_eq!(catalog.expired(109), []);
        catalog.touch(id, 105);
        assert_eq!((catalog.expired(114), catalog.expired(115)), (vec![], vec![id]));
        assert_eq!(catalog.download(capability), None, "it is not complete");
        catalog.complete(id, ContentDigest([1; 32]));
        assert_eq!(catalog.download(capability), Some((ContentDigest([1; 32]), 1)));
        assert_eq!(catalog.download(Capability::random().digest()), None);
        assert_eq!(catalog.expired(150), [id]);
        assert!(
            Limits::of(&[("spark.anymaster.staging.maxAge", "0")].into_iter().collect()).is_err()
        );
    }
}
