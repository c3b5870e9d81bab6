//! The executors of one application, run by the process that owns them: starts them as slots become
//! free, ends them, and writes their statuses to the journal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anymaster_core::model::{
    AllocationStatus, AppId, Cause, ExecutorId, ExecutorStatus, KilledBy, Outcome, ProfileId,
    ResourceProfile, State, Status, Stop,
};
use anymaster_core::reconcile::{ExecutorLaunch, Launcher};
use anymaster_core::{Error, EventStream, Result};
use async_trait::async_trait;
use tokio::sync::watch;

use super::journal::{Journal, Line};
use super::lock::Lock;
use super::notifier::{Changed, Notifier};
use super::pool::{Pool, Resources};
use super::store::{AppDir, Part, Record, Store};
use super::watch::Watcher;
use super::workers::Workers;
use crate::host::identity::{ENV_STATE_DIR, Process};
use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::ProcessContext;
use crate::host::process::{Host, Launch, StopRequests};

/// Where executors run.
#[derive(Debug)]
pub(crate) enum Runner {
    /// As children of this process.
    ThisProcess(Arc<Host>),
    /// As children of worker processes.
    Workers(Workers),
}

/// What all executors of the application share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) notifier: Notifier,
    pub(crate) dir: AppDir,
    pub(crate) record: Record,
    pub(crate) rotation: Rotation,
    pub(crate) ports: Ports,
    /// Whether slots limit memory as well as cores.
    pub(crate) counts_memory: bool,
}

/// The executors of one application.
#[derive(Debug)]
pub(crate) struct Executors {
    context: Context,
    runner: OnceLock<Runner>,
    journal: Mutex<Journal>,
    state: Mutex<Schedule>,
    /// The number of executors that wait or run.
    alive: watch::Sender<usize>,
    /// For the task that runs an executor.
    this: Weak<Self>,
    _lock: Lock,
}

#[derive(Debug)]
struct Schedule {
    pool: Pool<Waiting>,
    live: HashMap<ExecutorId, Live>,
    /// No executors are started any more.
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    launch: ExecutorLaunch,
    stop: StopRequests,
}

#[derive(Debug)]
struct Live {
    profile: ProfileId,
    stop: watch::Sender<Option<Stop>>,
    /// It has a slot; if not, it waits for one.
    placed: bool,
}

impl Executors {
    /// [`run_on`](Self::run_on) must be called before the first executor is started.
    pub(crate) fn new(context: Context, pool: Pool<Waiting>, lock: Lock) -> Result<Arc<Self>> {
        let journal = Journal::open(context.dir.journal(Part::Executors))?;
        Ok(Arc::new_cyclic(|this| Self {
            context,
            runner: OnceLock::new(),
            journal: Mutex::new(journal),
            state: Mutex::new(Schedule { pool, live: HashMap::new(), closed: false }),
            alive: watch::Sender::new(0),
            this: this.clone(),
            _lock: lock,
        }))
    }

    /// Sets where executors run. Only the first call has an effect.
    pub(crate) fn run_on(&self, runner: Runner) {
        self.runner.get_or_init(|| runner);
    }

    fn state(&self) -> MutexGuard<'_, Schedule> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn need(&self, profile: &ResourceProfile) -> Result<Resources> {
        let memory_mib = if self.context.counts_memory { profile.memory_mib } else { 0 };
        Ok(Resources { cores: whole_cores(profile)?, memory_mib })
    }

    /// Checks that some node is large enough for an executor of this profile.
    pub(crate) fn check(&self, profile: &ResourceProfile) -> Result<()> {
        self.state().pool.check(self.need(profile)?)
    }

    /// Marks a node as available or lost.
    pub(crate) fn set_node_up(&self, node: usize, up: bool) {
        self.state().pool.set_node_up(node, up);
        self.schedule();
    }

    /// Ends one executor on request. Unknown and ended ones are ignored.
    pub(crate) fn stop_one(&self, id: ExecutorId, stop: Stop) {
        self.stop_matching(stop, |candidate| candidate == id);
    }

    /// Ends all executors and waits until they have ended. No others are started afterwards.
    pub(crate) async fn close(&self, stop: Stop) {
        self.state().closed = true;
        self.stop_matching(stop, |_| true);
        // Cannot fail: the sender is in `self`.
        let _ = self.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }

    fn stop_matching(&self, stop: Stop, matches: impl Fn(ExecutorId) -> bool) {
        let mut lines = Vec::new();
        let mut state = self.state();
        let unplaced = state.pool.take(|waiting| matches(waiting.launch.id));
        for Waiting { launch, .. } in unplaced {
            state.live.remove(&launch.id);
            let end = Outcome::from(Cause::Killed { by: stop.by }).into_state();
            lines.push(self.line(launch.id, launch.profile_id, end, None));
        }
        for (id, live) in &state.live {
            if live.placed && matches(*id) {
                let first = live.stop.borrow().is_none();
                live.stop.send_replace(Some(stop));
                if first {
                    lines.push(self.line(*id, live.profile, State::Ending, None));
                }
            }
        }
        self.write(&lines);
        self.alive.send_replace(state.live.len());
    }

    /// Starts waiting executors for which there are free slots.
    fn schedule(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let mut state = self.state();
        while let Some((Waiting { launch, stop }, node)) = state.pool.pop() {
            if let Some(live) = state.live.get_mut(&launch.id) {
                live.placed = true;
            }
            tokio::spawn(Arc::clone(&this).run(launch, node, stop));
        }
    }

    async fn run(self: Arc<Self>, launch: ExecutorLaunch, node: usize, stop: StopRequests) {
        let (id, profile) = (launch.id, launch.profile_id);
        let mut lease = self.context.ports.lease();
        let outcome = match self.prepare(&launch, &mut lease) {
            Ok(prepared) => {
                let started = |process| {
                    let state = self.state();
                    // If it was asked to end before it ran, it is `Ending` already.
                    let asked = |live: &Live| live.stop.borrow().is_some();
                    if !state.live.get(&id).is_some_and(asked) {
                        self.write(&[self.line(id, profile, State::Running, Some(process))]);
                    }
                };
                match self.runner.get() {
                    Some(Runner::ThisProcess(host)) => host.run(prepared, stop, started).await,
                    Some(Runner::Workers(workers)) => {
                        workers.run(node, id, prepared, stop, started).await
                    }
                    None => Cause::Lost { why: "no runner was set for executors".into() }.into(),
                }
            }
            Err(error) => Outcome::could_not_start(&error),
        };
        {
            let mut state = self.state();
            // Under one lock: readers never see an ended executor that is still counted.
            self.write(&[self.line(id, profile, outcome.into_state(), None)]);
            state.live.remove(&id);
            if let Ok(need) = self.need(&launch.profile) {
                state.pool.release(node, need);
            }
            self.alive.send_replace(state.live.len());
        }
        self.schedule();
    }

    fn prepare(&self, launch: &ExecutorLaunch, lease: &mut Lease) -> Result<Launch> {
        let Context { dir, record, rotation, .. } = &self.context;
        let processes = process_context(dir, record, *rotation);
        let mut prepared =
            processes
                .executor(launch, "127.0.0.1", dir.executor_dir(launch.id), lease, |_| None)?;
        set_state_dir(&mut prepared, dir);
        Ok(prepared)
    }

    fn line(
        &self,
        id: ExecutorId,
        profile: ProfileId,
        state: State,
        process: Option<Process>,
    ) -> Line {
        let app = self.context.dir.app.clone();
        let status = ExecutorStatus::new(app, id, profile, state)
            .with_host(self.context.record.driver_host.as_str());
        Line { status: Status::Executor(status), process }
    }

    fn write(&self, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let written = self.journal.lock().unwrap_or_else(PoisonError::into_inner).append(lines);
        if let Err(error) = written {
            tracing::error!(app = %self.context.dir.app, %error, "cannot write statuses to the journal");
        }
        self.context.notifier.notify(Changed::Journal(self.context.dir.app.clone()));
    }
}

/// The number of cores of a profile, which has to be whole. Other resources are refused.
pub(crate) fn whole_cores(profile: &ResourceProfile) -> Result<u32> {
    if let Some((name, _)) = profile.extra.iter().find(|(_, amount)| **amount > 0) {
        return Err(Error::unsupported(format!("a local cluster has no resource {name}"))
            .with_hint(format!("leave out spark.executor.resource.{name}.amount")));
    }
    let cores = profile.cores;
    if cores.fract() != 0.0 || !(1.0..=f64::from(u32::MAX)).contains(&cores) {
        return Err(Error::unsupported(format!(
            "a local cluster allocates whole cores, at least 1, not {cores}"
        ))
        .with_hint("set spark.executor.cores to a whole number"));
    }
    // Checked above: whole and in range.
    Ok(cores as u32)
}

/// What the driver and the executors have in common.
pub(crate) fn process_context(dir: &AppDir, record: &Record, rotation: Rotation) -> ProcessContext {
    ProcessContext {
        app: dir.app.clone(),
        master: record.master.clone(),
        driver_host: record.driver_host.clone(),
        driver_port: record.driver_port,
        secret: dir.secret(),
        properties: dir.properties(),
        home: dir.path.clone(),
        rotation,
    }
}

/// Sets the environment variable by which orphaned processes are found.
pub(crate) fn set_state_dir(launch: &mut Launch, dir: &AppDir) {
    launch.env.entry(ENV_STATE_DIR.to_owned()).or_insert(dir.state_dir().display().to_string());
}

#[async_trait]
impl Launcher for Executors {
    async fn start(&self, _: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let results = {
            let mut state = self.state();
            let enter = |launch: ExecutorLaunch| {
                let need = self.need(&launch.profile)?;
                state.pool.check(need)?;
                if state.closed {
                    return Err(Error::conflict(format!("{} has ended", self.context.dir.app)));
                }
                if state.live.contains_key(&launch.id) {
                    return Ok(());
                }
                let (stop, requests) = watch::channel(None);
                let live = Live { profile: launch.profile_id, stop, placed: false };
                state.live.insert(launch.id, live);
                state.pool.push(need, Waiting { launch, stop: requests });
                Ok(())
            };
            let results: Vec<_> = executors.into_iter().map(enter).collect();
            self.alive.send_replace(state.live.len());
            results
        };
        self.schedule();
        // Executors that were started report their state themselves; those that wait are reported here.
        let mut state = self.state();
        let new: Vec<_> = state
            .pool
            .newly_waiting()
            .map(|(need, Waiting { launch, .. })| (*need, launch.id, launch.profile_id))
            .collect();
        let pending = new.into_iter().map(|(need, id, profile)| {
            let why = Some(state.pool.pending_reason(need).into());
            self.line(id, profile, State::Pending { why }, None)
        });
        self.write(&pending.collect::<Vec<_>>());
        results
    }

    async fn stop(&self, _: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        let meant: std::collections::HashSet<_> = executors.iter().copied().collect();
        self.stop_matching(Stop { by: KilledBy::ScaleDown, grace }, |id| meant.contains(&id));
        Ok(())
    }

    async fn watch(&self, app: &AppId) -> Result<EventStream> {
        let Context { store, notifier, .. } = &self.context;
        Watcher::open(store.clone(), notifier.clone(), Some(app), None).await
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.write(&[Status::Allocation(allocation).into()]);
        Ok(())
    }
}
