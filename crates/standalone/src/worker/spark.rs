//! The Spark installations of a worker, and the command line of a Spark driver on it.
//!
//! It is started in client mode, with the master that its worker belongs to, of which it requests executors by
//! Spark's RPC.

use std::path::{Path, PathBuf};

use anymaster_core::conf::keys::{AUTHENTICATE, AUTHENTICATE_SECRET};
use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{DriverSpec, SparkJob};
use anymaster_core::native::SparkPart;
use anymaster_core::{Error, Result, SparkRelease};
use anymaster_native::keys;

use super::tasks::write_private;
use crate::host::prepare::{DRIVER_RECORDS, ProcessContext};
use crate::host::process::Launch;

/// Where executors reach a driver.
const DRIVER_HOST: &str = "spark.driver.host";

/// The directory of the worker's own properties, which may contain the secret of the cluster.
pub(super) const CONF_DIR: &str = "SPARK_CONF_DIR";

/// A Spark of this machine.
#[derive(Debug, Clone)]
pub struct InstalledSpark {
    /// Its release.
    pub release: SparkRelease,
    /// The binary version of its Scala: `2.12` or `2.13`.
    pub scala: String,
    /// Its directory.
    pub home: String,
    /// The path of the program `java` that runs it.
    pub java: String,
    /// The directory of its configuration, and its jars.
    pub class_path: String,
}

impl InstalledSpark {
    pub(super) fn part(&self, part: SparkPart) -> &str {
        match part {
            SparkPart::Home => &self.home,
            SparkPart::Java => &self.java,
            SparkPart::ClassPath => &self.class_path,
        }
    }
}

/// Where a driver runs.
pub(super) struct Place<'a> {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// The address of the worker, at which executors reach it.
    pub(super) host: &'a str,
    /// The path of `anymaster`.
    pub(super) program: Option<&'a Path>,
    /// What the master has to be shown.
    pub(super) secret: Option<&'a str>,
    pub(super) limit_mib: u64,
}

/// The process of a driver. `conf`: the properties of its application.
pub(super) fn driver(
    processes: &ProcessContext,
    spec: &DriverSpec,
    job: &SparkJob,
    conf: &Conf,
    place: Place<'_>,
) -> Result<Launch> {
    let Place { dir, host, program, secret, limit_mib } = place;
    let program = program.ok_or_else(|| {
        Error::unsupported(
            "this worker cannot start Spark drivers: the path of the anymaster program is not set",
        )
    })?;
    if job.primary_resource != keys::NO_RESOURCE {
        check(&job.primary_resource)?;
    }
    let master = processes.master.clone();
    let properties = match secret {
        None => processes.properties.display().to_string(),
        Some(secret) => with_secret(processes, &dir, secret)?,
    };
    let mut args: Vec<String> = ["submit", "--master", &master, "--deploy-mode", "client"]
        .into_iter()
        .chain(["--properties-file", &properties])
        .map(str::to_owned)
        .collect();
    if conf.get(DRIVER_HOST).is_none() {
        args.extend(["--conf".to_owned(), format!("{DRIVER_HOST}={host}")]);
    }
    if let Some(class) = &job.main_class {
        args.extend(["--class".to_owned(), class.clone()]);
    }
    args.push(job.primary_resource.clone());
    args.extend(job.args.iter().cloned());
    let mut env = processes.env();
    // For driver classes that read it as `spark-submit` does.
    env.insert("MASTER".to_owned(), master);
    // As Spark's worker: the directory also contains files that the JVM reads, such as log4j2.properties.
    if let Ok(dir) = std::env::var(CONF_DIR) {
        env.insert(CONF_DIR.to_owned(), dir);
    }
    env.extend(spec.env.clone());
    Ok(Launch {
        program: program.display().to_string(),
        args,
        env,
        working_dir: dir.clone(),
        dir,
        // As Spark's worker: a JVM needs more than its heap and is not limited to the memory requested.
        limit_mib,
        rotation: processes.rotation,
        name: format!("{}-driver", processes.app),
        process_records: processes.home.join(DRIVER_RECORDS),
    })
}

/// The properties of the application with the secret, in a file that only this user reads.
fn with_secret(processes: &ProcessContext, dir: &Path, secret: &str) -> Result<String> {
    let failed = |path: &Path, error| {
        Error::unavailable(format!("cannot use {}", path.display())).with_source(error)
    };
    let shared = std::fs::read_to_string(&processes.properties)
        .map_err(|error| failed(&processes.properties, error))?;
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let own = [(AUTHENTICATE.info.name, "true"), (AUTHENTICATE_SECRET.info.name, secret)];
    let path = dir.join("spark.properties");
    write_private(&path, &format!("{shared}\n{}", write_properties(own)))?;
    Ok(path.display().to_string())
}

/// A local file has to exist on this machine.
fn check(resource: &str) -> Result<()> {
    let path = match resource.split_once(':') {
        Some(("file", rest)) => rest.trim_start_matches("//"),
        Some(_) => return Ok(()),
        None => resource,
    };
    if Path::new(path).is_file() {
        return Ok(());
    }
    Err(Error::invalid(format!("java.nio.file.NoSuchFileException: {path}"))
        .with_hint("the file has to be on the worker, or at a URL that the worker can read"))
}
