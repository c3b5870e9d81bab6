//! Which workers have the Spark that executors need.

use std::collections::BTreeSet;

use anymaster_core::model::SparkVersions;
use anymaster_core::{Error, Result};

use crate::app::App;
use crate::engine::Engine;
use crate::worker::{Liveness, Worker};

impl App {
    /// The Spark that its executors need.
    pub(crate) fn spark(&self) -> Option<&SparkVersions> {
        self.wanted.as_ref()?.template.spark.as_ref()
    }

    /// Whether it cannot use every worker that has room: what others wait for says nothing of it then, and what it
    /// waits for nothing of others.
    pub(crate) fn is_choosy(&self) -> bool {
        !self.failing_workers.is_empty() || self.spark().is_some()
    }
}

impl Worker {
    /// Whether it has the Spark that executors need, if they need one.
    pub(crate) fn has_spark(&self, versions: Option<&SparkVersions>) -> bool {
        versions.is_none_or(|versions| self.info.sparks.iter().any(|it| it.is_of(versions)))
    }
}

impl Engine {
    /// Refuses executors whose Spark no worker has, once workers are known, or of whose line there are several.
    pub(crate) fn check_spark(&self, versions: &SparkVersions) -> Result<()> {
        let is_eligible =
            |worker: &&Worker| !matches!(worker.liveness, Liveness::Leaving | Liveness::Dead(_));
        let workers: Vec<_> = self.workers.values().filter(is_eligible).collect();
        if self.is_recovering() || workers.is_empty() {
            return Ok(());
        }
        let all = || workers.iter().flat_map(|worker| &worker.info.sparks);
        let fitting: BTreeSet<_> =
            all().filter(|it| it.is_of(versions)).map(|it| it.release.as_str()).collect();
        match fitting.len() {
            1 => Ok(()),
            0 => {
                let others: BTreeSet<_> = all().map(|it| it.release.as_str()).collect();
                let others = match others.is_empty() {
                    true => "none".to_owned(),
                    false => others.into_iter().collect::<Vec<_>>().join(", "),
                };
                Err(Error::unsupported(format!(
                    "executors need Spark {versions}, as their driver, and no worker has it; there is {others}"
                ))
                .with_hint("set SPARK_HOME or spark.anymaster.worker.sparkHomes of workers"))
            }
            _ => Err(Error::unsupported(format!(
                "executors need Spark {versions}, as their driver, and workers have several of that line: {}",
                fitting.into_iter().collect::<Vec<_>>().join(", ")
            ))
            .with_hint("set spark.executorEnv.SPARK_HOME of the application to its directory")),
        }
    }
}
