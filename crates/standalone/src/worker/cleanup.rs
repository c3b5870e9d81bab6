//! Removes old directories of ended applications (`spark.worker.cleanup.*`), and ends processes that a
//! killed worker left behind.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anymaster_core::Error;
use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;

use super::shuffle;
use super::tasks::Tasks;
use crate::host::prepare::{DRIVER_RECORDS, EXECUTOR_RECORDS};
use crate::host::process_record;
use anymaster_native::keys;

/// Cleans up at the configured interval. Returns only if a property is invalid.
pub(super) async fn run(tasks: &Arc<Tasks>, conf: &Conf) -> Error {
    let read = || {
        let enabled = conf.read(&keys::CLEANUP_ENABLED)?;
        let interval = conf.read(&keys::CLEANUP_INTERVAL)?.max(Duration::from_secs(1));
        Ok((enabled, interval, conf.read(&keys::CLEANUP_TTL)?))
    };
    let (enabled, interval, ttl) = match read() {
        Ok(read) => read,
        Err(error) => return error,
    };
    if !enabled {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(interval).await;
        let tasks = Arc::clone(tasks);
        let swept = tokio::task::spawn_blocking(move || sweep(&tasks, ttl)).await;
        if let Err(error) = swept {
            tracing::warn!(%error, "cannot clean up the work directory");
        }
    }
}

/// Ends the processes of an earlier worker with this work directory that was killed together with its
/// watchdog.
pub(super) async fn end_orphans(work_dir: &Path) {
    for entry in std::fs::read_dir(work_dir).into_iter().flatten().flatten() {
        for part in [DRIVER_RECORDS, EXECUTOR_RECORDS] {
            for (file, record) in process_record::read_all(&entry.path().join(part)) {
                if !record.has_owner() {
                    record.end(&file).await;
                }
            }
        }
    }
}

fn sweep(tasks: &Tasks, ttl: Duration) {
    let Ok(entries) = std::fs::read_dir(tasks.work_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_old = newest(&entry.path())
            .is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ttl));
        let is_ended = |name: &str| name != anymaster_shuffle::OWN && !tasks.has_application(name);
        if is_old && name.to_str().is_some_and(is_ended) {
            tracing::info!("removing {}", entry.path().display());
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!("cannot remove {}: {error}", entry.path().display());
            }
            if let Some(app) = name.to_str().and_then(|name| AppId::new(name).ok()) {
                // Its end was not heard of, or long ago.
                shuffle::application_ended(tasks.shuffle.as_ref(), &app);
            }
        }
    }
}

/// The latest modification time in a directory tree. Symbolic links are not followed.
fn newest(dir: &Path) -> Option<SystemTime> {
    let own = std::fs::symlink_metadata(dir).ok()?;
    let mut newest = own.modified().ok()?;
    if own.is_dir() {
        for entry in std::fs::read_dir(dir).ok()?.flatten() {
            newest = newest.max(self::newest(&entry.path())?);
        }
    }
    Some(newest)
}
