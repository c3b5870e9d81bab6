//! Everything that is simulated, and the order in which it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{AppId, Outcome};
use anymaster_engine::{Instant, Now, Task};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::apps::{AppSim, Op};
use crate::checks::Checks;
use crate::faults::{Fault, Plan};
use crate::masters::{Disk, Election, Master, Written};
use crate::network::{ConnId, Network, ToMaster};
use crate::workers::Worker;

/// How long faults happen, and how long the cluster has then to reach its targets, in milliseconds.
pub(crate) const FAULTY: u64 = 240_000;
const SETTLE: u64 = 600_000;
/// How often it is looked whether it has.
const LOOK: u64 = 5_000;

/// What happens at some time. Numbers of masters, workers and applications are indices; `life` is which start of a
/// master or worker is meant: what was meant for a former one does not happen.
#[derive(Debug)]
pub(crate) enum Event {
    ToMaster(ConnId, ToMaster),
    ToWorker(ConnId, anymaster_engine::Order),
    MasterSeesEnd(ConnId),
    WorkerSeesEnd(ConnId),
    StartMaster(usize),
    Elect,
    Pass(usize, u64),
    Timer(usize, u64),
    Written(usize, u64, Written),
    Connect(usize, u64),
    Heartbeat(usize, ConnId),
    Fence(usize, u64, u64),
    StartWorker(usize),
    Process(usize, u64, (AppId, Task), u64, ProcessEvent),
    Op(Op),
    EndDriver(usize, u64),
    ExternalEnds(usize, u64),
    Fault(Fault),
    /// No faults happen any more.
    EndFaults,
    Look,
}

/// What happens to a process of a worker.
#[derive(Debug, Clone)]
pub(crate) enum ProcessEvent {
    Runs,
    Exits(Outcome),
    StartsAgain,
}

pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    steps: u64,
    pub(crate) trace: bool,
    pub(crate) network: Network,
    pub(crate) disk: Disk,
    pub(crate) election: Election,
    pub(crate) masters: Vec<Master>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) apps: Vec<AppSim>,
    pub(crate) checks: Checks,
    pub(crate) plan: Plan,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = Plan::random(&mut rng);
        let masters = (0..plan.masters).map(|_| Master::default()).collect();
        let workers = (0..rng.random_range(2..=5)).map(|_| Worker::random(&mut rng)).collect();
        let apps = (0..rng.random_range(1..=5)).map(|number| AppSim::random(number, &mut rng));
        let apps = apps.collect();
        let mut world = Self {
            rng,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            trace,
            network: Network::default(),
            disk: Disk::default(),
            election: Election::default(),
            masters,
            workers,
            apps,
            checks: Checks::default(),
            plan,
        };
        world.checks.nothing_is_lost = world.plan.is_gentle;
        let external = world.apps.iter().filter(|app| app.is_external);
        world.checks.external = external.map(|app| app.id.clone()).collect();
        for master in 0..world.masters.len() {
            world.at(0, Event::StartMaster(master));
        }
        world.at(1, Event::Elect);
        for worker in 0..world.workers.len() {
            let soon = world.rng.random_range(0..3_000);
            world.after(soon, Event::StartWorker(worker));
        }
        world.plan_apps();
        world.plan_faults();
        world.at(FAULTY, Event::EndFaults);
        world.at(FAULTY + 1, Event::Look);
        world
    }

    /// Runs until the cluster has settled.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while let Some(((time, _), event)) = self.queue.pop_first() {
            self.now = time;
            self.steps += 1;
            if matches!(event, Event::Look) && self.now >= FAULTY {
                match self.unsettled() {
                    None => return Ok(()),
                    Some(why) if self.now >= FAULTY + SETTLE => {
                        return Err(format!("{} s after the last fault: {why}", SETTLE / 1000));
                    }
                    Some(why) => self.say(|| format!("not settled: {why}")),
                }
                self.after(LOOK, Event::Look);
                continue;
            }
            if !matches!(event, Event::Elect | Event::Heartbeat(..)) {
                self.say(|| format!("{event:?}"));
            }
            self.happen(event);
            self.audit();
            if let Some(violation) = self.checks.violation() {
                return Err(violation);
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn happen(&mut self, event: Event) {
        // A master that is paused reads later.
        if let Some(until) = self.paused_until(&event) {
            self.at(until, event);
            return;
        }
        match event {
            Event::ToMaster(conn, message) => self.master_receives(conn, message),
            Event::ToWorker(conn, order) => self.worker_receives(conn, order),
            Event::MasterSeesEnd(conn) => self.master_sees_end(conn),
            Event::WorkerSeesEnd(conn) => self.worker_sees_end(conn),
            Event::StartMaster(master) => self.start_master(master),
            Event::Elect => self.elect(),
            Event::Pass(master, life) => self.pass(master, life),
            Event::Timer(master, life) => self.timer(master, life),
            Event::Written(master, life, written) => self.written(master, life, written),
            Event::Connect(worker, life) => self.connect(worker, life),
            Event::Heartbeat(worker, conn) => self.heartbeat(worker, conn),
            Event::Fence(worker, life, since) => self.fence(worker, life, since),
            Event::StartWorker(worker) => self.start_worker(worker),
            Event::Process(worker, life, key, number, what) => {
                self.process_event(worker, life, key, number, what);
            }
            Event::Op(op) => self.try_op(op),
            Event::EndDriver(app, number) => self.driver_exits(app, number),
            Event::ExternalEnds(app, session) => self.external_told_to_end(app, session),
            Event::Fault(fault) => self.fault(fault),
            Event::Look => {}
            Event::EndFaults => self.end_faults(),
        }
    }

    fn paused_until(&self, event: &Event) -> Option<u64> {
        let master = match event {
            Event::ToMaster(conn, _) | Event::MasterSeesEnd(conn) => {
                self.network.get(*conn)?.master
            }
            Event::Pass(master, _) | Event::Timer(master, _) | Event::Written(master, ..) => {
                *master
            }
            _ => return None,
        };
        let until = self.masters[master].paused_until;
        (until > self.now).then_some(until)
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), event);
    }

    pub(crate) fn after(&mut self, pause: u64, event: Event) {
        self.at(self.now + pause, event);
    }

    /// As the engine is told the time.
    pub(crate) fn time(&self) -> Now {
        let elapsed = Duration::from_millis(self.now);
        Now { at: Instant::after_start(elapsed), wall: Timestamp::UNIX_EPOCH + elapsed }
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.now as f64 / 1000.0
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9.3} {}", self.seconds(), what());
        }
    }
}
