//! What of a cluster survives its master, and how it comes back: applications are read from a store,
//! what runs is told by the workers as they register again. Until all of them have, or have had time
//! to, nothing is started.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anymaster_core::conf::{Conf, keys};
use anymaster_core::model::{
    AppId, Cause, DriverSpec, DriverStatus, ExecutorId, ExecutorTarget, KilledBy, Outcome,
    StartFailure, State, Stop,
};
use anymaster_core::reconcile::AllocationPolicy;
use anymaster_core::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::app::{App, Executor, Place, Session};
use super::outbox::{Outbox, post};
use super::{Cluster, Turn};
use crate::master::amount::{Amount, Cores};
use crate::master::cluster::worker::Messages;
use crate::master::lender::What;
use crate::master::store::Change;
use crate::wire::{Application, Held, Progress, Task, ToWorker};

/// Before the names of what others keep here.
const BESIDE: &str = "beside/";
/// Stands for the agents that are told by who brings their offers.
const AGENTS: &str = "agents";
/// The record of the workers that there are.
const WORKERS: &str = "workers";
/// How many ids of executors are set aside at once.
const RESERVED: u64 = 1_000;

/// An application as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    turn: Turn,
    driver: DriverStatus,
    place: KeptPlace,
    shared: Application,
    digest: String,
    asked: Option<Stop>,
    target: Option<ExecutorTarget>,
    most_wanted: u64,
    /// Ids up to this one may have been given.
    reserved: u64,
    /// How often its driver was started again.
    #[serde(default)]
    attempts: u32,
    /// Which executors were asked to end, and have not yet.
    #[serde(default)]
    stops: BTreeMap<ExecutorId, Stop>,
    /// Where its driver is, or was.
    #[serde(default)]
    driver_worker: Option<String>,
    #[serde(default)]
    driver_attempt: Option<u32>,
    #[serde(default)]
    driver_need: Amount,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptPlace {
    Waiting {
        spec: Box<DriverSpec>,
    },
    /// It may have been started there.
    On {
        worker: String,
        need: Amount,
        port: Option<u16>,
        #[serde(default)]
        host: Option<String>,
        spec: Option<Box<DriverSpec>>,
    },
    Outside {
        port: u16,
    },
    Nowhere,
}

/// A cluster that comes back.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Workers that have not registered again.
    awaited: BTreeSet<String>,
    /// Drivers outside of the cluster have until then to come back.
    drivers_until: Instant,
    /// And workers until then.
    until: Instant,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    apps: BTreeSet<Turn>,
    /// Names of applications that are forgotten.
    gone: Vec<String>,
    workers: bool,
    /// Names of what others keep here.
    beside: BTreeSet<String>,
}

/// What is being written.
pub(crate) struct Writing {
    pub(crate) changes: Arc<[Change]>,
    what: Unwritten,
    /// Up to where the ids of executors are set aside then.
    reserved: Vec<(Turn, u64)>,
    /// What may be said then.
    letters: VecDeque<(Messages, ToWorker)>,
    /// And up to where what is new may be told.
    news: u64,
}

impl Unwritten {
    pub(super) fn mark(&mut self, turn: Turn) {
        self.apps.insert(turn);
    }
}

fn name(app: &App) -> String {
    format!("app/{}", app.id())
}

fn json(record: &impl Serialize) -> Vec<u8> {
    // There is nothing in a record that JSON does not know.
    serde_json::to_vec(record).unwrap_or_default()
}

impl App {
    /// Takes over what its properties say about how it is to be treated.
    pub(super) fn configure(&mut self, default_cores: Cores) -> Result<()> {
        let conf: &Conf = &self.shared.conf;
        self.policy = AllocationPolicy::from_conf(conf)?;
        self.cores_max = conf.read_optional(&keys::CORES_MAX)?.map_or(default_cores, Cores::whole);
        self.has_cores_each = conf.get(keys::EXECUTOR_CORES.info.name).is_some();
        Ok(())
    }

    fn kept(&self, turn: Turn) -> Kept {
        let place = match &self.place {
            Place::Waiting(spec) => KeptPlace::Waiting { spec: spec.clone() },
            // It is started when it is written down that it may have been.
            Place::On { begun: false, spec: Some(spec), .. } => {
                KeptPlace::Waiting { spec: spec.clone() }
            }
            Place::On { worker, need, port, host, spec, .. } => KeptPlace::On {
                worker: worker.clone(),
                need: need.clone(),
                port: *port,
                host: host.clone(),
                spec: spec.clone(),
            },
            Place::Outside { port, .. } => KeptPlace::Outside { port: *port },
            Place::Nowhere => KeptPlace::Nowhere,
        };
        let is_requested = |(_, stop): &(&ExecutorId, &Stop)| stop.by == KilledBy::Request;
        Kept {
            turn,
            driver: self.driver.clone(),
            place,
            shared: self.shared.clone(),
            digest: self.digest.clone(),
            asked: self.asked,
            target: self.wanted.as_ref().map(|wanted| wanted.target.clone()),
            most_wanted: self.most_wanted,
            reserved: self.reserved,
            attempts: self.attempts,
            // Which ones are too many is found out anew.
            stops: self.stops.iter().filter(is_requested).map(|(id, stop)| (*id, *stop)).collect(),
            driver_worker: self.driver_worker.clone(),
            driver_attempt: Some(self.driver_attempt),
            driver_need: self.driver_need.clone(),
        }
    }
}

impl Cluster {
    /// From now on, what has to survive is to be written.
    pub(crate) fn keep(&mut self) {
        self.unwritten = Some(Unwritten::default());
        self.outbox = Some(Outbox::new());
    }

    pub(super) fn mark(&mut self, turn: Turn) {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.mark(turn);
        }
    }

    /// How long the record of an application is, in bytes.
    pub(super) fn record_size(&self, app: &App) -> usize {
        json(&app.kept(Turn::MAX)).len()
    }

    pub(super) fn mark_workers(&mut self) {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.workers = self.policy.lending.is_none();
        }
    }

    pub(super) fn mark_gone(&mut self, app: &App) {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.gone.push(name(app));
        }
    }

    /// Whether the next executor may have its id: one that survives is not given again.
    pub(super) fn may_number(&mut self, turn: Turn) -> bool {
        let Some(unwritten) = &mut self.unwritten else { return true };
        let Some(app) = self.apps.get_mut(&turn) else { return false };
        if app.last_id < app.written {
            return true;
        }
        app.reserved = app.last_id + RESERVED;
        unwritten.apps.insert(turn);
        false
    }

    /// What is to be written now, if anything. Follow it with [`written`](Self::written),
    /// [`not_written`](Self::not_written) or [`put_back`](Self::put_back). What may be said without a
    /// write is said.
    pub(crate) fn take_unwritten(&mut self) -> Option<Writing> {
        let what = std::mem::take(self.unwritten.as_mut()?);
        let letters = self.outbox.as_mut().map(Outbox::take).unwrap_or_default();
        let news = self.news.count();
        let (mut changes, mut reserved) = (Vec::new(), Vec::new());
        changes.extend(what.gone.iter().map(|name| (name.clone(), None)));
        for turn in &what.apps {
            if let Some(app) = self.apps.get(turn) {
                changes.push((name(app), Some(json(&app.kept(*turn)))));
                reserved.push((*turn, app.reserved));
            }
        }
        if what.workers {
            let there = self.workers.values().filter(|worker| worker.is_there());
            // Those that the next master has to wait for as well if it takes over before they are back.
            let awaited = self.recovery.iter().flat_map(|recovery| &recovery.awaited);
            let ids: BTreeSet<_> = there.map(|worker| &worker.info.id).chain(awaited).collect();
            changes.push((WORKERS.to_owned(), Some(json(&ids))));
        }
        for name in &what.beside {
            changes.push((format!("{BESIDE}{name}"), self.beside.get(name).cloned()));
        }
        if changes.is_empty() {
            post(letters);
            self.news.announce(news);
            return None;
        }
        Some(Writing { changes: changes.into(), what, reserved, letters, news })
    }

    /// It is safe.
    pub(crate) fn written(&mut self, writing: Writing) {
        for (turn, reserved) in writing.reserved {
            if let Some(app) = self.apps.get_mut(&turn)
                && app.written < reserved
            {
                app.written = reserved;
                self.is_due = true;
            }
            if let Some(app) = self.apps.get_mut(&turn).filter(|app| !app.is_written) {
                app.is_written = true;
                self.is_due = true;
            }
        }
        post(writing.letters);
        self.news.announce(writing.news);
    }

    /// Whether an application survives the master, if anything does.
    pub(super) fn is_safe(&self, app: &App) -> bool {
        app.is_written || self.unwritten.is_none()
    }

    /// Whether an application was taken in for good.
    pub(crate) fn has_taken_in(&self, app: &AppId) -> bool {
        self.app(app).is_some_and(|app| self.is_safe(app))
    }

    /// It is not: those who brought new applications are told, and these are taken out again.
    pub(crate) fn not_written(&mut self, writing: Writing) {
        let is_new = |turn: &&Turn| {
            let app = self.apps.get(turn);
            app.is_some_and(|app| !app.is_written)
        };
        let new: Vec<Turn> = writing.what.apps.iter().filter(is_new).copied().collect();
        self.put_back(writing);
        for turn in new {
            let why = "the master could not write it down".into();
            let cause = Cause::CouldNotStart { failure: StartFailure::Other, why };
            // One that has been killed meanwhile has ended.
            if self.apps.get(&turn).is_some_and(|app| !app.driver.state.is_ended()) {
                self.end_driver(turn, cause.into());
            }
            self.forget(turn);
        }
    }

    /// Nobody knows whether it is: it is to be written again.
    pub(crate) fn put_back(&mut self, writing: Writing) {
        if let Some(unwritten) = &mut self.unwritten {
            let Unwritten { apps, gone, workers, beside } = writing.what;
            unwritten.beside.extend(beside);
            unwritten.apps.extend(apps);
            unwritten.gone.extend(gone);
            unwritten.workers |= workers;
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.put_back(writing.letters);
        }
    }

    /// Takes in what another master has left.
    ///
    /// # Errors
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol) for what is none of ours.
    pub(crate) fn recover(&mut self, records: Vec<(String, Vec<u8>)>, now: Instant) -> Result<()> {
        let mut awaited = BTreeSet::new();
        let mut has_drivers_outside = false;
        for (name, value) in records {
            let unknown = |error: serde_json::Error| {
                Error::protocol(format!("what was kept of {name} is not of this release"))
                    .with_source(error)
            };
            if let Some(name) = name.strip_prefix(BESIDE) {
                self.beside.insert(name.to_owned(), value);
            } else if name == WORKERS && self.policy.lending.is_some() {
                // Agents are told by who brings their offers.
            } else if name == WORKERS {
                let ids: Vec<String> = serde_json::from_slice(&value).map_err(unknown)?;
                awaited.extend(ids);
            } else {
                let kept: Kept = serde_json::from_slice(&value).map_err(unknown)?;
                has_drivers_outside |= matches!(kept.place, KeptPlace::Outside { .. });
                self.take_in(kept);
            }
        }
        if self.policy.lending.is_some() {
            awaited.insert(AGENTS.to_owned());
        }
        if !self.apps.is_empty() {
            tracing::info!(
                "{} applications were kept; {} workers are awaited",
                self.apps.len(),
                awaited.len()
            );
            let grace =
                if has_drivers_outside { self.policy.return_time } else { Default::default() };
            let until = now + self.policy.worker_timeout;
            self.recovery = Some(Recovery { awaited, drivers_until: now + grace, until });
            self.check_recovery(now);
        }
        Ok(())
    }

    fn take_in(&mut self, kept: Kept) {
        let turn = kept.turn;
        let (mut driver_worker, mut driver_need) = (kept.driver_worker, kept.driver_need);
        let place = match kept.place {
            KeptPlace::Waiting { spec } => Place::Waiting(spec),
            KeptPlace::On { worker, need, port, host, spec } => {
                (driver_worker, driver_need) = (Some(worker.clone()), need.clone());
                Place::On { worker, need, given: BTreeMap::new(), port, host, spec, begun: true }
            }
            KeptPlace::Outside { port } => {
                // Nobody has this number: it is for those that have not come back.
                let session = Session { number: 0, over: watch::Sender::new(false) };
                Place::Outside { port, session }
            }
            KeptPlace::Nowhere => Place::Nowhere,
        };
        let mut app = App::new(kept.driver, place, kept.shared, kept.digest);
        if let Err(error) = app.configure(self.policy.default_cores) {
            // It was understood when it was submitted.
            tracing::warn!(app = %app.id(), "{error}");
        }
        app.driver_need = match &app.place {
            // What it takes is said anew.
            Place::Waiting(spec) => {
                let need = self.need(&app.shared.conf, What::Driver(spec));
                need.unwrap_or_else(|_| app.driver_need.clone())
            }
            _ => driver_need,
        };
        (app.asked, app.stops) = (kept.asked, kept.stops);
        if let Some(target) = kept.target {
            app.set_target(target);
        }
        (app.most_wanted, app.attempts) = (kept.most_wanted, kept.attempts);
        (app.last_id, app.reserved, app.written) = (kept.reserved, kept.reserved, kept.reserved);
        (app.driver_worker, app.driver_attempt) =
            (driver_worker, kept.driver_attempt.unwrap_or(kept.attempts));
        app.is_written = true;
        if matches!(app.place, Place::Waiting(_)) {
            app.driver.host = None;
            self.waiting.insert(turn);
        }
        if app.is_over() {
            self.over.insert(turn);
        }
        self.last_turn = self.last_turn.max(turn);
        self.turns.insert(app.id().clone(), turn);
        self.wanting.insert(turn);
        self.touched.insert(turn);
        self.apps.insert(turn, app);
    }

    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// What runs on agents has been told.
    pub(crate) fn restored(&mut self, now: Instant) {
        self.has_returned(AGENTS, now);
    }

    /// Something that another part of the daemon keeps here.
    pub(crate) fn beside(&self, name: &str) -> Option<&[u8]> {
        self.beside.get(name).map(Vec::as_slice)
    }

    /// Keeps something for another part of the daemon.
    pub(crate) fn keep_beside(&mut self, name: &str, value: Vec<u8>) {
        self.beside.insert(name.to_owned(), value);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.beside.insert(name.to_owned());
        }
    }

    /// A process that was here before we were.
    pub(super) fn adopt(&mut self, worker: &str, held: &Held) -> bool {
        let Held { app, task, progress, terms } = held;
        if !self.is_recovering() || matches!(progress, Progress::Ended(_)) && *task != Task::Driver
        {
            return false;
        }
        let (Some((turn, entry)), Some(place)) = (
            self.turns.get(app).copied().and_then(|turn| Some((turn, self.apps.get_mut(&turn)?))),
            self.workers.get_mut(worker),
        ) else {
            return false;
        };
        if let (Task::Driver, Place::Waiting(spec)) = (task, &entry.place) {
            // It was placed, and there was no time to write that down.
            entry.driver_worker = Some(worker.to_owned());
            entry.driver_attempt = entry.attempts;
            entry.driver.host = Some(place.info.host.as_str().into());
            entry.place = Place::On {
                worker: worker.to_owned(),
                need: entry.driver_need.clone(),
                given: BTreeMap::new(),
                port: None,
                host: None,
                spec: Some(spec.clone()),
                begun: true,
            };
        }
        match (task, terms, &mut entry.place) {
            (Task::Driver, _, Place::On { worker: at, need, given, .. }) if at == worker => {
                *given = place.take(need);
                *entry.workers.entry(worker.to_owned()).or_default() += 1;
            }
            (Task::Executor(id), Some(terms), _) if !entry.driver.state.is_ended() => {
                let need = super::pass::need(&terms.profile);
                place.take_these(&need, &terms.resources);
                entry.add(
                    *id,
                    Executor {
                        profile: terms.profile_id,
                        state: State::Pending { why: None },
                        since: Timestamp::now(),
                        worker: worker.to_owned(),
                        host: place.info.host.as_str().into(),
                        need,
                        given: terms.resources.clone(),
                    },
                );
                self.touched.insert(turn);
            }
            _ => return false,
        }
        place.tasks.insert((app.clone(), *task));
        true
    }

    /// A worker has told all it has.
    pub(super) fn has_returned(&mut self, worker: &str, now: Instant) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.awaited.remove(worker);
        self.check_recovery(now);
    }

    /// Whether all are back, or had time to be. Says when to look again.
    pub(super) fn check_recovery(&mut self, now: Instant) -> Option<Instant> {
        self.now = now;
        let Recovery { awaited, drivers_until, until } = self.recovery.as_ref()?;
        let (until, drivers_until) = (*until, *drivers_until);
        if now < until && !(awaited.is_empty() && now >= drivers_until) {
            return Some(if now < drivers_until { drivers_until } else { until });
        }
        for worker in awaited {
            tracing::warn!("worker {worker} has not come back");
        }
        self.recovery = None;
        self.is_due = true;
        // Nobody has to wait for those that have not come back any more.
        self.mark_workers();
        let lost: Vec<_> = self
            .apps
            .iter()
            .filter_map(|(turn, app)| match &app.place {
                Place::On { worker, .. } => {
                    let task = (app.id().clone(), Task::Driver);
                    let at = self.workers.get(worker);
                    let has = at.is_some_and(|worker| worker.tasks.contains(&task));
                    let why = || format!("worker {worker} has not come back with it");
                    // A worker that is back would have it if it had begun, or tell how it ended; what is
                    // on an agent is told by others.
                    let never_began = at.is_some_and(|at| at.is_there() && !at.info.is_lent);
                    (!has).then(|| (*turn, never_began, why()))
                }
                Place::Outside { session, .. } if session.number == 0 => {
                    Some((*turn, false, "it has not come back".to_owned()))
                }
                _ => None,
            })
            .collect();
        for (turn, never_began, why) in lost {
            let cause = Cause::Lost { why: why.into() };
            let Some(id) = self.apps.get(&turn).map(|app| app.id().clone()) else { continue };
            if never_began && self.place_again(&id) {
                continue;
            }
            let Some(app) = self.apps.get_mut(&turn) else { continue };
            let has_begun = app.driver.state.rank() > 0;
            match app.place.take_spec().filter(|_| app.asked.is_none()) {
                Some(spec) => self.start_again(turn, spec, &cause, has_begun),
                None => self.end_driver(turn, cause.into()),
            }
        }
        let all: Vec<Turn> = self.apps.keys().copied().collect();
        for turn in all {
            if let Some(app) = self.apps.get_mut(&turn) {
                let App { stops, executors, .. } = app;
                stops.retain(|id, _| executors.contains_key(id));
            }
            self.reconsider(turn);
            // The target may have been lowered in the meantime, or before, and that was not heard.
            self.stop_surplus(turn);
        }
        None
    }
    /// A driver that waits, and can never be had of what there is now, is told so: of another one
    /// before, it could.
    fn reconsider(&mut self, turn: Turn) {
        let Some(app) = self.apps.get(&turn) else { return };
        let Place::Waiting(spec) = &app.place else { return };
        if let Some(stop) = app.asked {
            // It was asked to end before it began.
            self.end_driver(turn, Cause::Killed { by: stop.by }.into());
        } else if let Err(error) = self.need(&app.shared.conf, What::Driver(spec)) {
            self.end_driver(turn, Outcome::could_not_start(&error));
        }
    }
}
