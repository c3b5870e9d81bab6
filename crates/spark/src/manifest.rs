//! Reads the main class from a jar's manifest.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anymaster_core::{Error, Result};
use zip::ZipArchive;

/// The largest manifest that is read.
const MAX_SIZE: u64 = 1024 * 1024;

/// `Main-Class` of a jar's manifest.
///
/// # Errors
/// Spark's messages, if the jar cannot be read or has no main class.
pub(crate) fn main_class(jar: &Path) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "Failed to get main class in JAR with error '{error}'.  Please specify one with --class."
        ))
    };
    let shown = jar.display();
    let file = File::open(jar).map_err(|error| failed(&format!("{shown}: {error}")))?;
    let mut archive =
        ZipArchive::new(file).map_err(|error| failed(&format!("{shown}: {error}")))?;
    let none = || Error::invalid("No main class set in JAR; please specify one with --class.");
    let manifest = archive.by_name("META-INF/MANIFEST.MF").map_err(|_| none())?;
    let mut bytes = Vec::new();
    manifest
        .take(MAX_SIZE)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&format!("{shown}: {error}")))?;
    attribute(&String::from_utf8_lossy(&bytes), "Main-Class").ok_or_else(none)
}

/// An attribute of the main section. Lines are continued after 72 bytes, with a leading blank.
fn attribute(manifest: &str, name: &str) -> Option<String> {
    let whole = manifest.replace("\r\n", "\n").replace("\n ", "");
    let main = whole.split("\n\n").next()?;
    main.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn jar(manifest: Option<&str>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ZipWriter::new(file.reopen().unwrap());
        if let Some(manifest) = manifest {
            writer.start_file("META-INF/MANIFEST.MF", SimpleFileOptions::default()).unwrap();
            writer.write_all(manifest.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    #[test]
    fn the_class_is_found_where_there_is_one() {
        let long = "Manifest-Version: 1.0\r\nMain-Class: org.example.a.very.long.name.of.a.pack\r\n age.Main\r\n\r\nName: x\r\nMain-Class: No\r\n";
        assert_eq!(
            main_class(jar(Some(long)).path()).unwrap(),
            "org.example.a.very.long.name.of.a.package.Main"
        );
        for (file, words) in [
            (jar(Some("Manifest-Version: 1.0\n")), "No main class set in JAR"),
            (jar(None), "No main class set in JAR"),
            (tempfile::NamedTempFile::new().unwrap(), "Failed to get main class in JAR with error"),
        ] {
            let error = main_class(file.path()).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
        assert!(main_class(Path::new("/nope.jar")).is_err());
    }
}
