//! Where the driver runs.

use std::fmt;
use std::str::FromStr;

use crate::conf::{Conf, keys};
use crate::{Error, Result};

/// Where the driver runs (`spark.submit.deployMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeployMode {
    /// With the submitter.
    Client,
    /// In the cluster.
    Cluster,
}

impl DeployMode {
    /// `client` or `cluster`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Cluster => "cluster",
        }
    }

    /// What properties say, if they say it.
    pub fn of(conf: &Conf) -> Option<Self> {
        conf.get(keys::DEPLOY_MODE.info.name)?.parse().ok()
    }
}

impl fmt::Display for DeployMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeployMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "client" => Ok(Self::Client),
            "cluster" => Ok(Self::Cluster),
            other => Err(Error::invalid(format!(
                "Deploy mode must be either client or cluster, not {other:?}"
            ))),
        }
    }
}
