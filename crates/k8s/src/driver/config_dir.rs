//! Reads configuration directories whose files go into a config map.

use std::path::{Path, PathBuf};

use anymaster_core::Result;

use crate::submitter_env::SubmitterEnv;

/// The files of a directory whose names are valid keys of a config map, sorted by name, with a
/// warning for others. `what` names the directory in errors.
pub(super) fn files(
    what: &str,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, PathBuf)>> {
    let mut files = SubmitterEnv::files_in(what, directory)?;
    files.retain(|(name, path)| {
        if !is_key(name) {
            warnings.push(format!(
                "{} is not passed to the driver: keys of a config map consist of letters, digits, \"-\", \"_\" \
                 and \".\"",
                path.display()
            ));
        }
        is_key(name)
    });
    Ok(files)
}

/// Whether a name is a valid key of a config map.
fn is_key(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(valid) && name.len() <= 253
}
