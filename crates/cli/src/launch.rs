//! The surroundings that Spark's scripts make for its programs: `SPARK_HOME` and what `spark-env.sh`
//! sets. What is missing is set by starting this program once more with it, so that every part of it,
//! and every process that it starts, sees the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anymaster_core::{Error, Result};
use anymaster_spark::{Environment, ScriptSetup};

use crate::commands::submit::Caller;

/// What neither submits nor reaches a cluster, or has its surroundings from who started it.
const WITHOUT: [&str; 9] = [
    "application-master",
    "completions",
    "help",
    "janitor",
    "local-worker",
    "man",
    "--help",
    "-h",
    "--version",
];

/// Becomes this program with what Spark's scripts would set, if anything of that is missing.
///
/// # Errors
/// If it cannot be started again.
pub(crate) fn as_spark_does(line: &[OsString], caller: Caller) -> Result<()> {
    let Some((called, args)) = line.split_first() else { return Ok(()) };
    let verb = args.first().and_then(|verb| verb.to_str()).unwrap_or_default();
    let is_submission = caller == Caller::SparkSubmit || verb == "submit";
    if !is_submission && (args.is_empty() || WITHOUT.contains(&verb)) {
        return Ok(());
    }
    let environment = Environment::of_process();
    let Some(needed) = ScriptSetup::needed(&environment, Path::new(called), is_submission) else {
        return Ok(());
    };
    let program = std::env::current_exe()
        .map_err(|error| Error::unavailable("this program cannot be found").with_source(error))?;
    // It only returns if it fails.
    let error = needed.command(&program, called, args).exec();
    let error = match &needed.spark_env {
        Some(file) => Error::unavailable(format!("{} cannot be read by bash", file.display()))
            .with_source(error)
            .with_hint(
                "install bash, or set SPARK_ENV_LOADED=1 if what it sets is in the environment",
            ),
        None => Error::unavailable(format!(
            "{} cannot be started again",
            OsStr::new(&program).display()
        ))
        .with_source(error),
    };
    Err(error)
}
