//! The line of `/bin/sh` that a task runs: it writes files, and becomes the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anymaster_core::{Error, Result};

use crate::model::Variable;

/// In arguments, in the environment and in files this stands for the task's sandbox, which only its shell
/// knows.
pub const SANDBOX: &str = "{{work.dir}}";
/// The same for the directory with the secret files: the sandbox, unless the user of the image may not write
/// there.
pub const FILES: &str = "{{files.dir}}";
/// The same for the address of a container that has a network of its own.
pub const OWN_HOST: &str = "{{own.host}}";
/// The variables of the shell that they become.
const KNOWN: [(&str, &str); 3] =
    [(SANDBOX, "$MESOS_SANDBOX"), (FILES, "$anymaster_files"), (OWN_HOST, "$anymaster_host")];
/// Sets that of [`FILES`].
const FIND_FILES: &str = "anymaster_files=$MESOS_SANDBOX\n\
    [ -w \"$anymaster_files\" ] || anymaster_files=$(umask 077 && mktemp -d) || ";
/// Sets that of [`OWN_HOST`]: the first address of the container that is not of its loopback, as the kernel
/// lists them. Images need no program for it, and a name of the container need not be in `/etc/hosts`.
const FIND_HOST: &str = "anymaster_host= anymaster_last=\n\
    while read -r anymaster_line; do case \"$anymaster_line\" in\n\
    '|-- '*|'+-- '*) anymaster_last=${anymaster_line#?-- } ;;\n\
    '/32 host LOCAL'*) case \"$anymaster_last\" in 127.*) ;;\n\
    *) anymaster_host=$anymaster_last; break ;; esac ;; esac\n\
    done </proc/net/fib_trie\n\
    [ -n \"$anymaster_host\" ] || ";
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

/// The same, with what [`KNOWN`] says for what only the shell knows.
fn word(text: &str) -> String {
    let one = |piece: Piece<'_>| match piece {
        Piece::Text(text) => quoted(text),
        Piece::Known(variable) => format!("\"{variable}\""),
    };
    pieces(text).into_iter().map(one).collect()
}

enum Piece<'a> {
    Text(&'a str),
    Known(&'static str),
}

/// A text, cut at what only the shell knows. It begins and ends with a text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![Piece::Text(text)];
    for (name, variable) in KNOWN {
        let cut = |piece| match piece {
            Piece::Text(text) => {
                let mut cut = Vec::new();
                for (at, text) in text.split(name).enumerate() {
                    if at > 0 {
                        cut.push(Piece::Known(variable));
                    }
                    cut.push(Piece::Text(text));
                }
                cut
            }
            known @ Piece::Known(_) => vec![known],
        };
        pieces = pieces.into_iter().flat_map(cut).collect();
    }
    pieces
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
    let texts = || args.iter().chain(env.values()).chain(files.values()).map(String::as_str);
    if [program].into_iter().chain(texts()).any(|text| text.contains('\0')) {
        return Err(Error::invalid(format!("{program}: NUL is in an argument or in a variable")));
    }
    if program.is_empty() || program.starts_with('-') {
        return Err(Error::invalid(format!("{program:?} is not the name of a program")));
    }
    let (mut line, mut variables) = write_files(files)?;
    if texts().any(|text| text.contains(OWN_HOST)) {
        let why = ": it has none of IPv4";
        line =
            format!("{FIND_HOST}{}\n{line}", fail("cannot find the container's address", why, 126));
    }
    for (name, value) in env {
        if !KNOWN.iter().any(|(known, _)| value.contains(known)) {
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
    if !files.is_empty() {
        line = format!(
            "{FIND_FILES}{}\n",
            fail("cannot write into the sandbox, nor into /tmp", "", 126)
        );
    }
    for (number, (file, content)) in files.iter().enumerate() {
        if content.len() + 64 > LONGEST {
            return Err(Error::invalid(format!("{file} is too long: {} bytes", content.len()))
                .with_hint("Mesos takes less than 128 KiB"));
        }
        let path = format!("\"$anymaster_files\"/{}", quoted(file));
        let mut words = String::new();
        for (at, piece) in pieces(content).into_iter().enumerate() {
            // Infallible.
            let _ = match piece {
                Piece::Known(variable) => write!(words, "\"{variable}\" "),
                Piece::Text(text) => {
                    let name = format!("{FILE}{number}_{at}");
                    names = format!("{names} {name}");
                    let done = write!(words, "\"${{{name}-}}\" ");
                    // Not of the type SECRET: agents write the value of such a one into the arguments of
                    // its executor, where everybody on the machine sees it (Mesos 1.11,
                    // `--task_environment`).
                    variables.push(Variable::new(name, text));
                    done
                }
            };
        }
        // What was fetched under this name may be anybody's to read.
        let cannot = fail(&format!("cannot write {file}"), "", 126);
        let _ =
            writeln!(line, "(umask 077 && rm -f {path} && printf %s {words}>{path}) || {cannot}");
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
mod tests;
