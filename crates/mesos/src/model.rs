//! What masters and frameworks say to each other (Mesos 1.11, `v1/scheduler/scheduler.proto` and
//! `v1/mesos.proto`, as JSON): as much of it as is used here.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::compact_string::CompactString;

/// A text of its own kind, for example a task's id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// The text.
    pub value: String,
}

impl Id {
    /// Of this text.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)
    }
}

/// Who a framework is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameworkInfo {
    /// The user of its tasks.
    pub user: String,
    /// For people.
    pub name: String,
    /// Given by the master at the first subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Seconds for which the master keeps its tasks when its scheduler is gone.
    pub failover_timeout: f64,
    /// Whether agents write its tasks down, so that they survive a restart of the agent.
    pub checkpoint: bool,
    /// For which roles resources are offered.
    pub roles: Vec<String>,
    /// The machine of the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// As whom it authenticates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Its own page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webui_url: Option<String>,
    /// What it understands.
    pub capabilities: Vec<Capability>,
    /// What others may know it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Something that a framework understands, for example `PARTITION_AWARE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name.
    #[serde(rename = "type")]
    pub name: String,
}

impl Capability {
    /// Of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

/// Keys and values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// They may repeat.
    #[serde(default)]
    pub labels: Vec<Label>,
}

/// A key and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scalar {
    /// The number.
    pub value: f64,
}

/// Whole numbers from one to another, both of them included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub begin: u64,
    /// The last.
    pub end: u64,
}

/// Several ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// The ranges.
    #[serde(default)]
    pub range: Box<[Range]>,
}

/// Several texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// The texts.
    #[serde(default)]
    pub item: Vec<String>,
}

/// A text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub value: String,
}

/// For which role a resource is offered, or taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationInfo {
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<CompactString>,
}

/// For whom a resource is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// `STATIC` or `DYNAMIC`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CompactString>,
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<CompactString>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Box<str>>,
    /// Why, in the words of who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labels>>,
}

/// Some of what an agent has. Masters offer hundreds of thousands at once: what few have is boxed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// `cpus`, `mem` (MiB), `ports`, `gpus`, `disk` (MiB) …
    pub name: CompactString,
    /// `SCALAR`, `RANGES` or `SET`.
    #[serde(rename = "type")]
    pub kind: CompactString,
    /// How much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalar: Option<Scalar>,
    /// Which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Ranges>,
    /// Which of them, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Box<Set>>,
    /// For which role it is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_info: Option<AllocationInfo>,
    /// For whom it is set aside: the last one counts.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub reservations: Box<[Reservation]>,
    /// What a disk is, if it is more than room. Passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Box<serde_json::Value>>,
}

impl Resource {
    /// The role for which it is set aside; `*` if it is anybody's.
    pub fn reserved_for(&self) -> &str {
        let last = self.reservations.last().and_then(|last| last.role.as_ref());
        last.map_or("*", CompactString::as_str)
    }
}

/// Something that is known of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `SCALAR`, `RANGES`, `SET` or `TEXT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalar: Option<Scalar>,
    /// Its ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Ranges>,
    /// Its texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Set>,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
}

/// What an agent has to give, to one framework, until it is accepted, declined or rescinded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub agent_id: Id,
    /// The agent's machine.
    pub hostname: String,
    /// What is offered.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// What is known of the agent.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// For which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_info: Option<AllocationInfo>,
}

/// An environment variable. `Debug` shows its name alone: secret files come by variables.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// `VALUE`, as which it counts when unset, or `SECRET`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value, where that is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Variable {
    /// With a value that anybody may see.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), ..Self::default() }
    }

    /// With a value that `/state` of masters and agents does not show. Mesos 1.11 still shows it to who may
    /// ask an agent for its executors (`GET_EXECUTORS`), and on the command line of the task's executor.
    pub fn secret(name: impl Into<String>, secret: Secret) -> Self {
        Self {
            name: name.into(),
            kind: Some("SECRET".to_owned()),
            secret: Some(secret),
            value: None,
        }
    }
}

/// A secret, or its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Secret {
    /// Its name, for the agents' resolver of secrets.
    Reference {
        /// The name.
        reference: SecretReference,
    },
    /// The secret itself.
    Value {
        /// What it is.
        value: SecretValue,
    },
}

/// See [`Secret::Reference`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The name.
    pub name: String,
}

/// See [`Secret::Value`]. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue {
    /// The bytes: base64.
    pub data: String,
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The variables.
    #[serde(default)]
    pub variables: Vec<Variable>,
}

/// Something to be fetched before a task begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uri {
    /// Where it is.
    pub value: String,
    /// Whether it is made executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<bool>,
    /// Whether it is unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<bool>,
    /// Whether the agent keeps it for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
}

/// What a task runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// What is fetched before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<Uri>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Whether a shell runs `value`; else it is a program with `arguments`.
    pub shell: bool,
    /// The command, or the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The program's arguments, its name before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

/// How a task is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillPolicy {
    /// How long it has after it was asked.
    pub grace_period: DurationInfo,
}

/// A time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationInfo {
    /// In nanoseconds.
    pub nanoseconds: i64,
}

/// A task to be launched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// For people.
    pub name: String,
    /// Its id, which the framework has not given before.
    pub task_id: Id,
    /// Where it runs.
    pub agent_id: Id,
    /// What it takes of the offer.
    pub resources: Vec<Resource>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandInfo>,
    /// In what it runs. Passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<serde_json::Value>,
    /// How it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_policy: Option<KillPolicy>,
    /// What others may know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Its agent has not begun yet.
    TaskStaging,
    /// It is about to run.
    TaskStarting,
    /// It runs.
    TaskRunning,
    /// It is about to end.
    TaskKilling,
    /// It ended with 0.
    TaskFinished,
    /// It ended otherwise.
    TaskFailed,
    /// It was ended on request.
    TaskKilled,
    /// Its description is wrong.
    TaskError,
    /// It is gone, or never began: for frameworks that do not want to know more.
    TaskLost,
    /// It never began, as the offer was gone or the agent away.
    TaskDropped,
    /// Its agent is not heard of; it may come back.
    TaskUnreachable,
    /// Its agent came back without it.
    TaskGone,
    /// An operator said that its agent is gone for good.
    TaskGoneByOperator,
    /// The master knows nothing of it.
    TaskUnknown,
}

impl TaskState {
    /// Whether nothing follows.
    pub fn is_ended(self) -> bool {
        !matches!(
            self,
            Self::TaskStaging
                | Self::TaskStarting
                | Self::TaskRunning
                | Self::TaskKilling
                | Self::TaskUnreachable
        )
    }
}

/// What has become of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Which task.
    pub task_id: Id,
    /// Where it is now.
    pub state: TaskState,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who says so: `SOURCE_MASTER`, `SOURCE_AGENT` or `SOURCE_EXECUTOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why, for example `REASON_CONTAINER_LIMITATION_MEMORY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// Of an update that is to be acknowledged: base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// When, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// Of the container it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_status: Option<ContainerStatus>,
}

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The networks it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_infos: Vec<NetworkInfo>,
}

/// A network that a container is in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name; none is that of the agent's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The container's addresses there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddress>,
}

/// An address of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IpAddress {
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

impl ContainerStatus {
    /// The container's address in a network that it was attached to by name.
    pub fn own_address(&self) -> Option<&str> {
        let mut named = self.network_infos.iter().filter(|network| network.name.is_some());
        named.find_map(|network| {
            network.ip_addresses.iter().find_map(|address| address.ip_address.as_deref())
        })
    }
}

/// How long an offer of the same resources is not made again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// In seconds.
    pub refuse_seconds: f64,
}

/// Something to be done with an accepted offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// Tasks are launched.
    Launch {
        /// The tasks.
        launch: Launch,
    },
}

/// Tasks to be launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The tasks.
    pub task_infos: Vec<TaskInfo>,
}

/// A task that is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// Which.
    pub task_id: Id,
    /// Its agent, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
}

/// What a scheduler says to the master, but for its subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Call {
    /// Offers of one agent are taken; what is not used of them is given back.
    Accept {
        /// What is done with them.
        accept: Accept,
    },
    /// Offers are not wanted.
    Decline {
        /// Which, and for how long.
        decline: Decline,
    },
    /// All filters are forgotten, and offers are wanted again.
    Revive,
    /// No offers are wanted, until they are revived.
    Suppress,
    /// A task is to end.
    Kill {
        /// Which.
        kill: Kill,
    },
    /// An update has arrived and need not be sent again.
    Acknowledge {
        /// Which.
        acknowledge: Acknowledge,
    },
    /// What has become of tasks? Of all of them, if none is named.
    Reconcile {
        /// Which.
        reconcile: Reconcile,
    },
    /// The framework is over: all of its tasks end.
    Teardown,
}

/// See [`Call::Accept`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accept {
    /// The offers.
    pub offer_ids: Vec<Id>,
    /// What is done with them, one after the other.
    pub operations: Vec<Operation>,
    /// For what is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
}

/// See [`Call::Decline`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decline {
    /// The offers.
    pub offer_ids: Vec<Id>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
}

/// See [`Call::Kill`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// The task.
    pub task_id: Id,
    /// Its agent, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// How; else as its description says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_policy: Option<KillPolicy>,
}

/// See [`Call::Acknowledge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// The agent of the update.
    pub agent_id: Id,
    /// Its task.
    pub task_id: Id,
    /// The update: base64.
    pub uuid: String,
}

/// See [`Call::Reconcile`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The tasks.
    pub tasks: Vec<TaskQuery>,
}

/// What the master says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Message {
    Subscribed {
        subscribed: Subscribed,
    },
    Offers {
        offers: Offers,
    },
    Rescind {
        rescind: Rescind,
    },
    Update {
        update: Update,
    },
    Failure {
        failure: Failure,
    },
    Error {
        error: Failed,
    },
    Heartbeat,
    /// Of no interest here.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Subscribed {
    pub(crate) framework_id: Id,
    #[serde(default)]
    pub(crate) heartbeat_interval_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Offers {
    #[serde(default)]
    pub(crate) offers: Vec<Offer>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Rescind {
    pub(crate) offer_id: Id,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Update {
    pub(crate) status: TaskStatus,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) agent_id: Option<Id>,
    #[serde(default)]
    pub(crate) executor_id: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Failed {
    pub(crate) message: String,
}
