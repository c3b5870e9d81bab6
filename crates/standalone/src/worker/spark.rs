//! The command line of a Spark driver on a worker.
//!
//! A Spark driver requests executors from a `spark://` master by Spark's RPC, which our master does not
//! implement. Spark drivers are therefore started in client mode with the master `local[N]`, where N is
//! the number of cores of the driver.

use std::path::{Path, PathBuf};

use anymaster_core::model::{DriverSpec, SparkJob};
use anymaster_core::{Error, Result};
use anymaster_dispatcher::keys;

use crate::host::prepare::{DRIVER_RECORDS, ProcessContext};
use crate::host::process::Launch;

/// The directory of the worker's own properties, which may contain the secret of the cluster.
pub(super) const CONF_DIR: &str = "SPARK_CONF_DIR";

/// The process of a driver. `dir`: its directory; `program`: the path of `anymaster`.
pub(super) fn driver(
    processes: &ProcessContext,
    spec: &DriverSpec,
    job: &SparkJob,
    dir: PathBuf,
    program: Option<&Path>,
    limit_mib: u64,
) -> Result<Launch> {
    let program = program.ok_or_else(|| {
        Error::unsupported(
            "this worker cannot start Spark drivers: the path of the anymaster program is not set",
        )
    })?;
    if job.primary_resource != keys::NO_RESOURCE {
        check(&job.primary_resource)?;
    }
    let master = format!("local[{}]", spec.resources.cores);
    let properties = processes.properties.display().to_string();
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
