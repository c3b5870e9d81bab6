//! What a cluster can do, in words, and what a submission to it would lack.

use anymaster_core::model::{Filter, Status};
use anymaster_core::{Capabilities, Check, ClusterManager, Error, MasterUrl, MemoryLimit};

/// A check of something that is missing, for the reason that an error gives.
pub fn missing(name: &'static str, error: &Error) -> Check {
    Check::missing(name, error.to_string(), error.hint().unwrap_or("the message says what failed"))
}

/// Looks at what a submission needs of a cluster: the cluster's own checks, where it has any; else whether
/// it answers, and what becomes of memory limits. A failure is a check like others.
pub async fn preflight(cluster: &dyn ClusterManager, master: &MasterUrl) -> Vec<Check> {
    if let Some(administration) = cluster.administration() {
        return administration.preflight().await;
    }
    let connection = match cluster.list(&Filter::drivers()).await {
        Ok(statuses) => answered(master, &statuses),
        Err(error) => missing("connection", &error),
    };
    vec![connection, memory_limits(cluster.capabilities().memory)]
}

fn answered(master: &MasterUrl, statuses: &[Status]) -> Check {
    let number = statuses.len();
    let plural = if number == 1 { "" } else { "s" };
    let words = format!("{master} answers; it knows {number} application{plural}");
    match statuses.iter().filter(|status| matches!(status, Status::Unreadable(_))).count() {
        0 => Check::ok("connection", words),
        damaged => Check::optional(
            "connection",
            format!("{words}, of which {damaged} cannot be read"),
            "anymaster ps -a says why",
        ),
    }
}

fn memory_limits(limit: MemoryLimit) -> Check {
    const NAME: &str = "memory limits";
    match limit {
        MemoryLimit::Enforced => {
            Check::ok(NAME, "enforced: who uses more is ended, and its end says so")
        }
        MemoryLimit::AllocationFails => Check::optional(
            NAME,
            "allocations beyond the limit fail, but that was the reason is not known afterwards",
            "systemd-run --user --scope -p Delegate=yes anymaster … gives it a cgroup of its own",
        ),
        MemoryLimit::ByNode => Check::optional(
            NAME,
            "as the cluster's nodes are configured",
            "see the documentation of the cluster: on Mesos, mesos-agent --isolation=cgroups/mem",
        ),
        MemoryLimit::None => Check::optional(
            NAME,
            "not enforced: a process may use more memory than it was given",
            "systemd-run --user --scope -p Delegate=yes anymaster … gives it a cgroup of its own",
        ),
    }
}

/// What a cluster can do, a phrase each, and whether it can.
pub fn capabilities_in_words(can: &Capabilities) -> Vec<(&'static str, bool)> {
    vec![
        ("drivers go on when their submitter ends", can.detached_drivers),
        ("the same submission id twice is one driver", can.chosen_ids),
        ("executors can be requested", can.executors),
        ("executors of several shapes at once", can.profiles),
        ("drivers outside of the cluster", can.external_drivers),
        ("the cluster itself keeps the number of executors", can.native_target),
        ("output can be read and followed", can.logs),
        ("more memory than given ends a process, and its end says so", {
            can.memory == MemoryLimit::Enforced
        }),
        ("machines can be lost while others go on", can.nodes),
        ("templates of the driver's and the executors' objects", can.templates),
    ]
}
