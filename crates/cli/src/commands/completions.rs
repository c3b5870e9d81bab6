//! `anymaster completions SHELL`: a script that completes command lines.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::commands::definition;
use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
#[command(after_help = "\
For bash:  anymaster completions bash > ~/.local/share/bash-completion/completions/anymaster
For zsh:   anymaster completions zsh > a directory of $fpath, as _anymaster
For fish:  anymaster completions fish > ~/.config/fish/completions/anymaster.fish")]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
    /// The program whose command lines are completed
    #[arg(long = "for", value_name = "PROGRAM", value_enum, default_value_t)]
    program: Program,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Program {
    #[default]
    Anymaster,
    SparkSubmit,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let (mut command, name) = match arguments.program {
        Program::Anymaster => (definition::anymaster(), "anymaster"),
        Program::SparkSubmit => (definition::spark_submit(), "spark-submit"),
    };
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    context.printer.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
