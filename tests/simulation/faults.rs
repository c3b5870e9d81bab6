//! What goes wrong.

use anymaster_standalone::worker::ProcessTable;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::world::{Event, FAULTY, World};

/// Which kinds of faults there are in a cluster.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) masters: usize,
    /// Only masters fail, and not for long: nothing may be lost.
    pub(crate) is_gentle: bool,
    pub(crate) masters_fail: bool,
    workers_fail: bool,
    network: bool,
    pub(crate) disk: bool,
}

impl Plan {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let is_gentle = rng.random_bool(0.3);
        Self {
            masters: rng.random_range(1..=2),
            is_gentle,
            masters_fail: is_gentle || rng.random_bool(0.7),
            workers_fail: !is_gentle && rng.random_bool(0.6),
            network: !is_gentle && rng.random_bool(0.6),
            disk: rng.random_bool(0.5),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    CrashMaster(usize),
    PauseMaster(usize, u64),
    KillWorker(usize),
    Decommission(usize),
    CutWorker(usize),
    Isolate(usize, u64),
    FillDisk(u64),
}

impl World {
    pub(crate) fn plan_faults(&mut self) {
        for _ in 0..self.rng.random_range(0..14) {
            let fault = self.random_fault();
            // Some come together.
            let at = self.rng.random_range(2_000..FAULTY - 1_000);
            if let Some(fault) = fault {
                self.at(at, Event::Fault(fault));
                let together = if self.plan.is_gentle { 0.7 } else { 0.3 };
                if self.chance(together)
                    && let Some(second) = self.random_fault()
                {
                    let soon = self.rng.random_range(0..10_000);
                    self.at(at + soon, Event::Fault(second));
                }
            }
        }
    }

    fn random_fault(&mut self) -> Option<Fault> {
        let master = self.rng.random_range(0..self.masters.len());
        let worker = self.rng.random_range(0..self.workers.len());
        let long = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(50..2_000),
            1 => self.rng.random_range(1_000..20_000),
            _ => self.rng.random_range(20_000..150_000),
        };
        let plan = &self.plan;
        Some(match self.rng.random_range(0..10) {
            0 | 1 if plan.masters_fail => Fault::CrashMaster(master),
            2 if plan.is_gentle => Fault::PauseMaster(master, long.min(20_000)),
            2 if plan.masters_fail => Fault::PauseMaster(master, long),
            3 | 4 if plan.workers_fail => Fault::KillWorker(worker),
            5 if plan.workers_fail => Fault::Decommission(worker),
            6 | 7 if plan.network => Fault::CutWorker(worker),
            8 if plan.network => Fault::Isolate(worker, long),
            9 if plan.disk => Fault::FillDisk(long.min(20_000)),
            _ => return None,
        })
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::CrashMaster(master) => {
                self.crash_master(master);
                let later = if self.plan.is_gentle || self.chance(0.8) {
                    self.rng.random_range(100..15_000)
                } else {
                    self.rng.random_range(15_000..140_000)
                };
                self.after(later, Event::StartMaster(master));
            }
            Fault::PauseMaster(master, long) => {
                self.masters[master].paused_until = (self.now + long).min(FAULTY);
            }
            Fault::KillWorker(worker) => {
                self.kill_worker(worker);
                let later = self.rng.random_range(500..100_000);
                self.after(later, Event::StartWorker(worker));
            }
            Fault::Decommission(worker) => self.decommission(worker),
            Fault::CutWorker(worker) => {
                if let Some(conn) = self.workers[worker].conn {
                    self.cut(conn, 2_000);
                }
            }
            Fault::Isolate(worker, long) => {
                self.workers[worker].unreachable_until = (self.now + long).min(FAULTY);
                if let Some(conn) = self.workers[worker].conn {
                    self.cut(conn, 30_000);
                }
            }
            Fault::FillDisk(long) => self.disk.full_until = (self.now + long).min(FAULTY),
        }
    }

    /// Workers that are being decommissioned and still have a driver are replaced: somebody loses patience.
    pub(crate) fn end_faults(&mut self) {
        for number in 0..self.workers.len() {
            if self.workers[number].table.as_ref().is_some_and(ProcessTable::is_leaving) {
                self.kill_worker(number);
                self.after(1_000, Event::StartWorker(number));
            }
        }
    }
}
