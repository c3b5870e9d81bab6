//! The directories with the files of submissions, in the directory of their user.

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_hadoop::rpc::Caller;
use anymaster_hadoop::{Configuration, FileSystem, Location};

use crate::keys;
use crate::proto::{ApplicationId, Url};
use crate::submitter::Submitter;

/// The directory of a submission and its parents: Spark's mode for it, and for those of all.
pub(crate) const PRIVATE: u32 = 0o700;
pub(crate) const SHARED: u32 = 0o755;
/// Where archives of Spark's jars are, and our programs, beside staging directories.
pub(crate) const LIBRARIES: &str = "anymaster-libs";
pub(crate) const PROGRAMS: &str = "anymaster-programs";

/// Removes the files of an application that has ended, unless properties keep them.
pub(crate) async fn remove_staging(
    submitter: &Submitter,
    configuration: &Configuration,
    conf: &Conf,
    id: ApplicationId,
) -> Result<()> {
    if conf.read(&keys::PRESERVE_STAGING_FILES)? {
        return Ok(());
    }
    let (files, home) = home(conf, configuration, &caller(submitter, None)).await?;
    files.remove(&staging_dir(&home, id).path).await
}

pub(crate) fn staging_dir(home: &Location, id: ApplicationId) -> Location {
    staging_root(home).join(&id.to_string())
}

/// The directory with all staging directories of a user.
pub(crate) fn staging_root(home: &Location) -> Location {
    home.join(".sparkStaging")
}

/// The user's directory, in which staging directories are.
pub(crate) async fn home(
    conf: &Conf,
    configuration: &Configuration,
    caller: &Caller,
) -> Result<(FileSystem, Location)> {
    if let Some(dir) = conf.read_optional(&keys::STAGING_DIR)? {
        let key = keys::STAGING_DIR.info.name;
        let dir = Location::parse(&dir).map_err(|error| error.context(key))?;
        let dir = dir.resolved(configuration)?;
        let files = FileSystem::of(configuration, &dir, caller)?;
        return Ok((files, dir.join(&caller.user)));
    }
    let root = Location::parse("/")?.resolved(configuration)?;
    let files = FileSystem::of(configuration, &root, caller)?;
    let path = files.home().await?;
    Ok((files, Location { path, ..root }))
}

/// Whom the cluster is told.
pub(crate) fn caller(submitter: &Submitter, proxy_user: Option<&str>) -> Caller {
    let own = submitter.user.clone();
    match proxy_user {
        Some(user) => Caller { user: user.to_owned(), real_user: Some(own) },
        None => Caller { user: own, real_user: None },
    }
}

/// Whether everybody may go to a directory.
pub(crate) async fn is_reachable(files: &FileSystem, dir: &str) -> Result<bool> {
    let mut path = dir.trim_end_matches('/');
    loop {
        let dir = if path.is_empty() { "/" } else { path };
        let mode = files.status(dir).await?.map_or(0, |found| found.mode);
        if mode & 0o001 == 0 {
            return Ok(false);
        }
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => return Ok(true),
        }
    }
}

/// The URL of a file, as containers have it.
pub(crate) fn url(location: &Location) -> Url {
    let authority = Some(location.authority.as_str()).filter(|it| !it.is_empty());
    let (host, port) = match authority.map(|it| it.rsplit_once(':').unwrap_or((it, ""))) {
        Some((host, port)) => (Some(host.to_owned()), port.parse().ok()),
        None => (None, None),
    };
    Url {
        scheme: location.scheme.clone(),
        host,
        port: Some(port.unwrap_or(-1)),
        file: Some(location.path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_hosts_and_ports_where_there_are_any() {
        let of = |text: &str| url(&Location::parse(text).unwrap());
        let hdfs = of("hdfs://nn:8020/a");
        assert_eq!((hdfs.host.as_deref(), hdfs.port), (Some("nn"), Some(8020)));
        let file = of("file:/a");
        assert_eq!((file.host, file.port, file.file.as_deref()), (None, Some(-1), Some("/a")));
        assert_eq!(of("hdfs://group/a").port, Some(-1));
    }
}
