//! The archive of an installed Spark's jars, which all submissions of it share.

use std::path::Path;

use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use sha2::{Digest as _, Sha256};

/// The jars of a Spark, and what tells them from others: their names and sizes.
pub(crate) fn jars_of(dir: &Path) -> Result<(Vec<String>, String)> {
    let unreadable =
        |error| Error::invalid(format!("cannot read {}", dir.display())).with_source(error);
    let mut jars = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = std::fs::metadata(entry.path()).map_err(unreadable)?;
        if name.to_lowercase().ends_with(".jar") && found.is_file() {
            jars.push((name, found.len()));
        }
    }
    jars.sort();
    if jars.is_empty() {
        return Err(Error::invalid(format!("there are no jars in {}", dir.display())));
    }
    let mut digest = Sha256::new();
    jars.iter().for_each(|(name, size)| digest.update(format!("{name} {size}\n")));
    Ok((jars.into_iter().map(|(name, _)| name).collect(), hex(&digest.finalize()[..16])))
}

/// An archive of these files, without compression: they are archives themselves.
pub(crate) fn archive_of(dir: &Path, names: &[String]) -> Result<tempfile::NamedTempFile> {
    let failed = |error: std::io::Error| {
        Error::unavailable("the archive of Spark's jars cannot be written").with_source(error)
    };
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut zip = zip::ZipWriter::new(std::io::BufWriter::new(file.as_file()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in names {
        let mut jar = std::fs::File::open(dir.join(name)).map_err(failed)?;
        zip.start_file(name.as_str(), options).map_err(|error| failed(error.into()))?;
        std::io::copy(&mut jar, &mut zip).map_err(failed)?;
    }
    zip.finish()
        .map_err(std::io::Error::from)
        .and_then(|mut written| std::io::Write::flush(&mut written))
        .map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_jars_is_known_by_their_names_and_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.jar", "12");
        write("a.jar", "1");
        write("readme", "x");
        let (names, digest) = jars_of(dir.path()).unwrap();
        assert_eq!(names, ["a.jar", "b.jar"]);
        let archive = archive_of(dir.path(), &names).unwrap();
        let mut zip = zip::ZipArchive::new(archive.reopen().unwrap()).unwrap();
        assert_eq!(std::io::read_to_string(zip.by_name("b.jar").unwrap()).unwrap(), "12");
        write("b.jar", "123");
        assert_ne!(jars_of(dir.path()).unwrap().1, digest);
    }
}
