//! The grammar of master URLs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where a cluster is. Its [scheme](Self::scheme) picks the backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum MasterUrl {
    /// `local`, `local[N]`, `local[*]`, `local[N,F]`: this machine, in one process' care.
    Local {
        /// How many cores executors may use at once.
        threads: Threads,
        /// The `F`: how many failures are borne. Spark's default is 1.
        max_failures: Option<u32>,
    },
    /// `local-cluster[n,c,m]`: workers as separate processes on this machine.
    LocalCluster {
        /// Worker processes.
        workers: u32,
        /// Cores of each.
        cores: u32,
        /// Memory of each in MiB.
        memory_mib: u64,
    },
    /// `spark://h:p[,h2:p2…]`: standalone masters, one of which leads.
    Spark {
        /// In the order given.
        masters: Vec<HostPort>,
    },
    /// `k8s://[http[s]://]host[:port][/path]`.
    Kubernetes {
        /// The API server's URL, `https` unless said otherwise.
        server: String,
    },
    /// `mesos://host:port`, `mesos://zk://…/path`, `zk://…/path`.
    Mesos(MesosMaster),
    /// `yarn`: the cluster of `HADOOP_CONF_DIR` or `YARN_CONF_DIR`.
    Yarn,
    /// Any other `scheme://rest`, for backends from elsewhere.
    Other {
        /// In lower case.
        scheme: String,
        /// What follows `://`.
        rest: String,
    },
}

/// The `N` of `local[N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Threads {
    /// A number of cores, at least 1.
    Count(u32),
    /// `*`: as many as the machine has.
    All,
}

/// A host name or address with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; IPv6 addresses keep their brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where Mesos masters are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MesosMaster {
    /// One master, or a dispatcher.
    Address(HostPort),
    /// Masters that elect a leader through ZooKeeper.
    ZooKeeper {
        /// The ensemble.
        servers: Vec<HostPort>,
        /// The path under which masters register, for example `/mesos`.
        path: String,
    },
}

impl MasterUrl {
    /// `local`, `local-cluster`, `spark`, `k8s`, `mesos`, `yarn`, or that of another backend.
    pub fn scheme(&self) -> &str {
        match self {
            Self::Local { .. } => "local",
            Self::LocalCluster { .. } => "local-cluster",
            Self::Spark { .. } => "spark",
            Self::Kubernetes { .. } => "k8s",
            Self::Mesos(_) => "mesos",
            Self::Yarn => "yarn",
            Self::Other { scheme, .. } => scheme,
        }
    }
}
impl fmt::Display for MasterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("todo")
    }
}
impl std::str::FromStr for MasterUrl {
    type Err = Error;
    fn from_str(_: &str) -> Result<Self> {
        Err(Error::invalid("being written"))
    }
}
impl TryFrom<String> for MasterUrl {
    type Error = Error;
    fn try_from(url: String) -> Result<Self> {
        url.parse()
    }
}
impl From<MasterUrl> for String {
    fn from(url: MasterUrl) -> Self {
        url.to_string()
    }
}
