//! Finds an installed Spark, its release, and a Java to run it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anymaster_core::conf::read_properties;
use anymaster_core::{Error, Result, SparkRelease};
use zip::ZipArchive;

use crate::Environment;

/// The largest properties file that is read from a jar.
const MAX_SIZE: u64 = 1024 * 1024;

/// An installed Spark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkHome {
    /// `SPARK_HOME`.
    pub path: PathBuf,
    /// The release, from the names of its jars; `None` if unknown.
    pub release: Option<SparkRelease>,
    /// The binary version of its Scala, `2.12` or `2.13`.
    pub scala: &'static str,
    /// The jars of slf4j's API, which come first in the class path since 4.0.
    pub(crate) slf4j: Vec<PathBuf>,
}

impl SparkHome {
    /// Inspects the directory of an installed Spark.
    pub fn of(path: PathBuf) -> Self {
        let mut home = Self { path, release: None, scala: "2.12", slf4j: Vec::new() };
        for entry in home.path.join("jars").read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("slf4j-api-") {
                home.slf4j.push(entry.path());
            }
            if name.starts_with("spark-core_2.13-") {
                home.scala = "2.13";
            }
            home.release = home.release.or_else(|| SparkRelease::of_core(name));
        }
        home.slf4j.sort();
        home
    }

    /// The jars of this Spark as entries of a class path (Spark 3.5 and 4.x, `AbstractCommandBuilder`).
    pub fn class_path(&self) -> Vec<PathBuf> {
        let is_4 = self.release.as_ref().is_some_and(|release| release.number() >= (4, 0));
        let first = self.slf4j.iter().filter(|_| is_4).cloned();
        first.chain([self.path.join("jars").join("*")]).collect()
    }

    /// The class path of an executor after its own entries: the directory of the configuration, and the jars.
    pub fn executor_class_path(&self) -> String {
        let own = [self.path.join("conf").join("")];
        let all: Vec<_> = own.into_iter().chain(self.class_path()).collect();
        all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
    }

    /// The configuration directory: `SPARK_CONF_DIR`, else `conf`.
    pub(crate) fn conf_dir(&self, environment: &Environment) -> PathBuf {
        environment.get("SPARK_CONF_DIR").map_or_else(|| self.path.join("conf"), PathBuf::from)
    }

    /// The jars of the examples, and the main one among them.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if this Spark has no examples.
    pub(crate) fn examples(&self) -> Result<(Vec<PathBuf>, PathBuf)> {
        let dir = if self.path.join("RELEASE").is_file() {
            self.path.join("examples/jars")
        } else {
            self.path.join(format!("examples/target/scala-{}/jars", self.scala))
        };
        let missing = |what: String| {
            Error::invalid(what)
                .with_hint("a Spark of pip has no examples; those of its download page do")
        };
        let entries = dir.read_dir().map_err(|error| {
            missing(format!("Examples jars directory '{}' does not exist.", dir.display()))
                .with_source(error)
        })?;
        let mut jars: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        jars.sort();
        let is_main = |jar: &&PathBuf| {
            jar.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spark-examples"))
        };
        let main = jars.iter().find(is_main).cloned().ok_or_else(|| {
            missing(format!("Failed to find examples' main app jar in {}.", dir.display()))
        })?;
        Ok((jars, main))
    }

    /// What `spark-submit --version` prints (`SparkSubmit.printVersion`), without a JVM.
    ///
    /// # Errors
    /// If the jars do not contain the version.
    pub fn version_text(&self, environment: &Environment) -> Result<String> {
        // Since 3.5 it is in the jar of common-utils.
        let info = self
            .properties(&["spark-core_", "spark-common-utils_"], "spark-version-info.properties")?;
        let scala = self.properties(&["scala-library-"], "library.properties")?;
        let of = |entries: &[(String, String)], name: &str| {
            let found = entries.iter().find(|(key, _)| key == name);
            found.map_or_else(|| "<unknown>".to_owned(), |(_, value)| value.clone())
        };
        let java = find_java(environment).ok().and_then(|java| java_version(&java));
        Ok(format!(
            r"Welcome to
      ____              __
     / __/__  ___ _____/ /__
    _\ \/ _ \/ _ `/ __/  '_/
   /___/ .__/\_,_/_/ /_/\_\   version {}
      /_/
                        
Using Scala version {}, {}
Branch {}
Compiled by user {} on {}
Revision {}
Url {}
Type --help for more information.",
            of(&info, "version"),
            of(&scala, "version.number"),
            java.map_or_else(|| "no Java found".to_owned(), |version| format!("Java {version}")),
            of(&info, "branch"),
            of(&info, "user"),
            of(&info, "date"),
            of(&info, "revision"),
            of(&info, "url"),
        ))
    }

    /// Reads a properties file from the first jar with one of these prefixes that contains it.
    fn properties(&self, jars: &[&str], file: &str) -> Result<Vec<(String, String)>> {
        let dir = self.path.join("jars");
        let missing = || Error::invalid(format!("no jar in {} has {file}", dir.display()));
        let entries = dir.read_dir().map_err(|error| missing().with_source(error))?;
        let is_meant = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            jars.iter().any(|prefix| name.starts_with(prefix))
        };
        for jar in entries.flatten().map(|entry| entry.path()).filter(is_meant) {
            let Ok(mut archive) =
                ZipArchive::new(File::open(&jar).map_err(|error| missing().with_source(error))?)
            else {
                continue;
            };
            let Ok(entry) = archive.by_name(file) else { continue };
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(entry, MAX_SIZE), &mut text)
                .map_err(|error| missing().with_source(error))?;
            return read_properties(&text);
        }
        Err(missing())
    }
}

/// The version of a `java`, from the file `release` of its installation.
fn java_version(java: &Path) -> Option<String> {
    let java = java.canonicalize().ok()?;
    let text = std::fs::read_to_string(java.parent()?.parent()?.join("release")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some(line.trim_matches('"').to_owned())
}

fn is_spark_home(dir: &Path) -> bool {
    dir.join("jars").is_dir() && dir.join("bin/spark-submit").exists()
}

/// Finds Spark: `SPARK_HOME`, else the installation of the `spark-submit` in `PATH`, which may be
/// pip's `pyspark`.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is not found.
pub fn find_spark(environment: &Environment) -> Result<PathBuf> {
    if let Some(home) = environment.get("SPARK_HOME") {
        let home = PathBuf::from(home);
        if is_spark_home(&home) {
            return Ok(home);
        }
        return Err(Error::invalid(format!(
            "SPARK_HOME is {}, but there is no Spark in it (no jars directory)",
            home.display()
        ))
        .with_hint("export SPARK_HOME=the directory that has bin/spark-submit and jars in it"));
    }
    let path = environment.get("PATH").unwrap_or_default();
    std::env::split_paths(path)
        .find_map(|dir| spark_of_program(&dir.join("spark-submit")))
        .ok_or_else(|| {
            Error::invalid(
                "no Spark found: SPARK_HOME is not set, and there is no spark-submit in PATH",
            )
            .with_hint(
                "export SPARK_HOME=the directory of a Spark distribution (or: pip install pyspark)",
            )
        })
}

/// The Spark that a `spark-submit` belongs to: the parent of its `bin` directory, before or after
/// resolving links; or the `pyspark` that pip installed there.
pub fn spark_of_program(program: &Path) -> Option<PathBuf> {
    let above = |program: &Path| Some(program.parent()?.parent()?.to_owned());
    let target = program.canonicalize().ok()?;
    for dir in [std::path::absolute(program).ok().as_deref(), Some(&target)].into_iter().flatten() {
        let Some(beside) = above(dir) else { continue };
        if is_spark_home(&beside) {
            return Some(beside);
        }
        let libraries = beside.join("lib").read_dir().into_iter().flatten().flatten();
        let mut installed = libraries.map(|entry| entry.path().join("site-packages/pyspark"));
        if let Some(found) = installed.find(|dir| is_spark_home(dir)) {
            return Some(found);
        }
    }
    None
}

/// Finds `java`: in `JAVA_HOME`, else in `PATH`.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if there is none.
pub fn find_java(environment: &Environment) -> Result<PathBuf> {
    if let Some(home) = environment.get("JAVA_HOME") {
        let java = Path::new(home).join("bin/java");
        return if java.is_file() {
            Ok(java)
        } else {
            Err(Error::invalid(format!("JAVA_HOME is {home}, but {} is not there", java.display()))
                .with_hint("export JAVA_HOME=the directory of a JDK, or unset it"))
        };
    }
    let path = environment.get("PATH").unwrap_or_default();
    std::env::split_paths(path).map(|dir| dir.join("java")).find(|java| java.is_file()).ok_or_else(
        || {
            Error::invalid("no Java found: JAVA_HOME is not set, and there is no java in PATH")
                .with_hint("install one (Debian: apt install openjdk-17-jre-headless)")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spark_of_a_linked_program_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("spark");
        for part in ["bin", "jars"] {
            std::fs::create_dir_all(home.join(part)).unwrap();
        }
        std::fs::write(dir.path().join("anymaster"), "").unwrap();
        let link = home.join("bin/spark-submit");
        std::os::unix::fs::symlink(dir.path().join("anymaster"), &link).unwrap();
        assert_eq!(spark_of_program(&link), Some(home));
        assert_eq!(spark_of_program(&dir.path().join("anymaster")), None);
    }
}
