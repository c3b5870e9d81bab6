//! `anymaster local-worker`: a worker of `local-cluster[n,c,m]`.

use anymaster_standalone::local;
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: &Context, _: Arguments) -> Outcome {
    local::serve_worker().await?;
    Ok(Exit::Success)
}
