//! Determines the kind of an application, and converts paths to URIs (Spark 3.5,
//! `Utils.resolveURI`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anymaster_core::model::SparkLanguage;

use crate::parse::NO_RESOURCE;

/// The kind of application that a line submits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A Spark application in this language.
    Spark(SparkLanguage),
    /// `pyspark-shell`, `spark-shell`, `sparkr-shell`.
    Shell,
    /// `spark-internal`: a class that is part of Spark or of the image.
    Internal,
    /// Any other program, which is the driver itself.
    Program,
}

impl Resource {
    /// Determined from the name, and for files without an extension from the first bytes.
    pub(crate) fn of(name: &str, has_class: bool, current_dir: &Path) -> Self {
        let path = name.split(['#', '?']).next().unwrap_or(name);
        match name {
            "spark-shell" | "pyspark-shell" | "sparkr-shell" | "connect-shell" => {
                return Self::Shell;
            }
            NO_RESOURCE => return Self::Internal,
            _ if path.ends_with(".py") => return Self::Spark(SparkLanguage::Python),
            _ if path.ends_with(".R") || path.ends_with(".r") => {
                return Self::Spark(SparkLanguage::R);
            }
            _ => {}
        }
        let is_jar = path.ends_with(".jar") || has_class || has_scheme(name);
        // A jar without its extension starts with the magic bytes of zip files.
        let looks_like_jar = || {
            let mut magic = [0; 2];
            std::fs::File::open(current_dir.join(name))
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
                .is_ok_and(|()| &magic == b"PK")
        };
        if is_jar || looks_like_jar() {
            return Self::Spark(SparkLanguage::Java);
        }
        Self::Program
    }
}

/// Whether a text starts with a URI scheme.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// Converts a path to a `file:` URI, with symbolic links resolved unless it has a fragment. URIs
/// are returned unchanged.
pub(crate) fn to_uri(text: &str, current_dir: &Path) -> String {
    if has_scheme(text) {
        return text.to_owned();
    }
    let (path, fragment) = match text.split_once('#') {
        Some((path, fragment)) => (current_dir.join(path), Some(fragment)),
        None => (canonical(&current_dir.join(text)), None),
    };
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b' '
            | b'"'
            | b'%'
            | b'<'
            | b'>'
            | b'['
            | b'\\'
            | b']'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | b'#'
            | b'?'
            | 0..=0x1f
            | 0x7f.. => {
                let _ = write!(uri, "%{byte:02X}");
            }
            _ => uri.push(char::from(*byte)),
        }
    }
    if let Some(fragment) = fragment {
        uri.push('#');
        uri.push_str(fragment);
    }
    uri
}

/// Resolves links, `.` and `..`; components that do not exist are kept.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        (Some(parent), None) => canonical(parent).parent().unwrap_or(Path::new("/")).to_owned(),
        (None, _) => path.to_owned(),
    }
}

/// Converts each item of a comma-separated list to a URI.
pub(crate) fn to_uris(list: &str, current_dir: &Path) -> String {
    let uris: Vec<_> = anymaster_core::conf::keys::split_list(list)
        .map(|item| to_uri(item, current_dir))
        .collect();
    uris.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris_and_uris_stay() {
        let dir = Path::new("/home/me");
        for (text, uri) in [
            ("a.jar", "file:/home/me/a.jar"),
            ("/x/a b.jar", "file:/x/a%20b.jar"),
            ("b/../a.jar", "file:/home/me/a.jar"),
            ("a.zip#dir", "file:/home/me/a.zip#dir"),
            ("local:///opt/a.jar", "local:///opt/a.jar"),
            ("hdfs:/a.jar", "hdfs:/a.jar"),
        ] {
            assert_eq!(to_uri(text, dir), uri);
        }
        assert_eq!(to_uris(" a.jar, ,b.jar", dir), "file:/home/me/a.jar,file:/home/me/b.jar");
    }

    #[test]
    fn the_kind_of_an_application_is_determined() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("zipped"), b"PK\x03\x04").unwrap();
        std::fs::write(dir.path().join("program"), b"#!/bin/sh\n").unwrap();
        let of = |name, class| Resource::of(name, class, dir.path());
        use SparkLanguage::{Java, Python, R as Rlang};
        assert_eq!(of("a.jar", false), Resource::Spark(Java));
        assert_eq!(of("http://h/a.py", false), Resource::Spark(Python));
        assert_eq!(of("a.R", false), Resource::Spark(Rlang));
        assert_eq!(of("zipped", false), Resource::Spark(Java));
        assert_eq!(of("program", true), Resource::Spark(Java));
        assert_eq!(of("local:///opt/app", false), Resource::Spark(Java));
        assert_eq!(of("program", false), Resource::Program);
        assert_eq!(of("pyspark-shell", false), Resource::Shell);
    }
}
