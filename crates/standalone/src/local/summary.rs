//! What is left to tell of an application that is over, in one small file: the last statuses of its
//! driver and its allocation. A list of ten thousand applications reads these and no journals.
//!
//! It is a cache. It names the lengths of the journals that it was made of, and counts for nothing if
//! they are others now, or if it cannot be read.

use std::fs;

use anymaster_core::model::Status;
use serde::{Deserialize, Serialize};

use super::journal::Folded;
use super::store::{AppDir, Part, failed, write_private};
use crate::host::files;

const NAME: &str = "summary.json";

/// Larger ones are not ours.
const MAX_SIZE: u64 = 1 << 20;

/// The lengths of an application's journals in bytes; one that is missing has none.
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

/// The last statuses of driver and allocation, if the application is over and that was written down.
pub(crate) fn read(dir: &AppDir) -> Option<Vec<Status>> {
    let bytes = files::read(&dir.path.join(NAME), MAX_SIZE).ok()?;
    let summary: Summary = serde_json::from_slice(&bytes).ok()?;
    let is_right = Some(summary.journals) == lengths(dir)
        && summary.statuses.iter().all(|status| *status.app() == dir.app);
    is_right.then_some(summary.statuses)
}

/// Reads the journals, and writes down what they say if the application is over.
pub(crate) fn fold(dir: &AppDir) -> anymaster_core::Result<Folded> {
    // What is written while they are read makes them longer than this.
    let before = lengths(dir);
    let folded = dir.fold()?;
    if let Some(journals) = before
        && folded.is_over()
        && !dir.has_owner()
    {
        write(dir, journals, &folded);
    }
    Ok(folded)
}

fn write(dir: &AppDir, journals: Lengths, folded: &Folded) {
    let lines = [&folded.driver, &folded.allocation].into_iter().flatten();
    let statuses = lines.map(|line| line.status.clone()).collect();
    let Ok(text) = serde_json::to_string(&Summary { journals, statuses }) else { return };
    let draft = dir.path.join(format!(".{NAME}-{:016x}", rand::random::<u64>()));
    let path = dir.path.join(NAME);
    let written = write_private(&draft, &text)
        .and_then(|()| fs::rename(&draft, &path).map_err(failed("write", &path)));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        // Without it, the journals are read the next time as well.
        tracing::debug!(app = %dir.app, %error, "no summary is kept");
    }
}
