//! A Spark application in client mode: this process becomes Spark's driver.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anymaster_core::Error;
use anymaster_core::conf::Redaction;
use anymaster_spark::{ClientCommand, Environment, Submission, client_command};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Format;

pub(super) fn run(
    context: &Context,
    submission: &Submission,
    environment: &Environment,
    dry_run: bool,
    format: Format,
) -> Outcome {
    // Spark would start a JVM to say so.
    if let Some(path) = submission.application_file(&environment.current_dir) {
        super::program::check_is_file(&path)?;
    }
    // Without a directory of the user's there are no class archives, and nothing else is missing.
    let archives = context.state_dir().ok().map(|dir| dir.join("class-archives"));
    let command = client_command(submission, environment, archives.as_deref())?;
    if dry_run {
        return show(context, submission, &command, format);
    }
    if environment.get("SPARK_PRINT_LAUNCH_COMMAND").is_some() {
        let args = command.redacted_args(&Redaction::from_conf(&submission.conf)?).join(" ");
        let line = format!("Spark Command: {} {args}", command.program.display());
        context.printer.message_lines(format!("{line}\n{}", "=".repeat(40)));
    }
    become_it(command)
}

/// Whether there is a Spark on this machine.
pub(super) fn has_spark() -> bool {
    anymaster_spark::find_spark(&Environment::of_process()).is_ok()
}

/// Spark's own launcher takes over.
pub(super) fn spark_launcher(line: Vec<String>) -> Outcome {
    become_it(anymaster_spark::spark_launcher(line, &Environment::of_process())?)
}

/// It only returns if it fails.
fn become_it(ClientCommand { program, args, env }: ClientCommand) -> Outcome {
    let error = Command::new(&program).args(args).envs(env).exec();
    Err(Error::unavailable(format!("cannot start {}", program.display())).with_source(error).into())
}

fn show(
    context: &Context,
    submission: &Submission,
    command: &ClientCommand,
    format: Format,
) -> Outcome {
    let redaction = Redaction::from_conf(&submission.conf)?;
    let properties: BTreeMap<_, _> = submission.conf.redacted().collect();
    let env: BTreeMap<_, _> =
        command.env.iter().map(|(name, value)| (name, redaction.show(name, value))).collect();
    let value = json!({
        "master": submission.master,
        "deploy_mode": submission.deploy_mode.to_string(),
        "exec": {
            "program": command.program,
            "args": command.redacted_args(&redaction),
            "env": env,
        },
        "properties": properties,
    });
    context.printer.value(format.document(), &value)?;
    Ok(Exit::Success)
}
