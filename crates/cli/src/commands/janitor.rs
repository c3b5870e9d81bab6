//! `anymaster janitor`: beside a driver in its pod on Kubernetes; removes its executors at the end.

use anymaster_core::MasterUrl;
use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;
use anymaster_k8s::{Kubernetes, keys};
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Interrupts;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    master: MasterUrl,
    #[arg(long)]
    namespace: String,
    app: AppId,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    let conf = Conf::from_iter([(keys::NAMESPACE.info.name, arguments.namespace)]);
    let options = context.connect_options(&arguments.master, conf)?;
    let cluster = Kubernetes::connect(&options).await?;
    // Kubernetes ends this container when the driver's has ended.
    interrupts.next().await;
    cluster.sweep(&arguments.app).await?;
    Ok(Exit::Success)
}
