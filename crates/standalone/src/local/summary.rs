//! A cache of the last statuses of an ended application (driver and allocation) in one small file, so
//! that listing ten thousand applications does not read their journals.
//!
//! The file contains the lengths of the journals from which it was made. It is ignored if a length has
//! changed or if it cannot be read.

use std::fs;

use anymaster_core::model::Status;
use serde::{Deserialize, Serialize};

use super::journal::LatestStatuses;
use super::store::{AppDir, Part, failed, write_private};
use crate::host::files;

const NAME: &str = "summary.json";

/// The largest summary that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The lengths of an application's journals in bytes; 0 for one that does not exist.
type Lengths = [u64; 2];

#[derive(Serialize, Deserialize)]
struct Summary {
    journals: Lengths,
    statuses: Vec<Status>,
}

fn lengths(dir: &AppDir) -> Option<Lengths> {
    let length = |part| match fs::symlink_metadata(dir.journal(part)) {
        Ok(file) if file.is_file() => Some(file.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(0),
        _ => None,
    };
    Some([length(Part::Driver)?, length(Part::Executors)?])
}

/// The last statuses of the driver and the allocation, if there is a valid summary.
pub(crate) fn read(dir: &AppDir) -> Option<Vec<Status>> {
    let bytes = files::read(&dir.path.join(NAME), MAX_SIZE).ok()?;
    let summary: Summary = serde_json::from_slice(&bytes).ok()?;
    let is_current = Some(summary.journals) == lengths(dir)
        && summary.statuses.iter().all(|status| *status.app() == dir.app);
    is_current.then_some(summary.statuses)
}

/// Reads the journals, and writes the summary if the application has ended.
pub(crate) fn fold(dir: &AppDir) -> anymaster_core::Result<LatestStatuses> {
    // Taken first: a line appended while the journals are read makes the summary invalid.
    let before = lengths(dir);
    let latest = dir.fold()?;
    if let Some(journals) = before
        && latest.is_over()
        && !dir.has_owner()
    {
        write(dir, journals, &latest);
    }
    Ok(latest)
}

fn write(dir: &AppDir, journals: Lengths, latest: &LatestStatuses) {
    let lines = [&latest.driver, &latest.allocation].into_iter().flatten();
    let statuses = lines.map(|line| line.status.clone()).collect();
    let Ok(text) = serde_json::to_string(&Summary { journals, statuses }) else { return };
    let draft = dir.path.join(format!(".{NAME}-{:016x}", rand::random::<u64>()));
    let path = dir.path.join(NAME);
    let written = write_private(&draft, &text)
        .and_then(|()| fs::rename(&draft, &path).map_err(failed("write", &path)));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        // Harmless: the journals are read again next time.
        tracing::debug!(app = %dir.app, %error, "cannot write the summary");
    }
}
