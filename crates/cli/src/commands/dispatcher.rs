//! `anymaster dispatcher`: takes drivers in, and starts them on the agents of Mesos.

use anymaster_mesos::{Dispatcher, DispatcherOptions, MesosMaster};
use clap::Args;

use super::daemon::{Daemon, Properties, environment, warn};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// Spark's port of a dispatcher.
const PORT: u16 = 7077;

#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Properties: spark.mesos.*, spark.deploy.recoveryMode and its kind, spark.ssl.*,
spark.authenticate.secret; see the reference.
Prints `ready mesos://HOST:PORT` when drivers can be submitted; ends on SIGTERM and SIGINT. What runs on
agents goes on: a dispatcher that is started again, with spark.deploy.recoveryMode set, takes it over."
)]
pub(crate) struct Arguments {
    /// The Mesos masters: mesos://host:5050 or mesos://zk://host:2181/mesos
    #[arg(short, long, value_name = "URL", required = true)]
    master: String,
    /// The address to listen on, by which clients and drivers reach it [default: 127.0.0.1]
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,
    /// The port for clients and for Spark's submission protocol; 0 for a free one
    #[arg(short, long, value_name = "PORT", default_value_t = PORT)]
    port: u16,
    /// The port of the page; 0 for a free one [default: 8081]
    #[arg(long, value_name = "PORT")]
    webui_port: Option<u16>,
    /// What it is called among the frameworks of Mesos
    #[arg(long, value_name = "NAME", default_value = "Spark Cluster")]
    name: String,
    /// Servers of ZooKeeper that keep what it has to remember; sets spark.deploy.recoveryMode
    #[arg(short, long, value_name = "HOST:PORT,…")]
    zk: Option<String>,
    #[command(flatten)]
    properties: Properties,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let mut conf = arguments.properties.load(context, Daemon::Dispatcher)?;
    if let Some(servers) = arguments.zk {
        conf.set("spark.deploy.recoveryMode", "ZOOKEEPER");
        conf.set("spark.deploy.zookeeper.url", servers);
        conf.set_default("spark.deploy.zookeeper.dir", "/spark_mesos_dispatcher");
    }
    if let Some(home) = environment("SPARK_HOME") {
        conf.set_default("spark.home", home);
    }
    let mesos = MesosMaster::parse(&arguments.master.parse()?).map_err(|error| {
        error
            .context(format!("--master {}: not a Mesos master", arguments.master))
            .with_hint("write mesos://host:5050 or mesos://zk://host:2181/mesos")
    })?;
    let host = arguments.host.unwrap_or_else(|| "127.0.0.1".to_owned());
    warn(context, &host, &conf);
    let dispatcher = Dispatcher::bind(DispatcherOptions {
        name: arguments.name,
        mesos,
        host,
        port: arguments.port,
        web_port: arguments.webui_port,
        conf,
    })
    .await?;
    context.printer.message(format!("page at {}", dispatcher.web_url()));
    context.printer.data(&format!("ready {}\n", dispatcher.url()))?;
    let stop = async {
        interrupts.next().await;
    };
    dispatcher.serve(stop).await?;
    Ok(Exit::Success)
}
