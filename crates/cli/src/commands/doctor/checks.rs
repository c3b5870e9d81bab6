//! The checks themselves.

use std::io::Write as _;
use std::path::PathBuf;

use anymaster_compare::missing;
use anymaster_core::{Check, MasterUrl};
use anymaster_spark::Environment;

use crate::args::Connection;
use crate::context::Context;

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
    anymaster_compare::preflight(&*cluster, master).await
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
