//! `anymaster janitor`: beside a driver in its pod on Kubernetes; removes its executors at the end.

use std::time::Duration;

use anymaster_core::MasterUrl;
use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;
use anymaster_k8s::{Kubernetes, keys};
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

/// How long after the driver its end may become known.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    master: MasterUrl,
    #[arg(long)]
    namespace: String,
    app: AppId,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new(context.printer)?;
    let conf = Conf::from_iter([(keys::NAMESPACE.info.name, arguments.namespace)]);
    let options = context.connect_options(&arguments.master, conf)?;
    let cluster = Kubernetes::connect(&options).await?;
    // Kubernetes ends this container when the driver's has ended; but that may take it a minute. And
    // then whoever watches is to see the driver's end first.
    let mut ended = std::pin::pin!(cluster.driver_end(&arguments.app));
    let is_asked = tokio::select! {
        ended = &mut ended => match ended {
            Ok(()) => false,
            // The driver starts only when we run: what we may not do is told, and no obstacle.
            Err(error) => {
                context.printer.error(&error);
                interrupts.next().await;
                true
            }
        },
        _ = interrupts.next() => {
            let _ = tokio::time::timeout(PATIENCE, ended).await;
            true
        }
    };
    cluster.sweep(&arguments.app).await?;
    if !is_asked {
        interrupts.next().await;
    }
    Ok(Exit::Success)
}
