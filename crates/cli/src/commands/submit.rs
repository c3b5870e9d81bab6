//! `anymaster submit`, and the program by the name spark-submit.

mod client;
mod operations;
pub(crate) mod program;
mod rest_dialect;

use std::ffi::OsString;

use anymaster_core::conf::{Origin, probably_meant};
use anymaster_core::model::{DeployMode, SubmissionId};
use anymaster_core::{Error, SubmitDialect};
use anymaster_spark::{Action, Environment, Resource, SparkHome, Submission, SubmitArgs};
use clap::{Args, ValueEnum as _};

use crate::args::Connection;
use crate::commands;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::{Format, Printer};

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
    fn name(self) -> &'static str {
        match self {
            Self::Anymaster => "anymaster submit",
            Self::SparkSubmit => "spark-submit",
        }
    }

    /// Tools look for the word that spark-submit begins its errors with.
    pub(crate) fn show(self, printer: Printer, error: &Error) {
        match self {
            Self::Anymaster => printer.error(error),
            Self::SparkSubmit => printer.error_as("Error:", error),
        }
    }

    pub(crate) fn failure_code(self, failure: &Failure) -> u8 {
        match (self, failure.code()) {
            (Self::SparkSubmit, code) if code != 0 => 1,
            (_, code) => code,
        }
    }
}

pub(crate) fn run(context: &Context, caller: Caller, line: Vec<OsString>) -> Outcome {
    let line = as_java_reads_it(context, line);
    let args = anymaster_spark::parse(&line)?;
    match args.action.clone() {
        Action::Help(true) if args.is_of_shell() && client::has_spark() => {
            // Only Spark's own text knows the options of its shells.
            client::spark_launcher(args.for_spark())
        }
        Action::Help(asked) => help(context, caller, asked),
        Action::UsageError => help(context, caller, false).map(|_| match caller {
            Caller::SparkSubmit => Exit::Failure,
            Caller::Anymaster => Exit::Usage,
        }),
        Action::Version => version(context, caller),
        Action::Kill(id) => {
            let connection = connection(context, &args)?;
            if context.info(&connection.master(context)?)?.dialect == SubmitDialect::Report {
                return context.block_on(operations::kill(context, &connection, &id));
            }
            let arguments = commands::kill::Arguments::one(&id, connection);
            context.block_on(commands::kill::run(context, arguments))
        }
        Action::Status(id) => {
            let (connection, format) = (connection(context, &args)?, format(&args)?);
            if matches!(format, None | Some(Format::Text)) {
                match context.info(&connection.master(context)?)?.dialect {
                    SubmitDialect::Report => {
                        return context.block_on(operations::status(context, &connection, &id));
                    }
                    SubmitDialect::Rest => {
                        return context.block_on(rest_dialect::status(context, &connection, &id));
                    }
                    _ => {}
                }
            }
            let arguments = commands::status::Arguments::one(&id, connection, format);
            context.block_on(commands::status::run(context, arguments))
        }
        Action::Submit => submit(context, &args),
    }
}

/// By the name spark-submit it is what Spark's says, which other programs read (Livy, Zeppelin).
fn version(context: &Context, caller: Caller) -> Outcome {
    let ours = concat!("anymaster ", env!("CARGO_PKG_VERSION"));
    if caller == Caller::Anymaster {
        context.printer.data(&format!("{ours}\n"))?;
        return Ok(Exit::Success);
    }
    let environment = Environment::of_process();
    match anymaster_spark::find_spark(&environment) {
        Ok(home) => {
            context.printer.message_lines(SparkHome::of(home).version_text(&environment)?);
            context.printer.message(format!("This spark-submit is {ours}."));
        }
        Err(error) => {
            context.printer.message(ours);
            context.printer.warn(error.to_string());
        }
    }
    Ok(Exit::Success)
}

/// By the name spark-submit all of it goes to standard error, as Spark's does.
/// The words as Spark's JVM gets them: what is not UTF-8 is U+FFFD. A word may be a secret, so the
/// warning has only its place.
pub(crate) fn as_java_reads_it(context: &Context, line: Vec<OsString>) -> Vec<String> {
    let read = |(at, word): (usize, OsString)| {
        word.into_string().unwrap_or_else(|word| {
            context.printer.warn(format!(
                "word {} of the command line is not UTF-8: it is read with U+FFFD in the place of what \
                 is not",
                at + 1
            ));
            word.to_string_lossy().into_owned()
        })
    };
    line.into_iter().enumerate().map(read).collect()
}

fn help(context: &Context, caller: Caller, asked: bool) -> Outcome {
    // Spark's scripts say so how they are called.
    let usage = std::env::var("_SPARK_CMD_USAGE").ok().filter(|text| !text.is_empty());
    let text = match usage.filter(|_| caller == Caller::SparkSubmit) {
        Some(usage) => anymaster_spark::help_of(&usage),
        None => anymaster_spark::help(caller.name()),
    };
    match (caller, asked) {
        (Caller::Anymaster, true) => context.printer.data(&text)?,
        _ => context.printer.message_lines(text.trim_end()),
    }
    Ok(match (caller, asked) {
        (_, true) => Exit::Success,
        (Caller::SparkSubmit, false) => Exit::NoArguments,
        (Caller::Anymaster, false) => Exit::Usage,
    })
}

fn format(args: &SubmitArgs) -> Result<Option<Format>, Failure> {
    let parse = |text: &str| {
        Format::from_str(text, true).map_err(|_| {
            Error::invalid(format!("--output {text}: there is no such format"))
                .with_hint("write --output json or --output yaml")
        })
    };
    Ok(args.value("--output").map(parse).transpose()?)
}

/// The cluster of a submission that exists.
fn connection(context: &Context, args: &SubmitArgs) -> Result<Connection, Failure> {
    let environment = Environment::of_process();
    let conf = anymaster_spark::properties(args, &environment)?;
    let given = args.value("--master").or_else(|| conf.get("spark.master"));
    let given = given.or_else(|| environment.get("MASTER"));
    Ok(Connection::new(&context.master(given)?, &conf))
}

fn submit(context: &Context, args: &SubmitArgs) -> Outcome {
    let mut environment = Environment::of_process();
    if let Some(master) = &context.settings.master {
        environment.variables.entry("MASTER".to_owned()).or_insert_with(|| master.clone());
    }
    let submission = anymaster_spark::resolve(args, &environment, &context.registry)?;
    warn_of_unknown(context, &submission);
    let format = context.format(format(args)?);
    let is_spark = submission.resource != Resource::Program;
    if is_spark && submission.deploy_mode == DeployMode::Client {
        // Spark's own JVM warns and prints what --verbose asks for.
        for warning in &args.warnings {
            context.printer.warn(warning);
        }
        return client::run(context, &submission, &environment, args.has("--dry-run"), format);
    }
    for warning in &submission.warnings {
        context.printer.warn(warning);
    }
    if args.has("--verbose") {
        messages_of(context, args, &submission);
    }
    let id = args.value("--submission-id").map(SubmissionId::new).transpose()?;
    program::run(
        context,
        &submission,
        &environment,
        id,
        args.has("--dry-run"),
        args.has("--verbose"),
        format,
    )
}

/// Names that are like known ones, and are none: Spark says nothing about them either.
fn warn_of_unknown(context: &Context, submission: &Submission) {
    let tables: Vec<_> =
        context.registry.backends().flat_map(|info| info.properties).copied().collect();
    let given = submission.origins.iter().filter(|(_, origin)| **origin != Origin::Derived);
    for (name, origin) in given {
        if let Some(meant) = probably_meant(name, &tables) {
            context.printer.warn(format!(
                "{name} ({origin}) is no property that is known: did you mean {meant}? It is passed on"
            ));
        }
    }
}

fn messages_of(context: &Context, args: &SubmitArgs, submission: &Submission) {
    let file = submission.properties_file.as_ref().map(|file| file.display().to_string());
    context
        .printer
        .message(format!("Using properties file: {}", file.as_deref().unwrap_or("null")));
    context.printer.message_lines(anymaster_spark::parsed_arguments(args, submission));
    let main = submission.main_class.as_deref().unwrap_or(&submission.primary_resource);
    context.printer.message_lines(anymaster_spark::resolved(main, submission));
}
