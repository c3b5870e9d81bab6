//! Maps options to properties, by cluster manager and deploy mode (Spark 3.5, `SparkSubmit`'s
//! `OptionAssigner`).

use anymaster_core::MasterUrl;
use anymaster_core::model::DeployMode;

/// The cluster managers for which the mapping differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Local,
    Standalone,
    Mesos,
    Yarn,
    Kubernetes,
}

impl Manager {
    /// Other schemes are treated like Kubernetes: all options have an effect.
    pub(crate) fn of(master: &MasterUrl) -> Self {
        match master.scheme() {
            "local" | "local-cluster" => Self::Local,
            "spark" => Self::Standalone,
            "mesos" | "zk" => Self::Mesos,
            "yarn" => Self::Yarn,
            _ => Self::Kubernetes,
        }
    }
}

use DeployMode::{Client, Cluster};
use Manager::{Kubernetes, Local, Mesos, Standalone, Yarn};

const ALL: &[Manager] = &[Local, Standalone, Mesos, Yarn, Kubernetes];
const BOTH: &[DeployMode] = &[Client, Cluster];

/// An option, its property, and the cluster managers and deploy modes where it has an effect.
pub(crate) struct Assignment {
    pub(crate) option: &'static str,
    pub(crate) key: &'static str,
    managers: &'static [Manager],
    modes: &'static [DeployMode],
    /// Appended to the property's value instead of replacing it.
    pub(crate) merged: bool,
}

impl Assignment {
    pub(crate) fn applies(&self, manager: Manager, mode: DeployMode) -> bool {
        self.managers.contains(&manager) && self.modes.contains(&mode)
    }
}

/// Which property an option is at a master in a deploy mode: `Some(None)` if it has no effect there, `None`
/// if it is an option that is no property anywhere.
pub fn property_of_option(
    option: &str,
    master: &MasterUrl,
    mode: DeployMode,
) -> Option<Option<&'static str>> {
    let manager = Manager::of(master);
    let mut same = ASSIGNMENTS.iter().filter(|assignment| assignment.option == option).peekable();
    same.peek()?;
    Some(same.find(|assignment| assignment.applies(manager, mode)).map(|assignment| assignment.key))
}

const fn assign(
    option: &'static str,
    key: &'static str,
    managers: &'static [Manager],
    modes: &'static [DeployMode],
) -> Assignment {
    Assignment { option, key, managers, modes, merged: false }
}

const fn merge(option: &'static str, key: &'static str) -> Assignment {
    Assignment { option, key, managers: &[Yarn], modes: BOTH, merged: true }
}

/// Options with an effect for programs other than Spark's, on every cluster.
pub(crate) const PROGRAM_OPTIONS: &[(&str, &str)] = &[
    ("--driver-cores", "spark.driver.cores"),
    ("--executor-memory", "spark.executor.memory"),
    ("--executor-cores", "spark.executor.cores"),
    ("--num-executors", "spark.executor.instances"),
];

pub(crate) const ASSIGNMENTS: &[Assignment] = &[
    assign(
        "--driver-cores",
        "spark.driver.cores",
        &[Standalone, Mesos, Yarn, Kubernetes],
        &[Cluster],
    ),
    assign(
        "--executor-memory",
        "spark.executor.memory",
        &[Standalone, Mesos, Yarn, Kubernetes],
        BOTH,
    ),
    assign("--executor-cores", "spark.executor.cores", &[Standalone, Yarn, Kubernetes], BOTH),
    assign("--total-executor-cores", "spark.cores.max", &[Standalone, Mesos], BOTH),
    assign("--num-executors", "spark.executor.instances", &[Yarn, Kubernetes], BOTH),
    assign("--queue", "spark.yarn.queue", &[Yarn], BOTH),
    assign("--jars", "spark.jars", &[Local], &[Client]),
    assign("--jars", "spark.jars", &[Standalone, Mesos, Kubernetes], BOTH),
    merge("--jars", "spark.yarn.dist.jars"),
    assign("--files", "spark.files", &[Local, Standalone, Mesos, Kubernetes], BOTH),
    merge("--files", "spark.yarn.dist.files"),
    assign("--archives", "spark.archives", &[Local, Standalone, Mesos, Kubernetes], BOTH),
    merge("--archives", "spark.yarn.dist.archives"),
    assign("--py-files", "spark.submit.pyFiles", ALL, &[Cluster]),
    merge("--py-files", "spark.yarn.dist.pyFiles"),
    assign("--packages", "spark.jars.packages", &[Standalone, Mesos, Kubernetes], &[Cluster]),
    assign(
        "--repositories",
        "spark.jars.repositories",
        &[Standalone, Mesos, Kubernetes],
        &[Cluster],
    ),
    assign(
        "--exclude-packages",
        "spark.jars.excludes",
        &[Standalone, Mesos, Kubernetes],
        &[Cluster],
    ),
    assign("--ttl", "spark.anymaster.ttlSecondsAfterFinished", &[Kubernetes], &[Cluster]),
    assign("--principal", "spark.kerberos.principal", ALL, BOTH),
    assign("--keytab", "spark.kerberos.keytab", ALL, BOTH),
];
