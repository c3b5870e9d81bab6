//! How a cluster comes back under another master: applications are read from the store, and workers report what runs
//! as they register again. Until all of them have, or have had time to, nothing is started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anymaster_core::conf::{Conf, keys};
use anymaster_core::model::{Cause, Outcome, State, Stop};
use anymaster_core::reconcile::AllocationPolicy;
use anymaster_core::{Error, Result};

use crate::amount::{Amount, Cores};
use crate::app::App;
use crate::driver::{Assignment, DriverEvent, DriverPlacement};
use crate::engine::{Engine, SubmissionSeq};
use crate::executors::Executor;
use crate::model::{Progress, Task, TaskReport};
use crate::records::{ApplicationRecord, EXTENSION, Format, PlacementRecord, WORKERS};
use crate::supply::ProcessSpec;
use crate::time::Instant;

/// Stands for all agents, which are reported together.
const AGENTS: &str = "agents";
/// The session of an external driver that has not come back: no connection has this number.
const NO_SESSION: u64 = 0;

/// A recovery that is under way.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Workers that have not registered again.
    awaited: BTreeSet<String>,
    /// Until when external drivers may come back.
    drivers_until: Instant,
    /// Until when workers may.
    until: Instant,
}

impl Recovery {
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &String> {
        self.awaited.iter()
    }
}

impl App {
    /// Reads from its properties how it has to be treated.
    pub(crate) fn configure(&mut self, default_cores: Cores) -> Result<()> {
        let conf: &Conf = &self.shared.conf;
        self.policy = AllocationPolicy::from_conf(conf)?;
        self.cores_max = conf.read_optional(&keys::CORES_MAX)?.map_or(default_cores, Cores::whole);
        self.has_cores_each = conf.get(keys::EXECUTOR_CORES.info.name).is_some();
        Ok(())
    }
}

impl Engine {
    /// Takes over what another master has stored.
    ///
    /// # Errors
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol) for records that are not of this program.
    pub fn recover(&mut self, records: Vec<(String, Vec<u8>)>) -> Result<()> {
        let mut awaited = BTreeSet::new();
        let mut has_external_drivers = false;
        for (name, value) in records {
            let unknown = |error: serde_json::Error| {
                Error::protocol(format!("what was kept of {name} is not of this release"))
                    .with_source(error)
            };
            if let Some(name) = name.strip_prefix(EXTENSION) {
                self.extensions.insert(name.to_owned(), value);
            } else if name == WORKERS {
                let ids: Vec<String> = serde_json::from_slice(&value).map_err(unknown)?;
                // Of a cluster with workers, of which this one has none.
                awaited.extend(ids.into_iter().filter(|_| self.supply.reports_by_worker()));
            } else {
                let format: Format = serde_json::from_slice(&value).map_err(unknown)?;
                format.check(&name)?;
                let record: ApplicationRecord = serde_json::from_slice(&value).map_err(unknown)?;
                has_external_drivers |=
                    matches!(record.placement, PlacementRecord::External { .. });
                self.insert_record(record);
            }
        }
        if !self.supply.reports_by_worker() {
            awaited.insert(AGENTS.to_owned());
        }
        if !self.apps.is_empty() {
            let (apps, workers) = (self.apps.len(), awaited.len());
            tracing::info!("{apps} applications were kept; {workers} workers are awaited");
            let grace =
                if has_external_drivers { self.settings.return_time } else { Default::default() };
            let now = self.now.at;
            let until = now + self.settings.worker_timeout;
            self.recovery = Some(Recovery { awaited, drivers_until: now + grace, until });
            self.check_recovery();
        }
        Ok(())
    }

    fn insert_record(&mut self, record: ApplicationRecord) {
        let seq = record.seq;
        let (mut driver_worker, mut driver_need) = (record.driver_worker, record.driver_need);
        let placement = match record.placement {
            PlacementRecord::Queued { spec } => DriverPlacement::Queued(spec),
            PlacementRecord::Assigned { worker, need, port, host, spec } => {
                (driver_worker, driver_need) = (Some(worker.clone()), need.clone());
                let given = BTreeMap::new();
                DriverPlacement::Assigned(Box::new(Assignment {
                    worker,
                    need,
                    given,
                    port,
                    host,
                    spec,
                    has_begun: true,
                }))
            }
            PlacementRecord::External { port } => {
                DriverPlacement::External { port, session: NO_SESSION }
            }
            PlacementRecord::None => DriverPlacement::None,
        };
        let mut app = App::new(record.driver, placement, record.shared, record.digest);
        if let Err(error) = app.configure(self.settings.default_cores) {
            // It was understood when it was submitted.
            tracing::warn!(app = %app.id(), "{error}");
        }
        app.driver_need = match &app.placement {
            // What it takes is found out anew.
            DriverPlacement::Queued(spec) => {
                let need = self.need(&app.shared.conf, ProcessSpec::Driver(spec));
                need.unwrap_or_else(|_| app.driver_need.clone())
            }
            _ => driver_need,
        };
        app.registration = record.registration;
        (app.asked, app.stops) = (record.asked, record.stops);
        app.lost_workers = record.lost_workers;
        if let Some(target) = record.target {
            app.set_target(target);
        }
        (app.most_wanted, app.attempts) = (record.most_wanted, record.attempts);
        (app.last_id, app.reserved, app.written) =
            (record.reserved, record.reserved, record.reserved);
        (app.driver_worker, app.driver_attempt) =
            (driver_worker, record.driver_attempt.unwrap_or(record.attempts));
        app.is_written = true;
        if app.placement.is_queued() {
            app.driver.host = None;
            self.waiting.insert(seq);
        }
        if app.is_finished() {
            self.finished.insert(seq);
        }
        self.last_seq = self.last_seq.max(seq);
        self.seqs.insert(app.id().clone(), seq);
        self.wanting.insert(seq);
        self.touched.insert(seq);
        self.assigned_drivers += usize::from(app.placement.assignment().is_some());
        for worker in app.lost_workers.keys() {
            self.losses.entry(worker.clone()).or_default().insert(seq);
        }
        self.apps.insert(seq, app);
    }

    pub(crate) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// All that runs on agents has been reported.
    pub fn agents_recovered(&mut self) {
        self.worker_recovered(AGENTS);
    }

    /// Takes over a process that was there before this master.
    pub(crate) fn adopt(&mut self, worker: &str, report: &TaskReport) -> bool {
        let TaskReport { app, task, progress, spec } = report;
        let has_ended = matches!(progress, Progress::Ended(_));
        if !self.is_recovering() || has_ended && *task != Task::Driver {
            return false;
        }
        let now = self.now;
        // What is confirmed is recorded before: one that is queued again has an older instance there.
        let adopts_queued = !self.supply.confirms_drivers();
        let Self { seqs, apps, workers, assigned_drivers, .. } = self;
        let (Some((seq, entry)), Some(mut at)) = (
            seqs.get(app).copied().and_then(|seq| Some((seq, apps.get_mut(&seq)?))),
            workers.get_mut(worker),
        ) else {
            return false;
        };
        match (task, spec) {
            (Task::Driver, _) => {
                if let DriverPlacement::Queued(spec) = &entry.placement
                    && adopts_queued
                {
                    // It was placed, and there was no time to record that.
                    let assignment = Assignment {
                        worker: worker.to_owned(),
                        need: entry.driver_need.clone(),
                        given: BTreeMap::new(),
                        port: None,
                        host: None,
                        spec: Some(spec.clone()),
                        has_begun: true,
                    };
                    // It is queued: it can be assigned.
                    let _ = entry.placement.apply(DriverEvent::Assign(Box::new(assignment)));
                    *assigned_drivers += 1;
                    entry.driver_worker = Some(worker.to_owned());
                    entry.driver_attempt = entry.attempts;
                    entry.driver.host = Some(at.info.host.as_str().into());
                }
                let DriverPlacement::Assigned(assignment) = &mut entry.placement else {
                    return false;
                };
                if assignment.worker != worker {
                    return false;
                }
                assignment.given = at.take(&assignment.need);
            }
            (Task::Executor(id), Some(spec))
                if !entry.driver.state.is_ended()
                    && entry.lost_workers.get(worker).is_none_or(|ended| *ended < id.0) =>
            {
                let need = Amount::of(&spec.profile);
                at.take_these(&need, &spec.resources);
                let executor = Executor {
                    profile: spec.profile_id,
                    state: State::Pending { why: None },
                    since: now.wall,
                    place: Arc::clone(&at.place),
                    need: Arc::new(need),
                    given: Executor::given(spec.resources.clone()),
                };
                entry.add(*id, executor);
                self.touched.insert(seq);
            }
            (Task::Executor(_), _) => return false,
        }
        at.tasks.insert((seq, *task));
        true
    }

    /// A worker has reported all it has.
    pub(crate) fn worker_recovered(&mut self, worker: &str) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.awaited.remove(worker);
        self.check_recovery();
    }

    /// Ends the recovery if all are back, or had time to be. Says when to call it again.
    pub(crate) fn check_recovery(&mut self) -> Option<Instant> {
        let now = self.now.at;
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
        // The next master need not wait for those that have not come back.
        self.mark_workers();
        self.end_lost_drivers();
        let all: Vec<SubmissionSeq> = self.apps.keys().copied().collect();
        for seq in all {
            if let Some(app) = self.apps.get_mut(&seq) {
                let App { stops, executors, .. } = app;
                stops.retain(|id, _| executors.contains_key(id));
            }
            self.recheck_queued(seq);
            // The target may have been lowered in the meantime, or before, and that did not arrive.
            self.stop_surplus(seq);
        }
        None
    }

    /// Drivers that are not where they were are lost, or were never started.
    fn end_lost_drivers(&mut self) {
        let lost: Vec<_> =
            self.apps.iter().filter_map(|(seq, app)| Some((*seq, self.loss(app)?))).collect();
        for (seq, (never_began, why)) in lost {
            let cause = Cause::Lost { why: why.into() };
            let Some(app) = self.apps.get(&seq) else { continue };
            let (id, has_begun) = (app.id().clone(), app.driver.state.rank() > 0);
            let spec = app.placement.assignment().and_then(|is| is.spec.as_ref());
            // One that was confirmed may have begun. On an agent it would be found, or has not been launched.
            let may_begin_again =
                spec.is_some_and(|spec| spec.supervise || !self.supply.confirms_drivers());
            let is_restartable = may_begin_again && app.asked.is_none();
            if never_began && self.requeue_driver(&id) {
                continue;
            }
            match is_restartable {
                true => self.retry_driver(seq, &cause, has_begun),
                false => self.end_driver(seq, cause.into()),
            }
        }
    }

    /// Whether the driver of an application is lost: whether it is certain that it never began, and why it is lost.
    fn loss(&self, app: &App) -> Option<(bool, String)> {
        match &app.placement {
            DriverPlacement::Assigned(assignment) => {
                let worker = &assignment.worker;
                if self.has(worker, app.id(), Task::Driver) {
                    return None;
                }
                let at = self.workers.get(worker);
                // A worker that is back would report it if it had begun, or how it ended.
                let never_began =
                    self.supply.reports_by_worker() && at.is_some_and(|at| at.is_present());
                Some((never_began, format!("worker {worker} has not come back with it")))
            }
            DriverPlacement::External { session: NO_SESSION, .. } => {
                Some((false, "it has not come back".to_owned()))
            }
            _ => None,
        }
    }

    /// A queued driver that can never be given what it needs ends: under the former master it could.
    fn recheck_queued(&mut self, seq: SubmissionSeq) {
        let Some(app) = self.apps.get(&seq) else { return };
        let DriverPlacement::Queued(spec) = &app.placement else { return };
        if let Some(Stop { by, .. }) = app.asked {
            // It was asked to end before it began.
            self.end_driver(seq, Cause::Killed { by }.into());
        } else if let Err(error) = self.need(&app.shared.conf, ProcessSpec::Driver(spec)) {
            self.end_driver(seq, Outcome::could_not_start(&error));
        }
    }
}
