//! What clients ask for.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::APPLICATION_SECRET;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverSpec, DriverStatus, ExecutorTarget, Filter, KilledBy,
    ResourceProfile, State, Status, Stop, Subject, SubmissionId, check_name, check_text,
};
use anymaster_core::{Error, Launched, Result, counted};
use tokio::time::Instant;

use super::app::{App, Place, Session};
use super::worker::{Worker, WorkerState};
use super::{Cluster, Turn, sizes};
use crate::keys;
use crate::master::amount::Amount;
use crate::master::lender::{Lender, What};
use crate::wire::{Application, Task, Want};

/// How many waits the cluster bears: more are refused.
const MAX_WAITING: usize = 100_000;

/// Longest name of a host, in bytes (RFC 1035).
const MAX_HOST: usize = 255;

impl Cluster {
    /// Takes in an application, or finds the one that the same submission brought.
    pub(crate) fn launch(&mut self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
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
        let driver_need = self.check(&spec.conf, "the driver", What::Driver(&spec.driver))?;
        self.check_room()?;
        let driver = DriverStatus::new(id.clone(), app.clone(), spec.name.as_str());
        let place = Place::Waiting(Box::new(spec.driver.clone()));
        let mut new = self.new_app(driver, place, &spec.conf, digest)?;
        new.driver_need = driver_need;
        self.check_record(&new)?;
        let driver = new.driver.clone();
        self.insert(new);
        Ok(Launched::new(driver))
    }

    /// A driver comes by itself, or comes back.
    pub(crate) fn attach(
        &mut self,
        app: &AppId,
        name: &str,
        host: &str,
        port: u16,
        conf: &Conf,
        session: Session,
    ) -> Result<()> {
        check_name(name)?;
        check_text("the driver's host", host, MAX_HOST)?;
        conf.check_texts()?;
        if let Some((_, known)) = self.app_mut(app) {
            if known.driver.state.is_ended() {
                return Err(Error::conflict(format!("{app} has ended")));
            }
            let Place::Outside { session: before, .. } = &mut known.place else {
                return Err(Error::conflict(format!("there is another application {app}"))
                    .with_hint("give this one another spark.app.id"));
            };
            // Who comes back takes the place of who was there.
            *before = session;
            return Ok(());
        }
        self.check_room()?;
        let mut driver = DriverStatus::new(SubmissionId::new(app.as_str())?, app.clone(), name)
            .with_state(State::Running);
        driver.host = Some(host.into());
        let place = Place::Outside { port, session };
        let new = self.new_app(driver, place, conf, String::new())?;
        self.insert(new);
        Ok(())
    }

    /// The connection of a driver that came by itself ended, and was not replaced: so has the driver.
    pub(crate) fn detach(&mut self, app: &AppId, session: u64) {
        let Some((turn, entry)) = self.app_mut(app) else { return };
        if matches!(&entry.place, Place::Outside { session: known, .. } if known.number == session)
        {
            let cause = match entry.asked {
                Some(stop) => Cause::Killed { by: stop.by },
                None => Cause::Finished,
            };
            self.end_driver(turn, cause.into());
        }
    }

    fn new_app(
        &self,
        driver: DriverStatus,
        place: Place,
        conf: &Conf,
        digest: String,
    ) -> Result<App> {
        // A driver that comes by itself has one that its executors are to know.
        let secret = conf.get(APPLICATION_SECRET.info.name).map(str::to_owned);
        let secret = secret.unwrap_or_else(|| {
            format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
        });
        let is_other = |(key, _): &(&str, &str)| *key != APPLICATION_SECRET.info.name;
        let shared = Application {
            app: driver.app.clone(),
            master: conf.get("spark.master").unwrap_or(&self.policy.master).to_owned(),
            secret,
            conf: keys::without_secrets(conf).iter().filter(is_other).collect(),
        };
        let mut app = App::new(driver, place, shared, digest);
        app.configure(self.policy.default_cores)?;
        Ok(app)
    }

    fn insert(&mut self, app: App) {
        self.last_turn += 1;
        let turn = self.last_turn;
        tracing::info!(app = %app.id(), name = &*app.driver.name, "an application");
        self.news.push(Status::Driver(app.driver.clone()));
        self.turns.insert(app.id().clone(), turn);
        if matches!(app.place, Place::Waiting(_)) {
            self.waiting.insert(turn);
        }
        self.apps.insert(turn, app);
        self.mark(turn);
        // What is to be written down first is due then.
        self.is_due |= self.unwritten.is_none();
    }

    /// What a process takes, if it can ever be had.
    fn check(&self, conf: &Conf, who: &str, what: What<'_>) -> Result<Amount> {
        let (What::Driver(DriverSpec { resources: profile, .. }) | What::Executor(profile, _)) =
            what;
        if self.policy.lending.is_none() {
            sizes::whole_cores(who, profile)?;
        }
        sizes::check(who, profile)?;
        self.need(conf, what)
    }

    fn check_room(&self) -> Result<()> {
        if let Some(lending) = &self.policy.lending
            && self.drivers() >= lending.max_drivers
        {
            let message = format!(
                "Already reached maximum submission size: {} drivers wait or run",
                lending.max_drivers
            );
            return Err(Error::new(anymaster_core::ErrorKind::Quota, message)
                .with_hint("wait until some have ended, or raise spark.mesos.maxDrivers"));
        }
        if self.apps.len() < MAX_WAITING {
            return Ok(());
        }
        Err(Error::new(
            anymaster_core::ErrorKind::Quota,
            format!("the master has {} applications, and takes no more", self.apps.len()),
        )
        .with_hint("wait until some have ended"))
    }

    /// Declares a target.
    pub(crate) fn request(&mut self, app: &AppId, target: ExecutorTarget) -> Result<()> {
        let unknown = || {
            Error::not_found(format!("there is no application {app}"))
                .with_hint("a driver that was not submitted says spark.submit.deployMode=client")
        };
        let conf = self.app(app).ok_or_else(unknown)?.shared.conf.clone();
        target.check()?;
        for (id, profile) in &target.profiles {
            let what = What::Executor(&profile.profile, &target.template);
            self.check(&conf, &format!("an executor of profile {id}"), what)?;
            if profile.executors > 0 && self.policy.lending.is_none() {
                self.check_names(&profile.profile)?;
            }
        }
        let Some((turn, entry)) = self.app_mut(app) else {
            return Err(unknown());
        };
        entry.set_target(target);
        self.stop_surplus(turn);
        self.wanting.insert(turn);
        self.touched.insert(turn);
        self.mark(turn);
        self.is_due = true;
        Ok(())
    }

    /// Whether there are the resources that it names: what nobody has is a mistake, and refused, once it
    /// is known who is there. For a larger worker than there is now, it waits.
    fn check_names(&self, profile: &ResourceProfile) -> Result<()> {
        let is_usable =
            |worker: &Worker| !matches!(worker.state, WorkerState::Leaving | WorkerState::Dead(_));
        if self.is_recovering() || !self.workers.values().any(is_usable) {
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

    /// Ends a driver with its executors, or one executor.
    pub(crate) fn kill(&mut self, subject: &Subject, grace: Duration) -> Result<()> {
        let stop = Stop { by: KilledBy::Request, grace };
        let app = match subject {
            Subject::Driver(id) => AppId::new(id.as_str())?,
            Subject::Executor(app, _) => app.clone(),
        };
        let unknown = || Error::not_found(format!("there is no {subject}"));
        let (turn, entry) = self.app_mut(&app).ok_or_else(unknown)?;
        match subject {
            Subject::Driver(_) => self.kill_driver(turn, stop),
            Subject::Executor(_, id) => {
                let state = entry.state_of(*id).ok_or_else(unknown)?;
                if !state.is_ended() {
                    self.stop(turn, &[*id], stop);
                    self.mark(turn);
                    self.wanting.insert(turn);
                    self.is_due = true;
                }
            }
        }
        Ok(())
    }

    pub(super) fn kill_driver(&mut self, turn: Turn, stop: Stop) {
        let Some(app) = self.apps.get_mut(&turn) else { return };
        if app.driver.state.is_ended() {
            return;
        }
        app.asked.get_or_insert(stop);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.mark(turn);
        }
        match &app.place {
            Place::Waiting(_) | Place::Nowhere => {
                self.end_driver(turn, Cause::Killed { by: stop.by }.into());
            }
            Place::On { .. } => {
                self.stop_driver(turn, stop);
                self.stop_all(turn, Stop { by: KilledBy::DriverEnd, ..stop });
            }
            Place::Outside { session, .. } => {
                session.over.send_replace(true);
                self.end_driver(turn, Cause::Killed { by: stop.by }.into());
            }
        }
    }

    /// What is known of those that are meant.
    pub(crate) fn list(&self, want: &Want) -> Result<Vec<Status>> {
        if let Some(app) = &want.app
            && self.app(app).is_none()
        {
            return Err(Error::not_found(format!("there is no application {app}")));
        }
        let mut statuses = self.statuses(want.app.as_ref());
        let filter = Filter::from(want);
        statuses.retain(|status| filter.matches(status));
        Ok(statuses)
    }

    /// The worker that has the output of a process, once there is one.
    pub(crate) fn locate(&self, subject: &Subject) -> Result<Option<(String, AppId, Task)>> {
        let unknown = || Error::not_found(format!("there is no {subject}"));
        let (app, task) = match subject {
            Subject::Driver(id) => (AppId::new(id.as_str())?, Task::Driver),
            Subject::Executor(app, id) => (app.clone(), Task::Executor(*id)),
        };
        let entry = self.app(&app).ok_or_else(unknown)?;
        if task == Task::Driver && matches!(entry.place, Place::On { begun: false, .. }) {
            // Its worker may not have the order yet.
            return Ok(None);
        }
        let worker = match (task, entry.worker_of(task)) {
            (_, Some(worker)) => worker,
            (Task::Driver, None) => return Ok(None),
            (Task::Executor(_), None) => return Err(unknown()),
        };
        if self.policy.lending.is_some() {
            // It asks the agent for them.
            return Ok(Some((self.policy.address.clone(), app, task)));
        }
        let address = self.workers.get(worker).map(|worker| worker.address()).ok_or_else(|| {
            Error::unavailable(format!("worker {worker}, which has the output, is gone"))
        })?;
        Ok(Some((address, app, task)))
    }

    /// The agent that has the output of a process, who can ask it, and which attempt of it that is.
    pub(crate) fn on_agent(
        &self,
        app: &AppId,
        task: Task,
    ) -> Result<(Arc<dyn Lender>, String, u32)> {
        let Some(lending) = &self.policy.lending else {
            return Err(Error::unsupported("output is with the workers"));
        };
        let entry = self.app(app);
        let agent = entry.and_then(|app| Some((app.worker_of(task)?.clone(), app.driver_attempt)));
        let (agent, attempt) = agent
            .ok_or_else(|| Error::not_found(format!("there is no output of {app} {task:?}")))?;
        Ok((Arc::clone(&lending.lender), agent, attempt))
    }

    /// Whether nothing more will come of a process.
    pub(crate) fn has_ended(&self, app: &AppId, task: Task) -> bool {
        let state = self.app(app).and_then(|app| match task {
            Task::Driver => Some(&app.driver.state),
            Task::Executor(id) => app.state_of(id),
        });
        state.is_none_or(State::is_ended)
    }

    /// What stands in the way of an application.
    pub(crate) fn diagnose(&self, app: &AppId, now: Instant) -> Vec<(String, Option<String>)> {
        let Some(app) = self.app(app) else { return Vec::new() };
        let mut findings = Vec::new();
        let lent = self.policy.lending.is_some();
        let alive =
            self.workers.values().filter(|worker| worker.state == WorkerState::Alive).count();
        let waits_for = |why: &str| {
            let whom = if lent { "offers" } else { "a worker" };
            let remedy =
                "wait until others end, ask for less, or start a worker: anymaster worker URL";
            (format!("Its driver waits for {whom}: {why}."), (!lent).then(|| remedy.to_owned()))
        };
        if let Some(before) = app.before_it_waits() {
            findings.push((before, None));
            findings.push(match app.not_before.and_then(|at| at.checked_duration_since(now)) {
                Some(pause) if !pause.is_zero() => {
                    (format!("It is started again in {} s.", pause.as_secs() + 1), None)
                }
                _ => waits_for(&self.why_driver_waits(app)),
            });
        } else if let State::Pending { why: Some(why) } = &app.driver.state {
            findings.push(waits_for(why));
        } else if let Some(why) = &app.blocked {
            findings.push((format!("Executors wait: {why}."), None));
        }
        if !findings.is_empty() {
            let before = self.apps.range(..self.turns[app.id()]);
            let before = before
                .filter(|(_, other)| other.is_wanting() || matches!(other.place, Place::Waiting(_)))
                .count();
            findings.push((
                format!(
                    "{} {} alive; {} that came before {} as well.",
                    counted(alive, if lent { "agent" } else { "worker" }),
                    if alive == 1 { "is" } else { "are" },
                    counted(before, "application"),
                    if before == 1 { "waits" } else { "wait" },
                ),
                None,
            ));
        }
        findings
    }
}

impl App {
    /// What became of its driver before, if that waits for its next attempt.
    fn before_it_waits(&self) -> Option<String> {
        let has_run = self.driver.state.rank() > 0;
        match (&self.place, self.attempts) {
            (Place::Waiting(_), 0) if has_run => {
                Some("Its driver was lost with its worker.".into())
            }
            (Place::Waiting(_), 1) => Some("Its driver failed once.".into()),
            (Place::Waiting(_), many) if many > 1 => {
                Some(format!("Its driver failed {many} times."))
            }
            _ => None,
        }
    }
}
