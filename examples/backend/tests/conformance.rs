//! The promises of every backend, kept by this one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anymaster_conformance::{Faults, Harness, Injected, Programs};
use anymaster_core::{ClusterManager, ConnectOptions, Registry, Result};
use anymaster_example_backend::DIRECTORY;
use async_trait::async_trait;

#[derive(Debug)]
struct Cluster {
    directory: PathBuf,
}

#[async_trait]
impl Harness for Cluster {
    fn name(&self) -> String {
        "dir".to_owned()
    }

    async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
        let registry = Registry::new().with(DIRECTORY);
        let master = registry.parse(&format!("dir://{}", self.directory.display()))?;
        registry.connect(ConnectOptions::new(master)).await
    }

    fn programs(&self) -> Programs {
        // It limits no memory.
        Programs { hungry: None, ..Programs::posix() }
    }
}

impl Faults for Cluster {
    fn possible(&self) -> Injected {
        Injected { kill_executor: true, kill_driver: true, ..Injected::default() }
    }
}

fn main() -> ExitCode {
    let Ok(directory) = tempfile::tempdir() else { return ExitCode::FAILURE };
    let cluster = Cluster { directory: directory.path().to_owned() };
    anymaster_conformance::run(vec![Arc::new(cluster)])
}
