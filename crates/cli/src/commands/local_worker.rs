//! `anymaster local-worker`: a worker of `local-cluster[n,c,m]`.

use clap::Args;

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: &Context, _: Arguments) -> Outcome {
    Err(anymaster_core::Error::unsupported("soon").into())
}
