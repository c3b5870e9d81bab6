//! `anymaster gateway`: a master for unmodified Spark drivers, whose executors run on any cluster.

use std::path::PathBuf;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::DEPLOY_MODE;
use anymaster_core::{DriverPlacement, Error, MasterUrl, Result};
use anymaster_spark::{Environment, find_java, find_spark};
use anymaster_spark_rpc::{
    EXECUTOR_SPARK_HOME, Gateway, GatewayOptions, SPARK_HOMES, SparkInstallation, Sparks,
};
use clap::Args;

use super::daemon::{Daemon, Properties};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// Spark's port of a master.
const PORT: u16 = 7077;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints `ready spark://HOST:PORT` when drivers can register: spark-submit, spark-shell and pyspark of Spark
3.4, 3.5 and 4.x take that as their master. Executors run the release of their driver, from SPARK_HOME or from
the directories in spark.anymaster.gateway.sparkHomes. Ends on SIGTERM and SIGINT, and all executors with it.")]
pub(crate) struct Arguments {
    /// The cluster that runs executors [default: the setting `master`, else local]
    #[arg(short, long, value_name = "URL")]
    master: Option<String>,
    /// The address to listen on, by which drivers and executors reach this machine
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port for drivers; 0 for a free one
    #[arg(short, long, value_name = "PORT", default_value_t = PORT)]
    port: u16,
    #[command(flatten)]
    properties: Properties,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = arguments.properties.load(context, Daemon::Gateway)?;
    let master = context.master(arguments.master.as_deref())?;
    let options = options(context, &master, arguments.host, arguments.port, conf).await?;
    let gateway = Gateway::bind(options).await?;
    context.printer.data(&format!("ready {}\n", gateway.url()))?;
    let stop = async {
        interrupts.next().await;
    };
    gateway.serve(stop).await;
    Ok(Exit::Success)
}

/// A gateway to the cluster at a master URL.
pub(crate) async fn options(
    context: &Context,
    master: &MasterUrl,
    host: String,
    port: u16,
    conf: Conf,
) -> Result<GatewayOptions> {
    let backend = context.registry.find(master)?;
    let info = backend.info();
    let is_here = info.drivers == DriverPlacement::ThisMachine;
    let sparks = match conf.read_optional(&EXECUTOR_SPARK_HOME)? {
        None if info.knows_sparks => Sparks::OfMachines,
        _ => sparks(&conf, is_here)?,
    };
    let mut of_cluster = conf.clone();
    if info.drivers == DriverPlacement::ByDeployMode {
        // Drivers are outside of the cluster: `mesos://HOST:PORT` is a master of Mesos' then.
        of_cluster.set_default(DEPLOY_MODE.info.name, "client");
    }
    let cluster = context.connect(master, of_cluster).await?;
    let mut options = GatewayOptions::new(cluster, sparks);
    options.workers = backend.workers(master);
    options.executor_host = is_here.then(|| host.clone());
    options.limits_memory = info.counts_overhead;
    (options.host, options.port, options.conf) = (host, port, conf);
    Ok(options)
}

/// The Sparks that executors run: those of this machine, if it runs them.
fn sparks(conf: &Conf, is_here: bool) -> Result<Sparks> {
    if !is_here {
        return Ok(Sparks::Elsewhere(SparkInstallation::at(&conf.read(&EXECUTOR_SPARK_HOME)?)));
    }
    let environment = Environment::of_process();
    let homes = match conf.read_optional(&SPARK_HOMES)? {
        Some(list) => list
            .split(',')
            .map(str::trim)
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .collect(),
        None => vec![find_spark(&environment).map_err(|error| {
            error.with_hint(format!(
                "export SPARK_HOME, or set {} to the directories of the Sparks that drivers run",
                SPARK_HOMES.info.name
            ))
        })?],
    };
    let homes: Vec<PathBuf> = homes;
    if let Some(missing) = homes.iter().find(|home| !home.join("jars").is_dir()) {
        return Err(Error::invalid(format!(
            "{}: there is no Spark in {} (no directory jars)",
            SPARK_HOMES.info.name,
            missing.display()
        )));
    }
    Ok(Sparks::ThisMachine { homes, java: find_java(&environment)? })
}
