//! `anymaster master`: the master of a standalone cluster.

use anymaster_standalone::master::{Master, MasterOptions};
use clap::Args;

use super::daemon::{Daemon, Properties, environment, or_environment, warn};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// Spark's port of a master.
const PORT: u16 = 7077;

#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Environment: SPARK_MASTER_HOST, SPARK_MASTER_PORT and SPARK_MASTER_WEBUI_PORT, where the options are
not given.
Properties: spark.deploy.*, spark.master.*, spark.ssl.*, spark.authenticate.secret; see the reference.
Prints `ready spark://HOST:PORT` when it can be used; ends on SIGTERM and SIGINT. Processes on workers go on."
)]
pub(crate) struct Arguments {
    /// The address to listen on, by which workers and clients reach it [default: 127.0.0.1]
    #[arg(short = 'h', long, visible_short_alias = 'i', visible_alias = "ip", value_name = "HOST")]
    host: Option<String>,
    /// The port to listen on; 0 for a free one [default: 7077]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The port of the page; 0 for a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    webui_port: Option<u16>,
    /// The port of Spark's submission protocol; 0 for a free one [default: 6066]
    #[arg(long, value_name = "PORT")]
    rest_port: Option<u16>,
    #[command(flatten)]
    properties: Properties,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = arguments.properties.load(context, Daemon::Master)?;
    let host = arguments.host.or_else(|| environment("SPARK_MASTER_HOST"));
    let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = or_environment(arguments.port, "SPARK_MASTER_PORT")?.unwrap_or(PORT);
    warn(context, &host, &conf);
    let web_port = or_environment(arguments.webui_port, "SPARK_MASTER_WEBUI_PORT")?;
    let rest_port = arguments.rest_port;
    let options = MasterOptions { host, port, web_port, rest_port, conf, lending: None };
    let master = Master::bind(&options).await?;
    let rest = master.rest_url().map(|url| format!(", REST at {url}")).unwrap_or_default();
    context.printer.message(format!("page at {}{rest}", master.web_url()));
    context.printer.data(&format!("ready {}\n", master.url()))?;
    let stop = async {
        interrupts.next().await;
    };
    master.serve(stop).await?;
    Ok(Exit::Success)
}
