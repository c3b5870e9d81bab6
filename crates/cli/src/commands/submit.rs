//! `anymaster submit`, and the program by the name spark-submit.

use std::ffi::OsString;

use anymaster_core::Error;
use clap::Args;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::printer::Printer;

/// For help, completions and man pages; the line itself never passes through clap.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Options of spark-submit, the application, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) line: Vec<OsString>,
}

/// By which name we were called: it decides codes and a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Anymaster,
    SparkSubmit,
}

impl Caller {
    pub(crate) fn show(self, printer: Printer, error: &Error) {
        printer.error(error);
    }

    pub(crate) fn failure_code(self, failure: &Failure) -> u8 {
        match (self, failure.code()) {
            (Self::SparkSubmit, code) if code != 0 => 1,
            (_, code) => code,
        }
    }
}

pub(crate) fn run(_: &Context, _: Caller, _: Vec<OsString>) -> Outcome {
    Err(Error::unsupported("soon").into())
}
