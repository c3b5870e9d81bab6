//! The file systems that a cluster and its clients share.

use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use bytes::Bytes;

use crate::Configuration;
use crate::rpc::Caller;
use crate::webhdfs::WebHdfs;

/// Files are readable by all, as those of `spark-submit` (Spark 3.5, `Client.APP_FILE_PERMISSION`).
const FILE_MODE: u32 = 0o644;

/// A file system.
#[derive(Debug, Clone)]
pub enum FileSystem {
    /// Of this machine; for a cluster whose machines all have it mounted.
    Local,
    /// HDFS, by its HTTP interface.
    Hdfs(WebHdfs),
}

/// The URI of a file or directory: `hdfs://host:8020/path`, `file:/path`, or a path of the default file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `hdfs`, `file` …; unset for the default file system.
    pub scheme: Option<String>,
    /// Host and port, or the name of a group of name nodes; may be empty.
    pub authority: String,
    /// From the root.
    pub path: String,
}

/// What is known of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// Its name in its directory; empty where it was asked for by its path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes.
    pub length: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified: u64,
    /// Its permissions, for example `0o755`.
    pub mode: u32,
}

/// What is written to a file.
#[derive(Debug, Clone)]
pub enum Source {
    /// These bytes.
    Bytes(Bytes),
    /// A file of this machine.
    File(PathBuf),
}

impl Location {
    /// Reads a URI, or a path.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a path that is not absolute.
    pub fn parse(text: &str) -> Result<Self> {
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme.to_ascii_lowercase()), rest),
            _ => (None, text),
        };
        let (authority, path) = match rest.strip_prefix("//").filter(|_| scheme.is_some()) {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !path.starts_with('/') && !path.is_empty() {
            return Err(Error::invalid(format!("{text}: the path is not absolute")));
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { scheme, authority: authority.to_owned(), path: path.to_owned() })
    }

    /// In its full form: where it does not say on which file system it is, it is on the default one.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a default file system that is none.
    pub fn resolved(mut self, configuration: &Configuration) -> Result<Self> {
        let default = configuration.get("fs.defaultFS").unwrap_or_else(|| "file:///".to_owned());
        let default = Self::parse(&default).map_err(|error| error.context("fs.defaultFS"))?;
        if self.scheme.is_none() || self.authority.is_empty() && self.scheme == default.scheme {
            (self.scheme, self.authority) = (default.scheme, default.authority);
        }
        Ok(self)
    }

    /// Whether both are on one file system. Both are in their full form.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.scheme, &self.authority) == (&other.scheme, &other.authority)
    }

    /// A file in this directory.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { path: format!("{}/{name}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

impl fmt::Display for Location {
    /// As Hadoop writes it: without an authority there are no slashes for one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.scheme, self.authority.as_str()) {
            (None, _) => f.write_str(&self.path),
            (Some(scheme), "") => write!(f, "{scheme}:{}", self.path),
            (Some(scheme), authority) => write!(f, "{scheme}://{authority}{}", self.path),
        }
    }
}

impl FileSystem {
    /// The file system of a location in its full form.
    ///
    /// # Errors
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for file systems other than HDFS and this
    /// machine's, and [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if the configuration does not say
    /// where it is.
    pub fn of(configuration: &Configuration, full: &Location, caller: &Caller) -> Result<Self> {
        match full.scheme.as_deref() {
            Some("file") | None => Ok(Self::Local),
            Some("hdfs" | "webhdfs") => {
                WebHdfs::new(configuration, &full.authority, caller).map(Self::Hdfs)
            }
            Some(other) => Err(Error::unsupported(format!(
                "files cannot be written to {other}: only hdfs: and file: are known"
            ))
            .with_hint(
                "set spark.yarn.stagingDir to a directory of HDFS, or of a shared file system",
            )),
        }
    }

    /// The directory of a user: its path.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub async fn home(&self) -> Result<String> {
        match self {
            Self::Local => std::env::var("HOME")
                .ok()
                .filter(|home| home.starts_with('/'))
                .ok_or_else(|| Error::invalid("HOME is not set")),
            Self::Hdfs(hdfs) => hdfs.home().await,
        }
    }

    /// Makes a directory with its parents; that one itself has this mode, whatever it was.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn make_dir(&self, path: &str, mode: u32) -> Result<()> {
        match self {
            Self::Local => {
                let mut builder = std::fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o755).create(path);
                let permissions = std::fs::Permissions::from_mode(mode);
                made.and_then(|()| std::fs::set_permissions(path, permissions))
                    .map_err(failed("make the directory", path))
            }
            Self::Hdfs(hdfs) => hdfs.make_dir(path, mode).await,
        }
    }

    /// Writes a file, in the place of one that is there.
    ///
    /// # Errors
    /// If it cannot be written; a part of it may be there then.
    pub async fn write(&self, path: &str, source: &Source, replication: Option<u32>) -> Result<()> {
        match self {
            Self::Local => {
                let written = match source {
                    Source::Bytes(bytes) => tokio::fs::write(path, bytes).await,
                    Source::File(from) => tokio::fs::copy(from, path).await.map(drop),
                };
                let permissions = std::fs::Permissions::from_mode(FILE_MODE);
                written
                    .and_then(|()| std::fs::set_permissions(path, permissions))
                    .map_err(failed("write", path))
            }
            Self::Hdfs(hdfs) => hdfs.write(path, source, FILE_MODE, replication).await,
        }
    }

    /// What is at a path; `None` if nothing is.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub async fn status(&self, path: &str) -> Result<Option<FileStatus>> {
        match self {
            Self::Local => match std::fs::metadata(path) {
                Ok(found) => Ok(Some(status(String::new(), &found))),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(failed("look at", path)(error)),
            },
            Self::Hdfs(hdfs) => hdfs.status(path).await,
        }
    }

    /// What is in a directory, sorted by name; nothing if there is no such directory.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub async fn list(&self, path: &str) -> Result<Vec<FileStatus>> {
        let mut all = match self {
            Self::Local => {
                local_list(Path::new(path)).or_else(|error| match is_missing(&error) {
                    true => Ok(Vec::new()),
                    false => Err(failed("list", path)(error)),
                })?
            }
            Self::Hdfs(hdfs) => hdfs.list(path).await?,
        };
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Gives a file another name; one that has that name already stays.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        match self {
            Self::Local => std::fs::rename(from, to).map_err(failed("rename", from)),
            Self::Hdfs(hdfs) => hdfs.rename(from, to).await,
        }
    }

    /// Removes a file, or a directory with all that is in it. Gone already is success.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub async fn remove(&self, path: &str) -> Result<()> {
        match self {
            Self::Local => {
                let removed = match std::fs::symlink_metadata(path) {
                    Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
                    Ok(_) => std::fs::remove_file(path),
                    Err(error) => Err(error),
                };
                match removed {
                    Err(error) if !is_missing(&error) => Err(failed("remove", path)(error)),
                    _ => Ok(()),
                }
            }
            Self::Hdfs(hdfs) => hdfs.remove(path).await,
        }
    }

    /// The bytes of a file, up to `max` of them.
    ///
    /// # Errors
    /// If it cannot be read, or is longer.
    pub async fn read(&self, path: &str, max: u64) -> Result<Bytes> {
        match self {
            Self::Local => {
                let length = std::fs::metadata(path).map_err(failed("read", path))?.len();
                if length > max {
                    return Err(Error::invalid(format!("{path} is longer than {max} bytes")));
                }
                std::fs::read(path).map(Bytes::from).map_err(failed("read", path))
            }
            Self::Hdfs(hdfs) => hdfs.read(path, max).await,
        }
    }
}

fn status(name: String, found: &std::fs::Metadata) -> FileStatus {
    let modified = found.mtime() * 1000 + found.mtime_nsec() / 1_000_000;
    FileStatus {
        name,
        is_dir: found.is_dir(),
        length: found.len(),
        modified: u64::try_from(modified).unwrap_or_default(),
        mode: found.mode() & 0o7777,
    }
}

fn local_list(path: &Path) -> io::Result<Vec<FileStatus>> {
    let entries = std::fs::read_dir(path)?;
    let all = entries.map(|entry| {
        let entry = entry?;
        let found = std::fs::metadata(entry.path())?;
        Ok(status(entry.file_name().to_string_lossy().into_owned(), &found))
    });
    all.collect()
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn failed<'a>(what: &'a str, path: &'a str) -> impl Fn(io::Error) -> Error + 'a {
    move |error| {
        let hint = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "the disk or the quota is used up: remove files there (anymaster leaks)"
            }
            io::ErrorKind::PermissionDenied => {
                "set spark.yarn.stagingDir to a directory that is yours, on a file system that all machines have"
            }
            _ => return Error::unavailable(format!("cannot {what} {path}")).with_source(error),
        };
        Error::unavailable(format!("cannot {what} {path}")).with_source(error).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, String, String, String) {
        let location = Location::parse(text).unwrap();
        let shown = location.to_string();
        (location.scheme, location.authority, location.path, shown)
    }

    #[test]
    fn locations_are_read_and_written_as_hadoop_does() {
        let of = |scheme: &str, authority: &str, path: &str, shown: &str| {
            let scheme = Some(scheme.to_owned()).filter(|it| !it.is_empty());
            (scheme, authority.to_owned(), path.to_owned(), shown.to_owned())
        };
        assert_eq!(
            parsed("hdfs://nn:8020/a/b"),
            of("hdfs", "nn:8020", "/a/b", "hdfs://nn:8020/a/b")
        );
        assert_eq!(parsed("hdfs:///a"), of("hdfs", "", "/a", "hdfs:/a"));
        assert_eq!(parsed("file:///a"), of("file", "", "/a", "file:/a"));
        assert_eq!(parsed("file:/a"), of("file", "", "/a", "file:/a"));
        assert_eq!(parsed("/a:b"), of("", "", "/a:b", "/a:b"));
        assert_eq!(parsed("hdfs://nn"), of("hdfs", "nn", "/", "hdfs://nn/"));
        assert!(Location::parse("a/b").is_err());
    }

    #[tokio::test]
    async fn files_of_this_machine_are_written_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let files = FileSystem::Local;
        files.make_dir(&path("a/b"), 0o700).await.unwrap();
        assert_eq!(files.status(&path("a/b")).await.unwrap().unwrap().mode, 0o700);
        files
            .write(&path("a/b/1"), &Source::Bytes(Bytes::from_static(b"one")), None)
            .await
            .unwrap();
        files.write(&path("a/b/2"), &Source::File(path("a/b/1").into()), None).await.unwrap();
        let names = |all: Vec<FileStatus>| {
            all.into_iter().map(|it| (it.name, it.length, it.mode)).collect::<Vec<_>>()
        };
        let all = names(files.list(&path("a/b")).await.unwrap());
        assert_eq!(all, [("1".to_owned(), 3, 0o644), ("2".to_owned(), 3, 0o644)]);
        files.rename(&path("a/b/1"), &path("a/b/3")).await.unwrap();
        assert_eq!(files.read(&path("a/b/3"), 3).await.unwrap(), "one");
        assert!(files.read(&path("a/b/3"), 2).await.is_err());
        files.remove(&path("a")).await.unwrap();
        files.remove(&path("a")).await.unwrap();
        assert_eq!(files.status(&path("a/b")).await.unwrap(), None);
        assert!(files.list(&path("a/b")).await.unwrap().is_empty());
    }
}
