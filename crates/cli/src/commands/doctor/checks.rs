//! The checks themselves.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anymaster_core::conf::Conf;
use anymaster_core::model::{Filter, Status};
use anymaster_core::{Error, MasterUrl, MemoryLimit, Threads};

use anymaster_k8s::{Examined, Health, Kubernetes};
use anymaster_spark::Environment;

use super::Check;
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
    match context.registry.find(master) {
        Ok(backend) => checks.push(Check::ok("backend", backend.summary)),
        Err(error) => {
            checks.push(missing("backend", &error));
            checks.extend(spark());
            return checks;
        }
    }
    checks.push(state_directory(context));
    if master.scheme().starts_with("local") {
        checks.extend([shell(), ports(), cores(master)]);
    }
    if matches!(master, MasterUrl::Kubernetes { .. }) {
        checks.extend(kubernetes(context, connection, master).await);
    } else {
        checks.extend(cluster(context, master).await);
    }
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

/// What ends processes that their owner left behind is a shell.
fn shell() -> Check {
    match is_executable(Path::new("/bin/sh")) {
        true => Check::ok("shell", "/bin/sh, which cleans up when a run is killed"),
        false => Check::missing(
            "shell",
            "/bin/sh is not there; it cleans up when a run is killed",
            "install a POSIX shell as /bin/sh (Debian: apt install dash)",
        ),
    }
}

fn ports() -> Check {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => Check::ok("ports", "free ones can be had on 127.0.0.1"),
        Err(error) => Check::missing(
            "ports",
            format!("none can be had on 127.0.0.1: {error}"),
            "ip link set lo up",
        ),
    }
}

fn cores(master: &MasterUrl) -> Check {
    let here = std::thread::available_parallelism().map_or(1, NonZero::get);
    let wanted = match master {
        MasterUrl::Local { threads: Threads::Count(number), .. } => u64::from(*number),
        MasterUrl::LocalCluster { workers, cores, .. } => u64::from(*workers) * u64::from(*cores),
        _ => here as u64,
    };
    let here = here as u64;
    if wanted <= here {
        return Check::ok("cores", format!("{wanted} of this machine's {here}"));
    }
    Check::optional(
        "cores",
        format!("{master} promises {wanted}, but this machine has {here}"),
        "executors will share cores; use local[*] for as many as there are",
    )
}

/// Whether the cluster answers, and what it can do.
async fn cluster(context: &Context, master: &MasterUrl) -> Vec<Check> {
    let filter = Filter { drivers_only: true, ..Filter::default() };
    let cluster = match context.connect(master, Conf::new()).await {
        Ok(cluster) => cluster,
        Err(error) => return vec![missing("connection", &error)],
    };
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
        MemoryLimit::None if cluster.name() == "mesos" => Check::optional(
            "memory limits",
            "as agents are configured",
            "mesos-agent --isolation=cgroups/mem … ends who uses more than it was given",
        ),
        MemoryLimit::None => Check::optional(
            "memory limits",
            "not enforced: a process may use more memory than it was given",
            "systemd-run --user --scope -p Delegate=yes anymaster … gives it a cgroup of its own",
        ),
    });
    checks
}

/// What a submission to Kubernetes will need.
async fn kubernetes(context: &Context, connection: &Connection, master: &MasterUrl) -> Vec<Check> {
    let conf = match connection.properties(None) {
        Ok(conf) => conf,
        Err(error) => return vec![missing("properties", &error)],
    };
    let account = conf.get("spark.kubernetes.authenticate.driver.serviceAccountName");
    let account = account.unwrap_or("default").to_owned();
    let connected = async { Kubernetes::connect(&context.connect_options(master, conf)?).await };
    let cluster = match connected.await {
        Ok(cluster) => cluster,
        Err(error) => return vec![missing("connection", &error)],
    };
    let examined = cluster.examine(&account).await.into_iter();
    let check = |found: Examined| match (found.health, found.remedy.unwrap_or_default()) {
        (Health::Good, _) => Check::ok(found.name, found.detail),
        (Health::Doubtful, remedy) => Check::optional(found.name, found.detail, remedy),
        (Health::Bad, remedy) => Check::missing(found.name, found.detail, remedy),
    };
    examined.map(check).collect()
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

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
