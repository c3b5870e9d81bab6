//! `anymaster man`: the man pages.

use std::path::PathBuf;

use anymaster_core::Error;
use clap::Args;

use crate::commands::definition;
use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write a page for the program and one for each verb into this directory; without it, the
    /// program's page is printed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let command = definition::anymaster();
    let Some(directory) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        context.printer.data(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Success);
    };
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .and_then(|()| clap_mangen::Man::new(definition::spark_submit()).generate_to(directory))
        .map_err(|error| {
            Error::unavailable(format!("cannot write man pages into {}", directory.display()))
                .with_source(error)
        })?;
    context.printer.message(format!("wrote the man pages into {}", directory.display()));
    Ok(Exit::Success)
}
