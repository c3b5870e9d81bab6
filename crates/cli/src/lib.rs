//! The program `anymaster`, and `spark-submit` when it is called by that name, for the backends that its
//! caller registers:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     anymaster_cli::run(anymaster_cli::backends())
//! }
//! ```
//!
//! A table of contents: `args` is the command line, `commands` has a file per verb, `context`
//! what they share, `session` a driver from its start to its end, `printer` the house style of
//! output, `exit` how the program ends.

mod args;
mod commands;
mod context;
mod exit;
mod follow;
mod launch;
mod log;
mod lookup;
mod printer;
mod progress;
mod relay;
mod session;
mod settings;
mod signals;
mod table;
mod text;
mod view;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anymaster_core::Registry;
use anymaster_standalone::local;

use crate::args::{CommandLine, Verb};
use crate::commands::submit::Caller;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::log::LogFormat;
use crate::printer::Printer;
use crate::settings::Settings;

/// The backends of `anymaster`; others can be added [`with`](Registry::with) them.
pub fn backends() -> Registry {
    Registry::new()
        .with(local::LOCAL)
        .with(anymaster_standalone::client::STANDALONE)
        .with(anymaster_k8s::KUBERNETES)
        .with(anymaster_mesos::MESOS)
        .with(anymaster_yarn::YARN)
}

/// Runs the command line of this process on these backends.
///
/// A process that is to become a program of an application does so, and does not return.
pub fn run(backends: Registry) -> ExitCode {
    let mut line: Vec<OsString> = std::env::args_os().collect();
    if line.get(1).is_some_and(|verb| verb == local::START_VERB) {
        // It is to become another program: nothing of ours may be started in it.
        return local::exec_program(line.split_off(2));
    }
    let printer = Printer::from_streams();
    let caller = match line.first().and_then(|name| Path::new(name).file_name()) {
        Some(name) if name == "spark-submit" => Caller::SparkSubmit,
        _ => Caller::Anymaster,
    };
    if let Err(error) = launch::as_spark_does(&line, caller) {
        caller.show(printer, &error);
        return caller.failure_code(&Failure::Error(error)).into();
    }
    // The grammar of spark-submit is not clap's: its line is taken before clap sees it.
    let outcome = match (caller, line.get(1).and_then(|verb| verb.to_str())) {
        (Caller::SparkSubmit, _) => submit(printer, backends, caller, line.split_off(1)),
        (Caller::Anymaster, Some("submit")) => submit(printer, backends, caller, line.split_off(2)),
        (Caller::Anymaster, _) => anymaster(printer, backends, line),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if let Failure::Error(error) = &failure {
                caller.show(printer, error);
            }
            caller.failure_code(&failure).into()
        }
    }
}

fn submit(
    printer: Printer,
    backends: Registry,
    caller: Caller,
    arguments: Vec<OsString>,
) -> Outcome {
    commands::submit::run(&context(printer, backends, 0, None)?, caller, arguments)
}

fn anymaster(printer: Printer, backends: Registry, line: Vec<OsString>) -> Outcome {
    let CommandLine { verbose, log_format, verb } = match args::parse(&line) {
        Ok(parsed) => parsed,
        Err(answer) => return args::show(&line, answer),
    };
    let context = context(printer, backends, verbose, log_format)?;
    match verb {
        Verb::Submit(arguments) => {
            commands::submit::run(&context, Caller::Anymaster, arguments.line)
        }
        Verb::Run(arguments) => commands::run::run(&context, arguments),
        Verb::Ps(arguments) => context.block_on(commands::ps::run(&context, arguments)),
        Verb::Status(arguments) => context.block_on(commands::status::run(&context, arguments)),
        Verb::Kill(arguments) => context.block_on(commands::kill::run(&context, arguments)),
        Verb::Logs(arguments) => context.block_on(commands::logs::run(&context, arguments)),
        Verb::Watch(arguments) => context.block_on(commands::watch::run(&context, arguments)),
        Verb::Explain(arguments) => context.block_on(commands::explain::run(&context, arguments)),
        Verb::Compare(arguments) => commands::compare::run(&context, arguments),
        Verb::Report(arguments) => context.block_on(commands::report::run(&context, arguments)),
        Verb::Doctor(arguments) => context.block_on(commands::doctor::run(&context, arguments)),
        Verb::Leaks(arguments) => context.block_on(commands::leaks::run(&context, arguments)),
        Verb::Serve(arguments) => context.block_on(commands::serve::run(&context, arguments)),
        Verb::Operator(arguments) => context.block_on(commands::operator::run(&context, arguments)),
        Verb::Master(arguments) => context.block_on(commands::master::run(&context, arguments)),
        Verb::Worker(arguments) => context.block_on(commands::worker::run(&context, arguments)),
        Verb::Dispatcher(arguments) => {
            context.block_on(commands::dispatcher::run(&context, arguments))
        }
        Verb::Gateway(arguments) => context.block_on(commands::gateway::run(&context, arguments)),
        Verb::Shuffle(arguments) => context.block_on(commands::shuffle::run(&context, arguments)),
        Verb::Staging(arguments) => context.block_on(commands::staging::run(&context, arguments)),
        Verb::Token(arguments) => commands::token::run(&context, &arguments),
        Verb::Completions(arguments) => commands::completions::run(&context, &arguments),
        Verb::Man(arguments) => commands::man::run(&context, &arguments),
        Verb::Janitor(arguments) => context.block_on(commands::janitor::run(&context, arguments)),
        Verb::ApplicationMaster(arguments) => {
            context.block_on(commands::application_master::run(&context, arguments))
        }
        Verb::LocalWorker(arguments) => {
            context.block_on(commands::local_worker::run(&context, arguments))
        }
    }
}

fn context(
    printer: Printer,
    registry: Registry,
    verbosity: u8,
    log_format: Option<LogFormat>,
) -> Result<Context, Failure> {
    let settings = Settings::load(|name| std::env::var_os(name))?;
    Ok(Context { printer, settings, registry, verbosity, log_format })
}
