//! `anymaster application-master`: in the container of a driver on YARN; starts that, and asks for its executors.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the driver's output goes
    logs: PathBuf,
}

pub(crate) async fn run(_: &Context, arguments: Arguments) -> Outcome {
    anymaster_yarn::serve_application_master(&arguments.logs).await?;
    Ok(Exit::Success)
}
