//! Checks before a submission: Hadoop's configuration, the ResourceManagers, the queue, nodes, the place of files, and
//! our own program.

mod managers;
mod program;
mod queue;
mod staging;

use std::path::Path;

use anymaster_core::text::hex;
use anymaster_core::{Check, Error, ErrorKind};

pub(crate) use self::staging::PROBE;

use crate::cluster::Cluster;
use crate::resource_manager::ResourceManager;
use crate::staging::caller;
use crate::submitter::Submitter;

/// What is said where an error has no hint.
const SEE_MESSAGE: &str = "the message says what failed";

/// Something is missing, for the reason that an error gives.
fn missing(name: &'static str, error: &Error) -> Check {
    Check::missing(name, error.to_string(), error.hint().unwrap_or(SEE_MESSAGE))
}

/// What this machine has of a cluster's configuration.
pub(crate) fn machine(submitter: &Submitter) -> Vec<Check> {
    const NAME: &str = "hadoop configuration";
    const SITE: &str = "yarn-site.xml";
    let dir = match submitter.hadoop_conf_dirs() {
        Ok(dirs) => dirs[0].clone(),
        Err(error) => return vec![missing(NAME, &error)],
    };
    let configuration = match anymaster_hadoop::Configuration::read(&dir) {
        Ok(configuration) => configuration,
        Err(error) => return vec![missing(NAME, &error)],
    };
    let files = ["core-site.xml", "hdfs-site.xml", SITE];
    let there: Vec<_> = files.into_iter().filter(|name| dir.join(name).is_file()).collect();
    let shown = dir.display();
    let found = match there.contains(&SITE) {
        true => Check::ok(NAME, format!("{} in {shown}", there.join(", "))),
        false => Check::optional(
            NAME,
            format!("there is no {SITE} in {shown}"),
            "export HADOOP_CONF_DIR=the directory of yarn-site.xml, or set spark.hadoop.yarn.*",
        ),
    };
    vec![found, security(configuration.get("hadoop.security.authentication").as_deref(), submitter)]
}

/// How users are known.
fn security(authentication: Option<&str>, submitter: &Submitter) -> Check {
    const NAME: &str = "security";
    match authentication {
        None | Some("simple") => Check::ok(
            NAME,
            format!("no Kerberos: the cluster takes {} for who calls", submitter.user),
        ),
        Some(other) => Check::missing(
            NAME,
            format!("hadoop.security.authentication is {other}, which is not implemented"),
            "submit with Spark's own spark-submit",
        ),
    }
}

/// What a submission needs of the cluster. `program`: ours, on this machine.
pub(crate) async fn cluster(cluster: &Cluster, program: Option<&Path>) -> Vec<Check> {
    let (found, staging) = futures::join!(managers::check(cluster), staging::check(cluster));
    let (mut checks, answers) = found;
    if answers {
        let once = ResourceManager::new(&cluster.configuration, caller(&cluster.submitter, None));
        match once.map(ResourceManager::once) {
            Ok(manager) => {
                let (queue, nodes) =
                    futures::join!(queue::check(cluster, &manager), nodes(&manager));
                checks.extend([queue, nodes]);
            }
            Err(error) => checks.push(missing("queue", &error)),
        }
    }
    checks.push(staging);
    checks.push(program::check(cluster, program).await);
    checks.push(logs(cluster));
    checks
}

async fn nodes(manager: &ResourceManager) -> Check {
    const NAME: &str = "nodes";
    match manager.nodes().await {
        Ok(nodes) if nodes.is_empty() => Check::missing(
            NAME,
            "no node runs",
            "yarn node -list -all says what became of them; start NodeManagers",
        ),
        Ok(nodes) => Check::ok(NAME, anymaster_core::counted(nodes.len(), "node")),
        Err(error) if error.kind() == ErrorKind::Denied => Check::optional(
            NAME,
            error.to_string(),
            "containers come more slowly without their names",
        ),
        Err(error) => missing(NAME, &error),
    }
}

/// Whether output is kept when applications have ended.
fn logs(cluster: &Cluster) -> Check {
    const NAME: &str = "logs";
    const KEY: &str = "yarn.log-aggregation-enable";
    match cluster.configuration.is_true(KEY) {
        true => Check::ok(NAME, "aggregated when an application ends"),
        false => Check::optional(
            NAME,
            format!("{KEY} is not true here: there is no output of applications that have ended"),
            format!("set {KEY} in the yarn-site.xml of the cluster and of its clients"),
        ),
    }
}

/// A name that nothing else has.
fn unique(prefix: &str) -> String {
    format!("{prefix}{}", hex(&rand::random::<[u8; 8]>()))
}
