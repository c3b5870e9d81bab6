//! The line of `/bin/sh` that a task runs: it writes files, and becomes the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anymaster_core::{Error, Result};

use crate::model::Variable;

/// In arguments, in the environment and in files this stands for the task's sandbox, which only its shell
/// knows.
pub const SANDBOX: &str = "{{work.dir}}";
/// Linux takes no longer variable: 128 KiB with its name.
const LONGEST: usize = 128 * 1024;
/// The variables by which the contents of files come.
const FILE: &str = "ANYMASTER_FILE_";

/// What a task runs.
pub(super) struct Start {
    /// The shell's line.
    pub(super) line: String,
    /// Its environment, with secrets that the program does not see.
    pub(super) variables: Vec<Variable>,
}

/// A text in single quotes, for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The same, with the sandbox for [`SANDBOX`].
fn word(text: &str) -> String {
    let pieces: Vec<String> = text.split(SANDBOX).map(quoted).collect();
    pieces.join("\"$MESOS_SANDBOX\"")
}

/// What starts a program: with this environment, and these secret files in its sandbox.
///
/// The shell ends with 127 if there is no such program, and with 126 if it cannot be executed, or a file not
/// be written; it says so on standard error.
pub(super) fn start(
    program: &str,
    args: &[String],
    env: &BTreeMap<String, String>,
    files: &BTreeMap<&'static str, String>,
) -> Result<Start> {
    let texts = args.iter().chain(env.values()).chain(files.values()).map(String::as_str);
    if [program].into_iter().chain(texts).any(|text| text.contains('\0')) {
        return Err(Error::invalid(format!("{program}: NUL is in an argument or in a variable")));
    }
    if program.is_empty() || program.starts_with('-') {
        return Err(Error::invalid(format!("{program:?} is not the name of a program")));
    }
    let (mut line, mut variables) = write_files(files)?;
    for (name, value) in env {
        if !value.contains(SANDBOX) {
            variables.push(Variable::new(name, value));
        } else if is_name(name) {
            // A line's own words: infallible.
            let _ = writeln!(line, "export {name}={}", word(value));
        } else {
            return Err(Error::invalid(format!("{name:?} is not the name of a variable")));
        }
    }
    line += &found(program);
    line += "exec ";
    line += &word(program);
    for arg in args {
        line.push(' ');
        line += &word(arg);
    }
    Ok(Start { line, variables })
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
}

/// Writes secret files that nobody else may read, and forgets what is in them.
pub(super) fn write_files(
    files: &BTreeMap<&'static str, String>,
) -> Result<(String, Vec<Variable>)> {
    let (mut line, mut variables, mut names) = (String::new(), Vec::new(), String::new());
    for (number, (file, content)) in files.iter().enumerate() {
        if content.len() + 64 > LONGEST {
            return Err(Error::invalid(format!("{file} is too long: {} bytes", content.len()))
                .with_hint("Mesos takes less than 128 KiB"));
        }
        let path = format!("\"$MESOS_SANDBOX\"/{}", quoted(file));
        let mut words = Vec::new();
        for (piece, text) in content.split(SANDBOX).enumerate() {
            let name = format!("{FILE}{number}_{piece}");
            words.push(format!("\"${{{name}-}}\""));
            names = format!("{names} {name}");
            // Not of the type SECRET: agents write the value of such a one into the arguments of its
            // executor, where everybody on the machine sees it (Mesos 1.11, `--task_environment`).
            variables.push(Variable::new(name, text));
        }
        let words = words.join(" \"$MESOS_SANDBOX\" ");
        // What was fetched under this name may be anybody's to read.
        let cannot = fail(&format!("cannot write {file}"), "", 126);
        let _ =
            writeln!(line, "(umask 077 && rm -f {path} && printf %s {words} >{path}) || {cannot}");
    }
    if !names.is_empty() {
        let _ = writeln!(line, "unset{names}");
    }
    Ok((line, variables))
}

/// Says why, and ends.
fn fail(what: &str, why: &str, code: u8) -> String {
    let text = quoted(&format!("anymaster: {what}{why}"));
    format!("{{ printf '%s\\n' {text} >&2; exit {code}; }}")
}

/// Makes sure that there is such a program.
fn found(program: &str) -> String {
    let cannot = |why, code| fail(&format!("cannot start {program}: "), why, code);
    let word = word(program);
    if program.contains('/') {
        format!(
            "[ -e {word} ] || {}\n{{ [ -f {word} ] && [ -x {word} ]; }} || {}\n",
            cannot("no such file", 127),
            cannot("it cannot be executed", 126)
        )
    } else {
        format!("command -v {word} >/dev/null || {}\n", cannot("it is not in the PATH", 127))
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
