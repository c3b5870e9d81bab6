//! Directories of configuration whose files become texts of a config map.

use std::path::{Path, PathBuf};

use anymaster_core::Result;

use crate::machine::Machine;

/// The files of a directory whose names the API server takes, sorted by these. Of others there is a
/// warning. `what` names the directory in errors.
pub(super) fn files(
    what: &str,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Machine::files_in(what, directory)?;
    files.retain(|(name, path)| {
        if !is_key(name) {
            warnings.push(format!(
                "{} does not go to the driver: names in a config map are of letters, digits, \"-\", \"_\" \
                 and \".\"",
                path.display()
            ));
        }
        is_key(name)
    });
    Ok(files)
}

/// What the API server takes as the name of a config map's text.
fn is_key(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(valid) && name.len() <= 253
}
