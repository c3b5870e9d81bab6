//! `anymaster serve`: submissions over HTTP, for operators.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anymaster_net::{ALLOWED_HOSTS, Admission, Callers, Hosts};
use anymaster_spark::Environment;
use anymaster_submitter::{Limits, Submitter, denied, router};
use clap::Args;

use super::daemon::Certificates;
use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;
use crate::text::duration;

#[derive(Debug, Args)]
#[command(after_help = "\
POST /api/v1/spark-submit takes submissions as kubeflow/spark-operator sends them.
GET /healthz, /readyz and /metrics are for the cluster it runs in.
Whoever may post may do what this process may do: let it listen for others only with --client-ca.")]
pub(crate) struct Arguments {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port to listen on; 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Submissions under way at once; beyond them the answer is 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().in_flight)]
    max_in_flight: usize,
    /// How long submissions under way have to be finished on SIGTERM
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = duration)]
    drain: Duration,
    /// Leave drivers that ended where they are, even if they have a time to live
    #[arg(long)]
    no_reap: bool,
    #[command(flatten)]
    certificates: Certificates,
    /// Another name by which it is called, for example of an ingress; may be given several times. Without
    /// TLS it answers to addresses, names without a dot, names of services (*.svc) and these
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let master = arguments.connection.master(context)?;
    let mut interrupts = Interrupts::new(context.printer)?;
    let mut conf = arguments.connection.properties(None)?;
    if !arguments.allowed_host.is_empty() {
        conf.set(ALLOWED_HOSTS.info.name, arguments.allowed_host.join(","));
    }
    let options = context.connect_options(&master, conf.clone())?.multi_tenant();
    let cluster = context.registry.connect(options).await?;
    let limits = Limits { in_flight: arguments.max_in_flight.max(1), ..Limits::default() };
    let reaper = (!arguments.no_reap).then(|| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            if let Some(administration) = cluster.administration() {
                administration.remove_all_expired().await;
            }
        })
    });
    let (backends, environment) = (context.registry.clone(), Environment::of_process());
    let submitter = Submitter::new(cluster, master, backends, environment, limits)?;
    let tls = arguments.certificates.tls()?;
    if !tls.is_on() && !arguments.host.is_loopback() {
        context.printer.warn("it listens for others without TLS: --tls-cert, --tls-key and --client-ca keep them apart");
    }

    let host = arguments.host.to_string();
    let (listener, port) = anymaster_net::bind(&host, arguments.port).await?;
    let hosts = Hosts::of(&host, &listener, tls.is_on(), &conf)?;
    let app = hosts.protect(router(submitter.clone()), Callers::Programs(denied));
    let address = SocketAddr::new(arguments.host, port);
    context.printer.data(&format!("ready {}://{address}\n", tls.scheme()))?;
    let stop = async {
        interrupts.next().await;
        submitter.drain();
    };
    let admission = Admission::of_process();
    anymaster_net::serve_until(listener, &tls, &admission, app, stop, arguments.drain).await;
    if let Some(reaper) = reaper {
        reaper.abort();
    }
    Ok(Exit::Success)
}
