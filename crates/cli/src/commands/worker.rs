//! `anymaster worker`: a worker of a standalone cluster.

use std::path::PathBuf;
use std::time::Duration;

use anymaster_core::conf::{Conf, SizeUnit, parse_size};
use anymaster_core::{Error, Result};
use anymaster_shuffle::{ENABLED, ShuffleOptions};
use anymaster_spark::{Environment, SparkHome, find_java};
use anymaster_spark_rpc::authentication;
use anymaster_standalone::WORKER_SPARK_HOMES;
use anymaster_standalone::client::masters;
use anymaster_standalone::worker::{InstalledSpark, Worker, WorkerOptions};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::daemon::{Daemon, Properties, environment, or_environment, warn};
use super::shuffle;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// How long processes have to end with the worker.
const GRACE: Duration = Duration::from_secs(10);

/// Of a machine that is about to be without power: Spark's signal to decommission a worker
/// (`spark.worker.decommission.signal`).
const SIGPWR: i32 = 30;

#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Environment: SPARK_HOME, SPARK_WORKER_HOST, SPARK_WORKER_PORT, SPARK_WORKER_WEBUI_PORT, SPARK_WORKER_CORES,
SPARK_WORKER_MEMORY and SPARK_WORKER_DIR, where the options are not given.
Properties: spark.worker.*, spark.ssl.*, spark.authenticate.secret; see the reference.
Prints `ready HOST:PORT` when a master has taken it in; on SIGTERM and SIGINT it ends, and so do its processes.
On SIGPWR it is decommissioned: its executors end and are replaced elsewhere, and it ends after its drivers."
)]
pub(crate) struct Arguments {
    /// The masters: spark://HOST:PORT[,HOST2:PORT2]
    #[arg(value_name = "MASTER")]
    master: String,
    /// The address to listen on, by which others reach it and its processes [default: 127.0.0.1]
    #[arg(short = 'h', long, visible_short_alias = 'i', visible_alias = "ip", value_name = "HOST")]
    host: Option<String>,
    /// The port to listen on [default: a free one]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The cores to offer [default: those of the machine]
    #[arg(short, long, value_name = "CORES")]
    cores: Option<u32>,
    /// The memory to offer, for example 8g [default: that of the machine less 1 GiB]
    #[arg(short, long, value_name = "MEM")]
    memory: Option<String>,
    /// Where applications have their directories [default: ./work]
    #[arg(short = 'd', long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// The port of the page; 0 for a free one [default: 8081]
    #[arg(long, value_name = "PORT")]
    webui_port: Option<u16>,
    #[command(flatten)]
    properties: Properties,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = arguments.properties.load(context, Daemon::Worker)?;
    let masters = masters(&arguments.master.parse()?).map_err(|error| {
        error
            .context("workers belong to standalone masters")
            .with_hint("write spark://HOST:PORT, as the master says when it is ready")
    })?;
    let host = arguments.host.or_else(|| environment("SPARK_WORKER_HOST"));
    let memory = arguments.memory.map(|text| ("--memory", text));
    let memory = memory
        .or_else(|| environment("SPARK_WORKER_MEMORY").map(|text| ("SPARK_WORKER_MEMORY", text)));
    let memory_mib = memory.map(|(name, text)| memory_mib(name, &text)).transpose()?;
    let work_dir = arguments.work_dir.or_else(|| environment("SPARK_WORKER_DIR").map(Into::into));
    let work_dir = std::path::absolute(work_dir.unwrap_or_else(|| "work".into()))
        .map_err(|error| Error::invalid("the work directory cannot be found").with_source(error))?;
    let mut options = WorkerOptions {
        host: host.unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: or_environment(arguments.port, "SPARK_WORKER_PORT")?.unwrap_or(0),
        web_port: or_environment(arguments.webui_port, "SPARK_WORKER_WEBUI_PORT")?,
        masters,
        cores: or_environment(arguments.cores, "SPARK_WORKER_CORES")?,
        memory_mib,
        work_dir,
        program: std::env::current_exe().ok(),
        sparks: sparks(&conf)?,
        shuffle: None,
        conf,
    };
    if options.conf.read(&ENABLED)? {
        let mut shuffle = ShuffleOptions::new(vec![options.work_dir.clone()]);
        shuffle.port = shuffle::port_of(&options.conf)?;
        shuffle.authentication = authentication(&options.conf)?;
        (shuffle.host, shuffle.conf) = (options.host.clone(), options.conf.clone());
        options.shuffle = Some(shuffle);
    }
    warn(context, &options.host, &options.conf);
    let worker = Worker::bind(options).await?;
    let (address, offer) = (worker.address(), worker.offer());
    let registered = |master: &str| {
        context.printer.message(format!("{offer}, for {master}"));
        if let Err(error) = context.printer.data(&format!("ready {address}\n")) {
            tracing::warn!("nobody hears that it is ready: {error:?}");
        }
    };
    let stop = async {
        interrupts.next().await;
    };
    let mut power = signal(SignalKind::from_raw(SIGPWR))
        .map_err(|error| Error::unavailable("cannot hear signals").with_source(error))?;
    let leave = async {
        // `None`: the runtime ends.
        power.recv().await;
        context.printer.message("decommissioned: executors end, drivers may go on");
    };
    worker.serve(registered, stop, leave, GRACE).await?;
    Ok(Exit::Success)
}

/// The Sparks of this machine, for executors of Spark's drivers: none without a Spark or a Java.
fn sparks(conf: &Conf) -> Result<Vec<InstalledSpark>> {
    let of_process = Environment::of_process();
    let named = conf.read_optional(&WORKER_SPARK_HOMES)?;
    let homes: Vec<PathBuf> = match &named {
        Some(list) => {
            let homes = list.split(',').map(str::trim).filter(|home| !home.is_empty());
            homes.map(PathBuf::from).collect()
        }
        None => environment("SPARK_HOME").map(PathBuf::from).into_iter().collect(),
    };
    let java = match find_java(&of_process) {
        Ok(java) => java.display().to_string(),
        Err(error) if named.is_some() => return Err(error),
        Err(_) => return Ok(Vec::new()),
    };
    let mut sparks = Vec::new();
    for home in homes.into_iter().map(SparkHome::of) {
        match &home.release {
            Some(release) => sparks.push(InstalledSpark {
                release: release.clone(),
                scala: home.scala.to_owned(),
                home: home.path.display().to_string(),
                java: java.clone(),
                class_path: home.executor_class_path(),
            }),
            None if named.is_some() => {
                return Err(Error::invalid(format!(
                    "{}: there is no Spark in {} (no jar of its core in the directory jars)",
                    WORKER_SPARK_HOMES.info.name,
                    home.path.display()
                )));
            }
            None => {}
        }
    }
    Ok(sparks)
}

/// As Spark's workers take it: a number without a unit is in bytes.
fn memory_mib(name: &str, text: &str) -> Result<u64> {
    let bytes = parse_size(text, SizeUnit::Byte).map_err(|fault| {
        Error::invalid(format!("{name} {text}: this is no size: {fault}"))
            .with_hint("write for example 8g")
    })?;
    match bytes / (1 << 20) {
        0 => Err(Error::invalid(format!(
            "{name} {text}: this is less than 1 MiB, as a number without a unit is in bytes"
        ))
        .with_hint(format!("write {text}g or {text}m, if that is meant"))),
        mib => Ok(mib),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_without_a_unit_is_in_bytes_and_too_little() {
        assert_eq!(memory_mib("--memory", "4g").unwrap(), 4096);
        assert_eq!(memory_mib("--memory", "1073741824").unwrap(), 1024);
        let error = memory_mib("SPARK_WORKER_MEMORY", "4").unwrap_err();
        assert!(error.message().starts_with("SPARK_WORKER_MEMORY 4"), "{error}");
        assert_eq!(error.hint(), Some("write 4g or 4m, if that is meant"));
        assert!(memory_mib("--memory", "1.5g").is_err());
    }
}
