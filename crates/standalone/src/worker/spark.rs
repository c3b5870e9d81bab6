//! Spark's own drivers on a worker.
//!
//! Spark's driver asks a `spark://` master for executors in messages of serialised Java objects, which
//! no other than Spark's master understands. So it is started as `spark-submit` starts it in client mode
//! and does its work itself, with as many threads as it has cores.

use std::path::{Path, PathBuf};

use anymaster_core::model::{DriverSpec, SparkJob};
use anymaster_core::{Error, Result};
use anymaster_dispatcher::keys;

use crate::host::prepare::{DRIVER_TRACES, Shared};
use crate::host::process::Launch;

/// Where the worker's own properties are, and what they say of the cluster's secret.
pub(super) const CONF_DIR: &str = "SPARK_CONF_DIR";

/// The driver, in this directory, started by this `anymaster`.
pub(super) fn driver(
    shared: &Shared,
    spec: &DriverSpec,
    job: &SparkJob,
    dir: PathBuf,
    program: Option<&Path>,
    limit_mib: u64,
) -> Result<Launch> {
    let program = program.ok_or_else(|| {
        Error::unsupported("this worker cannot start Spark's drivers: it does not know anymaster")
    })?;
    if job.primary_resource != keys::NO_RESOURCE {
        check(&job.primary_resource)?;
    }
    let master = format!("local[{}]", spec.resources.cores);
    let properties = shared.properties.display().to_string();
    let mut args: Vec<String> = ["submit", "--master", &master, "--deploy-mode", "client"]
        .into_iter()
        .chain(["--properties-file", &properties])
        .map(str::to_owned)
        .collect();
    if let Some(class) = &job.main_class {
        args.extend(["--class".to_owned(), class.clone()]);
    }
    args.push(job.primary_resource.clone());
    args.extend(job.args.iter().cloned());
    let mut env = shared.env();
    // For a class that begins with what `spark-submit` does, and is not told a master.
    env.insert("MASTER".to_owned(), master);
    // As from Spark's worker: there is more in it that a JVM reads.
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
        // As Spark's worker: a JVM takes more than its heap, and is not held to what it asked for.
        limit_mib,
        rotation: shared.rotation,
        name: format!("{}-driver", shared.app),
        traces: shared.home.join(DRIVER_TRACES),
    })
}

/// A file of this machine has to be there.
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
        .with_hint("it has to be on the worker, or at a URL that the worker reaches"))
}
