//! What a process becomes on Mesos: a task, with its command, container, secrets and labels. No I/O.

pub mod container;
pub mod labels;
mod line;
pub mod memory;
pub mod secrets;
pub mod spark;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anymaster_core::Result;
use anymaster_core::conf::Conf;

use crate::keys;
use crate::model::{
    CommandInfo, DurationInfo, Environment, Id, KillPolicy, Label, Labels, Resource, TaskInfo, Uri,
    Variable,
};

pub use line::{FILES, OWN_HOST, SANDBOX};

/// What a process is to its application: properties differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The driver.
    Driver,
    /// One of its executors.
    Executor,
}

/// A process that is to become a Mesos task. Its working directory is the sandbox, unless an image has
/// another one; the sandbox itself is [`SANDBOX`] in its arguments and environment. `Debug` shows none of its
/// secrets.
pub struct Process<'a> {
    /// The task's id.
    pub task: &'a str,
    /// For people.
    pub name: String,
    /// Where it runs.
    pub agent: &'a Id,
    /// What it takes, already taken out of the offer.
    pub resources: Vec<Resource>,
    /// A path, or a name that is looked up in the agent's `PATH`.
    pub program: &'a str,
    /// Its arguments.
    pub args: &'a [String],
    /// Its environment; what properties say of the same variables does not count.
    pub env: BTreeMap<String, String>,
    /// Files of the sandbox that only the user may read, by name: their contents are secret.
    pub files: BTreeMap<&'static str, String>,
    /// Labels, before those of properties.
    pub labels: Vec<Label>,
    /// The application's properties.
    pub conf: &'a Conf,
    /// What it is.
    pub role: Role,
    /// How long it has to end when it is asked to.
    pub grace: Duration,
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("task", &self.task)
            .field("agent", &self.agent)
            .field("program", &self.program)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The task of a process that is not Spark's own. It is fetched for as Spark 3.5 does:
/// `spark.mesos.uris` and `spark.executor.uri` (or `SPARK_EXECUTOR_URI` of its environment).
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property, for one that cannot be
/// read, and for arguments that no process can have.
pub fn task(mut process: Process<'_>) -> Result<TaskInfo> {
    let conf = process.conf;
    let mut uris = conf.read_optional(&keys::URIS)?.unwrap_or_default();
    uris.extend(executor_uri(conf, &process.env)?);
    let uris = fetched(uris, conf.read(&keys::FETCHER_CACHE)?);
    let own = std::mem::take(&mut process.env);
    let env = of_properties(conf, process.role).chain(own).collect();
    let start = line::start(process.program, process.args, &env, &process.files)?;
    assemble(process, start.line, uris, start.variables)
}

/// The task of one of Spark's own drivers. The process' program, arguments, environment and files do not
/// count: the command has them.
///
/// # Errors
/// As [`task`].
pub fn spark_task(process: Process<'_>, command: spark::SparkCommand) -> Result<TaskInfo> {
    let env: BTreeMap<String, String> =
        of_properties(process.conf, process.role).chain(command.env).collect();
    let (writing, mut variables) = line::write_files(&command.files)?;
    variables.extend(env.into_iter().map(|(name, value)| Variable::new(name, value)));
    assemble(process, writing + &command.line, command.uris, variables)
}

fn of_properties(conf: &Conf, role: Role) -> impl Iterator<Item = (String, String)> {
    let prefix = match role {
        Role::Driver => "spark.mesos.driverEnv.",
        Role::Executor => "spark.executorEnv.",
    };
    conf.with_prefix(prefix).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// An archive with Spark, if there is one.
fn executor_uri(conf: &Conf, env: &BTreeMap<String, String>) -> Result<Option<String>> {
    let uri = conf.read_optional(&keys::EXECUTOR_URI)?;
    Ok(uri.or_else(|| env.get("SPARK_EXECUTOR_URI").cloned()))
}

fn fetched(uris: impl IntoIterator<Item = String>, cache: bool) -> Vec<Uri> {
    let one =
        |uri: String| Uri { value: uri.trim().to_owned(), cache: Some(cache), ..Uri::default() };
    uris.into_iter().map(one).collect()
}

fn assemble(
    process: Process<'_>,
    line: String,
    uris: Vec<Uri>,
    mut variables: Vec<Variable>,
) -> Result<TaskInfo> {
    let Process { conf, role, mut labels, .. } = process;
    variables.extend(secrets::variables(conf, role)?);
    let key = match role {
        Role::Driver => &keys::DRIVER_LABELS,
        Role::Executor => &keys::TASK_LABELS,
    };
    let more = conf.read_optional(key)?.unwrap_or_default();
    labels.extend(labels::labels(key.info.name, &more)?);
    let nanoseconds = i64::try_from(process.grace.as_nanos()).unwrap_or(i64::MAX);
    Ok(TaskInfo {
        name: process.name,
        task_id: Id::new(process.task),
        agent_id: process.agent.clone(),
        resources: process.resources,
        command: Some(CommandInfo {
            uris,
            environment: Some(Environment { variables }),
            shell: true,
            value: Some(line),
            arguments: Vec::new(),
        }),
        container: Some(container::container(conf, role)?),
        kill_policy: Some(KillPolicy { grace_period: DurationInfo { nanoseconds } }),
        labels: (!labels.is_empty()).then_some(Labels { labels }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn process<'a>(conf: &'a Conf, agent: &'a Id, role: Role) -> Process<'a> {
        Process {
            task: "7",
            name: "app 7".to_owned(),
            agent,
            resources: Vec::new(),
            program: "program",
            args: &[],
            env: BTreeMap::from([("A".to_owned(), "ours".to_owned())]),
            files: BTreeMap::from([("secret", "sesame".to_owned())]),
            labels: vec![Label { key: "our".to_owned(), value: Some("s".to_owned()) }],
            conf,
            role,
            grace: Duration::from_millis(1500),
        }
    }

    #[test]
    fn a_task_has_all_that_properties_say_for_its_role() {
        let conf: Conf = [
            ("spark.mesos.uris", "http://a/x.tgz, http://a/y"),
            ("spark.executor.uri", "hdfs:/spark.tgz"),
            ("spark.mesos.fetcherCache.enable", "true"),
            ("spark.mesos.task.labels", "k:e"),
            ("spark.mesos.driver.labels", "k:d"),
            ("spark.executorEnv.A", "theirs"),
            ("spark.executorEnv.B", "executor"),
            ("spark.mesos.driverEnv.B", "driver"),
            ("spark.mesos.executor.secret.values", "open"),
            ("spark.mesos.executor.secret.envkeys", "S"),
        ]
        .into_iter()
        .collect();
        let agent = Id::new("agent");
        let executor = task(process(&conf, &agent, Role::Executor)).unwrap();
        let command = executor.command.unwrap();
        let uris: Vec<_> = command.uris.iter().map(|uri| (uri.value.as_str(), uri.cache)).collect();
        assert_eq!(
            uris,
            [
                ("http://a/x.tgz", Some(true)),
                ("http://a/y", Some(true)),
                ("hdfs:/spark.tgz", Some(true))
            ]
        );
        let variables = command.environment.unwrap().variables;
        let value = |name: &str| {
            let found = variables.iter().find(|variable| variable.name == name).unwrap();
            (found.value.as_deref(), found.secret.is_some())
        };
        assert_eq!(value("A"), (Some("ours"), false));
        assert_eq!(value("B"), (Some("executor"), false));
        assert_eq!(value("S"), (None, true));
        assert_eq!(value("ANYMASTER_FILE_0_0"), (Some("sesame"), false));
        let labels = executor.labels.unwrap().labels;
        let labels: Vec<_> = labels.iter().map(|label| label.value.as_deref().unwrap()).collect();
        assert_eq!(labels, ["s", "e"]);
        assert_eq!(executor.kill_policy.unwrap().grace_period.nanoseconds, 1_500_000_000);
        assert_eq!(executor.container.unwrap()["type"], "MESOS");

        let driver = task(process(&conf, &agent, Role::Driver)).unwrap();
        let variables = driver.command.unwrap().environment.unwrap().variables;
        assert!(variables.iter().any(|one| one.value.as_deref() == Some("driver")));
        assert!(variables.iter().all(|one| one.name != "S"));
        assert_eq!(driver.labels.unwrap().labels[1].value.as_deref(), Some("d"));

        let bad: Conf = [("spark.mesos.task.labels", "k")].into_iter().collect();
        assert!(task(process(&bad, &agent, Role::Executor)).is_err());
        task(process(&bad, &agent, Role::Driver)).unwrap();
    }
}
