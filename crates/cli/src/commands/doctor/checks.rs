//! The checks themselves.

use std::io::Write as _;
use std::path::PathBuf;

use anymaster_core::model::{Filter, Status};
use anymaster_core::{Check, Error, MasterUrl, MemoryLimit};
use anymaster_spark::Environment;

use crate::args::Connection;
use crate::context::Context;
use crate::text::count;

/// Everything that is worth looking at for a master, in the order in which it is needed.
pub(super) async fn all(
    context: &Context,
    connection: &Connection,
    master: &MasterUrl,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let backend = match context.registry.find(master) {
        Ok(backend) => backend,
        Err(error) => {
            checks.push(missing("backend", &error));
            checks.extend(spark());
            return checks;
        }
    };
    checks.push(Check::ok("backend", backend.info().summary));
    checks.push(state_directory(context));
    checks.extend(backend.check_machine(master));
    checks.extend(cluster(context, connection, master).await);
    checks.extend(spark());
    checks
}

fn missing(name: &'static str, error: &Error) -> Check {
    Check::missing(name, error.to_string(), error.hint().unwrap_or("the message says what failed"))
}

/// Whether a file can be made where applications are kept.
fn state_directory(context: &Context) -> Check {
    const NAME: &str = "state directory";
    let directory = match context.state_dir() {
        Ok(directory) => directory,
        Err(error) => return missing(NAME, &error),
    };
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    let tried = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::File::create(&probe))
        .and_then(|mut file| file.write_all(b"probe"));
    // Where it could not be made there is nothing to remove.
    let _ = std::fs::remove_file(&probe);
    let shown = directory.display();
    match tried {
        Ok(()) => Check::ok(NAME, format!("{shown} can be written")),
        Err(error) => Check::missing(
            NAME,
            format!("{shown} cannot be written: {error}"),
            "export ANYMASTER_STATE_DIR=a directory of yours",
        ),
    }
}

/// Whether the cluster answers, and what it can do.
async fn cluster(context: &Context, connection: &Connection, master: &MasterUrl) -> Vec<Check> {
    let conf = match connection.properties(None) {
        Ok(conf) => conf,
        Err(error) => return vec![missing("properties", &error)],
    };
    let cluster = match context.connect(master, conf).await {
        Ok(cluster) => cluster,
        Err(error) => return vec![missing("connection", &error)],
    };
    // A cluster that knows more of what submissions need says it all itself.
    if let Some(administration) = cluster.administration() {
        return administration.preflight().await;
    }
    let filter = Filter::drivers();
    let mut checks = Vec::new();
    checks.push(match cluster.list(&filter).await {
        Ok(statuses) => {
            let number = count(statuses.len() as u64, "application");
            let damaged = statuses.iter().filter(|s| matches!(s, Status::Unreadable(_))).count();
            let words = format!("{master} answers; it knows {number}");
            match damaged {
                0 => Check::ok("connection", words),
                _ => Check::optional(
                    "connection",
                    format!("{words}, of which {damaged} cannot be read"),
                    "anymaster ps -a says why",
                ),
            }
        }
        Err(error) => missing("connection", &error),
    });
    checks.push(match cluster.capabilities().memory {
        MemoryLimit::Enforced => {
            Check::ok("memory limits", "enforced: who uses more is ended, and its end says so")
        }
        MemoryLimit::AllocationFails => Check::optional(
            "memory limits",
            "allocations beyond the limit fail, but that was the reason is not known afterwards",
            "systemd-run --user --scope -p Delegate=yes anymaster … gives it a cgroup of its own",
        ),
        MemoryLimit::ByNode => Check::optional(
            "memory limits",
            "as the cluster's nodes are configured",
            "see the documentation of the cluster: on Mesos, mesos-agent --isolation=cgroups/mem",
        ),
        MemoryLimit::None => Check::optional(
            "memory limits",
            "not enforced: a process may use more memory than it was given",
            "systemd-run --user --scope -p Delegate=yes anymaster … gives it a cgroup of its own",
        ),
    });
    checks
}

/// What Spark applications need. Other programs do not.
fn spark() -> Vec<Check> {
    let environment = Environment::of_process();
    let check = |name, found: anymaster_core::Result<PathBuf>| match found {
        Ok(path) => Check::ok(name, path.display().to_string()),
        Err(error) => Check::optional(
            name,
            format!("{error}; only Spark applications need it"),
            error.hint().unwrap_or("the message says what failed"),
        ),
    };
    vec![
        check("java", anymaster_spark::find_java(&environment)),
        check("spark", anymaster_spark::find_spark(&environment)),
    ]
}
