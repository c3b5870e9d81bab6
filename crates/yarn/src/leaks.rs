//! Files of submissions whose applications have ended: what nobody has removed.

use std::io::{Cursor, Read as _};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Leak, Result};
use anymaster_hadoop::{FileStatus, FileSystem, Location};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::application_file::APPLICATION;
use crate::cluster::Cluster;
use crate::keys;
use crate::preflight::PROBE;
use crate::proto::ApplicationId;
use crate::spark::{CONF_ARCHIVE, CONF_PROPERTIES};
use crate::staging::{LIBRARIES, PROGRAMS, caller, home, staging_root};
use crate::status;

/// Kinds of leaks.
const DIRECTORY: &str = "directory";
const FILE: &str = "file";
/// How old the files of an application are at least that the ResourceManager does not know: it does not know one whose
/// files are being uploaded.
const UNKNOWN_AGE: Duration = Duration::from_secs(3600);
/// How many applications are asked for at once.
const AT_ONCE: usize = 8;
/// The longest files that are read to see whether the others are to stay.
const MAX_CONF: u64 = 16 << 20;

const ENDED: &str = "its application has ended";
const FORGOTTEN: &str = "the ResourceManager does not know its application any more";
const FOREIGN: &str = "the ResourceManager does not know its application; another cluster may";
const UNFINISHED: &str = "an upload has not come to its end";
const PROBED: &str = "a doctor has left it";

/// What is known of an application whose files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    /// When, in milliseconds since 1970.
    Ended(i64),
    /// Its id is one of the ResourceManager that runs.
    Forgotten,
    Foreign,
}

/// The staging directories of a user.
struct Staging {
    files: FileSystem,
    root: Location,
}

impl Staging {
    async fn of(cluster: &Cluster) -> Result<Self> {
        let caller = caller(&cluster.submitter, None);
        let (files, home) = home(&cluster.conf, &cluster.configuration, &caller).await?;
        Ok(Self { files, root: staging_root(&home) })
    }
}

/// What applications of this user that have ended have left, and is older than this.
pub(crate) async fn find(cluster: &Cluster, older_than: Duration) -> Result<Vec<Leak>> {
    let staging = Staging::of(cluster).await?;
    let started = started_on(cluster).await;
    let now = Timestamp::now();
    let mut entries = Vec::new();
    for place in ["", LIBRARIES, PROGRAMS] {
        let directory =
            if place.is_empty() { staging.root.clone() } else { staging.root.join(place) };
        let listed = staging.files.list(&directory.path).await?;
        entries.extend(listed.into_iter().map(|it| (directory.clone(), it)));
    }
    let old = entries.into_iter().filter(|(_, it)| age(it, now) >= older_than);
    let looks = old.map(|(directory, found)| look(cluster, &staging, started, directory, found));
    let leaks: Vec<Option<Leak>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(leaks
        .into_iter()
        .flatten()
        // An application master removes its files itself when it has ended.
        .filter(|leak| now.duration_since(leak.created).unsigned_abs() >= older_than)
        .collect())
}

/// Removes a leak, if it still is one.
pub(crate) async fn remove(cluster: &Cluster, leak: &Leak) -> Result<()> {
    let staging = Staging::of(cluster).await?;
    let directory = Location::parse(&leak.namespace)?.resolved(&cluster.configuration)?;
    let is_ours = directory == staging.root
        || [LIBRARIES, PROGRAMS].iter().any(|place| directory == staging.root.join(place));
    if !is_ours || leak.name.contains('/') || matches!(leak.name.as_str(), "" | "." | "..") {
        let what = format!("{} is no staging directory", directory.join(&leak.name));
        return Err(Error::invalid(what));
    }
    let at = directory.join(&leak.name);
    if let Some(id) = application_of(&leak.name) {
        match fate(cluster, id, started_on(cluster).await).await? {
            Fate::Lives => return Err(Error::conflict(format!("{id} runs: {at} stays"))),
            Fate::Foreign => {
                return Err(Error::conflict(format!("{at} stays: {FOREIGN}"))
                    .with_hint(format!("if it is of none, hdfs dfs -rm -r {at} removes it")));
            }
            Fate::Ended(_) | Fate::Forgotten => {}
        }
    }
    staging.files.remove(&at.path).await
}

/// When the active ResourceManager was started: a part of the ids that it gives.
async fn started_on(cluster: &Cluster) -> Option<i64> {
    match cluster.web.active().await {
        Ok(info) => Some(info.started_on),
        Err(error) => {
            tracing::info!(%error, "it is not known since when the ResourceManager runs");
            None
        }
    }
}

fn age(found: &FileStatus, now: Timestamp) -> Duration {
    now.duration_since(modified(found)).unsigned_abs()
}

fn modified(found: &FileStatus) -> Timestamp {
    time(i64::try_from(found.modified).unwrap_or_default())
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The application of a directory, or of a file that is being uploaded.
fn application_of(name: &str) -> Option<ApplicationId> {
    name.strip_suffix(".zip").unwrap_or(name).parse().ok()
}

async fn fate(cluster: &Cluster, id: ApplicationId, started: Option<i64>) -> Result<Fate> {
    match cluster.manager.report(id).await {
        Ok(report) if status::driver(&report)?.state.is_ended() => {
            Ok(Fate::Ended(report.finish_time.unwrap_or_default()))
        }
        Ok(_) => Ok(Fate::Lives),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_known = started == Some(id.cluster_timestamp);
            Ok(if is_known { Fate::Forgotten } else { Fate::Foreign })
        }
        Err(error) => Err(error),
    }
}

async fn look(
    cluster: &Cluster,
    staging: &Staging,
    started: Option<i64>,
    directory: Location,
    found: FileStatus,
) -> Result<Option<Leak>> {
    let is_root = directory == staging.root;
    if is_root && found.is_dir && found.name.starts_with(PROBE) {
        return Ok(Some(leak(&directory, &found, modified(&found), PROBED)));
    }
    let Some(id) = application_of(&found.name).filter(|_| is_root == found.is_dir) else {
        return Ok(None);
    };
    let fate = fate(cluster, id, started).await?;
    if is_root
        && fate != Fate::Lives
        && stays(cluster, staging, &directory.join(&found.name)).await?
    {
        return Ok(None);
    }
    Ok(judged(&directory, &found, fate, Timestamp::now()))
}

/// Whether something is a leak, by what became of its application.
fn judged(directory: &Location, found: &FileStatus, fate: Fate, now: Timestamp) -> Option<Leak> {
    let why = match fate {
        Fate::Lives => return None,
        Fate::Forgotten | Fate::Foreign if age(found, now) < UNKNOWN_AGE => return None,
        Fate::Ended(_) | Fate::Forgotten if !found.is_dir => UNFINISHED,
        Fate::Ended(_) => ENDED,
        Fate::Forgotten => FORGOTTEN,
        Fate::Foreign => FOREIGN,
    };
    let since = match fate {
        Fate::Ended(at) => modified(found).max(time(at)),
        _ => modified(found),
    };
    Some(leak(directory, found, since, why))
}

fn leak(directory: &Location, found: &FileStatus, created: Timestamp, why: &str) -> Leak {
    Leak {
        kind: if found.is_dir { DIRECTORY } else { FILE },
        namespace: directory.to_string(),
        name: found.name.clone(),
        created,
        why: why.to_owned(),
        uid: None,
    }
}

/// Whether the files of an application were to stay (`spark.yarn.preserve.staging.files`).
async fn stays(cluster: &Cluster, staging: &Staging, at: &Location) -> Result<bool> {
    if cluster.conf.read(&keys::PRESERVE_STAGING_FILES)? {
        return Ok(true);
    }
    for (name, says) in
        [(CONF_ARCHIVE, archive_says as fn(&[u8]) -> bool), (APPLICATION, file_says)]
    {
        match staging.files.read(&at.join(name).path, MAX_CONF).await {
            Ok(bytes) => return Ok(says(&bytes)),
            Err(error) => tracing::debug!(%at, name, %error, "it has no such file"),
        }
    }
    Ok(false)
}

fn archive_says(archive: &[u8]) -> bool {
    let Ok(mut zip) = zip::ZipArchive::new(Cursor::new(archive)) else { return false };
    let Ok(file) = zip.by_name(CONF_PROPERTIES) else { return false };
    let mut text = String::new();
    if file.take(MAX_CONF).read_to_string(&mut text).is_err() {
        return false;
    }
    let key = keys::PRESERVE_STAGING_FILES.info.name;
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    values.map(|rest| rest.trim_start_matches([' ', '=', ':'])).any(|value| value.trim() == "true")
}

fn file_says(text: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Of {
        staging: Option<String>,
    }
    serde_json::from_slice::<Of>(text).is_ok_and(|of| of.staging.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn found(name: &str, is_dir: bool, modified: i64) -> FileStatus {
        let modified = modified.unsigned_abs();
        FileStatus { name: name.to_owned(), is_dir, length: 0, modified, mode: 0o700 }
    }

    #[test]
    fn what_belongs_to_an_application_that_lives_or_is_being_submitted_is_no_leak() {
        let directory = Location::parse("hdfs://nn:8020/user/me/.sparkStaging").unwrap();
        let now = time(10 * HOUR);
        let of = |fate, is_dir, modified| {
            let found = found("application_1700000000000_0001", is_dir, modified);
            judged(&directory, &found, fate, now).map(|leak| (leak.why, leak.created))
        };
        assert_eq!(of(Fate::Lives, true, 0), None);
        assert_eq!(of(Fate::Ended(9 * HOUR), true, HOUR), Some((ENDED.to_owned(), time(9 * HOUR))));
        assert_eq!(of(Fate::Forgotten, true, HOUR), Some((FORGOTTEN.to_owned(), time(HOUR))));
        assert_eq!(of(Fate::Foreign, true, HOUR), Some((FOREIGN.to_owned(), time(HOUR))));
        // It may be a long upload.
        assert_eq!(of(Fate::Forgotten, true, 10 * HOUR - 60_000), None);
        assert_eq!(of(Fate::Forgotten, false, HOUR).unwrap().0, UNFINISHED);
        assert_eq!(of(Fate::Foreign, false, HOUR).unwrap().0, FOREIGN);
    }

    #[test]
    fn applications_are_known_by_the_names_of_their_files() {
        let id = |name| application_of(name).map(|id| id.id);
        assert_eq!(id("application_1700000000000_0007"), Some(7));
        assert_eq!(id("application_1700000000000_0007.zip"), Some(7));
        assert_eq!(id("spark-libs-0123.zip"), None);
        assert_eq!(id("anymaster-libs"), None);
    }

    #[test]
    fn what_was_to_stay_stays() {
        let archive = |text: &str| {
            let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
            zip.start_file(CONF_PROPERTIES, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
            zip.finish().unwrap().into_inner()
        };
        assert!(archive_says(&archive("a=b\nspark.yarn.preserve.staging.files=true\n")));
        assert!(!archive_says(&archive("spark.yarn.preserve.staging.files=false\n")));
        assert!(!archive_says(&archive("")) && !archive_says(b"PK"));
        assert!(file_says(br#"{"app":"x","staging":null}"#));
        assert!(!file_says(br#"{"staging":"hdfs://nn/x"}"#) && !file_says(b"{"));
    }
}
