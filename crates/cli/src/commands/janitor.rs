//! `anymaster janitor`: beside a driver in its pod on Kubernetes; removes its executors at the end.

use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Event, Status};
use anymaster_core::{ClusterManager, MasterUrl, Result, WatchOptions};
use clap::Args;
use futures::StreamExt as _;

use crate::args::NAMESPACE;
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
    let conf = Conf::from_iter([(NAMESPACE, arguments.namespace)]);
    let cluster = context.connect(&arguments.master, conf).await?;
    // Kubernetes ends this container when the driver's has ended; but that may take it a minute. And
    // then whoever watches is to see the driver's end first.
    let mut ended = std::pin::pin!(driver_end(&*cluster, &arguments.app));
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
    if let Some(administration) = cluster.administration() {
        administration.sweep(&arguments.app).await?;
    }
    if !is_asked {
        interrupts.next().await;
    }
    Ok(Exit::Success)
}

/// Waits until an application's driver has ended, or is gone.
async fn driver_end(cluster: &dyn ClusterManager, app: &AppId) -> Result<()> {
    let mut events = cluster.watch(&WatchOptions::of(app).drivers_only()).await?;
    while let Some(event) = events.next().await {
        if let Event::Changed(Status::Driver(driver)) = event?
            && driver.state.is_ended()
        {
            break;
        }
    }
    Ok(())
}
