//! `anymaster token`: what is shown to the page and the REST port of a master that has a secret.

use anymaster_core::Error;
use clap::Args;

use super::daemon::{Daemon, Properties};
use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the token of the cluster whose secret the properties name: for a browser's dialog, as the password, or
  curl -H \"Authorization: Bearer $(anymaster token …)\" http://MASTER:6066/v1/submissions/…
Who has it can submit and end applications, and read their output; who has the secret can be a worker as well.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    properties: Properties,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let conf = arguments.properties.load(context, Daemon::Master)?;
    let token = anymaster_standalone::token(&conf)?.ok_or_else(|| {
        Error::invalid("there is no secret, and so no token")
            .with_hint("set spark.anymaster.authenticate.secretFile, as the master has it")
    })?;
    context.printer.data(&format!("{token}\n"))?;
    Ok(Exit::Success)
}
