//! What a submission takes from the machine and the user that it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use anymaster_hadoop::Configuration;
use anymaster_spark::{Environment, SparkHome, find_spark};

/// The variables that say where Hadoop's configuration is.
const CONF_DIRS: [&str; 2] = ["HADOOP_CONF_DIR", "YARN_CONF_DIR"];

/// The submitter's environment, as far as applications depend on it.
pub(crate) struct Submitter {
    pub(crate) environment: Environment,
    /// Whom the cluster is told.
    pub(crate) user: String,
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Submitter {
    pub(crate) fn of_process() -> Self {
        let user = anymaster_hadoop::current_user();
        Self { environment: Environment::of_process(), user }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name)
    }

    /// The directories of Hadoop's configuration; there is at least one.
    pub(crate) fn hadoop_conf_dirs(&self) -> Result<Vec<PathBuf>> {
        let named = CONF_DIRS.iter().filter_map(|name| self.get(name));
        let dirs: Vec<_> = named.map(|dir| self.environment.current_dir.join(dir)).collect();
        match dirs.is_empty() {
            false => Ok(dirs),
            true => Err(Error::invalid(
                "When running with master 'yarn' either HADOOP_CONF_DIR or YARN_CONF_DIR must be set \
                 in the environment.",
            )
            .with_hint("export HADOOP_CONF_DIR=the directory of yarn-site.xml")),
        }
    }

    /// Hadoop's configuration, with the properties `spark.hadoop.*` over it.
    pub(crate) fn configuration(&self, conf: &Conf) -> Result<Configuration> {
        let dirs = self.hadoop_conf_dirs()?;
        let mut configuration = Configuration::read(&dirs[0])?;
        for (name, value) in conf.with_prefix("spark.hadoop.") {
            configuration.set(name, value);
        }
        if configuration.get("hadoop.security.authentication").as_deref() == Some("kerberos") {
            return Err(Error::unsupported(
                "the cluster wants Kerberos (hadoop.security.authentication), which is not implemented",
            )
            .with_hint("submit with Spark's own spark-submit"));
        }
        Ok(configuration)
    }

    /// The Spark of this machine.
    pub(crate) fn spark(&self) -> Result<SparkHome> {
        find_spark(&self.environment).map(SparkHome::of)
    }

    /// A path of this machine that a property names, as a path or a `file:` URI.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:"));
        self.environment.current_dir.join(path.unwrap_or(text))
    }

    /// Files that go with the configuration of an application: what is in Hadoop's directories, and the XML
    /// files of Spark's, which come first. Of two with one name the first counts (Spark 3.5,
    /// `Client.createConfArchive`).
    pub(crate) fn hadoop_conf_files(&self, spark: &SparkHome) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        let of_spark = files_in(&self.spark_conf_dir(spark))?;
        for (name, path) in of_spark.into_iter().filter(|(name, _)| name.ends_with(".xml")) {
            files.entry(name).or_insert(path);
        }
        for dir in self.hadoop_conf_dirs()? {
            for (name, path) in files_in(&dir)? {
                files.entry(name).or_insert(path);
            }
        }
        Ok(files)
    }

    pub(crate) fn spark_conf_dir(&self, spark: &SparkHome) -> PathBuf {
        self.get("SPARK_CONF_DIR").map_or_else(|| spark.path.join("conf"), PathBuf::from)
    }
}

/// The readable files of a directory; none if there is no such directory.
fn files_in(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::invalid(format!("cannot read the directory {}", dir.display()))
                .with_source(error));
        }
    };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        // What cannot be read is left out, as Spark does.
        if path.is_file() && std::fs::File::open(&path).is_ok() {
            files.push((entry.file_name().to_string_lossy().into_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}
