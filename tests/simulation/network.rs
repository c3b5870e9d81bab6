//! Connections between workers and masters: each keeps the order of its messages in each direction, and delays them as
//! it likes.

use std::collections::BTreeMap;

use anymaster_engine::{Order, TaskReport, WorkerInfo, WorkerMessage};
use rand::RngExt as _;

use crate::world::{Event, World};

pub(crate) type ConnId = u64;

/// What a worker sends.
#[derive(Debug)]
pub(crate) enum ToMaster {
    Register(WorkerInfo, Vec<TaskReport>, bool),
    Message(WorkerMessage),
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) worker: usize,
    pub(crate) worker_life: u64,
    pub(crate) master: usize,
    pub(crate) master_life: u64,
    /// The master's session of it, once the worker is registered.
    pub(crate) session: Option<u64>,
    /// Nothing gets through any more.
    is_cut: bool,
    /// When the last message in each direction arrives.
    to_master_at: u64,
    to_worker_at: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    conns: BTreeMap<ConnId, Conn>,
    last: ConnId,
}

impl Network {
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Conn> {
        self.conns.get(&conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&conn)
    }

    pub(crate) fn open(&mut self, worker: (usize, u64), master: (usize, u64)) -> ConnId {
        self.last += 1;
        let conn = Conn {
            worker: worker.0,
            worker_life: worker.1,
            master: master.0,
            master_life: master.1,
            session: None,
            is_cut: false,
            to_master_at: 0,
            to_worker_at: 0,
        };
        self.conns.insert(self.last, conn);
        self.last
    }

    /// Those that are open and meet a condition.
    pub(crate) fn open_ones(&self, is_meant: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let open = self.conns.iter().filter(|(_, conn)| !conn.is_cut && is_meant(conn));
        open.map(|(id, _)| *id).collect()
    }
}

impl World {
    fn latency(&mut self) -> u64 {
        match self.rng.random_range(0..20) {
            0 => self.rng.random_range(50..2_000),
            _ => self.rng.random_range(0..30),
        }
    }

    pub(crate) fn send_to_master(&mut self, id: ConnId, message: ToMaster) {
        let at = self.now + self.latency();
        let Some(conn) = self.network.get_mut(id).filter(|conn| !conn.is_cut) else { return };
        conn.to_master_at = conn.to_master_at.max(at);
        let at = conn.to_master_at;
        self.at(at, Event::ToMaster(id, message));
    }

    pub(crate) fn send_to_worker(&mut self, id: ConnId, order: Order) {
        let at = self.now + self.latency();
        let Some(conn) = self.network.get_mut(id).filter(|conn| !conn.is_cut) else { return };
        conn.to_worker_at = conn.to_worker_at.max(at);
        let at = conn.to_worker_at;
        self.at(at, Event::ToWorker(id, order));
    }

    /// Cuts a connection. Messages under way may still arrive or not; each side notices at a time of its own.
    pub(crate) fn cut(&mut self, id: ConnId, notice: u64) {
        let (one, other) = (self.rng.random_range(0..=notice), self.rng.random_range(0..=notice));
        let Some(conn) = self.network.get_mut(id).filter(|conn| !conn.is_cut) else { return };
        conn.is_cut = true;
        let (master_at, worker_at) = (conn.to_master_at, conn.to_worker_at);
        self.at(master_at.max(self.now) + one, Event::MasterSeesEnd(id));
        self.at(worker_at.max(self.now) + other, Event::WorkerSeesEnd(id));
    }
}
