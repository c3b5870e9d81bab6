//! What clients request.

use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::APPLICATION_SECRET;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, ExecutorTarget, ExternalDriver, Filter, KilledBy,
    ResourceProfile, State, Status, Stop, Subject, SubmissionId,
};
use anymaster_core::{Error, ErrorKind, Launched, Result};
use rand::RngExt as _;

use crate::amount::Amount;
use crate::app::App;
use crate::driver::{DriverEvent, DriverPlacement};
use crate::engine::{Engine, SubmissionSeq};
use crate::limits;
use crate::model::{Application, Task};
use crate::supply::ProcessSpec;
use crate::time::Instant;
use crate::worker::{Liveness, Worker};

/// The most applications; more are refused.
const MAX_APPS: usize = 100_000;

/// Where the output of a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputLocation {
    /// At a worker, under this address.
    Worker(String),
    /// At an agent, which was given this attempt of the application's driver.
    Agent {
        /// The agent.
        agent: String,
        /// The attempt.
        attempt: u32,
    },
}

impl Engine {
    /// Accepts an application, or finds the one of the same submission.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec), [`Unsupported`](ErrorKind::Unsupported),
    /// [`Conflict`](ErrorKind::Conflict) with another specification, or [`Quota`](ErrorKind::Quota).
    pub fn launch(&mut self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
        spec.check()?;
        spec.templates.refuse()?;
        let app = AppId::new(id.as_str())?;
        let digest = spec.digest()?;
        if let Some(known) = self.app(&app) {
            if known.digest != digest {
                return Err(Error::conflict(format!(
                    "{id} was submitted with another specification"
                ))
                .with_hint("submit under another id, or without one"));
            }
            return Ok(Launched::existing(known.driver.clone()));
        }
        let driver_need =
            self.check(&spec.conf, "the driver", ProcessSpec::Driver(&spec.driver))?;
        self.check_capacity()?;
        let driver = DriverStatus::new(id.clone(), app.clone(), spec.name.as_str());
        let placement = DriverPlacement::Queued(Box::new(spec.driver.clone()));
        let mut new = self.new_app(driver, placement, &spec.conf, digest)?;
        new.driver_need = driver_need;
        self.check_record(&new)?;
        let driver = new.driver.clone();
        self.insert(new);
        Ok(Launched::new(driver))
    }

    /// Registers the application of an external driver, or takes up its registration again. `session`: the connection with
    /// which it is lost, which has a number above 0 of its own.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec), [`Conflict`](ErrorKind::Conflict) with another driver or application, or
    /// [`Quota`](ErrorKind::Quota).
    pub fn register_application(
        &mut self,
        id: &SubmissionId,
        driver: &ExternalDriver,
        session: u64,
    ) -> Result<Launched> {
        driver.check()?;
        let (app, digest) = (AppId::new(id.as_str())?, driver.digest()?);
        if let Some((_, known)) = self.app_mut(&app) {
            if known.registration != digest {
                return Err(Error::conflict(format!("{id} was registered with another driver"))
                    .with_hint("register it under another id"));
            }
            // An error: its driver has ended.
            let _ = known.placement.apply(DriverEvent::Reattach { session });
            return Ok(Launched::existing(known.driver.clone()));
        }
        self.add_external(&app, driver, digest, session).map(Launched::new)
    }

    /// Ends the driver of a registered application.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), or [`Conflict`](ErrorKind::Conflict) if its driver is one of the cluster's, or
    /// attached itself.
    pub fn unregister_application(&mut self, app: &AppId, cause: &Cause) -> Result<()> {
        let known = self.app_mut(app);
        let (seq, known) =
            known.ok_or_else(|| Error::not_found(format!("there is no application {app}")))?;
        if known.registration.is_empty() {
            return Err(Error::conflict(format!("{app} was not registered: it ends by itself")));
        }
        self.end_driver(seq, cause.clone().into());
        Ok(())
    }

    /// An external driver attaches itself, or comes back. `session`: its connection, which has a number above 0 of its
    /// own.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec), [`Conflict`](ErrorKind::Conflict) with another application, or
    /// [`Quota`](ErrorKind::Quota).
    pub fn attach(&mut self, app: &AppId, driver: &ExternalDriver, session: u64) -> Result<()> {
        driver.check()?;
        if let Some((_, known)) = self.app_mut(app) {
            if known.driver.state.is_ended() {
                return Err(Error::conflict(format!("{app} has ended")));
            }
            // The latest connection is the one that counts.
            return match known.placement.apply(DriverEvent::Reattach { session }) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::conflict(format!("there is another application {app}"))
                    .with_hint("give this one another spark.app.id")),
            };
        }
        self.add_external(app, driver, String::new(), session).map(drop)
    }

    fn add_external(
        &mut self,
        app: &AppId,
        external: &ExternalDriver,
        registration: String,
        session: u64,
    ) -> Result<DriverStatus> {
        self.check_capacity()?;
        let ExternalDriver { name, host, port, conf, .. } = external;
        let id = SubmissionId::new(app.as_str())?;
        let mut driver =
            DriverStatus::new(id, app.clone(), name.as_str()).with_state(State::Running);
        driver.host = Some(host.as_str().into());
        let placement = DriverPlacement::External { port: *port, session };
        let mut new = self.new_app(driver.clone(), placement, conf, String::new())?;
        new.registration = registration;
        self.check_record(&new)?;
        self.insert(new);
        Ok(driver)
    }

    /// The connection of an external driver ended. It has ended as well, unless it comes back in time.
    pub fn external_disconnected(&mut self, app: &AppId, session: u64) {
        let until = self.now.at + self.settings.return_time;
        self.detached.insert((until, app.clone(), session));
    }

    /// External drivers that have not come back in time have ended. Says when to call it again.
    pub(crate) fn check_detached(&mut self) -> Option<Instant> {
        while self.detached.first().is_some_and(|(until, ..)| *until <= self.now.at) {
            let Some((_, app, session)) = self.detached.pop_first() else { break };
            let Some((seq, entry)) = self.app_mut(&app) else { continue };
            if matches!(&entry.placement, DriverPlacement::External { session: known, .. } if *known == session)
            {
                let cause = match entry.asked {
                    Some(stop) => Cause::Killed { by: stop.by },
                    None if entry.registration.is_empty() => Cause::Finished,
                    None => Cause::Lost { why: "who registered its driver is gone".into() },
                };
                self.end_driver(seq, cause.into());
            }
        }
        self.detached.first().map(|(until, ..)| *until)
    }

    fn new_app(
        &mut self,
        driver: DriverStatus,
        placement: DriverPlacement,
        conf: &Conf,
        digest: String,
    ) -> Result<App> {
        let secret = APPLICATION_SECRET.info.name;
        let hidden = self.settings.hidden_properties;
        let is_visible = |(key, _): &(&str, &str)| *key != secret && !hidden.contains(key);
        let shared = Application {
            app: driver.app.clone(),
            master: conf.get("spark.master").unwrap_or(&self.settings.master).to_owned(),
            // An external driver has one already.
            secret: match conf.get(secret) {
                Some(secret) => secret.to_owned(),
                None => {
                    format!("{:032x}{:032x}", self.rng.random::<u128>(), self.rng.random::<u128>())
                }
            },
            conf: conf.iter().filter(is_visible).collect(),
        };
        let mut app = App::new(driver, placement, shared, digest);
        app.configure(self.settings.default_cores)?;
        Ok(app)
    }

    fn insert(&mut self, app: App) {
        self.last_seq += 1;
        let seq = self.last_seq;
        tracing::info!(app = %app.id(), name = &*app.driver.name, "an application");
        self.events.push(Status::Driver(app.driver.clone()));
        self.seqs.insert(app.id().clone(), seq);
        if app.placement.is_queued() {
            self.waiting.insert(seq);
        }
        self.apps.insert(seq, app);
        self.mark(seq);
        // One that has to be recorded first is due then.
        self.is_due |= self.dirty.is_none();
    }

    /// What a process takes, if it can ever be given.
    fn check(&self, conf: &Conf, who: &str, process: ProcessSpec<'_>) -> Result<Amount> {
        self.supply.check_shape(who, process.profile())?;
        limits::check(who, process.profile())?;
        self.need(conf, process)
    }

    fn check_capacity(&self) -> Result<()> {
        self.supply.check_drivers(self.assigned_drivers)?;
        if self.apps.len() < MAX_APPS {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Quota,
            format!("the master has {} applications, and takes no more", self.apps.len()),
        )
        .with_hint("wait until some have ended"))
    }

    /// Declares how many executors of each profile an application wants in total.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`InvalidSpec`](ErrorKind::InvalidSpec) or
    /// [`Unsupported`](ErrorKind::Unsupported).
    pub fn request(&mut self, app: &AppId, target: ExecutorTarget) -> Result<()> {
        let unknown = || {
            Error::not_found(format!("there is no application {app}"))
                .with_hint("a driver that was not submitted says spark.submit.deployMode=client")
        };
        let conf = self.app(app).ok_or_else(unknown)?.shared.conf.clone();
        target.check()?;
        match &target.template.spark {
            Some(versions) if self.supply.lists_resources() => self.check_spark(versions)?,
            _ => target.template.refuse_spark()?,
        }
        for (id, profile) in &target.profiles {
            let what = ProcessSpec::Executor(&profile.profile, &target.template);
            self.check(&conf, &format!("an executor of profile {id}"), what)?;
            if profile.executors > 0 && self.supply.lists_resources() {
                self.check_names(&profile.profile)?;
            }
        }
        let Some((seq, entry)) = self.app_mut(app) else {
            return Err(unknown());
        };
        entry.set_target(target);
        self.stop_surplus(seq);
        self.wanting.insert(seq);
        self.touched.insert(seq);
        self.mark(seq);
        self.is_due = true;
        Ok(())
    }

    /// Refuses resources that no worker has, once workers are known. For a larger worker than there is now, an
    /// application waits.
    fn check_names(&self, profile: &ResourceProfile) -> Result<()> {
        let is_eligible =
            |worker: &Worker| !matches!(worker.liveness, Liveness::Leaving | Liveness::Dead(_));
        if self.is_recovering() || !self.workers.values().any(is_eligible) {
            return Ok(());
        }
        let is_there = |name: &&String| {
            self.workers.values().any(|worker| worker.info.resources.contains_key(*name))
        };
        let Some(name) = profile.extra.keys().find(|name| !is_there(name)) else { return Ok(()) };
        Err(Error::unsupported(format!("no worker has any {name} to give")).with_hint(format!(
            "leave out spark.executor.resource.{name}.amount, or give workers a \
             spark.worker.resource.{name}.discoveryScript"
        )))
    }

    /// Ends a driver with its executors, or one executor. Nothing happens to one that has ended.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn kill(&mut self, subject: &Subject, grace: Duration) -> Result<()> {
        let stop = Stop { by: KilledBy::Request, grace };
        let app = match subject {
            Subject::Driver(id) => AppId::new(id.as_str())?,
            Subject::Executor(app, _) => app.clone(),
        };
        let unknown = || Error::not_found(format!("there is no {subject}"));
        let (seq, entry) = self.app_mut(&app).ok_or_else(unknown)?;
        match subject {
            Subject::Driver(_) => self.kill_driver(seq, stop),
            Subject::Executor(_, id) => {
                let state = entry.state_of(*id).ok_or_else(unknown)?;
                if !state.is_ended() {
                    self.stop(seq, &[*id], stop);
                    self.mark(seq);
                    self.wanting.insert(seq);
                    self.is_due = true;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn kill_driver(&mut self, seq: SubmissionSeq, stop: Stop) {
        let Some(app) = self.apps.get_mut(&seq) else { return };
        if app.driver.state.is_ended() {
            return;
        }
        app.asked.get_or_insert(stop);
        let is_assigned = app.placement.assignment().is_some();
        self.mark(seq);
        if is_assigned {
            self.stop_driver(seq, stop);
            self.stop_all(seq, Stop { by: KilledBy::DriverEnd, ..stop });
        } else {
            self.end_driver(seq, Cause::Killed { by: stop.by }.into());
        }
    }

    /// What is known of those that a filter means.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for an application that is unknown.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        if let Some(app) = &filter.app
            && self.app(app).is_none()
        {
            return Err(Error::not_found(format!("there is no application {app}")));
        }
        let mut statuses = self.statuses(filter.app.as_ref());
        statuses.retain(|status| filter.matches(status));
        Ok(statuses)
    }

    /// Where the output of a process is; `None`: it has not begun.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), or [`Unavailable`](ErrorKind::Unavailable) if its worker is gone.
    pub fn locate(&self, subject: &Subject) -> Result<Option<(OutputLocation, AppId, Task)>> {
        let unknown = || Error::not_found(format!("there is no {subject}"));
        let (app, task) = match subject {
            Subject::Driver(id) => (AppId::new(id.as_str())?, Task::Driver),
            Subject::Executor(app, id) => (app.clone(), Task::Executor(*id)),
        };
        let entry = self.app(&app).ok_or_else(unknown)?;
        if task == Task::Driver && entry.placement.assignment().is_some_and(|is| !is.has_begun) {
            // Its worker may not have the order yet.
            return Ok(None);
        }
        let worker = match (task, entry.worker_of(task)) {
            (_, Some(worker)) => worker,
            (Task::Driver, None) => return Ok(None),
            (Task::Executor(_), None) => return Err(unknown()),
        };
        if !self.supply.reports_by_worker() {
            let (agent, attempt) = (worker.to_owned(), entry.driver_attempt);
            return Ok(Some((OutputLocation::Agent { agent, attempt }, app, task)));
        }
        let address = self.workers.get(worker).map(Worker::address).ok_or_else(|| {
            Error::unavailable(format!("worker {worker}, which has the output, is gone"))
        })?;
        Ok(Some((OutputLocation::Worker(address), app, task)))
    }

    /// Whether nothing more will come of a process.
    pub fn has_ended(&self, app: &AppId, task: Task) -> bool {
        let state = self.app(app).and_then(|app| match task {
            Task::Driver => Some(&app.driver.state),
            Task::Executor(id) => app.state_of(id),
        });
        state.is_none_or(State::is_ended)
    }
}
