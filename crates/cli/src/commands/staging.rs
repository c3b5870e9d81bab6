//! `anymaster staging`: files of submitters, for drivers that fetch them.

use std::path::PathBuf;

use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_net::Tls;
use anymaster_staging::{StagingOptions, StagingService, TOKEN_FILE, Token};
use clap::Args;

use super::daemon::{Certificates, Daemon, Properties, is_loopback, token};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints `ready URL` when it serves. `anymaster submit` uploads to it with spark.anymaster.staging.url=URL, or
spark.kubernetes.file.upload.path=anymaster://HOST:PORT, and spark.anymaster.staging.tokenFile. Others do with
  curl -T app.jar -H \"Authorization: Bearer $(cat TOKENFILE)\" URL/v1/applications/ID/files/app.jar
and get the path from which a driver fetches the file, without the token.
An application has ended: DELETE /v1/applications/ID. Without a token: /healthz, /metrics.")]
pub(crate) struct Arguments {
    /// The address to listen on; for others than this machine, only with a token
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 for a free one
    #[arg(short, long, value_name = "PORT", default_value_t = 7340)]
    port: u16,
    /// Where files are kept; made if it does not exist
    #[arg(short, long, value_name = "DIR")]
    dir: PathBuf,
    /// The file of the token of submitters [default: spark.anymaster.staging.tokenFile, the token of the cluster's
    /// secret, or one that the server makes]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    certificates: Certificates,
    #[command(flatten)]
    properties: Properties,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = arguments.properties.load(context, Daemon::Staging)?;
    let mut options = StagingOptions::new(arguments.dir.clone());
    options.token = token_of(&arguments, &conf)?;
    options.tls = match arguments.certificates.tls()? {
        tls if tls.is_on() => tls,
        _ => Tls::of_daemon(&conf)?,
    };
    if !options.tls.is_on() && !is_loopback(&arguments.host) {
        context.printer.warn(
            "it listens for others without TLS: whoever sees the traffic has the token, and the files: \
             --tls-cert and --tls-key",
        );
    }
    (options.host, options.port, options.conf) = (arguments.host, arguments.port, conf);
    let service = StagingService::bind(options).await?;
    if let Some(file) = service.token_file() {
        context.printer.message(format!("the token of submitters is in {}", file.display()));
    }
    context.printer.data(&format!("ready {}\n", service.url()))?;
    let stop = async {
        interrupts.next().await;
    };
    service.serve(stop).await;
    Ok(Exit::Success)
}

/// The token that was given, or follows from the secret of the cluster.
fn token_of(arguments: &Arguments, conf: &Conf) -> Result<Option<Token>> {
    if let Some(file) = &arguments.token_file {
        return Token::of_file("--token-file", file).map(Some);
    }
    match conf.read_optional(&TOKEN_FILE)? {
        Some(file) => Token::of_file(TOKEN_FILE.info.name, file.as_ref()).map(Some),
        None => Ok(token(conf)?.map(Token::new)),
    }
}
