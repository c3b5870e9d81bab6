//! One suite of tests for every cluster manager: the promises of [`ClusterManager`], kept or not.
//!
//! A backend has a test binary of a few lines (`harness = false`):
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use anymaster_conformance::{Faults, Harness, Programs};
//! # use anymaster_core::{ClusterManager, Result};
//! #[derive(Debug)]
//! struct MyCluster;
//!
//! #[async_trait::async_trait]
//! impl Harness for MyCluster {
//!     fn name(&self) -> String {
//!         "mine".to_owned()
//!     }
//!     async fn connect(&self) -> Result<Arc<dyn ClusterManager>> {
//!         anymaster_core::Registry::new().connect(unimplemented!()).await
//!     }
//!     fn programs(&self) -> Programs {
//!         Programs::posix()
//!     }
//! }
//!
//! impl Faults for MyCluster {}
//!
//! fn main() -> std::process::ExitCode {
//!     anymaster_conformance::run(vec![Arc::new(MyCluster)])
//! }
//! ```
//!
//! What a backend can't do, by its [capabilities](anymaster_core::Capabilities), and faults that its
//! harness can't bring about, are printed as ignored, with the reason.

mod case;
mod cases;
mod harness;
mod observed;
mod owning;
pub mod processes;
mod proxy;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::ClusterManager;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::RwLock;

pub use harness::{Faults, Harness, Injected, Programs};
pub use owning::own_executors;
pub use proxy::Proxy;

use case::{Case, Needs};

/// How long a case may take; each is done in seconds unless something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the suite on each of these clusters, with the arguments of `cargo test`.
pub fn run(harnesses: Vec<Arc<dyn Harness>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    let mut trials = Vec::new();
    for harness in harnesses {
        let cluster = match runtime.block_on(harness.connect()) {
            Ok(cluster) => cluster,
            Err(error) => return failed(&format!("{}: {error}", harness.name())),
        };
        let capabilities = cluster.capabilities();
        // A case that takes a node away, or breaks all connections, is alone: other cases would lose theirs.
        let turns = Arc::new(RwLock::new(()));
        for (group, name, needs, case) in cases::all() {
            let skipped = needs.missing(&capabilities, &*harness);
            let (runtime, harness, turns) =
                (Arc::clone(&runtime), Arc::clone(&harness), Arc::clone(&turns));
            let title = match &skipped {
                None => format!("{}::{group}::{name}", harness.name()),
                Some(why) => format!("{}::{group}::{name} ({why})", harness.name()),
            };
            let test = move || {
                runtime.block_on(async {
                    let _turn = match needs {
                        Needs::LoseNode | Needs::DropWatches => (Some(turns.write().await), None),
                        _ => (None, Some(turns.read().await)),
                    };
                    let cluster: Arc<dyn ClusterManager> =
                        harness.connect().await.map_err(|error| format!("{error:?}"))?;
                    let context = Case::new(harness, cluster);
                    match tokio::time::timeout(PATIENCE, case(context)).await {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(failure)) => Err(Failed::from(failure)),
                        Err(_) => Err(format!("not done after {} s", PATIENCE.as_secs()).into()),
                    }
                })
            };
            trials.push(Trial::test(title, test).with_ignored_flag(skipped.is_some()));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[expect(clippy::print_stderr, reason = "it is a test runner")]
fn failed(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
