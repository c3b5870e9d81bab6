//! Masters: the real engine, a store that is fenced, and an election by lease.

use std::collections::{BTreeMap, HashMap};

use anymaster_core::model::Status;
use anymaster_engine::{Effect, Engine, Flush, Position, Settings};
use rand::RngExt as _;

use crate::apps::Op;
use crate::faults::Fault;
use crate::network::{ConnId, ToMaster};
use crate::world::{Event, FAULTY, World};

/// How long a lease lasts without being renewed, and how often it is.
const LEASE: u64 = 5_000;
const ELECTION: u64 = 500;

/// What is durable.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    records: BTreeMap<String, Vec<u8>>,
    /// Nothing can be written before.
    pub(crate) full_until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Election {
    /// The number of the leadership that counts: what another one writes is refused.
    epoch: u64,
    lease_until: u64,
}

/// How a write ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written {
    Whole,
    /// With an error; some of the changes may have been made.
    Failed,
    /// Nobody knows: all or none of them have been made.
    Unknown,
}

/// What is returned when everything before is durable.
#[derive(Debug)]
pub(crate) enum Ack {
    /// A client's, with the session that it has got.
    Op(Op, u64),
    State(Vec<Status>, Position),
}

#[derive(Debug, Default)]
pub(crate) struct Master {
    pub(crate) life: u64,
    is_up: bool,
    pub(crate) paused_until: u64,
    pub(crate) engine: Option<Engine>,
    epoch: u64,
    last_session: u64,
    workers: HashMap<String, (u64, ConnId)>,
    /// External drivers by session.
    pub(crate) externals: HashMap<u64, usize>,
    flush: Option<Flush>,
    /// What waits for the next write, and for the one that is under way.
    waiting: Vec<Ack>,
    underway: Vec<Ack>,
    is_pass_due: bool,
    /// How far a subscriber is: to everything, and to each application.
    position: Option<Position>,
    positions: Vec<Position>,
}

impl Master {
    pub(crate) fn is_reachable(&self) -> bool {
        self.is_up && self.engine.is_some()
    }
}

fn settings() -> Settings {
    Settings { retained: 1_000, ..Settings::new("spark://master:7077") }
}

impl World {
    /// The engine of a master, at this time.
    pub(crate) fn engine(&mut self, master: usize) -> Option<&mut Engine> {
        let now = self.time();
        self.masters[master].engine.as_mut().map(|engine| engine.at(now))
    }

    pub(crate) fn start_master(&mut self, number: usize) {
        if self.masters[number].is_up {
            return;
        }
        let life = self.masters[number].life + 1;
        self.masters[number] = Master { life, is_up: true, ..Master::default() };
    }

    pub(crate) fn elect(&mut self) {
        self.after(ELECTION, Event::Elect);
        let now = self.now;
        for number in 0..self.masters.len() {
            let master = &self.masters[number];
            if master.engine.is_none() || master.paused_until > now {
                continue;
            }
            if master.epoch == self.election.epoch {
                self.election.lease_until = now + LEASE;
            } else {
                self.step_down(number);
            }
        }
        if now >= self.election.lease_until {
            let can = |master: &Master| {
                master.is_up && master.engine.is_none() && master.paused_until <= now
            };
            let able: Vec<usize> =
                (0..self.masters.len()).filter(|at| can(&self.masters[*at])).collect();
            if !able.is_empty() {
                let chosen = able[self.rng.random_range(0..able.len())];
                self.lead(chosen);
            }
        }
    }

    fn lead(&mut self, number: usize) {
        self.election.epoch += 1;
        self.election.lease_until = self.now + LEASE;
        let mut engine = Engine::new(settings(), self.rng.random(), self.time());
        engine.persist();
        let records = self.disk.records.clone().into_iter().collect();
        if let Err(error) = engine.recover(records) {
            return self
                .checks
                .fail(format!("a master cannot read what another has stored: {error}"));
        }
        let epoch = self.election.epoch;
        self.say(|| format!("master {number} leads, epoch {epoch}"));
        let state = Ack::State(engine.statuses(None), engine.events().position());
        let master = &mut self.masters[number];
        (master.engine, master.epoch) = (Some(engine), epoch);
        master.waiting.push(state);
        let life = master.life;
        self.changed(number);
        self.after(0, Event::Timer(number, life));
    }

    /// It has changed: what follows is done, and a pass is due.
    pub(crate) fn changed(&mut self, number: usize) {
        self.carry_out(number);
        if !std::mem::replace(&mut self.masters[number].is_pass_due, true) {
            let (soon, life) = (self.rng.random_range(0..20), self.masters[number].life);
            self.after(soon, Event::Pass(number, life));
        }
    }

    pub(crate) fn pass(&mut self, number: usize, life: u64) {
        if self.masters[number].life != life {
            return;
        }
        self.masters[number].is_pass_due = false;
        if let Some(engine) = self.engine(number) {
            engine.schedule();
            self.carry_out(number);
            self.write(number);
        }
    }

    pub(crate) fn timer(&mut self, number: usize, life: u64) {
        if self.masters[number].life != life {
            return;
        }
        let Some(engine) = self.engine(number) else { return };
        let next = engine.on_timer().since_start();
        self.changed(number);
        let next = u64::try_from(next.as_millis()).unwrap_or(u64::MAX);
        self.at(next.clamp(self.now + 1, self.now + 2_000), Event::Timer(number, life));
    }

    /// Writes what has to be, if nothing is being written.
    pub(crate) fn write(&mut self, number: usize) {
        if self.masters[number].flush.is_some() {
            return;
        }
        let Some(engine) = self.engine(number) else { return };
        let flush = engine.begin_flush();
        self.carry_out(number);
        let master = &mut self.masters[number];
        let waiting = std::mem::take(&mut master.waiting);
        let life = master.life;
        let Some(flush) = flush else {
            // Everything before is durable.
            return waiting.into_iter().for_each(|ack| self.acknowledge(number, ack));
        };
        (master.flush, master.underway) = (Some(flush), waiting);
        let written = match self.rng.random_range(0..100) {
            _ if self.disk.full_until > self.now => Written::Failed,
            0 if self.plan.disk => Written::Failed,
            1 if self.plan.disk => Written::Unknown,
            _ => Written::Whole,
        };
        let longest = if self.chance(0.05) { 800 } else { 15 };
        let long = self.rng.random_range(1..longest);
        self.after(long, Event::Written(number, life, written));
        // What goes wrong goes wrong at the worst time.
        if self.plan.masters_fail && self.now < FAULTY && self.chance(0.01) {
            let soon = self.rng.random_range(0..=long);
            self.after(soon, Event::Fault(Fault::CrashMaster(number)));
        }
    }

    /// Makes the changes of a write, or some of them.
    fn make(&mut self, flush: &Flush, probability: f64) {
        for (name, value) in flush.changes.iter() {
            if !self.chance(probability) {
                continue;
            }
            match value {
                Some(value) => self.disk.records.insert(name.clone(), value.clone()),
                None => self.disk.records.remove(name),
            };
        }
    }

    pub(crate) fn written(&mut self, number: usize, life: u64, written: Written) {
        let master = &mut self.masters[number];
        if master.life != life {
            return;
        }
        let Some(flush) = master.flush.take() else { return };
        let underway = std::mem::take(&mut master.underway);
        if self.is_superseded(number) {
            // Another one leads: the store refuses it.
            underway.into_iter().for_each(|ack| self.refuse(number, ack));
            return self.step_down(number);
        }
        match written {
            Written::Whole => {
                self.make(&flush, 1.0);
                if let Some(engine) = self.engine(number) {
                    engine.flushed(flush);
                }
                self.changed(number);
                underway.into_iter().for_each(|ack| self.acknowledge(number, ack));
            }
            Written::Failed => {
                self.make(&flush, 0.5);
                if let Some(engine) = self.engine(number) {
                    engine.flush_failed(flush);
                }
                self.carry_out(number);
                underway.into_iter().for_each(|ack| self.refuse(number, ack));
                self.after(1_000, Event::Pass(number, life));
            }
            Written::Unknown => {
                let probability = if self.chance(0.5) { 1.0 } else { 0.0 };
                self.make(&flush, probability);
                if let Some(engine) = self.engine(number) {
                    engine.flush_undone(flush);
                }
                self.masters[number].waiting.splice(0..0, underway);
                self.changed(number);
            }
        }
        self.write(number);
    }

    pub(crate) fn promise(&mut self, number: usize, ack: Ack) {
        self.masters[number].waiting.push(ack);
        self.changed(number);
        if self.chance(0.7) {
            self.write(number);
        }
    }

    fn acknowledge(&mut self, number: usize, ack: Ack) {
        match ack {
            Ack::Op(op, session) => self.op_done(op, number, session),
            Ack::State(statuses, position) => {
                self.checks.observe_state(&statuses);
                let apps = self.apps.len();
                let master = &mut self.masters[number];
                master.position = Some(position);
                master.positions = vec![position; apps];
                self.read_events(number);
            }
        }
    }

    fn refuse(&mut self, number: usize, ack: Ack) {
        if let Ack::Op(op, session) = ack {
            self.end_session(number, session);
            let later = self.rng.random_range(200..1_500);
            self.after(later, Event::Op(op));
        }
    }

    /// Subscribers read what they may.
    fn read_events(&mut self, number: usize) {
        let Self { masters, apps, checks, .. } = self;
        let master = &mut masters[number];
        let (Some(engine), Some(position)) = (&master.engine, &mut master.position) else { return };
        let Some((events, behind)) = engine.events().since(*position, None, usize::MAX) else {
            return checks.fail("a subscriber that reads all at once falls behind".to_owned());
        };
        *position = behind;
        events.iter().for_each(|event| checks.observe(event));
        for (app, position) in apps.iter().zip(&mut master.positions) {
            let own = engine.events().since(*position, Some(&app.id), usize::MAX);
            let Some((own, behind)) = own else {
                return checks.fail(format!("a subscriber to {} falls behind", app.id));
            };
            *position = behind;
            let of_all: Vec<_> = events.iter().filter(|event| event.app() == &app.id).collect();
            if own.iter().collect::<Vec<_>>() != of_all {
                return checks
                    .fail(format!("a subscriber to {} sees {own:?}, not {of_all:?}", app.id));
            }
        }
    }

    fn carry_out(&mut self, number: usize) {
        let effects = self.masters[number].engine.as_mut().map(Engine::take_effects);
        for effect in effects.unwrap_or_default() {
            match effect {
                Effect::Send { worker, session, order } => {
                    let known = self.masters[number].workers.get(&worker);
                    if let Some((_, conn)) = known.filter(|(known, _)| *known == session).copied() {
                        self.send_to_worker(conn, order);
                    }
                }
                Effect::Disconnect { worker, session } => {
                    let workers = &mut self.masters[number].workers;
                    if workers.get(&worker).is_some_and(|(known, _)| *known == session)
                        && let Some((_, conn)) = workers.remove(&worker)
                    {
                        self.cut(conn, 1_000);
                    }
                }
                Effect::EndExternalDriver { session } => {
                    if let Some(app) = self.masters[number].externals.get(&session).copied() {
                        self.after(10, Event::ExternalEnds(app, session));
                    }
                }
                Effect::PublishEvents { .. } => self.read_events(number),
                Effect::Demand(_) => {}
            }
        }
    }

    pub(crate) fn new_session(&mut self, number: usize) -> u64 {
        self.masters[number].last_session += 1;
        self.masters[number].last_session
    }

    fn worker_id(&self, conn: ConnId) -> Option<String> {
        let conn = self.network.get(conn)?;
        Some(format!("worker-{}-{}", conn.worker, conn.worker_life))
    }

    pub(crate) fn master_receives(&mut self, id: ConnId, message: ToMaster) {
        let Some(conn) = self.network.get(id) else { return };
        let (number, life) = (conn.master, conn.master_life);
        if self.masters[number].life != life || self.masters[number].engine.is_none() {
            return;
        }
        match message {
            ToMaster::Register(info, reports, is_leaving) => {
                let session = self.new_session(number);
                let worker = info.id.clone();
                if let Some((_, old)) = self.masters[number].workers.insert(worker, (session, id)) {
                    self.cut(old, 1_000);
                }
                if let Some(conn) = self.network.get_mut(id) {
                    conn.session = Some(session);
                }
                if let Some(engine) = self.engine(number) {
                    engine.register(info, reports, is_leaving, session);
                }
            }
            ToMaster::Message(message) => {
                let Some(worker) = self.worker_id(id) else { return };
                if let Some(engine) = self.engine(number) {
                    engine.on_worker_message(&worker, message);
                }
            }
        }
        self.changed(number);
    }

    pub(crate) fn master_sees_end(&mut self, id: ConnId) {
        let (Some(conn), Some(worker)) = (self.network.get(id), self.worker_id(id)) else { return };
        let (number, life, session) = (conn.master, conn.master_life, conn.session);
        let at = &self.workers[conn.worker];
        // Nobody listens there any more.
        let is_gone = at.table.is_none() || at.life != conn.worker_life;
        let Some(session) = session.filter(|_| self.masters[number].life == life) else { return };
        let workers = &mut self.masters[number].workers;
        if workers.get(&worker).is_some_and(|(known, _)| *known == session) {
            workers.remove(&worker);
        }
        if let Some(engine) = self.engine(number) {
            engine.worker_disconnected(&worker, session);
            if is_gone {
                engine.worker_dead(&worker, session);
            }
            self.changed(number);
        }
    }

    /// Whether another one has been elected since.
    pub(crate) fn is_superseded(&self, number: usize) -> bool {
        self.masters[number].epoch != self.election.epoch
    }

    /// It does not lead any more.
    fn step_down(&mut self, number: usize) {
        let life = self.masters[number].life;
        self.end_master(number);
        self.masters[number] = Master { life: life + 1, is_up: true, ..Master::default() };
    }

    /// Its process ends at once.
    pub(crate) fn crash_master(&mut self, number: usize) {
        let master = &mut self.masters[number];
        if let Some(flush) = master.flush.take()
            && master.epoch == self.election.epoch
        {
            let probability = self.rng.random_range(0.0..=1.0);
            self.make(&flush, probability);
        }
        self.end_master(number);
        let life = self.masters[number].life;
        self.masters[number] = Master { life, ..Master::default() };
    }

    fn end_master(&mut self, number: usize) {
        let master = std::mem::take(&mut self.masters[number]);
        self.masters[number].life = master.life;
        for ack in master.waiting.into_iter().chain(master.underway) {
            self.refuse(number, ack);
        }
        let conns =
            self.network.open_ones(|conn| conn.master == number && conn.master_life == master.life);
        conns.into_iter().for_each(|conn| self.cut(conn, 500));
        for app in master.externals.into_values() {
            self.external_lost_master(app);
        }
    }

    /// The master that leads, if there is one, and nothing is under way there.
    pub(crate) fn leader(&self) -> Option<(usize, &Engine)> {
        let leads =
            |master: &Master| master.engine.is_some() && master.epoch == self.election.epoch;
        let number = self.masters.iter().position(leads)?;
        let master = &self.masters[number];
        let is_idle = master.flush.is_none() && master.waiting.is_empty() && !master.is_pass_due;
        Some((number, master.engine.as_ref().filter(|_| is_idle)?))
    }

    pub(crate) fn audit(&mut self) {
        let engines = self.masters.iter().filter_map(|master| master.engine.as_ref());
        let found: Vec<String> = engines.flat_map(Engine::audit).collect();
        if let Some(found) = found.into_iter().next() {
            self.checks.fail(found);
        }
    }
}
