//! The example, as a program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::home::program;

pub fn pi() -> &'static Path {
    static PI: OnceLock<PathBuf> = OnceLock::new();
    PI.get_or_init(|| {
        // As `tests/all` builds it: of other packages and features, most would be built once more.
        let what = ["--workspace", "--all-features", "--locked", "--example", "pi"];
        let build = ["build", "--quiet"].iter().chain(&what);
        let built = Command::new(env!("CARGO")).args(build).status().unwrap();
        assert!(built.success(), "the example is built");
        program().with_file_name("examples").join("pi")
    })
}

pub fn digits(out: &str) -> &str {
    out.strip_prefix("Pi is roughly ").and_then(|rest| rest.split(' ').next()).unwrap_or(out)
}
