//! A cluster in memory. Its processes are not real, but what is said of them is what a real cluster
//! would say.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::{
    AllocationStatus, AppId, ApplicationSpec, Cause, CommandLine, Cursor, DriverStatus, Event,
    ExecutorId, ExecutorStatus, ExecutorTarget, ExternalDriver, Filter, KilledBy, Payload,
    ProfileId, StartFailure, State, Status, Subject, SubmissionId,
};
use crate::reconcile::{
    AllocationPolicy, ExecutorLaunch, Launcher, ManagedApps, ManagedExecutors, Reconciler,
};
use crate::{
    Capabilities, ClusterManager, Error, EventStream, Launched, LogChunk, LogOptions, LogSource,
    LogStream, MemoryLimit, Result, WatchOptions,
};

/// A cluster in memory.
///
/// Its programs are `sleep` (runs until it is ended), `exit CODE`, and `echo TEXT` (prints it, and
/// exits with 0); any other does not exist. A test breaks it with [`kill_with`](Self::kill_with),
/// [`drop_watches`](Self::drop_watches), [`expire_cursors`](Self::expire_cursors) and
/// [`fail_start`](Self::fail_start).
#[derive(Debug, Clone, Default)]
pub struct FakeCluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    /// How many events there are; followers wait for more.
    events: watch::Sender<usize>,
    /// Watches of an older generation begin anew.
    generation: watch::Sender<u64>,
    managed: ManagedApps<()>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            world: Mutex::default(),
            events: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            managed: ManagedApps::default(),
        }
    }
}

#[derive(Debug, Default)]
struct World {
    apps: BTreeMap<AppId, App>,
    /// Everything that ever happened, in order.
    journal: Vec<Status>,
    /// Cursors from before this one have expired.
    first_cursor: usize,
    /// What the next starts are answered, and whether they take effect all the same.
    refusals: VecDeque<(Error, bool)>,
}

#[derive(Debug)]
struct App {
    spec: ApplicationSpec,
    driver: DriverStatus,
    executors: BTreeMap<ExecutorId, ExecutorStatus>,
    allocation: Option<AllocationStatus>,
    output: HashMap<Subject, Bytes>,
}

impl FakeCluster {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends a process from outside, as an operator with `kill -9`, a kernel without memory or the
    /// loss of a node would. One that has ended stays as it is.
    pub fn kill_with(&self, subject: &Subject, cause: Cause) {
        self.inner.end(subject, cause);
    }

    /// Breaks all connections: watches begin anew.
    pub fn drop_watches(&self) {
        self.inner.generation.send_modify(|generation| *generation += 1);
    }

    /// Lets all cursors so far be forgotten.
    pub fn expire_cursors(&self) {
        let mut world = self.inner.world();
        world.first_cursor = world.journal.len() + 1;
    }

    /// Answers the next start of an executor with this error; `effective`: it happens all the same, as
    /// when the answer is lost.
    pub fn fail_start(&self, error: Error, effective: bool) {
        self.inner.world().refusals.push_back((error, effective));
    }
}

impl Inner {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, world: &mut World, status: Status) {
        if let Some(app) = world.apps.get_mut(status.app()) {
            match &status {
                Status::Driver(driver) => app.driver = driver.clone(),
                Status::Executor(executor) => {
                    app.executors.insert(executor.id, executor.clone());
                }
                Status::Allocation(allocation) => app.allocation = Some(allocation.clone()),
                Status::Unreadable(_) => {}
            }
        }
        world.journal.push(status);
        self.events.send_replace(world.journal.len());
    }

    /// Runs a command from its start to its end, or until it is ended.
    fn run(&self, world: &mut World, subject: &Subject, command: &CommandLine) {
        let argument = || command.args.first().map(String::as_str).unwrap_or_default();
        let cause = match command.program.as_str() {
            "sleep" => None,
            "exit" => match argument().parse() {
                Ok(0) => Some(Cause::Finished),
                Ok(code) => Some(Cause::Exited { code }),
                Err(_) => Some(Cause::Exited { code: 2 }),
            },
            "echo" => {
                let text = format!("{}\n", command.args.join(" "));
                if let Some(app) = world.apps.get_mut(subject_app(subject).as_str()) {
                    app.output.insert(subject.clone(), text.into());
                }
                Some(Cause::Finished)
            }
            program => {
                let why = format!("there is no program {program}").into();
                let failure = StartFailure::BadCommand;
                return self.enter(world, subject, ended(Cause::CouldNotStart { failure, why }));
            }
        };
        self.enter(world, subject, State::Running);
        if let Some(cause) = cause {
            self.finish(world, subject, cause);
        }
    }

    fn enter(&self, world: &mut World, subject: &Subject, state: State) {
        let Some(app) = world.apps.get(subject_app(subject).as_str()) else { return };
        let status = match subject {
            Subject::Driver(_) => Status::Driver(DriverStatus { state, ..app.driver.clone() }),
            Subject::Executor(_, id) => match app.executors.get(id) {
                Some(executor) => Status::Executor(ExecutorStatus {
                    state,
                    since: Timestamp::now(),
                    ..executor.clone()
                }),
                None => return,
            },
        };
        self.record(world, status);
    }

    fn end(&self, subject: &Subject, cause: Cause) {
        self.finish(&mut self.world(), subject, cause);
    }

    /// Ends something that has not ended; with a driver, its executors first.
    fn finish(&self, world: &mut World, subject: &Subject, cause: Cause) {
        let Some(app) = world.apps.get(subject_app(subject).as_str()) else { return };
        let state = match subject {
            Subject::Driver(_) => Some(&app.driver.state),
            Subject::Executor(_, id) => app.executors.get(id).map(|executor| &executor.state),
        };
        if state.is_none_or(State::is_ended) {
            return;
        }
        if let Subject::Driver(_) = subject {
            let alive = app.executors.values().filter(|executor| !executor.state.is_ended());
            let alive: Vec<_> = alive.map(|executor| executor.id).collect();
            let app = app.driver.app.clone();
            for id in alive {
                let cause = Cause::Killed { by: KilledBy::DriverEnd };
                self.enter(world, &Subject::Executor(app.clone(), id), ended(cause));
            }
        }
        self.enter(world, subject, ended(cause));
    }
}

fn ended(cause: Cause) -> State {
    State::ended(cause, Timestamp::now())
}

/// The application that a subject belongs to: ids of drivers and applications are alike here.
fn subject_app(subject: &Subject) -> String {
    match subject {
        Subject::Driver(id) => id.to_string(),
        Subject::Executor(app, _) => app.to_string(),
    }
}

impl World {
    fn app(&self, app: &str) -> Result<&App> {
        self.apps.get(app).ok_or_else(|| Error::not_found(format!("no application {app}")))
    }

    fn snapshot(&self, only: Option<&AppId>) -> VecDeque<Event> {
        let lines = self.statuses(only).into_iter().map(Event::Changed);
        std::iter::once(Event::Restarted).chain(lines).collect()
    }

    fn since(&self, at: usize, only: Option<&AppId>) -> VecDeque<Event> {
        let wanted = |status: &&Status| only.is_none_or(|app| app == status.app());
        self.journal[at..].iter().filter(wanted).cloned().map(Event::Changed).collect()
    }

    fn statuses(&self, only: Option<&AppId>) -> Vec<Status> {
        let apps = self.apps.iter().filter(|(id, _)| only.is_none_or(|only| only == *id));
        apps.flat_map(|(_, app)| {
            let executors = app.executors.values().cloned().map(Status::Executor);
            let allocation = app.allocation.clone().map(Status::Allocation);
            std::iter::once(Status::Driver(app.driver.clone())).chain(executors).chain(allocation)
        })
        .collect()
    }
}

#[async_trait]
impl ClusterManager for FakeCluster {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        (can.detached_drivers, can.executors, can.profiles) = (true, true, true);
        (can.logs, can.nodes, can.chosen_ids) = (true, true, true);
        can.external_drivers = true;
        can.memory = MemoryLimit::Enforced;
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
        spec.check()?;
        spec.templates.refuse()?;
        let Payload::Command(command) = &spec.driver.payload else {
            return Err(Error::unsupported("the fake cluster has no Spark"));
        };
        let app = AppId::new(id.as_str())?;
        let mut world = self.inner.world();
        if let Some(known) = world.apps.get(&app) {
            if known.spec != *spec {
                let message = format!("{id} was submitted with another specification");
                return Err(Error::conflict(message));
            }
            return Ok(Launched::existing(known.driver.clone()));
        }
        let mut driver = DriverStatus::new(id.clone(), app.clone(), spec.name.as_str());
        driver.host = Some("fake".into());
        let entry = App {
            spec: spec.clone(),
            driver: driver.clone(),
            executors: BTreeMap::new(),
            allocation: None,
            output: HashMap::new(),
        };
        world.apps.insert(app, entry);
        self.inner.record(&mut world, Status::Driver(driver.clone()));
        self.inner.run(&mut world, &Subject::Driver(id.clone()), command);
        Ok(Launched::new(driver))
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        driver.check()?;
        let command = CommandLine::new("sleep").args([driver.digest()?]);
        let spec = ApplicationSpec::new(driver.name.as_str(), command);
        self.launch_driver(id, &spec.with_conf(driver.conf.clone())).await
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        let id = self.inner.world().app(app.as_str())?.driver.submission.clone();
        self.inner.end(&Subject::Driver(id), cause.clone());
        Ok(())
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        target.template.refuse_spark()?;
        if let Some(profile) = target.profiles.values().find(|p| !p.profile.extra.is_empty()) {
            let names: Vec<_> = profile.profile.extra.keys().cloned().collect();
            return Err(Error::unsupported(format!("there is no {} here", names.join(", "))));
        }
        let conf = {
            let world = self.inner.world();
            let app = world.app(app.as_str())?;
            if app.driver.state.is_ended() {
                return Err(Error::conflict(format!("{} has ended", app.driver.app)));
            }
            app.spec.conf.clone()
        };
        let start = async {
            let policy = AllocationPolicy::from_conf(&conf)?;
            let launcher = Arc::new(self.clone());
            Ok(((), Reconciler::spawn(launcher, app.clone(), policy)))
        };
        self.inner.managed.request(app, target, start).await
    }

    async fn kill(&self, subject: &Subject, _: Duration) -> Result<()> {
        let mut world = self.inner.world();
        let app = world.app(&subject_app(subject))?;
        if let Subject::Executor(_, id) = subject
            && !app.executors.contains_key(id)
        {
            return Err(Error::not_found(format!("there is no {subject}")));
        }
        self.inner.finish(&mut world, subject, Cause::Killed { by: KilledBy::Request });
        Ok(())
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let world = self.inner.world();
        let app = options.app.as_ref();
        if let Some(app) = app {
            world.app(app.as_str())?;
        }
        let len = world.journal.len();
        let from = options.from.as_ref().and_then(|cursor| cursor.0.parse::<usize>().ok());
        let from = from.filter(|at| (world.first_cursor..=len).contains(at));
        let synced = |at: usize| Event::Synced(Cursor(at.to_string()));
        let mut ready: VecDeque<_> = match from {
            Some(at) => world.since(at, app),
            None => world.snapshot(app),
        };
        ready.push_back(synced(len));
        drop(world);
        let follower = Follower {
            inner: Arc::clone(&self.inner),
            only: app.cloned(),
            ready,
            at: len,
            events: self.inner.events.subscribe(),
            generation: self.inner.generation.subscribe(),
        };
        let events = stream::unfold(follower, |mut follower| async {
            follower.next().await.map(|event| (Ok(event), follower))
        });
        Ok(events.boxed())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let world = self.inner.world();
        if let Some(app) = &filter.app {
            world.app(app.as_str())?;
        }
        let statuses = world.statuses(filter.app.as_ref()).into_iter();
        Ok(statuses.filter(|status| filter.matches(status)).collect())
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let world = self.inner.world();
        let app = world.app(&subject_app(subject))?;
        if let Subject::Executor(_, id) = subject
            && !app.executors.contains_key(id)
        {
            return Err(Error::not_found(format!("there is no {subject}")));
        }
        let text = app.output.get(subject).cloned().unwrap_or_default();
        let text = match options.tail {
            None => text,
            Some(tail) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines: Vec<_> = text.split_inclusive('\n').collect();
                let from = lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
                lines[from..].concat().into()
            }
        };
        let wanted = options.source != Some(LogSource::Stderr) && !text.is_empty();
        let chunk = wanted.then(|| Ok(LogChunk { source: LogSource::Stdout, bytes: text }));
        let written = stream::iter(chunk);
        if !options.follow {
            return Ok(written.boxed());
        }
        // Programs print all at once; what is left to wait for is the end.
        let mut events = self.inner.events.subscribe();
        let (inner, subject) = (Arc::clone(&self.inner), subject.clone());
        let end = async move {
            // The sender lives as long as `inner`.
            let _ = events
                .wait_for(|_| {
                    let world = inner.world();
                    let Ok(app) = world.app(&subject_app(&subject)) else { return true };
                    match &subject {
                        Subject::Driver(_) => app.driver.state.is_ended(),
                        Subject::Executor(_, id) => {
                            app.executors.get(id).is_none_or(|executor| executor.state.is_ended())
                        }
                    }
                })
                .await;
        };
        let rest = stream::once(end).filter_map(|()| async { None });
        Ok(written.chain(rest).boxed())
    }
}

struct Follower {
    inner: Arc<Inner>,
    only: Option<AppId>,
    ready: VecDeque<Event>,
    at: usize,
    events: watch::Receiver<usize>,
    generation: watch::Receiver<u64>,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let broken = tokio::select! {
                biased;
                broken = self.generation.changed() => broken.map(|()| true),
                changed = self.events.changed() => changed.map(|()| false),
            };
            let only = self.only.as_ref();
            let world = self.inner.world();
            self.ready =
                if broken.ok()? { world.snapshot(only) } else { world.since(self.at, only) };
            self.at = world.journal.len();
            if !self.ready.is_empty() {
                self.ready.push_back(Event::Synced(Cursor(self.at.to_string())));
            }
        }
    }
}

/// Its executors end with the driver by themselves.
#[async_trait]
impl ManagedExecutors for () {
    async fn remove(&self, reconciler: Reconciler) -> Result<()> {
        reconciler.shutdown().await;
        Ok(())
    }
}

#[async_trait]
impl Launcher for FakeCluster {
    async fn start(&self, app: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let mut world = self.inner.world();
        let mut results = Vec::new();
        for ExecutorLaunch { id, profile_id, template, .. } in executors {
            let refusal = world.refusals.pop_front();
            if refusal.as_ref().is_none_or(|(_, effective)| *effective) {
                self.inner.start(&mut world, app, id, profile_id, &template.command);
            }
            results.push(refusal.map_or(Ok(()), |(error, _)| Err(error)));
        }
        results
    }

    async fn stop(&self, app: &AppId, executors: &[ExecutorId], _: Duration) -> Result<()> {
        for id in executors {
            let cause = Cause::Killed { by: KilledBy::ScaleDown };
            self.inner.end(&Subject::Executor(app.clone(), *id), cause);
        }
        Ok(())
    }

    async fn watch(&self, app: &AppId) -> Result<EventStream> {
        ClusterManager::watch(self, &WatchOptions::of(app)).await
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        let mut world = self.inner.world();
        self.inner.record(&mut world, Status::Allocation(allocation));
        Ok(())
    }
}

impl Inner {
    fn start(
        &self,
        world: &mut World,
        app: &AppId,
        id: ExecutorId,
        profile: ProfileId,
        command: &CommandLine,
    ) {
        let Some(known) = world.apps.get(app) else { return };
        if known.driver.state.is_ended() || known.executors.contains_key(&id) {
            return;
        }
        let status = ExecutorStatus {
            app: app.clone(),
            id,
            profile,
            state: State::Pending { why: None },
            since: Timestamp::now(),
            host: Some("fake".into()),
        };
        self.record(world, Status::Executor(status));
        self.run(world, &Subject::Executor(app.clone(), id), command);
    }
}
