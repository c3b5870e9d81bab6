//! JVM options for class data sharing (CDS): an archive of Spark's loaded classes, which speeds up
//! the start of a driver. The JVM ignores an archive that does not match its class path.

use std::path::{Path, PathBuf};

use anymaster_core::conf::keys;
use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use sha2::{Digest as _, Sha256};

use crate::Submission;

/// The JVM options for the archive of this Java and class path in `dir`.
pub(crate) fn options(
    submission: &Submission,
    java: &Path,
    class_path: &str,
    dir: Option<&Path>,
) -> Result<Vec<String>> {
    let mode = submission.conf.read(&keys::CLIENT_CLASS_ARCHIVE)?;
    let key = keys::CLIENT_CLASS_ARCHIVE.info.name;
    let file = dir.map(|dir| dir.join(name(java, class_path)));
    match (mode.as_str(), file) {
        ("off", _) | ("auto", None) => Ok(Vec::new()),
        ("auto", Some(file)) if !file.is_file() => Ok(Vec::new()),
        // The JVM's warnings about a mismatching archive are turned off.
        ("auto", Some(file)) => Ok(vec![
            format!("-XX:SharedArchiveFile={}", file.display()),
            "-Xlog:cds=off".to_owned(),
            "-Xlog:cds+dynamic=off".to_owned(),
        ]),
        ("create", None) => {
            Err(Error::invalid(format!("{key}: there is no directory to keep it in"))
                .with_hint("set ANYMASTER_STATE_DIR to a directory of yours"))
        }
        ("create", Some(file)) => {
            if let Some(entry) = class_path.split(':').find(|entry| is_full_dir(Path::new(entry))) {
                return Err(Error::unsupported(format!(
                    "{key}: no archive can be made, as the class path has the directory {entry}, which \
                     is not empty"
                ))
                .with_hint("a limit of Java's: only jars and empty directories can be in it"));
            }
            if let Some(dir) = file.parent() {
                std::fs::create_dir_all(dir).map_err(|error| {
                    Error::unavailable(format!("cannot make {}", dir.display())).with_source(error)
                })?;
            }
            Ok(vec![
                format!("-XX:ArchiveClassesAtExit={}", file.display()),
                "-Xlog:cds=error".to_owned(),
                "-Xlog:cds+dynamic=error".to_owned(),
            ])
        }
        (other, _) => Err(Error::invalid(format!("{key}: {other:?} is not auto, create or off"))),
    }
}

/// The file name of the archive, derived from the Java and the class path.
fn name(java: &Path, class_path: &str) -> PathBuf {
    let digest = Sha256::digest(format!("{}\n{class_path}", java.display()));
    format!("spark-{}.jsa", hex(&digest[..8])).into()
}

fn is_full_dir(path: &Path) -> bool {
    path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}
