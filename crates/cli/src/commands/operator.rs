//! `anymaster operator`: SparkApplications of kubeflow's operator, run or shown.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{ClusterManager, Error, MasterUrl, Result};
use anymaster_k8s::Kubernetes;
use anymaster_net::{ALLOWED_HOSTS, Admission, Callers, Hosts, Tls};
use anymaster_operator::{LeaderLock, Operator, Options, denied, preview};
use anymaster_spark::Environment;
use anymaster_submitter::{Limits, Submitter};
use clap::Args;
use tokio::sync::watch;

use crate::args::{Connection, NAMESPACE, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;
use crate::text::duration;

/// The largest manifest, in bytes: the API server stores none that is larger.
const MAX_MANIFEST: u64 = 3 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Applications are of sparkoperator.k8s.io/v1beta2, kind SparkApplication, of the namespace, or of all with -A.
GET /healthz, /readyz and /metrics are for the cluster it runs in.
With --dry-run nothing is sent to the cluster.")]
pub(crate) struct Arguments {
    /// Print the objects that each application of a manifest would create
    #[arg(long, requires = "filename")]
    dry_run: bool,
    /// A manifest, YAML or JSON, of one or several applications; - is standard input
    #[arg(short, long, value_name = "FILE", requires = "dry_run")]
    filename: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port to listen on; 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Another name by which it is called; may be given several times. It answers to addresses, names without a dot,
    /// names of services (*.svc) and these
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// Only applications with these labels, as a selector of Kubernetes: several operators share a cluster so
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Applications that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Executors that a status has at most; those that have ended are left out first
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_tracked_executor_per_app: usize,
    /// How long applications stay after their end that do not say it [default: for ever]
    #[arg(long, value_name = "SECONDS")]
    default_time_to_live_seconds: Option<u32>,
    /// Make no service for the web pages of drivers
    #[arg(long)]
    no_ui_service: bool,
    /// Work only as the leader among operators with the same lock
    #[arg(long)]
    leader_election: bool,
    /// The name of the lock, a Lease
    #[arg(long, value_name = "NAME", default_value = "spark-operator-lock")]
    leader_election_lock_name: String,
    /// The namespace of the lock [default: that of the connection]
    #[arg(long, value_name = "NS")]
    leader_election_lock_namespace: Option<String>,
    /// How long what is under way has to be finished on SIGTERM
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = duration)]
    drain: Duration,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    match &arguments.filename {
        Some(filename) => show(context, &arguments, filename).await,
        None => operate(context, arguments).await,
    }
}

async fn show(context: &Context, arguments: &Arguments, filename: &Path) -> Outcome {
    let master = arguments.connection.master(context)?;
    let conf = arguments.connection.properties(None)?;
    let namespace = conf.get(NAMESPACE).filter(|name| *name != "*").unwrap_or("default").to_owned();
    let manifest = read(filename)?;
    let options = context.connect_options(&master, conf)?.multi_tenant();
    let cluster = context.registry.connect(options).await?;
    let url = master.to_string();
    let submitter = submitter(context, cluster, master)?;
    let previews = preview(&manifest, &namespace, &url, &submitter).await?;
    let format = context.format(arguments.output.output).document();
    for preview in &previews {
        for warning in &preview.warnings {
            context.printer.warn(format!("{}: {warning}", preview.application));
        }
    }
    match previews.as_slice() {
        [one] => context.printer.value(format, &one.objects)?,
        several => {
            let all: Vec<_> = several.iter().map(|preview| &preview.objects).collect();
            context.printer.value(format, &all)?;
        }
    }
    Ok(Exit::Success)
}

async fn operate(context: &Context, arguments: Arguments) -> Outcome {
    let master = arguments.connection.master(context)?;
    if master.scheme() != "k8s" {
        let error = Error::unsupported(format!("{master}: SparkApplications run on Kubernetes"));
        return Err(error.with_hint("write --master k8s://https://host:6443").into());
    }
    let mut interrupts = Interrupts::new(context.printer)?;
    let mut conf = arguments.connection.properties(None)?;
    if !arguments.allowed_host.is_empty() {
        conf.set(ALLOWED_HOSTS.info.name, arguments.allowed_host.join(","));
    }
    let kubernetes =
        Kubernetes::connect(&context.connect_options(&master, conf.clone())?.multi_tenant())
            .await?;
    let options = options(&arguments, &kubernetes, &master);
    let submitter = submitter(context, Arc::new(kubernetes), master)?;
    let operator = Operator::new(options, submitter);
    operator.check().await?;

    let host = arguments.host.to_string();
    let (listener, port) = anymaster_net::bind(&host, arguments.port).await?;
    let hosts = Hosts::of(&host, &listener, false, &conf)?;
    let app = hosts.protect(operator.router(), Callers::Programs(denied));
    let address = SocketAddr::new(arguments.host, port);
    context.printer.data(&format!("ready http://{address}\n"))?;
    let (stopping, stopped) = watch::channel(false);
    let stop = |mut stopped: watch::Receiver<bool>| async move {
        // Without a sender it stops as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let (tls, admission) = (Tls::default(), Admission::of_process());
    let serve = anymaster_net::serve_until(
        listener,
        &tls,
        &admission,
        app,
        stop(stopped.clone()),
        arguments.drain,
    );
    let work = async {
        let worked = operator.run(stop(stopped), arguments.drain).await;
        stopping.send_replace(true);
        worked
    };
    let signals = async {
        interrupts.next().await;
        stopping.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        (worked, ()) = async { tokio::join!(work, serve) } => worked?,
        () = signals => {}
    }
    Ok(Exit::Success)
}

fn options(arguments: &Arguments, kubernetes: &Kubernetes, master: &MasterUrl) -> Options {
    let client = kubernetes.client();
    let lock = arguments.leader_election.then(|| LeaderLock {
        namespace: arguments
            .leader_election_lock_namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        name: arguments.leader_election_lock_name.clone(),
    });
    let mut options = Options::new(client, master.to_string(), instance());
    options.namespace = kubernetes.scope().map(str::to_owned);
    options.selector.clone_from(&arguments.selector);
    options.max_executors = arguments.max_tracked_executor_per_app;
    options.default_ttl = arguments.default_time_to_live_seconds.map(i64::from);
    options.ui_service = !arguments.no_ui_service;
    options.concurrency = arguments.workers;
    options.lock = lock;
    options
}

/// The name of this machine, which is that of the pod in a container.
fn instance() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "anymaster".to_owned(),
        name => name.to_owned(),
    }
}

fn submitter(
    context: &Context,
    cluster: Arc<dyn ClusterManager>,
    master: MasterUrl,
) -> Result<Submitter> {
    let (backends, environment) = (context.registry.clone(), Environment::of_process());
    Submitter::new(cluster, master, backends, environment, Limits::default())
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let unreadable =
        |error| Error::invalid(format!("--filename: cannot read {shown}")).with_source(error);
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    source.take(MAX_MANIFEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_MANIFEST {
        return Err(Error::invalid(format!(
            "--filename: {shown} is larger than {} MiB",
            MAX_MANIFEST / 1024 / 1024
        )));
    }
    Ok(text)
}
