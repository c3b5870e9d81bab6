//! Spark's properties for standalone clusters (Spark 3.5, `org.apache.spark.internal.config.Deploy` and
//! `Worker`; 4.x where noted), and our own.

use std::time::Duration;

use anymaster_core::conf::keys::{AUTHENTICATE_SECRET, Kind};
use anymaster_core::conf::{Conf, TimeUnit};
use anymaster_core::{Error, Result};

use crate::wire::Secret;

const SECONDS: Kind = Kind::Time(TimeUnit::Second);

anymaster_core::property_keys! {
    /// Whether the executors of an application are spread out over as many workers as possible, or put onto as few.
    SPREAD_OUT: bool = "spark.deploy.spreadOutApps", Kind::Flag, Some("true"), "4.0.0", Honoured, was "spark.deploy.spreadOut";
    /// The cores of an application that does not set `spark.cores.max`; all of them where it is unset.
    DEFAULT_CORES: u32 = "spark.deploy.defaultCores", Kind::Count, None, "0.9.0", Honoured;
    /// How many executors of an application may fail one after the other, with none running, before it is given up; a negative number: any.
    MAX_EXECUTOR_RETRIES: String = "spark.deploy.maxExecutorRetries", Kind::Text, Some("10"), "1.6.3", Honoured;
    /// How many applications that ended the master remembers.
    RETAINED_APPLICATIONS: u32 = "spark.deploy.retainedApplications", Kind::Count, Some("200"), "0.8.0", Honoured;
    /// How long a worker may be silent before it is taken for gone.
    WORKER_TIMEOUT: Duration = "spark.worker.timeout", SECONDS, Some("60"), "0.6.2", Honoured;
    /// Whether workers remove the directories of applications that ended.
    CLEANUP_ENABLED: bool = "spark.worker.cleanup.enabled", Kind::Flag, Some("true"), "1.0.0", Honoured;
    /// How often they look for such directories.
    CLEANUP_INTERVAL: Duration = "spark.worker.cleanup.interval", SECONDS, Some("1800"), "1.0.0", Honoured;
    /// How long these stay.
    CLEANUP_TTL: Duration = "spark.worker.cleanup.appDataTtl", SECONDS, Some("604800"), "1.0.0", Honoured;
    /// A program that prints which of a resource a worker has: `{"name": "gpu", "addresses": ["0", "1"]}`.
    RESOURCE_SCRIPT: String = "spark.worker.resource.*.discoveryScript", Kind::Text, None, "3.0.0", Honoured;
    /// How many of them the worker offers.
    RESOURCE_AMOUNT: u64 = "spark.worker.resource.*.amount", Kind::Count, None, "3.0.0", Honoured;

    /// What a master that is started again knows: `NONE`, or with `FILESYSTEM` all that it knew before.
    RECOVERY_MODE: String = "spark.deploy.recoveryMode", Kind::Text, Some("NONE"), "0.8.1", Honoured;
    /// Where it keeps that.
    RECOVERY_DIRECTORY: String = "spark.deploy.recoveryDirectory", Kind::Text, None, "0.8.1", Honoured;

    /// A file with the secret that masters, workers and clients share, instead of `spark.authenticate.secret`.
    SECRET_FILE: String = "spark.anymaster.authenticate.secretFile", Kind::Text, None, "0.1.0", Honoured;
    /// How long a worker, or a driver outside of the cluster, whose connection ended has to come back.
    RETURN_TIME: Duration = "spark.anymaster.standalone.returnTime", SECONDS, Some("5"), "0.1.0", Honoured;
    /// How long a worker keeps its processes when no master is to be reached.
    FENCE_AFTER: Duration = "spark.anymaster.standalone.fenceAfter", SECONDS, Some("120"), "0.1.0", Honoured;
}

/// The secret that all processes of the cluster share, if there is one.
///
/// # Errors
/// For a file that cannot be read.
pub(crate) fn secret(conf: &Conf) -> Result<Secret> {
    if let Some(path) = conf.read_optional(&SECRET_FILE)? {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::invalid(format!("{}: cannot read {path}", SECRET_FILE.info.name))
                .with_source(error)
        })?;
        return match text.trim() {
            "" => Err(Error::invalid(format!("{}: {path} is empty", SECRET_FILE.info.name))),
            secret => Ok(Secret::new(Some(secret))),
        };
    }
    Ok(Secret::new(conf.get(AUTHENTICATE_SECRET.info.name)))
}

/// How many retries there are; `None`: any number.
///
/// # Errors
/// If it is no number.
pub(crate) fn max_retries(conf: &Conf) -> Result<Option<u32>> {
    let text = conf.read(&MAX_EXECUTOR_RETRIES)?;
    let number: i64 = text.trim().parse().map_err(|_| {
        Error::invalid(format!(
            "{}: {text:?} is not a whole number",
            MAX_EXECUTOR_RETRIES.info.name
        ))
    })?;
    Ok(u32::try_from(number).ok())
}
