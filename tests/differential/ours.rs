//! The built program, on the same lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::line::Environment;
use crate::spark::Outcome;

/// The lists of a dry run, and what is in them.
const LISTS: [(&str, &str); 5] = [
    ("pods", "Pod"),
    ("services", "Service"),
    ("configmaps", "ConfigMap"),
    ("persistentvolumeclaims", "PersistentVolumeClaim"),
    ("networkpolicies", "NetworkPolicy"),
];

/// What `anymaster submit --dry-run` makes of a line.
pub(crate) fn submit(args: &[String], env: &Environment, directory: &Path) -> Outcome {
    let output = Command::new(program())
        .args(["submit", "--dry-run", "-o", "json"])
        .args(args)
        .env_clear()
        .envs(env)
        .current_dir(directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut objects = Vec::new();
    if output.status.success() {
        let lists: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("no objects ({error}) of {args:?}"));
        for (list, items) in lists.as_object().unwrap() {
            let kind = LISTS.iter().find(|(name, _)| name == list).expect("a list that is known").1;
            for item in items.as_array().unwrap() {
                let mut item = item.clone();
                item["kind"] = kind.into();
                objects.push(item);
            }
        }
    }
    Outcome { succeeded: output.status.success(), said, objects }
}

/// The built program, or another build of it.
fn program() -> PathBuf {
    std::env::var_os("ANYMASTER_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_anymaster").into(), PathBuf::from)
}
