//! `anymaster shuffle`: Spark's external shuffle service, for executors of this machine.

use std::path::PathBuf;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use anymaster_shuffle::{PORT as PORT_KEY, ShuffleOptions, ShuffleService};
use anymaster_spark_rpc::authentication;
use clap::Args;

use super::daemon::{Daemon, Properties, is_loopback, token};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// The port of the administration, or one behind it.
const ADMIN_PORT: u16 = 7338;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints `ready HOST:PORT` when executors can register. They use it with spark.shuffle.service.enabled=true, and
spark.shuffle.service.port where it is not 7337. What they have to know is spark.authenticate with
spark.authenticate.secret, and spark.network.crypto.*, as in their own properties.
Registrations are kept in the first directory, and are there again after a restart.
Administration: GET /applications, DELETE /applications/ID, /metrics, /healthz, with a token of the cluster's secret
(anymaster token), or that in the file which is named at the start.")]
pub(crate) struct Arguments {
    /// The address to listen on, which executors of this machine have as theirs
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port for executors; 0 for a free one [default: spark.shuffle.service.port, 7337]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The directories below which executors have their local directories (spark.local.dir)
    #[arg(short, long, value_name = "DIR", value_delimiter = ',', required = true)]
    dirs: Vec<PathBuf>,
    /// The address of the administration
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    admin_host: String,
    /// The port of the administration, or the next free one; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = ADMIN_PORT)]
    admin_port: u16,
    /// No administration
    #[arg(long, conflicts_with_all = ["admin_host", "admin_port"])]
    no_admin: bool,
    #[command(flatten)]
    properties: Properties,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = arguments.properties.load(context, Daemon::Shuffle)?;
    let port = match arguments.port {
        Some(port) => port,
        None => port_of(&conf)?,
    };
    let mut options = ShuffleOptions::new(arguments.dirs);
    options.authentication = authentication(&conf)?;
    if options.authentication.is_none() && !is_loopback(&arguments.host) {
        context.printer.warn(
            "whoever reaches this port can read and remove the blocks of applications: set spark.authenticate",
        );
    }
    options.token = token(&conf)?;
    options.admin = (!arguments.no_admin).then_some((arguments.admin_host, arguments.admin_port));
    (options.host, options.port, options.conf) = (arguments.host, port, conf);
    let service = ShuffleService::bind(options).await?;
    if let Some((url, file)) = service.administration() {
        let token = match file {
            Some(file) => format!("its token is in {}", file.display()),
            None => "its token is that of the cluster".to_owned(),
        };
        context.printer.message(format!("administration: {url}; {token}"));
    }
    context.printer.data(&format!("ready {}\n", service.address()))?;
    let stop = async {
        interrupts.next().await;
    };
    service.serve(stop).await;
    Ok(Exit::Success)
}

/// The port that applications have, too.
pub(crate) fn port_of(conf: &Conf) -> Result<u16> {
    let port = conf.read(&PORT_KEY)?;
    u16::try_from(port)
        .map_err(|_| Error::invalid(format!("{}: {port} is no port", PORT_KEY.info.name)))
}
