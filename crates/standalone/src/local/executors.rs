//! The executors of one application, for the process that owns them: starts them as slots get free,
//! ends them, and writes what happens into their journal.

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
use jiff::Timestamp;
use tokio::sync::watch;

use super::hub::{Changed, Hub};
use super::journal::{Journal, Line};
use super::lock::Lock;
use super::pool::{Need, Pool};
use super::store::{AppDir, Part, Record, Store};
use super::watch::Watcher;
use super::workers::Workers;
use crate::host::identity::{ENV_STATE_DIR, Process};
use crate::host::logs::Rotation;
use crate::host::ports::{Lease, Ports};
use crate::host::prepare::Shared;
use crate::host::process::{Host, Launch, StopRequests};

/// Where executors run.
#[derive(Debug)]
pub(crate) enum Places {
    /// As children of this process.
    Here(Arc<Host>),
    /// As children of worker processes.
    Workers(Workers),
}

/// What is the same for all of them.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) dir: AppDir,
    pub(crate) record: Record,
    pub(crate) rotation: Rotation,
    pub(crate) ports: Ports,
    /// Whether memory is shared out like cores.
    pub(crate) counts_memory: bool,
}

/// The executors of one application.
#[derive(Debug)]
pub(crate) struct Executors {
    setting: Setting,
    places: OnceLock<Places>,
    journal: Mutex<Journal>,
    floor: Mutex<Floor>,
    /// How many are waiting or alive.
    alive: watch::Sender<usize>,
    /// Makes tasks that live as long as their executor.
    this: Weak<Self>,
    _lock: Lock,
}

#[derive(Debug)]
struct Floor {
    pool: Pool<Waiting>,
    live: HashMap<ExecutorId, Live>,
    /// All are to end; no more are started.
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
    /// It has a place; else it waits for one.
    placed: bool,
}

impl Executors {
    /// Where they run is said by [`run_on`](Self::run_on), before the first one is asked for.
    pub(crate) fn new(setting: Setting, pool: Pool<Waiting>, lock: Lock) -> Result<Arc<Self>> {
        let journal = Journal::open(setting.dir.journal(Part::Executors))?;
        Ok(Arc::new_cyclic(|this| Self {
            setting,
            places: OnceLock::new(),
            journal: Mutex::new(journal),
            floor: Mutex::new(Floor { pool, live: HashMap::new(), closed: false }),
            alive: watch::Sender::new(0),
            this: this.clone(),
            _lock: lock,
        }))
    }

    /// Says where they run; the first call counts.
    pub(crate) fn run_on(&self, places: Places) {
        self.places.get_or_init(|| places);
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn need(&self, profile: &ResourceProfile) -> Result<Need> {
        let memory_mib = if self.setting.counts_memory { profile.memory_mib } else { 0 };
        Ok(Need { cores: whole_cores(profile)?, memory_mib })
    }

    /// Whether this target can be reached at all.
    pub(crate) fn check(&self, profile: &ResourceProfile) -> Result<()> {
        self.floor().pool.check(self.need(profile)?)
    }

    /// A node is gone, or back.
    pub(crate) fn set_up(&self, node: usize, up: bool) {
        self.floor().pool.set_up(node, up);
        self.place();
    }

    /// Ends one of them because somebody asked. Those that are gone are none.
    pub(crate) fn stop_one(&self, id: ExecutorId, stop: Stop) {
        self.stop_some(stop, |candidate| candidate == id);
    }

    /// Ends all of them for good, and waits until that is done.
    pub(crate) async fn close(&self, stop: Stop) {
        self.floor().closed = true;
        self.stop_some(stop, |_| true);
        // The sender is in `self`: there is no error to be had.
        let _ = self.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }

    fn stop_some(&self, stop: Stop, is_meant: impl Fn(ExecutorId) -> bool) {
        let mut lines = Vec::new();
        let mut floor = self.floor();
        let unplaced = floor.pool.take(|waiting| is_meant(waiting.launch.id));
        for Waiting { launch, .. } in unplaced {
            floor.live.remove(&launch.id);
            let end = Outcome::from(Cause::Killed { by: stop.by }).into_state();
            lines.push(self.line(launch.id, launch.profile_id, end, None));
        }
        for (id, live) in &floor.live {
            if live.placed && is_meant(*id) {
                let first = live.stop.borrow().is_none();
                live.stop.send_replace(Some(stop));
                if first {
                    lines.push(self.line(*id, live.profile, State::Ending, None));
                }
            }
        }
        self.write(&lines);
        self.alive.send_replace(floor.live.len());
    }

    /// Starts those whose turn it is.
    fn place(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let mut floor = self.floor();
        while let Some((Waiting { launch, stop }, node)) = floor.pool.pop() {
            if let Some(live) = floor.live.get_mut(&launch.id) {
                live.placed = true;
            }
            tokio::spawn(Arc::clone(&this).run(launch, node, stop));
        }
    }

    async fn run(self: Arc<Self>, launch: ExecutorLaunch, node: usize, stop: StopRequests) {
        let (id, profile) = (launch.id, launch.profile_id);
        let mut lease = self.setting.ports.lease();
        let outcome = match self.prepare(&launch, &mut lease) {
            Ok(prepared) => {
                let started = |process| {
                    let floor = self.floor();
                    // Asked to end before it ran: it is `Ending` already.
                    let asked = |live: &Live| live.stop.borrow().is_some();
                    if !floor.live.get(&id).is_some_and(asked) {
                        self.write(&[self.line(id, profile, State::Running, Some(process))]);
                    }
                };
                match self.places.get() {
                    Some(Places::Here(host)) => host.run(prepared, stop, started).await,
                    Some(Places::Workers(workers)) => {
                        workers.run(node, id, prepared, stop, started).await
                    }
                    None => Cause::Lost { why: "there is nowhere to run it".into() }.into(),
                }
            }
            Err(error) => Outcome::could_not_start(&error),
        };
        {
            let mut floor = self.floor();
            // In one go: nobody sees it ended and still counted, or the other way round.
            self.write(&[self.line(id, profile, outcome.into_state(), None)]);
            floor.live.remove(&id);
            if let Ok(need) = self.need(&launch.profile) {
                floor.pool.release(node, need);
            }
            self.alive.send_replace(floor.live.len());
        }
        self.place();
    }

    fn prepare(&self, launch: &ExecutorLaunch, lease: &mut Lease) -> Result<Launch> {
        let Setting { dir, record, rotation, .. } = &self.setting;
        let shared = shared(dir, record, *rotation);
        let mut prepared =
            shared.executor(launch, "127.0.0.1", dir.executor_dir(launch.id), lease)?;
        mark(&mut prepared, dir);
        Ok(prepared)
    }

    fn line(
        &self,
        id: ExecutorId,
        profile: ProfileId,
        state: State,
        process: Option<Process>,
    ) -> Line {
        let host = Some(self.setting.record.driver_host.as_str().into());
        let app = self.setting.dir.app.clone();
        let since = Timestamp::now();
        let status = ExecutorStatus { app, id, profile, state, since, host };
        Line { status: Status::Executor(status), process }
    }

    fn write(&self, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let written = self.journal.lock().unwrap_or_else(PoisonError::into_inner).append(lines);
        if let Err(error) = written {
            tracing::error!(app = %self.setting.dir.app, %error, "what happened is not recorded");
        }
        self.setting.hub.tell(Changed::Journal(self.setting.dir.app.clone()));
    }
}

/// How many slots a profile takes.
pub(crate) fn whole_cores(profile: &ResourceProfile) -> Result<u32> {
    if let Some((name, _)) = profile.extra.iter().find(|(_, amount)| **amount > 0) {
        return Err(Error::unsupported(format!("a local cluster has no {name} to give"))
            .with_hint(format!("leave out spark.executor.resource.{name}.amount")));
    }
    let cores = profile.cores;
    if cores.fract() != 0.0 || !(1.0..=f64::from(u32::MAX)).contains(&cores) {
        return Err(Error::unsupported(format!(
            "a local cluster gives whole cores, at least one, and not {cores}"
        ))
        .with_hint("set spark.executor.cores to a whole number"));
    }
    // Whole and in range, as was just checked.
    Ok(cores as u32)
}

/// What driver and executors are told alike.
pub(crate) fn shared(dir: &AppDir, record: &Record, rotation: Rotation) -> Shared {
    Shared {
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

/// By this, processes are found whose owner is gone.
pub(crate) fn mark(launch: &mut Launch, dir: &AppDir) {
    launch.env.entry(ENV_STATE_DIR.to_owned()).or_insert(dir.state_dir().display().to_string());
}

#[async_trait]
impl Launcher for Executors {
    async fn start(&self, _: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let results = {
            let mut floor = self.floor();
            let enter = |launch: ExecutorLaunch| {
                let need = self.need(&launch.profile)?;
                floor.pool.check(need)?;
                if floor.closed {
                    return Err(Error::conflict(format!("{} has ended", self.setting.dir.app)));
                }
                if floor.live.contains_key(&launch.id) {
                    return Ok(());
                }
                let (stop, requests) = watch::channel(None);
                let live = Live { profile: launch.profile_id, stop, placed: false };
                floor.live.insert(launch.id, live);
                floor.pool.push(need, Waiting { launch, stop: requests });
                Ok(())
            };
            let results: Vec<_> = executors.into_iter().map(enter).collect();
            self.alive.send_replace(floor.live.len());
            results
        };
        self.place();
        // Those that run at once say so themselves; those that wait are told why.
        let mut floor = self.floor();
        let new: Vec<_> = floor
            .pool
            .newly_waiting()
            .map(|(need, Waiting { launch, .. })| (*need, launch.id, launch.profile_id))
            .collect();
        let pending = new.into_iter().map(|(need, id, profile)| {
            let why = Some(floor.pool.why(need).into());
            self.line(id, profile, State::Pending { why }, None)
        });
        self.write(&pending.collect::<Vec<_>>());
        results
    }

    async fn stop(&self, _: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        let meant: std::collections::HashSet<_> = executors.iter().copied().collect();
        self.stop_some(Stop { by: KilledBy::ScaleDown, grace }, |id| meant.contains(&id));
        Ok(())
    }

    async fn watch(&self, app: &AppId) -> Result<EventStream> {
        let Setting { store, hub, .. } = &self.setting;
        Watcher::open(store.clone(), hub.clone(), Some(app), None).await
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.write(&[Status::Allocation(allocation).into()]);
        Ok(())
    }
}
