//! `anymaster` with one backend more: all verbs work with `--master dir:///a/directory`.

use std::process::ExitCode;

fn main() -> ExitCode {
    anymaster_cli::run(anymaster_cli::backends().with(anymaster_example_backend::DIRECTORY))
}
