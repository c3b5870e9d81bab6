//! Builds the Mesos tasks of drivers and executors from the engine's orders, and reads task labels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{AppId, ExecutorId, Payload};
use anymaster_core::native::Placeholder;
use anymaster_core::{Error, Result, native};
use anymaster_engine::{
    Application, DriverOrder, ExecutorOrder, ExecutorSpec, ProcessSpec, Progress, Task, TaskReport,
};
use anymaster_native::keys as daemon;
use anymaster_native::wire::Secret;

use super::requirements::{self, GPUS, OfferRequirements, PORTS};
use crate::keys;
use crate::model::{Id, Label, Offer, Resource, TaskInfo};
use crate::offers::resources::{take, take_port, take_ports};
use crate::task::{self, FILES, OWN_HOST, Process, Role, SANDBOX, spark};

/// The default grace period of a task.
const GRACE: Duration = Duration::from_secs(10);
/// The labels by which tasks are identified after a restart.
const APPLICATION: &str = "anymaster.application";
const TASK: &str = "anymaster.task";
const PORT: &str = "anymaster.driver.port";
const SPEC: &str = "anymaster.terms";
const DRIVER: &str = "driver";

/// The id of a task.
pub(super) fn name(app: &AppId, task: Task, attempt: u32) -> String {
    match task {
        Task::Driver if attempt == 0 => format!("{app}.{DRIVER}"),
        Task::Driver => format!("{app}.{DRIVER}-retry-{attempt}"),
        Task::Executor(id) => format!("{app}.{id}"),
    }
}

/// The framework id of a Spark driver.
pub(super) fn framework_of(dispatcher: &Id, app: &AppId, attempt: u32) -> String {
    match attempt {
        0 => format!("{dispatcher}-{app}"),
        attempt => format!("{dispatcher}-{app}-retry-{attempt}"),
    }
}

/// Builds tasks; holds what is the same for all of them.
#[derive(Debug)]
pub(super) struct TaskBuilder {
    /// The daemon's properties.
    pub(super) conf: Conf,
    /// The secret from which the keys of applications are derived.
    pub(super) secret: Secret,
    /// The Mesos master of Spark drivers: `zk://…` or `HOST:PORT`.
    pub(super) mesos: String,
}

/// A task to launch.
pub(super) struct Launch {
    pub(super) info: TaskInfo,
    pub(super) app: AppId,
    pub(super) task: Task,
    /// The port of a driver.
    pub(super) port: Option<u16>,
    pub(super) gpus: u64,
}

/// The agent of a task, and the resources from which it takes.
pub(super) struct Place<'a> {
    pub(super) agent: &'a Id,
    pub(super) host: &'a str,
    /// The rest of the agent's offers.
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

/// The host on which a process listens: that of its agent or, in a container network, the address that its
/// shell finds out.
fn own_host<'a>(conf: &Conf, host: &'a str) -> Result<&'a str> {
    Ok(if conf.read_optional(&keys::NETWORK_NAME)?.is_some() { OWN_HOST } else { host })
}

/// The offer has less than the scheduling pass assumed.
fn withdrawn(name: &str) -> Error {
    Error::unavailable(format!("the offer has not enough {name}"))
}

fn label(key: &str, value: impl Into<String>) -> Label {
    Label { key: key.to_owned(), value: Some(value.into()) }
}

/// The resources of offers.
pub(super) fn resources(offers: &[Offer]) -> Vec<Resource> {
    offers.iter().flat_map(|offer| offer.resources.iter().cloned()).collect()
}

impl TaskBuilder {
    /// The files in the sandbox of each process of an application.
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
        let process = ProcessSpec::Driver(spec);
        let need = requirements::need(conf, process)?;
        let mut taken =
            place.take(&[("cpus", need.cores.as_f64()), ("mem", need.memory_mib as f64)])?;
        taken.extend(place.take_those_ports(OfferRequirements::of(conf)?.ports(true))?);
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
                    // Replaced by the shell that starts it.
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

    /// The task of an executor. `gpus`: GPUs in addition to those of its profile.
    pub(super) fn executor(
        &self,
        application: &Application,
        order: &ExecutorOrder,
        rules: &OfferRequirements,
        gpus: u64,
        place: &mut Place<'_>,
    ) -> Result<Launch> {
        let ExecutorOrder {
            app, id, profile_id, profile, template, driver_host, driver_port, ..
        } = order;
        let conf = &application.conf;
        let memory_mib = requirements::memory_mib(conf, &keys::EXECUTOR_MEMORY_OVERHEAD, profile)?;
        let all_gpus = gpus + requirements::own_gpus(profile);
        let mut amounts =
            vec![("cpus", profile.cores), ("mem", memory_mib as f64), (GPUS, all_gpus as f64)];
        let others = requirements::others(profile).filter(|(name, _)| *name != GPUS);
        amounts.extend(others.map(|(name, amount)| (name, amount as f64)));
        let mut taken = place.take(&amounts)?;
        taken.extend(place.take_those_ports(rules.ports(false))?);
        let names = requirements::named_ports(template)?;
        let (numbers, resources) = place.take_ports(names.len())?;
        taken.extend(resources);
        let ports: BTreeMap<String, u16> = names.into_iter().zip(numbers).collect();
        // `spark.mesos.extra.cores`: as in Spark, executors are told of more cores than they take.
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
                    Placeholder::Spark(_) => return None,
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
        let given = ExecutorSpec {
            profile_id: *profile_id,
            profile: profile.clone(),
            resources: BTreeMap::new(),
        };
        let given = serde_json::to_string(&given).unwrap_or_default();
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
                label(SPEC, given),
            ],
            conf,
            role: Role::Executor,
            grace: GRACE,
        })?;
        Ok(Launch { info, app: app.clone(), task, port: None, gpus: all_gpus })
    }
}

/// The driver or executor of a task, from its labels; `None` for tasks that were not launched by us.
pub(super) fn known(labels: &[Label]) -> Option<TaskReport> {
    let value = |key: &str| {
        labels.iter().find(|label| label.key == key).and_then(|label| label.value.as_deref())
    };
    let app = AppId::new(value(APPLICATION)?).ok()?;
    let task = match value(TASK)? {
        DRIVER => Task::Driver,
        id => Task::Executor(ExecutorId(id.parse().ok()?)),
    };
    let spec = value(SPEC).and_then(|spec| serde_json::from_str(spec).ok()).map(Box::new);
    let port = value(PORT).and_then(|port| port.parse().ok());
    Some(TaskReport { app, task, progress: Progress::Running { port, host: None }, spec })
}

/// The id of an agent.
pub(super) type Agent = Arc<str>;
