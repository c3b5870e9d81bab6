//! The example Pi, as a program that knows Mesos.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub(crate) fn pi() -> &'static Path {
    static PI: OnceLock<PathBuf> = OnceLock::new();
    PI.get_or_init(|| {
        let build = ["build", "--quiet", "--locked", "--package", "anymaster", "--example", "pi"];
        let with = ["--features", "mesos"];
        let built = Command::new(env!("CARGO")).args(build).args(with).status().unwrap();
        assert!(built.success(), "the example is built");
        Path::new(env!("CARGO_BIN_EXE_anymaster")).with_file_name("examples").join("pi")
    })
}

pub(crate) fn digits(out: &str) -> &str {
    out.strip_prefix("Pi is roughly ").and_then(|rest| rest.split(' ').next()).unwrap_or(out)
}
