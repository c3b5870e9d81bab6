//! Applications and their clients, which repeat what was not acknowledged.

use std::time::Duration;

use anymaster_core::ErrorKind;
use anymaster_core::Result;
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, ApplicationSpec, CommandLine, ExecutorId, ExecutorTarget, ExecutorTemplate,
    ExternalDriver, ResourceProfile, Status, Subject, SubmissionId,
};
use anymaster_engine::Engine;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::masters::Ack;
use crate::world::{Event, FAULTY, World};

/// What a client asks for. Numbers are those of applications.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Launch(usize),
    Attach(usize),
    /// The external driver ends by itself.
    Detach(usize),
    /// The driver wants another number of executors from now on.
    Want(usize, u32),
    /// It says so.
    Request(usize),
    KillDriver(usize),
    KillExecutor(usize, u64),
}

#[derive(Debug)]
pub(crate) struct AppSim {
    pub(crate) id: AppId,
    pub(crate) supervise: bool,
    pub(crate) is_external: bool,
    /// Its driver ends by itself.
    pub(crate) ends: bool,
    pub(crate) wanted: u32,
    /// Its driver's process, while it runs.
    pub(crate) driver: Option<u64>,
    pub(crate) is_acknowledged: bool,
    pub(crate) is_killed: bool,
    /// An external driver: it is there, and with which session of which master.
    pub(crate) is_alive: bool,
    session: Option<(usize, u64, u64)>,
}

impl AppSim {
    pub(crate) fn random(number: usize, rng: &mut StdRng) -> Self {
        let is_external = rng.random_bool(0.2);
        Self {
            id: AppId::new(&format!("app-{number}")).expect("a valid id"),
            supervise: rng.random_bool(0.4),
            is_external,
            ends: rng.random_bool(0.4),
            wanted: rng.random_range(0..4),
            driver: None,
            is_acknowledged: false,
            is_killed: false,
            is_alive: is_external,
            session: None,
        }
    }

    fn submission(&self) -> SubmissionId {
        SubmissionId::new(self.id.as_str()).expect("a valid id")
    }

    fn conf(&self) -> Conf {
        [("spark.executor.maxNumFailures", "1000000"), ("spark.executor.cores", "1")]
            .into_iter()
            .collect()
    }

    fn spec(&self) -> ApplicationSpec {
        let mut spec = ApplicationSpec::new(self.id.as_str(), CommandLine::new("driver"))
            .with_driver_resources(ResourceProfile::new(1.0, 100))
            .with_conf(self.conf());
        spec.driver.supervise = self.supervise;
        spec
    }

    fn target(&self) -> ExecutorTarget {
        let template = ExecutorTemplate::new(CommandLine::new("executor"));
        ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), self.wanted)
    }
}

impl World {
    pub(crate) fn app_index(&self, id: &AppId) -> Option<usize> {
        self.apps.iter().position(|app| app.id == *id)
    }

    /// When its clients do what.
    pub(crate) fn plan_apps(&mut self) {
        for number in 0..self.apps.len() {
            let begin = self.rng.random_range(0..100_000);
            let app = &self.apps[number];
            let (is_external, ends) = (app.is_external, app.ends);
            let first = if is_external { Op::Attach(number) } else { Op::Launch(number) };
            self.at(begin, Event::Op(first));
            for _ in 0..self.rng.random_range(0..6) {
                let (at, many) =
                    (self.rng.random_range(begin..FAULTY), self.rng.random_range(0..4));
                self.at(at, Event::Op(Op::Want(number, many)));
            }
            for _ in 0..self.rng.random_range(0..3) {
                let (at, id) = (self.rng.random_range(begin..FAULTY), self.rng.random_range(1..5));
                self.at(at, Event::Op(Op::KillExecutor(number, id)));
            }
            if is_external && ends {
                let at = self.rng.random_range(begin..FAULTY);
                self.at(at, Event::Op(Op::Detach(number)));
            } else if self.chance(0.3) {
                let at = self.rng.random_range(begin..FAULTY);
                self.at(at, Event::Op(Op::KillDriver(number)));
            }
        }
    }

    pub(crate) fn try_op(&mut self, op: Op) {
        match op {
            Op::Want(app, many) => {
                self.apps[app].wanted = many;
                return self.after(0, Event::Op(Op::Request(app)));
            }
            Op::Detach(app) => return self.external_ends(app),
            Op::KillDriver(app) | Op::KillExecutor(app, _) if !self.apps[app].is_acknowledged => {
                return;
            }
            // Only a driver that runs asks for executors: it does when it begins.
            Op::Request(app) if !self.has_driver(app) => return,
            Op::Attach(app) if !self.apps[app].is_alive || self.apps[app].session.is_some() => {
                return;
            }
            _ => {}
        }
        let again = self.rng.random_range(200..2_000);
        let number = self.rng.random_range(0..self.masters.len());
        let master = &self.masters[number];
        if !master.is_reachable() || master.paused_until > self.now || self.chance(0.02) {
            return self.after(again, Event::Op(op));
        }
        let attach = self.new_session(number);
        let now = self.time();
        let Self { masters, apps, .. } = self;
        let Some(engine) = &mut masters[number].engine else { return };
        let tried = apply(engine.at(now), apps, &op, attach);
        match (tried, &op) {
            (Ok(()), Op::Attach(app)) => {
                masters[number].externals.insert(attach, *app);
            }
            (Ok(()), _) => {}
            // It asks its store before it refuses: another one leads.
            (Err(_), _) if self.is_superseded(number) => {
                return self.after(again, Event::Op(op));
            }
            // It took too long to come back, or was killed.
            (Err(error), Op::Attach(app)) if error.kind() == ErrorKind::Conflict => {
                self.apps[*app].is_alive = false;
                return;
            }
            // There may not have been such an executor, or it is forgotten.
            (Err(error), Op::KillExecutor(..)) if error.kind() == ErrorKind::NotFound => return,
            (Err(error), _) => return self.checks.fail(format!("{op:?}: {error}")),
        }
        if self.chance(0.05) {
            // The answer is lost, and the connection with it.
            self.changed(number);
            self.after(again, Event::Op(op));
            return self.end_session(number, attach);
        }
        self.promise(number, Ack::Op(op, attach));
    }

    fn has_driver(&self, app: usize) -> bool {
        let app = &self.apps[app];
        app.driver.is_some() || app.is_alive && app.session.is_some()
    }

    fn is_durable(&self, master: usize, app: usize) -> bool {
        let engine = self.masters[master].engine.as_ref();
        engine.is_some_and(|engine| engine.is_durable(&self.apps[app].id))
    }

    /// A client gets its acknowledgement.
    pub(crate) fn op_done(&mut self, op: Op, master: usize, session: u64) {
        match op {
            Op::Launch(app) | Op::Attach(app) if !self.is_durable(master, app) => {
                self.end_session(master, session);
                self.after(500, Event::Op(op));
            }
            Op::Launch(app) => {
                let id = self.apps[app].id.clone();
                self.apps[app].is_acknowledged = true;
                self.checks.accepted(&id);
            }
            Op::Attach(app) => {
                if !self.apps[app].is_alive {
                    return self.end_session(master, session);
                }
                self.apps[app].session = Some((master, self.masters[master].life, session));
                self.apps[app].is_acknowledged = true;
                let id = self.apps[app].id.clone();
                self.checks.accepted(&id);
                self.after(20, Event::Op(Op::Request(app)));
            }
            Op::KillDriver(app) => self.apps[app].is_killed = true,
            _ => {}
        }
    }

    /// The connection of an external driver has ended.
    pub(crate) fn end_session(&mut self, number: usize, session: u64) {
        let Some(app) = self.masters[number].externals.remove(&session) else { return };
        let id = self.apps[app].id.clone();
        if let Some(engine) = self.engine(number) {
            engine.external_disconnected(&id, session);
            self.changed(number);
        }
    }

    /// The connection of an external driver has ended, with its master.
    pub(crate) fn external_lost_master(&mut self, app: usize) {
        self.apps[app].session = None;
        let soon = self.rng.random_range(100..1_000);
        self.after(soon, Event::Op(Op::Attach(app)));
    }

    pub(crate) fn external_told_to_end(&mut self, app: usize, session: u64) {
        if self.apps[app].session.is_some_and(|(_, _, known)| known == session) {
            self.external_ends(app);
        }
    }

    fn external_ends(&mut self, app: usize) {
        self.apps[app].is_alive = false;
        let Some((number, life, session)) = self.apps[app].session.take() else { return };
        if self.masters[number].life == life {
            self.end_session(number, session);
        }
    }

    /// What keeps the cluster from being as it should be.
    pub(crate) fn unsettled(&mut self) -> Option<String> {
        if self.masters.iter().any(|master| master.paused_until > self.now) {
            return Some("a master is paused".to_owned());
        }
        let now = self.time();
        let Some((_, engine)) = self.leader() else {
            return Some("no master leads and rests".to_owned());
        };
        for (number, worker) in self.workers.iter().enumerate() {
            let Some(table) = &worker.table else {
                return Some(format!("worker {number} is down"));
            };
            let id = format!("worker-{number}-{}", worker.life);
            let known = engine.worker_view(&id, now).map(|(_, processes)| processes.len());
            let (has, reports) = (worker.running.len(), table.reports().len());
            if known != Some(has) || reports != has {
                return Some(format!(
                    "worker {number} runs {has} processes, reports {reports}, and is thought to have {known:?}"
                ));
            }
        }
        for (number, app) in self.apps.iter().enumerate() {
            if let Some(why) = self.unsettled_app(engine, number, app) {
                return Some(format!("{}: {why}", app.id));
            }
        }
        None
    }

    fn unsettled_app(&self, engine: &Engine, number: usize, app: &AppSim) -> Option<String> {
        let running = self.workers.iter().flat_map(|worker| worker.running.keys());
        let (mut drivers, mut executors) = (0, 0);
        for (_, task) in running.filter(|(id, _)| *id == app.id) {
            match task {
                anymaster_engine::Task::Driver => drivers += 1,
                anymaster_engine::Task::Executor(_) => executors += 1,
            }
        }
        let statuses = engine.statuses(Some(&app.id));
        let driver = statuses.iter().find_map(|status| match status {
            Status::Driver(driver) => Some(driver),
            _ => None,
        });
        let Some(driver) = driver else {
            return app.is_acknowledged.then(|| "it was accepted, and is unknown".to_owned());
        };
        if driver.state.is_ended() {
            if let Some(why) = self.checks.wrong_end(&app.id, &driver.state) {
                return Some(why);
            }
            return (drivers + executors > 0).then(|| {
                format!("it has ended, and {drivers} drivers and {executors} executors run")
            });
        }
        if app.is_killed {
            return Some("it was killed, and has not ended".to_owned());
        }
        if app.is_external != (drivers == 0) {
            return Some(format!("{drivers} drivers run; its state is {}", driver.state.word()));
        }
        if !self.has_driver(number) {
            return Some("its driver has ended, and is thought to run".to_owned());
        }
        (executors != app.wanted)
            .then(|| format!("it wants {} executors and has {executors}", app.wanted))
    }
}

fn apply(engine: &mut Engine, apps: &[AppSim], op: &Op, session: u64) -> Result<()> {
    match op {
        Op::Launch(app) => engine.launch(&apps[*app].submission(), &apps[*app].spec()).map(|_| ()),
        Op::Attach(app) => {
            let application = &apps[*app];
            let driver = ExternalDriver::new(application.id.as_str(), "outside", 4040)
                .with_conf(application.conf());
            match app % 2 {
                0 => engine.attach(&application.id, &driver, session),
                _ => {
                    let id = application.submission();
                    engine.register_application(&id, &driver, session).map(|_| ())
                }
            }
        }
        Op::Request(app) => engine.request(&apps[*app].id, apps[*app].target()),
        Op::KillDriver(app) => {
            engine.kill(&Subject::Driver(apps[*app].submission()), Duration::from_secs(1))
        }
        Op::KillExecutor(app, id) => {
            let subject = Subject::Executor(apps[*app].id.clone(), ExecutorId(*id));
            engine.kill(&subject, Duration::from_secs(1))
        }
        Op::Want(..) | Op::Detach(_) => Ok(()),
    }
}
