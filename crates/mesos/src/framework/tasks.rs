//! The tasks of a framework: their names, what is told by their labels, and what orders make of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{AppId, ExecutorId, Payload};
use anymaster_core::native::Placeholder;
use anymaster_core::{Error, Result, native};
use anymaster_dispatcher::keys as daemon;
use anymaster_dispatcher::wire::{
    Application, DriverOrder, ExecutorOrder, Held, Progress, Secret, Task, Terms,
};

use super::rules::{self, GPUS, PORTS, Rules};
use crate::keys;
use crate::model::{Id, Label, Offer, Resource, TaskInfo};
use crate::offers::resources::{take, take_port, take_ports};
use crate::task::{self, FILES, OWN_HOST, Process, Role, SANDBOX, spark};

/// How long a process has to end if nobody says.
const GRACE: Duration = Duration::from_secs(10);
/// Labels by which a task is known again.
const APPLICATION: &str = "anymaster.application";
const TASK: &str = "anymaster.task";
const PORT: &str = "anymaster.driver.port";
const TERMS: &str = "anymaster.terms";
const DRIVER: &str = "driver";

/// The id of a task.
pub(super) fn name(app: &AppId, task: Task, attempt: u32) -> String {
    match task {
        Task::Driver if attempt == 0 => format!("{app}.{DRIVER}"),
        Task::Driver => format!("{app}.{DRIVER}-retry-{attempt}"),
        Task::Executor(id) => format!("{app}.{id}"),
    }
}

/// The id of the framework of one of Spark's own drivers.
pub(super) fn framework_of(dispatcher: &Id, app: &AppId, attempt: u32) -> String {
    match attempt {
        0 => format!("{dispatcher}-{app}"),
        attempt => format!("{dispatcher}-{app}-retry-{attempt}"),
    }
}

/// What drivers of this daemon are told.
#[derive(Debug)]
pub(super) struct Setting {
    /// The daemon's properties.
    pub(super) conf: Conf,
    /// By which applications are known to the daemon.
    pub(super) secret: Secret,
    /// Where Spark's own drivers subscribe: `zk://…` or `HOST:PORT`.
    pub(super) mesos: String,
}

/// A task that is to be launched.
pub(super) struct Launch {
    pub(super) info: TaskInfo,
    pub(super) app: AppId,
    pub(super) task: Task,
    /// Of a driver.
    pub(super) port: Option<u16>,
    pub(super) gpus: u64,
}

/// Where a task goes, and what it may take.
pub(super) struct Place<'a> {
    pub(super) agent: &'a Id,
    pub(super) host: &'a str,
    /// What is left of its offers.
    pub(super) left: &'a mut Vec<Resource>,
}

impl Place<'_> {
    fn take(&mut self, amounts: &[(&str, f64)]) -> Result<Vec<Resource>> {
        let mut taken = Vec::new();
        for (name, amount) in amounts.iter().filter(|(_, amount)| *amount > 0.0) {
            let some = take(self.left, name, *amount).ok_or_else(|| withdrawn(name))?;
            taken.extend(some);
        }
        Ok(taken)
    }

    fn take_those_ports(&mut self, ports: impl Iterator<Item = u16>) -> Result<Vec<Resource>> {
        ports.map(|port| take_port(self.left, port).ok_or_else(|| withdrawn(PORTS))).collect()
    }

    fn take_ports(&mut self, many: usize) -> Result<(Vec<u16>, Vec<Resource>)> {
        take_ports(self.left, many).ok_or_else(|| withdrawn(PORTS))
    }
}

/// Where a process listens: its agent's name, or in a network of containers the address that its shell finds.
fn own_host<'a>(conf: &Conf, host: &'a str) -> Result<&'a str> {
    Ok(if conf.read_optional(&keys::NETWORK_NAME)?.is_some() { OWN_HOST } else { host })
}

/// Of a pass that counted otherwise.
fn withdrawn(name: &str) -> Error {
    Error::unavailable(format!("the offer has too little of {name}"))
}

fn label(key: &str, value: impl Into<String>) -> Label {
    Label { key: key.to_owned(), value: Some(value.into()) }
}

/// All of the resources in offers.
pub(super) fn resources(offers: &[Offer]) -> Vec<Resource> {
    offers.iter().flat_map(|offer| offer.resources.iter().cloned()).collect()
}

impl Setting {
    /// The files that each process of an application has in its sandbox.
    fn files(&self, application: &Application) -> Result<BTreeMap<&'static str, String>> {
        let mut conf = daemon::without_secrets(&application.conf);
        for (key, value) in self.conf.with_prefix(keys::DRIVER_DEFAULT_PREFIX) {
            conf.set_default(key, value);
        }
        conf.set("spark.app.id", application.app.as_str());
        for (key, value) in anymaster_net::Tls::client_properties(&self.conf) {
            conf.set(key, value);
        }
        let mut files = BTreeMap::from([("secret", application.secret.clone())]);
        if let Some(key) = self.secret.of_application(&application.app)? {
            files.insert("key", key);
            let path = format!("{FILES}/key");
            conf.set(daemon::APPLICATION_KEY_FILE.info.name, path);
        }
        files.insert("application.properties", write_properties(conf.iter()));
        Ok(files)
    }

    fn env(&self, application: &Application, driver: (&str, u16)) -> BTreeMap<String, String> {
        let pairs = [
            (native::ENV_MASTER, application.master.clone()),
            (native::ENV_APPLICATION_ID, application.app.to_string()),
            (native::ENV_DRIVER_HOST, driver.0.to_owned()),
            (native::ENV_DRIVER_PORT, driver.1.to_string()),
            (native::ENV_SECRET_FILE, format!("{FILES}/secret")),
            (native::ENV_PROPERTIES_FILE, format!("{FILES}/application.properties")),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The task of a driver.
    pub(super) fn driver(
        &self,
        application: &Application,
        order: &DriverOrder,
        place: &mut Place<'_>,
        framework: &Id,
    ) -> Result<Launch> {
        let DriverOrder { app, spec, attempt } = order;
        let conf = &application.conf;
        let what = anymaster_dispatcher::master::What::Driver(spec);
        let need = rules::need(conf, what)?;
        let mut taken =
            place.take(&[("cpus", need.cores.as_f64()), ("mem", need.memory_mib as f64)])?;
        taken.extend(place.take_those_ports(Rules::of(conf)?.ports(true))?);
        let id = name(app, Task::Driver, *attempt);
        let mut labels = vec![label(APPLICATION, app.as_str()), label(TASK, DRIVER)];
        let mut process = |port: Option<u16>, taken: Vec<Resource>| {
            labels.extend(port.map(|port| label(PORT, port.to_string())));
            Process {
                task: &id,
                name: format!("Driver for {}", conf.get("spark.app.name").unwrap_or(app.as_str())),
                agent: place.agent,
                resources: taken,
                program: "",
                args: &[],
                env: BTreeMap::new(),
                files: BTreeMap::new(),
                labels: std::mem::take(&mut labels),
                conf,
                role: Role::Driver,
                grace: GRACE,
            }
        };
        let command = match &spec.payload {
            Payload::Spark(job) => {
                let name = conf.get("spark.app.name").unwrap_or(app.as_str());
                let framework = framework_of(framework, app, *attempt);
                let command = spark::spark_driver(
                    name,
                    job,
                    spec,
                    conf,
                    &self.conf,
                    &self.mesos,
                    &framework,
                )?;
                let info = task::spark_task(process(None, taken), command)?;
                return Ok(Launch {
                    info,
                    app: app.clone(),
                    task: Task::Driver,
                    port: None,
                    gpus: 0,
                });
            }
            Payload::Command(command) => command,
        };
        let own_host = own_host(conf, place.host)?;
        let (ports, port) = take_ports(place.left, 1).ok_or_else(|| withdrawn(PORTS))?;
        let port_number = ports.first().copied().unwrap_or_default();
        taken.extend(port);
        let expand = |text: &str| {
            native::expand(text, |placeholder| {
                Some(match placeholder {
                    Placeholder::AppId => app.to_string(),
                    Placeholder::DriverHost => own_host.to_owned(),
                    Placeholder::DriverPort => port_number.to_string(),
                    // Known to the shell that starts it.
                    Placeholder::WorkDir => SANDBOX.to_owned(),
                    _ => return None,
                })
            })
        };
        let program = expand(&command.program)?;
        let args: Vec<String> =
            command.args.iter().map(|arg| expand(arg)).collect::<Result<_>>()?;
        let mut env = self.env(application, (own_host, port_number));
        for (name, value) in &spec.env {
            env.insert(name.clone(), expand(value)?);
        }
        let process = Process {
            program: &program,
            args: &args,
            env,
            files: self.files(application)?,
            ..process(Some(port_number), taken)
        };
        let info = task::task(process)?;
        Ok(Launch { info, app: app.clone(), task: Task::Driver, port: Some(port_number), gpus: 0 })
    }

    /// The task of an executor; `gpus` beyond those of its profile.
    pub(super) fn executor(
        &self,
        application: &Application,
        order: &ExecutorOrder,
        rules: &Rules,
        gpus: u64,
        place: &mut Place<'_>,
    ) -> Result<Launch> {
        let ExecutorOrder {
            app, id, profile_id, profile, template, driver_host, driver_port, ..
        } = order;
        let conf = &application.conf;
        let memory_mib = rules::memory_mib(conf, &keys::EXECUTOR_MEMORY_OVERHEAD, profile)?;
        let all_gpus = gpus + rules::own_gpus(profile);
        let mut amounts =
            vec![("cpus", profile.cores), ("mem", memory_mib as f64), (GPUS, all_gpus as f64)];
        let others = rules::others(profile).filter(|(name, _)| *name != GPUS);
        amounts.extend(others.map(|(name, amount)| (name, amount as f64)));
        let mut taken = place.take(&amounts)?;
        taken.extend(place.take_those_ports(rules.ports(false))?);
        let names = rules::named_ports(template)?;
        let (numbers, resources) = place.take_ports(names.len())?;
        taken.extend(resources);
        let ports: BTreeMap<String, u16> = names.into_iter().zip(numbers).collect();
        // As those of Spark's, which are told of more cores than they take.
        let own_host = own_host(conf, place.host)?;
        let mut told = profile.clone();
        told.cores += f64::from(rules.extra_cores);
        let expand = |text: &str| {
            native::expand(text, |placeholder| {
                Some(match placeholder {
                    Placeholder::AppId => app.to_string(),
                    Placeholder::DriverHost => driver_host.clone(),
                    Placeholder::DriverPort => driver_port.to_string(),
                    Placeholder::ExecutorId => id.to_string(),
                    Placeholder::ExecutorCores => told.cores.to_string(),
                    Placeholder::ExecutorMemory => told.memory_mib.to_string(),
                    Placeholder::ExecutorProfile => profile_id.to_string(),
                    Placeholder::ExecutorHost => own_host.to_owned(),
                    Placeholder::ExecutorPort(name) => ports.get(name)?.to_string(),
                    Placeholder::WorkDir => SANDBOX.to_owned(),
                })
            })
        };
        let program = expand(&template.command.program)?;
        let args: Vec<String> =
            template.command.args.iter().map(|arg| expand(arg)).collect::<Result<_>>()?;
        let mut env = self.env(application, (driver_host, *driver_port));
        for (name, value) in native::executor_env(app, *id, *profile_id, &told) {
            env.insert(name.to_owned(), value);
        }
        for (name, value) in &template.env {
            env.insert(name.clone(), expand(value)?);
        }
        let terms =
            Terms { profile_id: *profile_id, profile: profile.clone(), resources: BTreeMap::new() };
        let terms = serde_json::to_string(&terms).unwrap_or_default();
        let task = Task::Executor(*id);
        let app_name = conf.get("spark.app.name").unwrap_or(app.as_str());
        let info = task::task(Process {
            task: &name(app, task, 0),
            name: format!("{app_name} {id}"),
            agent: place.agent,
            resources: taken,
            program: &program,
            args: &args,
            env,
            files: self.files(application)?,
            labels: vec![
                label(APPLICATION, app.as_str()),
                label(TASK, id.to_string()),
                label(TERMS, terms),
            ],
            conf,
            role: Role::Executor,
            grace: GRACE,
        })?;
        Ok(Launch { info, app: app.clone(), task, port: None, gpus: all_gpus })
    }
}

/// What a task is, by its labels; `None` if it is none of ours.
pub(super) fn known(labels: &[Label]) -> Option<Held> {
    let value = |key: &str| {
        labels.iter().find(|label| label.key == key).and_then(|label| label.value.as_deref())
    };
    let app = AppId::new(value(APPLICATION)?).ok()?;
    let task = match value(TASK)? {
        DRIVER => Task::Driver,
        id => Task::Executor(ExecutorId(id.parse().ok()?)),
    };
    let terms = value(TERMS).and_then(|terms| serde_json::from_str(terms).ok()).map(Box::new);
    let port = value(PORT).and_then(|port| port.parse().ok());
    Some(Held { app, task, progress: Progress::Running { port, host: None }, terms })
}

/// An agent's name.
pub(super) type Agent = Arc<str>;
