//! The command line as a whole, for completions and man pages.

use anymaster_spark::flags::{FLAGS, Group};
use clap::{Arg, ArgAction, Command, CommandFactory as _, ValueHint};

use crate::args::CommandLine;

/// All of `anymaster`, the options of `submit` among it.
pub(crate) fn anymaster() -> Command {
    CommandLine::command().mut_subcommand("submit", |submit| {
        let about = submit.get_about().cloned().unwrap_or_default();
        options(Command::new("submit")).about(about)
    })
}

/// spark-submit.
pub(crate) fn spark_submit() -> Command {
    options(Command::new("spark-submit")).about("Submit an application to a cluster")
}

fn options(command: Command) -> Command {
    let flags = FLAGS.iter().filter(|flag| flag.group != Group::Hidden).map(|flag| {
        // An id like that of a global option takes its place: `--verbose` is spark-submit's here.
        let name = flag.name.trim_start_matches('-');
        let arg = Arg::new(name).long(name).help(flag.help).help_heading(flag.group.title());
        let arg = match flag.short.and_then(|short| short.chars().nth(1)) {
            Some(short) => arg.short(short),
            None => arg,
        };
        match flag.value {
            Some(value) => arg.value_name(value).value_hint(hint(flag.name)),
            None => arg.action(ArgAction::SetTrue),
        }
    });
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(flags)
        .arg(Arg::new("application").value_name("APPLICATION").value_hint(ValueHint::FilePath))
        .arg(Arg::new("arguments").value_name("ARGUMENTS").num_args(0..).trailing_var_arg(true))
}

fn hint(option: &str) -> ValueHint {
    match option {
        "--properties-file" | "--jars" | "--files" | "--archives" | "--py-files" | "--keytab" => {
            ValueHint::FilePath
        }
        "--master" => ValueHint::Url,
        _ => ValueHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/src/reference/command-line.md` is written from this definition: `UPDATE_DOCS=1 cargo test
    /// -p anymaster-cli` writes it anew.
    #[test]
    fn the_reference_of_the_command_line_is_this() {
        let mut text = "# Command line\n\n<!-- Written by a test from the definition of the command line; see \
                        crates/cli/src/commands/definition.rs. -->\n"
            .to_owned();
        let mut section = |name: &str, help: &str| {
            let help: Vec<_> = help.lines().map(str::trim_end).collect();
            text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim()));
        };
        let mut all = CommandLine::command().term_width(100);
        all.build();
        section("anymaster", &all.render_long_help().to_string());
        section("anymaster submit", &anymaster_spark::help("anymaster submit"));
        for verb in all.get_subcommands_mut() {
            if !verb.is_hide_set() && !["submit", "help"].contains(&verb.get_name()) {
                let name = format!("anymaster {}", verb.get_name());
                section(&name, &verb.render_long_help().to_string());
            }
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/src/reference/command-line.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-cli");
    }

    #[test]
    fn it_is_consistent() {
        spark_submit().debug_assert();
        let all = anymaster();
        assert!(all.find_subcommand("submit").is_some());
        all.debug_assert();
    }
}
