//! The command line as a whole, for completions and man pages.

use clap::{Command, CommandFactory as _};

use crate::args::CommandLine;

/// All of `anymaster`.
pub(crate) fn anymaster() -> Command {
    CommandLine::command()
}

/// spark-submit, or `anymaster submit`.
pub(crate) fn submit(name: &'static str) -> Command {
    Command::new(name)
}
