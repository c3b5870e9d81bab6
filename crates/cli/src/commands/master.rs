//! `anymaster master`: the master of a standalone cluster.

use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::AUTHENTICATE;
use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use anymaster_net::{Admitted, Stream};
use anymaster_spark_rpc::{DriverRecords, GatewayOptions, SparkMaster, Sparks};
use anymaster_standalone::master::{Leading, Master, MasterOptions, SparkRpc};
use async_trait::async_trait;
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
Properties: spark.deploy.*, spark.master.*, spark.ssl.*, spark.authenticate.secret, spark.network.crypto.*; see
the reference.
Prints `ready spark://HOST:PORT` when it can be used, also by Spark's own drivers in client mode; ends on SIGTERM and SIGINT. Processes on workers go on."
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
    let options = MasterOptions { host, port, web_port, rest_port, conf, offers: None };
    let master = Master::bind(&options).await?;
    let drivers = SparkDrivers(spark_master(&master, &options)?);
    let master = master.with_spark_rpc(Arc::new(drivers));
    let rest = master.rest_url().map(|url| format!(", REST at {url}")).unwrap_or_default();
    context.printer.message(format!("page at {}{rest}", master.web_url()));
    context.printer.data(&format!("ready {}\n", master.url()))?;
    let stop = async {
        interrupts.next().await;
    };
    master.serve(stop).await?;
    Ok(Exit::Success)
}

/// Serves Spark's drivers at the port of the master.
#[derive(Debug)]
struct SparkDrivers(SparkMaster);

#[async_trait]
impl SparkRpc for SparkDrivers {
    async fn serve(&self, stream: Stream, admitted: Arc<Admitted>, leads: bool) -> Result<()> {
        self.0.serve(stream, admitted, leads).await
    }

    async fn lead(&self, leading: Leading) {
        let (admission, web_url) = (leading.admission().clone(), leading.web_url().to_owned());
        self.0.lead(Arc::new(Records(leading)), &admission, &web_url).await;
    }
}

/// Spark's drivers in the store of the master.
#[derive(Debug)]
struct Records(Leading);

#[async_trait]
impl DriverRecords for Records {
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        self.0.records()
    }

    async fn set(&self, app: &AppId, record: Option<Vec<u8>>) -> Result<()> {
        self.0.set_record(app.as_str(), record).await
    }
}

/// What serves Spark's drivers, with the workers' Sparks.
fn spark_master(master: &Master, options: &MasterOptions) -> Result<SparkMaster> {
    let mut of_drivers = GatewayOptions::new(master.cluster(), Sparks::OfMachines);
    of_drivers.host.clone_from(&options.host);
    of_drivers.port = master.port();
    of_drivers.conf = of_drivers_conf(&options.conf)?;
    of_drivers.shares_all = true;
    SparkMaster::new(of_drivers)
}

/// A cluster with a secret has no door for those who do not know it.
fn of_drivers_conf(conf: &Conf) -> Result<Conf> {
    let mut conf = conf.clone();
    if anymaster_standalone::token(&conf)?.is_none() {
        return Ok(conf);
    }
    let name = AUTHENTICATE.info.name;
    if conf.get(name).is_some_and(|said| said.trim() == "false") {
        return Err(Error::invalid(format!(
            "{name}=false: the master has a secret, and Spark's drivers would not have to know it"
        ))
        .with_hint(format!("leave {name} out, or the secret")));
    }
    conf.set(name, "true");
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_secret_asks_all_drivers_for_it() {
        let read = |conf: &[(&str, &str)]| of_drivers_conf(&conf.iter().copied().collect());
        let name = "spark.authenticate";
        assert_eq!(read(&[]).unwrap().get(name), None);
        let secret = ("spark.authenticate.secret", "s3cret");
        assert_eq!(read(&[secret]).unwrap().get(name), Some("true"));
        let refused = read(&[secret, (name, "false")]).unwrap_err();
        assert!(refused.message().contains("would not have to know it"), "{refused}");
    }
}
