//! The state machine at 100,000 executors: events per second on one core, memory per executor.
//!
//!     cargo bench -p anymaster-benches --bench reconcile

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anymaster_benches::resident_memory;
use anymaster_core::model::{
    AllocationStatus, AppId, Cause, CommandLine, Cursor, Event, ExecutorId, ExecutorStatus,
    ExecutorTarget, ExecutorTemplate, ProfileId, ResourceProfile, State, Status,
};
use anymaster_core::reconcile::{
    AllocationPolicy, AllocatorState, ExecutorLaunch, Launcher, Plan, Reconciler,
};
use anymaster_core::{EventStream, Result};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;

const EXECUTORS: u32 = 100_000;
/// How many events are taken in between two plans, as in [`Reconciler`].
const BATCH: usize = 4096;
const ROUNDS: usize = 20;

fn target(executors: u32) -> ExecutorTarget {
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    ExecutorTarget::new(template, ResourceProfile::new(1.0, 1024), executors)
}

/// Failures are replaced forever, and as fast as they come.
fn policy() -> AllocationPolicy {
    AllocationPolicy {
        batch_size: EXECUTORS,
        batch_delay: Duration::ZERO,
        max_pending: EXECUTORS,
        max_failures: Some(u32::MAX),
        ..AllocationPolicy::default()
    }
}

fn event(app: &AppId, id: ExecutorId, profile: ProfileId, state: State) -> Event {
    let host = matches!(state, State::Running).then(|| Arc::from(format!("10.0.{}.1", id.0 % 256)));
    let mut status = ExecutorStatus::new(app.clone(), id, profile, state);
    (status.since, status.host) = (Timestamp::UNIX_EPOCH, host);
    Event::Changed(Status::Executor(status))
}

fn failed() -> State {
    let cause = Cause::Exited { code: 1 };
    State::ended(cause, Timestamp::UNIX_EPOCH)
}

/// All executors start; then they fail and are replaced, over and over.
fn events_per_second(app: &AppId) -> f64 {
    let (target, policy) = (target(EXECUTORS), policy());
    let mut state = AllocatorState::new();
    state.apply(Event::Synced(Cursor("0".into())), Duration::ZERO);
    state.declared();
    let (mut events, mut busy) = (0_usize, Duration::ZERO);
    let mut running: Vec<(ExecutorId, ProfileId)> = Vec::new();
    for round in 0..=ROUNDS {
        let mut fails: Vec<_> = std::mem::take(&mut running);
        loop {
            // What the cluster says is made here; only what is done with it is measured.
            let ended: Vec<_> = fails.split_off(fails.len().saturating_sub(BATCH / 3));
            let told: Vec<_> = ended.iter().map(|(id, p)| event(app, *id, *p, failed())).collect();
            let began = Instant::now();
            events += told.len();
            let now = Duration::from_secs(round as u64);
            told.into_iter().for_each(|event| state.apply(event, now));
            let Plan { start, .. } = state.plan(&target, &policy, now);
            for (id, _) in &start {
                state.accepted(*id, &policy, now);
            }
            busy += began.elapsed();
            if start.is_empty() {
                break;
            }
            let told: Vec<_> = start
                .iter()
                .flat_map(|(id, p)| {
                    [State::Pending { why: None }, State::Running].map(|s| event(app, *id, *p, s))
                })
                .collect();
            running.extend(start);
            let began = Instant::now();
            events += told.len();
            for batch in told.chunks(BATCH) {
                batch.iter().for_each(|event| state.apply(event.clone(), now));
                state.plan(&target, &policy, now);
            }
            busy += began.elapsed();
        }
        assert_eq!(state.executors().running(), u64::from(EXECUTORS));
    }
    events as f64 / busy.as_secs_f64()
}

/// A cluster that runs everything at once and remembers nothing.
#[derive(Debug, Default)]
struct Instantly(Mutex<Option<mpsc::UnboundedSender<Result<Event>>>>);

#[async_trait]
impl Launcher for Instantly {
    async fn start(&self, app: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let events = self.0.lock().unwrap().clone().unwrap();
        executors
            .iter()
            .map(|launch| {
                let running = event(app, launch.id, launch.profile_id, State::Running);
                events.send(Ok(running)).unwrap();
                Ok(())
            })
            .collect()
    }

    async fn stop(&self, _: &AppId, _: &[ExecutorId], _: Duration) -> Result<()> {
        Ok(())
    }

    async fn watch(&self, _: &AppId) -> Result<EventStream> {
        let (sender, mut events) = mpsc::unbounded_channel();
        sender.send(Ok(Event::Synced(Cursor("0".into())))).unwrap();
        *self.0.lock().unwrap() = Some(sender);
        Ok(stream::poll_fn(move |context| events.poll_recv(context)).boxed())
    }

    async fn report(&self, _: AllocationStatus) -> Result<()> {
        Ok(())
    }
}

/// The whole loop, its event stream included.
async fn memory_per_executor(app: AppId) -> u64 {
    let reconciler = Reconciler::spawn(Arc::new(Instantly::default()), app, policy());
    // What a loop costs that has nothing to do is not the executors'.
    reconciler.set_target(target(1));
    let mut allocation = reconciler.allocation();
    allocation.wait_for(|allocation| allocation.running == 1).await.unwrap();
    let before = resident_memory();
    reconciler.set_target(target(EXECUTORS));
    allocation.wait_for(|allocation| allocation.running == u64::from(EXECUTORS)).await.unwrap();
    let after = resident_memory();
    reconciler.shutdown().await;
    after.saturating_sub(before) / u64::from(EXECUTORS)
}

fn main() {
    let app = AppId::new("bench").unwrap();
    // First, while the allocator has nothing left over from other work.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bytes = runtime.block_on(memory_per_executor(app.clone()));
    println!("memory: {bytes} bytes for each of {EXECUTORS} executors (aim: at most 2048)");
    let rate = events_per_second(&app);
    println!("events: {:.1} million a second on one core (aim: at least 1)", rate / 1e6);
}
