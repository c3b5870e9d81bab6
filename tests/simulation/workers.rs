//! Workers: the real table of processes, and processes that only pretend.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{AppId, Cause, KilledBy, Outcome, Stop};
use anymaster_engine::{
    ExecutorSpec, Order, Progress, Task, TaskReport, WorkerInfo, WorkerMessage,
};
use anymaster_standalone::worker::{Begin, ProcessTable, Stopping};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::apps::Op;
use crate::network::{ConnId, ToMaster};
use crate::world::{Event, ProcessEvent, World};

/// How often a worker is heard of (`spark.worker.timeout` / 4), and how long it keeps its processes without a master.
const HEARTBEAT: u64 = 15_000;
const FENCE_AFTER: u64 = 120_000;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) cores: u32,
    pub(crate) life: u64,
    /// `None`: its machine is down.
    pub(crate) table: Option<ProcessTable<(), ()>>,
    /// Processes that have been started and have not ended.
    pub(crate) running: BTreeMap<(AppId, Task), Running>,
    pub(crate) conn: Option<ConnId>,
    is_registered: bool,
    /// Since when it has no master.
    alone_since: u64,
    /// No master is reached before.
    pub(crate) unreachable_until: u64,
}

#[derive(Debug)]
pub(crate) struct Running {
    number: u64,
    supervise: bool,
    stop: Option<Stop>,
}

impl Worker {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        Self {
            cores: rng.random_range(6..=16),
            life: 0,
            table: None,
            running: BTreeMap::new(),
            conn: None,
            is_registered: false,
            alone_since: 0,
            unreachable_until: 0,
        }
    }
}

impl World {
    fn info(&self, worker: usize) -> WorkerInfo {
        let Worker { cores, life, .. } = &self.workers[worker];
        WorkerInfo {
            id: format!("worker-{worker}-{life}"),
            host: format!("host-{worker}"),
            port: 1,
            web: String::new(),
            cores: *cores,
            memory_mib: 1 << 20,
            sparks: Vec::new(),
            resources: BTreeMap::from([("gpu".to_owned(), vec!["0".to_owned(), "1".to_owned()])]),
        }
    }

    pub(crate) fn start_worker(&mut self, number: usize) {
        let now = self.now;
        let worker = &mut self.workers[number];
        if worker.table.is_some() {
            return;
        }
        worker.life += 1;
        worker.table = Some(ProcessTable::default());
        (worker.conn, worker.alone_since) = (None, now);
        let life = worker.life;
        self.after(0, Event::Connect(number, life));
    }

    /// Its machine is gone, with all that ran there.
    pub(crate) fn kill_worker(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.table = None;
        let running = std::mem::take(&mut worker.running);
        if let Some(conn) = worker.conn.take() {
            self.cut(conn, 10_000);
        }
        for ((app, task), process) in running {
            self.process_is_gone(&app, task, process.number, None);
        }
    }

    pub(crate) fn connect(&mut self, number: usize, life: u64) {
        let worker = &self.workers[number];
        if worker.life != life || worker.table.is_none() || worker.conn.is_some() {
            return;
        }
        let again = self.rng.random_range(200..3_000);
        let master = self.rng.random_range(0..self.masters.len());
        if self.workers[number].unreachable_until > self.now || !self.masters[master].is_reachable()
        {
            self.after(again, Event::Connect(number, life));
            return;
        }
        let info = self.info(number);
        let conn = self.network.open((number, life), (master, self.masters[master].life));
        let worker = &mut self.workers[number];
        (worker.conn, worker.is_registered) = (Some(conn), false);
        let Some(table) = &mut worker.table else { return };
        let (reports, is_leaving) = table.connect();
        self.send_to_master(conn, ToMaster::Register(info, reports, is_leaving));
        self.after(HEARTBEAT, Event::Heartbeat(number, conn));
    }

    pub(crate) fn heartbeat(&mut self, number: usize, conn: ConnId) {
        if self.workers[number].conn == Some(conn) {
            self.send_to_master(conn, ToMaster::Message(WorkerMessage::Heartbeat));
            self.after(HEARTBEAT, Event::Heartbeat(number, conn));
        }
    }

    pub(crate) fn worker_sees_end(&mut self, id: ConnId) {
        let Some(conn) = self.network.get(id) else { return };
        let (number, life) = (conn.worker, conn.worker_life);
        let now = self.now;
        let worker = &mut self.workers[number];
        if worker.conn != Some(id) || worker.life != life {
            return;
        }
        worker.conn = None;
        if std::mem::take(&mut worker.is_registered) {
            worker.alone_since = now;
        }
        let since = worker.alone_since;
        if let Some(table) = &mut worker.table {
            table.disconnect();
        }
        self.after(100, Event::Connect(number, life));
        self.at(since + FENCE_AFTER, Event::Fence(number, life, since));
    }

    /// No master was reached for too long: its processes are ended.
    pub(crate) fn fence(&mut self, number: usize, life: u64, since: u64) {
        let worker = &self.workers[number];
        if worker.life != life || worker.is_registered || worker.alone_since != since {
            return;
        }
        let stop = Stop { by: KilledBy::DriverEnd, grace: Duration::from_secs(10) };
        let all: Vec<_> = worker.running.keys().cloned().collect();
        for key in all {
            self.stop_process(number, key, stop);
        }
    }

    fn say_to_master(&mut self, number: usize, message: WorkerMessage) {
        if let Some(conn) = self.workers[number].conn {
            self.send_to_master(conn, ToMaster::Message(message));
        }
    }

    pub(crate) fn worker_receives(&mut self, id: ConnId, order: Order) {
        let Some(conn) = self.network.get(id) else { return };
        let number = conn.worker;
        let worker = &mut self.workers[number];
        if worker.conn != Some(id) || worker.life != conn.worker_life {
            return;
        }
        let Some(table) = &mut worker.table else { return };
        match order {
            Order::Registered { .. } => {
                worker.is_registered = true;
                table.registered();
            }
            Order::Application(application) => table.add_application(application.app, ()),
            Order::StartDriver(order) => {
                if let Some(answer) = table.accept_driver(*order) {
                    self.say_to_master(number, answer);
                }
            }
            Order::ConfirmDriver { app, attempt } => {
                let process = self.checks.next_process();
                let begun = table.confirmed(&app, attempt, ());
                if let Some((order, begin)) = begun {
                    let supervise = order.spec.supervise;
                    self.begin(number, (app, Task::Driver), process, begin, supervise);
                }
            }
            Order::StartExecutor(order) => {
                let spec = ExecutorSpec {
                    profile_id: order.profile_id,
                    profile: order.profile.clone(),
                    resources: order.resources.clone(),
                };
                let process = self.checks.next_process();
                let task = Task::Executor(order.id);
                let begin = table.begin(&order.app, task, Some(spec), ());
                self.begin(number, (order.app, task), process, begin, false);
            }
            Order::Stop { app, task, stop } => match table.stop(&app, task, stop) {
                Stopping::Process(_) => self.stop_process(number, (app, task), stop),
                Stopping::Report(report) => {
                    self.say_to_master(number, WorkerMessage::Report(report));
                }
            },
            Order::TaskAck { app, task } => {
                self.checks.acknowledged(&app, task);
                table.acknowledged(app, task);
                self.leave_if_idle(number);
            }
            Order::ForgetApp { app } => table.forget_application(&app),
        }
    }

    fn begin(
        &mut self,
        number: usize,
        key: (AppId, Task),
        process: u64,
        begin: Begin<()>,
        supervise: bool,
    ) {
        match begin {
            Begin::Start(_) => {
                let running = Running { number: process, supervise, stop: None };
                self.workers[number].running.insert(key.clone(), running);
                self.checks.started(&key.0, key.1, supervise);
                let life = self.workers[number].life;
                let soon = self.rng.random_range(0..1_500);
                // Some executors cannot be started at all.
                let event = match key.1 {
                    Task::Executor(_) if self.chance(0.02) => {
                        ProcessEvent::Exits(Cause::Exited { code: 1 }.into())
                    }
                    _ => ProcessEvent::Runs,
                };
                self.after(soon, Event::Process(number, life, key, process, event));
            }
            Begin::Report(report) => self.say_to_master(number, WorkerMessage::Report(report)),
            // An order for a process whose application it was not told of would be lost.
            Begin::Ignore => {
                if !self.workers[number].running.contains_key(&key)
                    && !self.has_reported_end(number, &key)
                {
                    self.checks
                        .fail(format!("worker {number} does not know the application of {key:?}"));
                }
            }
        }
    }

    fn has_reported_end(&self, number: usize, key: &(AppId, Task)) -> bool {
        let reports = self.workers[number].table.as_ref().map(ProcessTable::reports);
        let mut reports = reports.unwrap_or_default().into_iter();
        reports.any(|report| report.app == key.0 && report.task == key.1)
    }

    fn stop_process(&mut self, number: usize, key: (AppId, Task), stop: Stop) {
        let worker = &mut self.workers[number];
        let life = worker.life;
        let Some(running) = worker.running.get_mut(&key) else { return };
        let by = running.stop.get_or_insert(stop).by;
        let process = running.number;
        let grace = u64::try_from(stop.grace.as_millis()).unwrap_or(u64::MAX).min(3_000);
        let soon = self.rng.random_range(0..=grace);
        let exits = ProcessEvent::Exits(Cause::Killed { by }.into());
        self.after(soon, Event::Process(number, life, key, process, exits));
    }

    pub(crate) fn process_event(
        &mut self,
        number: usize,
        life: u64,
        key: (AppId, Task),
        process: u64,
        event: ProcessEvent,
    ) {
        let worker = &mut self.workers[number];
        let Some(running) = worker.running.get(&key).filter(|is| is.number == process) else {
            return;
        };
        let (Some(table), true) = (&mut worker.table, worker.life == life) else { return };
        let (supervise, is_stopped) = (running.supervise, running.stop.is_some());
        let report = |table: &mut ProcessTable<(), ()>, progress| -> TaskReport {
            table.set_progress(&key.0, key.1, progress)
        };
        match event {
            ProcessEvent::Runs => {
                let port = (key.1 == Task::Driver).then_some(4040);
                let report = report(table, Progress::Running { port, host: None });
                self.say_to_master(number, WorkerMessage::Report(report));
                if let (Task::Driver, Some(app)) = (key.1, self.app_index(&key.0)) {
                    self.driver_runs(app, process);
                } else if self.chance(0.1) {
                    let cause =
                        if self.chance(0.5) { Cause::Finished } else { Cause::Exited { code: 3 } };
                    let later = self.rng.random_range(1_000..100_000);
                    let exits = ProcessEvent::Exits(cause.into());
                    self.after(later, Event::Process(number, life, key, process, exits));
                }
            }
            ProcessEvent::Exits(outcome)
                if supervise && outcome.cause != Cause::Finished && !is_stopped =>
            {
                let report = report(table, Progress::Restarting(outcome));
                self.say_to_master(number, WorkerMessage::Report(report));
                if let Some(app) = self.app_index(&key.0) {
                    self.apps[app].driver = None;
                }
                let again = ProcessEvent::StartsAgain;
                self.after(1_000, Event::Process(number, life, key, process, again));
            }
            ProcessEvent::StartsAgain => {
                let soon = self.rng.random_range(0..1_000);
                self.after(soon, Event::Process(number, life, key, process, ProcessEvent::Runs));
            }
            ProcessEvent::Exits(outcome) => {
                let outcome: Outcome = table.outcome(outcome);
                let cause = outcome.cause.clone();
                let report = report(table, Progress::Ended(outcome));
                self.workers[number].running.remove(&key);
                self.process_is_gone(&key.0, key.1, process, Some(cause));
                self.say_to_master(number, WorkerMessage::Report(report));
            }
        }
    }

    /// A process is not there any more: with its end reported, or with its machine.
    fn process_is_gone(&mut self, app: &AppId, task: Task, process: u64, cause: Option<Cause>) {
        if task == Task::Driver
            && let Some(index) = self.app_index(app)
            && self.apps[index].driver == Some(process)
        {
            self.apps[index].driver = None;
        }
        if let Some(cause) = cause {
            self.checks.ended(app, task, cause);
        }
    }

    /// It is to be shut down, in good order.
    pub(crate) fn decommission(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let Some(table) = &mut worker.table else { return };
        if let Some(message) = table.leave() {
            self.say_to_master(number, message);
        }
        let stop = Stop { by: KilledBy::Request, grace: Duration::from_secs(1) };
        let running = self.workers[number].running.keys().cloned();
        let executors: Vec<_> = running.filter(|(_, task)| *task != Task::Driver).collect();
        for key in executors {
            self.stop_process(number, key, stop);
        }
        self.leave_if_idle(number);
    }

    fn leave_if_idle(&mut self, number: usize) {
        let table = self.workers[number].table.as_ref();
        if table.is_some_and(|table| table.is_leaving() && table.is_empty()) {
            self.kill_worker(number);
            let later = self.rng.random_range(1_000..20_000);
            self.after(later, Event::StartWorker(number));
        }
    }

    /// The driver of an application ends by itself, if it still runs.
    pub(crate) fn driver_exits(&mut self, app: usize, process: u64) {
        let key = (self.apps[app].id.clone(), Task::Driver);
        let has = |worker: &Worker| worker.running.get(&key).is_some_and(|is| is.number == process);
        let Some(number) = self.workers.iter().position(has) else { return };
        let life = self.workers[number].life;
        let cause = if self.chance(0.5) { Cause::Finished } else { Cause::Exited { code: 7 } };
        self.after(
            0,
            Event::Process(number, life, key, process, ProcessEvent::Exits(cause.into())),
        );
    }

    fn driver_runs(&mut self, app: usize, process: u64) {
        self.apps[app].driver = Some(process);
        self.after(50, Event::Op(Op::Request(app)));
        if self.apps[app].ends && self.now < crate::world::FAULTY {
            let later = self.rng.random_range(10_000..200_000);
            self.after(later, Event::EndDriver(app, process));
        }
    }
}
