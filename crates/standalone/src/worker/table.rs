//! What a worker knows of its processes, and what it tells its master: all of its protocol, without input or output.
//! `A` is what it keeps of an application, `S` by what it stops a process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anymaster_core::model::{AppId, Cause, Outcome, Stop};
use anymaster_engine::{DriverOrder, ExecutorSpec, Progress, Task, TaskReport, WorkerMessage};

/// The processes of a worker.
#[derive(Debug)]
pub struct ProcessTable<A, S> {
    apps: HashMap<AppId, Arc<A>>,
    live: HashMap<(AppId, Task), Process<S>>,
    /// Drivers that the master has assigned and not confirmed; dropped when the connection ends.
    accepted: HashMap<AppId, DriverOrder>,
    is_connected: bool,
    /// It is being decommissioned: it takes nothing new, and only drivers go on.
    is_leaving: bool,
}

#[derive(Debug)]
struct Process<S> {
    progress: Progress,
    spec: Option<Box<ExecutorSpec>>,
    stop: S,
}

/// What comes of an order to start a process.
#[derive(Debug)]
pub enum Begin<A> {
    /// It is in the table, and has to be started.
    Start(Arc<A>),
    /// It is not started, and the master has to be told.
    Report(TaskReport),
    /// It is not started: it exists already, or its application is unknown.
    Ignore,
}

/// What comes of an order to stop a process.
#[derive(Debug)]
pub enum Stopping<'a, S> {
    /// It has to be stopped.
    Process(&'a S),
    /// There is none: the master has to be told, so that it does not wait for it.
    Report(TaskReport),
}

impl<A, S> Default for ProcessTable<A, S> {
    fn default() -> Self {
        Self {
            apps: HashMap::new(),
            live: HashMap::new(),
            accepted: HashMap::new(),
            is_connected: false,
            is_leaving: false,
        }
    }
}

/// How a process ended that was ended because its worker is being decommissioned.
pub(super) fn decommissioned() -> Cause {
    Cause::Evicted { why: "its worker is decommissioned".into() }
}

impl<A, S> ProcessTable<A, S> {
    /// A connection to a master begins: what has to be said in the registration, and whether the worker is being
    /// decommissioned.
    pub fn connect(&mut self) -> (Vec<TaskReport>, bool) {
        self.is_connected = true;
        self.accepted.clear();
        (self.reports(), self.is_leaving)
    }

    /// The worker is registered. The master sends again the applications that have no process here, so these are
    /// dropped.
    pub fn registered(&mut self) {
        let Self { apps, live, .. } = self;
        let here: HashSet<&AppId> = live.keys().map(|(app, _)| app).collect();
        apps.retain(|app, _| here.contains(app));
    }

    /// The connection has ended.
    pub fn disconnect(&mut self) {
        self.is_connected = false;
        self.accepted.clear();
    }

    /// All processes, and those whose end is not acknowledged.
    pub fn reports(&self) -> Vec<TaskReport> {
        let reports = self.live.iter().map(|((app, task), process)| TaskReport {
            app: app.clone(),
            task: *task,
            progress: process.progress.clone(),
            spec: process.spec.clone(),
        });
        reports.collect()
    }

    /// An application that the master has sent.
    pub fn add_application(&mut self, app: AppId, entry: A) {
        self.apps.insert(app, Arc::new(entry));
    }

    /// The application gets no more processes here.
    pub fn forget_application(&mut self, app: &AppId) {
        self.apps.remove(app);
    }

    /// Whether an application has processes here, or may get some.
    pub fn has_application(&self, app: &str) -> bool {
        let live = self.live.keys().map(|(app, _)| app);
        live.chain(self.apps.keys()).any(|known| known.as_str() == app)
    }

    /// The master has assigned a driver: what has to be answered. It is started when that is
    /// [confirmed](Self::confirmed).
    pub fn accept_driver(&mut self, order: DriverOrder) -> Option<WorkerMessage> {
        // The order is void when the connection ends.
        self.is_connected.then(|| {
            let (app, attempt) = (order.app.clone(), order.attempt);
            self.accepted.insert(app.clone(), order);
            WorkerMessage::DriverAccepted { app, attempt }
        })
    }

    /// The master has recorded that this worker has accepted a driver: the order, if it is still valid, and what comes
    /// of it.
    pub fn confirmed(
        &mut self,
        app: &AppId,
        attempt: u32,
        stop: S,
    ) -> Option<(DriverOrder, Begin<A>)> {
        let order = self.accepted.remove(app).filter(|order| order.attempt == attempt)?;
        let begin = self.begin(app, Task::Driver, None, stop);
        Some((order, begin))
    }

    /// A process has to be started.
    pub fn begin(
        &mut self,
        app: &AppId,
        task: Task,
        spec: Option<ExecutorSpec>,
        stop: S,
    ) -> Begin<A> {
        if self.live.contains_key(&(app.clone(), task)) {
            return Begin::Ignore;
        }
        if self.is_leaving {
            // The master did not know this when it sent the order.
            let progress = Progress::Ended(decommissioned().into());
            return Begin::Report(TaskReport { app: app.clone(), task, progress, spec: None });
        }
        let Some(entry) = self.apps.get(app).map(Arc::clone) else { return Begin::Ignore };
        let process = Process { progress: Progress::Starting, spec: spec.map(Box::new), stop };
        self.live.insert((app.clone(), task), process);
        Begin::Start(entry)
    }

    /// Something has become of a process: what has to be reported.
    pub fn set_progress(&mut self, app: &AppId, task: Task, progress: Progress) -> TaskReport {
        if let Some(process) = self.live.get_mut(&(app.clone(), task)) {
            process.progress = match &progress {
                // It is about to be started again.
                Progress::Restarting(_) => Progress::Starting,
                other => other.clone(),
            };
        }
        TaskReport { app: app.clone(), task, progress, spec: None }
    }

    /// How a process ended, as it has to be reported: one that was killed because of decommissioning was evicted.
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome.cause {
            Cause::Killed { .. } if self.is_leaving => {
                Outcome { cause: decommissioned(), ..outcome }
            }
            _ => outcome,
        }
    }

    /// The master has acknowledged the end of a process.
    pub fn acknowledged(&mut self, app: AppId, task: Task) {
        let key = (app, task);
        let is_ended = |process: &Process<S>| matches!(process.progress, Progress::Ended(_));
        if self.live.get(&key).is_some_and(is_ended) {
            self.live.remove(&key);
        }
    }

    /// A process has to be stopped.
    pub fn stop(&mut self, app: &AppId, task: Task, stop: Stop) -> Stopping<'_, S> {
        if task == Task::Driver {
            self.accepted.remove(app);
        }
        match self.live.get(&(app.clone(), task)) {
            Some(process) => Stopping::Process(&process.stop),
            None => {
                let progress = Progress::Ended(Cause::Killed { by: stop.by }.into());
                Stopping::Report(TaskReport { app: app.clone(), task, progress, spec: None })
            }
        }
    }

    /// All processes, with what stops them.
    pub fn processes(&self) -> impl Iterator<Item = (&AppId, Task, &S)> {
        self.live.iter().map(|((app, task), process)| (app, *task, &process.stop))
    }

    /// Whether a process runs, or is about to be started.
    pub fn is_running(&self, app: &AppId, task: Task) -> bool {
        let process = self.live.get(&(app.clone(), task));
        process.is_some_and(|process| !matches!(process.progress, Progress::Ended(_)))
            || (task == Task::Driver && self.accepted.contains_key(app))
    }

    /// Begins decommissioning: what the master has to be told, if it is reached. Otherwise the next registration says
    /// so.
    pub fn leave(&mut self) -> Option<WorkerMessage> {
        self.is_leaving = true;
        self.is_connected.then_some(WorkerMessage::Leaving)
    }

    /// Whether it is being decommissioned.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Whether all processes have ended.
    pub fn is_idle(&self) -> bool {
        self.live.values().all(|process| matches!(process.progress, Progress::Ended(_)))
    }

    /// Whether all ends are acknowledged, too.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}
