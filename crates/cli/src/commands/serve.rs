//! `anymaster serve`: submissions to Kubernetes over HTTP, for operators.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, MasterUrl, Result};
use anymaster_k8s::{Kubernetes, Places};
use anymaster_spark::Environment;
use anymaster_submitter::{Limits, Submitter, router};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use clap::Args;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

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
    /// The certificate for TLS, with those between it and its CA, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The CA of clients, in PEM: whoever has no certificate of it is refused
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let master = arguments.connection.master(context)?;
    if !matches!(master, MasterUrl::Kubernetes { .. }) {
        return Err(Error::invalid(format!("{master}: submissions are taken for Kubernetes only"))
            .with_hint("write --master k8s://https://host:6443; in a pod, k8s://https://kubernetes.default.svc")
            .into());
    }
    let mut interrupts = Interrupts::new(context.printer)?;
    let options = context.connect_options(&master, arguments.connection.properties(None)?)?;
    let cluster = Kubernetes::connect(&options).await?;
    let limits = Limits { in_flight: arguments.max_in_flight.max(1), ..Limits::default() };
    let reaper = (!arguments.no_reap).then(|| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.reap(Places::ObjectStores).await })
    });
    let submitter = Submitter::new(cluster, Environment::of_process(), limits);
    let tls = tls(&arguments)?;
    if tls.is_none() && !arguments.host.is_loopback() {
        context.printer.warn("it listens for others without TLS: --tls-cert, --tls-key and --client-ca keep them apart");
    }

    let listener = listen(SocketAddr::new(arguments.host, arguments.port))?;
    let address = listener.local_addr().map_err(|error| {
        Error::unavailable("the address cannot be found out").with_source(error)
    })?;
    let (handle, app) = (Handle::new(), router(submitter.clone()).into_make_service());
    let server = tokio::spawn({
        let (handle, tls) = (handle.clone(), tls.clone());
        async move {
            match tls {
                Some(tls) => {
                    axum_server::from_tcp_rustls(listener, tls)?.handle(handle).serve(app).await
                }
                None => axum_server::from_tcp(listener)?.handle(handle).serve(app).await,
            }
        }
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    context.printer.data(&format!("ready {scheme}://{address}\n"))?;
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Err(stopped(ended).into()),
        _ = interrupts.next() => {}
    }
    submitter.drain();
    handle.graceful_shutdown(Some(arguments.drain));
    let _ = server.await;
    if let Some(reaper) = reaper {
        reaper.abort();
    }
    Ok(Exit::Success)
}

fn stopped(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Error {
    let error = Error::unavailable("the server stopped by itself");
    match ended {
        Ok(Ok(())) => error,
        Ok(Err(source)) => error.with_source(source),
        Err(source) => error.with_source(source),
    }
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| {
        Error::unavailable(format!("cannot listen on {address}"))
            .with_source(error)
            .with_hint("--host and --port choose another address")
    })
}

fn tls(arguments: &Arguments) -> Result<Option<RustlsConfig>> {
    let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else {
        return Ok(None);
    };
    let invalid = |what: &str, error: rustls::Error| {
        Error::invalid(format!("{what} cannot be used")).with_source(error)
    };
    let chain = certificates("--tls-cert", certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        Error::invalid(format!("--tls-key: {} has no key", key.display())).with_source(error)
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS", error))?;
    let builder = match &arguments.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("--client-ca", path)? {
                roots.add(certificate).map_err(|error| invalid("--client-ca", error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| Error::invalid("--client-ca cannot be used").with_source(error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| invalid("--tls-cert and --tls-key", error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(RustlsConfig::from_config(Arc::new(config))))
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::invalid(format!("{option}: {} has no certificate", path.display()))),
        Err(error) => {
            Err(Error::invalid(format!("{option}: cannot read {}", path.display()))
                .with_source(error))
        }
    }
}
