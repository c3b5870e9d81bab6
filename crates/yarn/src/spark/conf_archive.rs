//! The archive with the configuration of an application (Spark 3.5, `Client.createConfArchive`).

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::{Error, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{CONF_PROPERTIES, HADOOP_CONF};
use crate::proto::{LocalResourceType, Visibility};

/// Files of `SPARK_CONF_DIR` that go to the root.
const OF_SPARK: [&str; 7] = [
    "log4j2.yaml",
    "log4j2.yml",
    "log4j2.json",
    "log4j2.jsn",
    "log4j2.xml",
    "log4j2.properties",
    "metrics.properties",
];

/// What is in the archive.
#[derive(Debug)]
pub(crate) struct ConfArchive<'a> {
    pub(crate) conf: &'a Conf,
    /// What containers of executors find in YARN's cache.
    pub(crate) cached: &'a [Cached],
    /// Where this archive will be.
    pub(crate) location: String,
    pub(crate) spark_conf_dir: PathBuf,
    pub(crate) hadoop_files: BTreeMap<String, PathBuf>,
}

/// A file in YARN's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cached {
    /// `hdfs://host:8020/path#link`.
    pub(crate) uri: String,
    pub(crate) size: u64,
    pub(crate) timestamp: u64,
    pub(crate) visibility: Visibility,
    pub(crate) kind: LocalResourceType,
}

/// Writes the archive; nothing in it is compressed.
pub(crate) fn write(archive: &ConfArchive<'_>) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        Error::invalid("the archive of the configuration cannot be written").with_source(error)
    };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(name, options).map_err(std::io::Error::from)?;
        zip.write_all(bytes)
    };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            Error::invalid(format!("cannot read {}", path.display())).with_source(error)
        })
    };
    for name in OF_SPARK {
        let path = archive.spark_conf_dir.join(name);
        if path.is_file() {
            add(name, &read(&path)?).map_err(failed)?;
        }
    }
    for (name, path) in &archive.hadoop_files {
        add(&format!("{HADOOP_CONF}/{name}"), &read(path)?).map_err(failed)?;
    }
    let properties = write_properties(archive.conf.iter());
    add(CONF_PROPERTIES, properties.as_bytes()).map_err(failed)?;
    let cached = cache_properties(archive);
    let cached = write_properties(cached.iter().map(|(key, value)| (*key, value.as_str())));
    add("__spark_dist_cache__.properties", cached.as_bytes()).map_err(failed)?;
    let written = zip.finish().map_err(std::io::Error::from).map_err(failed)?;
    Ok(written.into_inner())
}

fn cache_properties(archive: &ConfArchive<'_>) -> Vec<(&'static str, String)> {
    fn list(cached: &[Cached], field: impl Fn(&Cached) -> String) -> String {
        cached.iter().map(field).collect::<Vec<_>>().join(",")
    }
    let kind = |it: &Cached| match it.kind {
        LocalResourceType::Archive => "ARCHIVE".to_owned(),
        LocalResourceType::File => "FILE".to_owned(),
    };
    let visibility = |it: &Cached| match it.visibility {
        Visibility::Public => "PUBLIC".to_owned(),
        Visibility::Private => "PRIVATE".to_owned(),
        Visibility::Application => "APPLICATION".to_owned(),
    };
    let all = archive.cached;
    let mut properties = vec![("spark.yarn.cache.confArchive", archive.location.clone())];
    if !all.is_empty() {
        properties.extend([
            ("spark.yarn.cache.filenames", list(all, |it| it.uri.clone())),
            ("spark.yarn.cache.sizes", list(all, |it| it.size.to_string())),
            ("spark.yarn.cache.timestamps", list(all, |it| it.timestamp.to_string())),
            ("spark.yarn.cache.types", list(all, kind)),
            ("spark.yarn.cache.visibilities", list(all, visibility)),
        ]);
    }
    properties
}
