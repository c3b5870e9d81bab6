//! How fast executors come up on `local`, beside a bare loop of `Command::spawn`.
//!
//!     deploy/build && cargo bench -p anymaster-benches --bench local_spawn
//!
//! Its files are in the temporary directory (`TMPDIR`): on a disk that is busy it is slower.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anymaster_benches::{in_turns, program};
use anymaster_core::model::{
    ApplicationSpec, CommandLine, Event, ExecutorTarget, ExecutorTemplate, ResourceProfile, Status,
    Subject, SubmissionId,
};
use anymaster_core::{ClusterManager, ConnectOptions, WatchOptions};
use anymaster_standalone::local::LocalManager;
use futures::StreamExt as _;

const EXECUTORS: u32 = 200;
const ROUNDS: usize = 11;

/// Starts them, one after another, and knows that each runs.
fn bare() -> Duration {
    let began = Instant::now();
    let children: Vec<Child> = (0..EXECUTORS)
        .map(|_| Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
        .collect();
    let took = began.elapsed();
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    took
}

/// From the request until all are known to run; each in a group of its own, with a log, in the
/// journal, and sure to end with its driver.
async fn local(cluster: &dyn ClusterManager, round: usize) -> Duration {
    let sleep = CommandLine::new("sleep").args(["600"]);
    let id = SubmissionId::new(&format!("bench-{round}")).unwrap();
    let app = ApplicationSpec::new("bench", sleep.clone());
    let driver = cluster.launch_driver(&id, &app).await.unwrap().driver;
    let mut events = cluster.watch(&WatchOptions::of(&driver.app)).await.unwrap();
    let template = ExecutorTemplate::new(sleep);
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 0), EXECUTORS);

    let began = Instant::now();
    cluster.request_executors(&driver.app, &target).await.unwrap();
    while let Some(event) = events.next().await {
        if let Event::Changed(Status::Allocation(allocation)) = event.unwrap()
            && allocation.running == u64::from(EXECUTORS)
        {
            break;
        }
    }
    let took = began.elapsed();

    cluster.kill(&Subject::Driver(id), Duration::from_secs(1)).await.unwrap();
    while let Some(event) = events.next().await {
        if let Event::Changed(Status::Driver(driver)) = event.unwrap()
            && driver.state.is_ended()
        {
            break;
        }
    }
    took
}

fn main() {
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = ConnectOptions::new(format!("local[{EXECUTORS}]").parse().unwrap())
        .with_state_dir(state.path().to_owned())
        .with_program(Some(program()));
    let cluster: Arc<dyn ClusterManager> =
        runtime.block_on(async { Arc::new(LocalManager::open(options).unwrap()) });
    let mut round = 0;
    let mut ours = || {
        round += 1;
        runtime.block_on(local(&*cluster, round))
    };
    let [bare, ours] = in_turns(ROUNDS, [&mut bare, &mut ours]);
    let rate = |took: Duration| f64::from(EXECUTORS) / took.as_secs_f64();
    println!("Command::spawn: {:.0} processes a second", rate(bare));
    println!("local:          {:.0} executors a second", rate(ours));
    println!("ratio: {:.2} (aim: at least 0.60)", bare.as_secs_f64() / ours.as_secs_f64());
}
