//! The files that containers have, and where the cluster has them.

use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use anymaster_hadoop::{FileStatus, FileSystem, Location};

use crate::proto::{LocalResource, LocalResourceType, NamedResource, Visibility};
use crate::spark::Cached;
use crate::staging::{is_reachable, url};

/// A file as the cluster has it.
pub(crate) struct Stored {
    pub(crate) location: Location,
    status: FileStatus,
    visibility: Visibility,
}

/// A file that containers have.
pub(crate) struct Localized {
    pub(crate) stored: Stored,
    pub(crate) link: String,
    pub(crate) kind: LocalResourceType,
    pub(crate) for_executors: bool,
}

/// The files of this machine that a path or pattern means.
pub(crate) fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.display().to_string();
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !text.contains(['*', '?', '[']) {
        return Err(Error::invalid(format!("{text}: there is no such file")));
    }
    let invalid = |why: String| Error::invalid(format!("{text}: {why}"));
    let all = glob::glob(&text).map_err(|error| invalid(error.to_string()))?;
    let found: Vec<_> = all.filter_map(std::result::Result::ok).filter(|it| it.is_file()).collect();
    if found.is_empty() { Err(invalid("it fits no file".to_owned())) } else { Ok(found) }
}

/// The files of the cluster that a path or pattern means; a pattern in its last part only.
pub(crate) async fn found(files: &FileSystem, location: Location) -> Result<Vec<Stored>> {
    let (dir, name) = location.path.rsplit_once('/').unwrap_or(("", &location.path));
    let dir_path = if dir.is_empty() { "/" } else { dir };
    let is_reachable = is_reachable(files, dir_path).await?;
    if !name.contains(['*', '?', '[']) {
        let status = files.status(&location.path).await?;
        return Ok(vec![Stored::of(location, status, is_reachable)?]);
    }
    let pattern = glob::Pattern::new(name)
        .map_err(|error| Error::invalid(format!("{location}")).with_source(error))?;
    let all = files.list(dir_path).await?;
    let fits = all.into_iter().filter(|it| !it.is_dir && pattern.matches(&it.name));
    let stored = |status: FileStatus| {
        let path = format!("{dir}/{}", status.name);
        Stored::of(Location { path, ..location.clone() }, Some(status), is_reachable)
    };
    let found: Vec<_> = fits.map(stored).collect::<Result<_>>()?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{location}: it fits no file")));
    }
    Ok(found)
}

impl Stored {
    /// A file with this status, in a directory to which everybody may go, or not. Files that everybody may read
    /// are shared between users (Spark 3.5, `ClientDistributedCacheManager.isPublic`).
    pub(crate) fn of(
        location: Location,
        status: Option<FileStatus>,
        is_reachable: bool,
    ) -> Result<Self> {
        let status =
            status.ok_or_else(|| Error::invalid(format!("{location}: there is no such file")))?;
        let visibility = match is_reachable && status.mode & 0o004 != 0 {
            true => Visibility::Public,
            false => Visibility::Private,
        };
        Ok(Self { location, status, visibility })
    }

    pub(crate) fn name(&self) -> &str {
        self.location.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Localized {
    pub(crate) fn resource(&self) -> NamedResource {
        let number = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let resource = LocalResource {
            url: Some(url(&self.stored.location)),
            size: number(self.stored.status.length),
            timestamp: number(self.stored.status.modified),
            kind: Some(self.kind as i32),
            visibility: Some(self.stored.visibility as i32),
        };
        NamedResource { name: Some(self.link.clone()), resource: Some(resource) }
    }

    pub(crate) fn cached(&self) -> Cached {
        Cached {
            uri: format!("{}#{}", self.stored.location, self.link),
            size: self.stored.status.length,
            timestamp: self.stored.status.modified,
            visibility: self.stored.visibility,
            kind: self.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use anymaster_hadoop::Source;

    use super::*;
    use crate::staging::{PRIVATE, SHARED};

    #[tokio::test]
    async fn what_everybody_may_read_is_public() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let path = dir.path().join("f").display().to_string();
        let files = FileSystem::Local;
        files.write(&path, &Source::Bytes("x".into()), None).await.unwrap();
        let location = Location::parse(&path).unwrap();
        let seen = async || found(&files, location.clone()).await.unwrap()[0].visibility;
        let parent = dir.path().display().to_string();
        for (mode, wanted) in [(PRIVATE, Visibility::Private), (SHARED, Visibility::Public)] {
            files.make_dir(&parent, mode).await.unwrap();
            assert_eq!(seen().await, wanted);
        }
    }
}
