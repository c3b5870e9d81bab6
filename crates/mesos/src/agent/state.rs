//! Tasks and agents as masters report them (`/master/tasks`, `/master/slaves`).

use std::sync::Arc;

use anymaster_core::{Error, HostPort, Result};
use serde::Deserialize;

use crate::model::{ContainerStatus, Id, Label, Range, TaskState};

/// A task in a master's state: one that has not ended, or that the master still remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterTask {
    /// Its id.
    pub id: Id,
    /// Its display name.
    pub name: String,
    /// The id of its agent.
    pub agent_id: Id,
    /// The agent, if it is registered with the master.
    pub agent: Option<Arc<Agent>>,
    /// Its state.
    pub state: TaskState,
    /// The resources that it uses.
    pub resources: UsedResources,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Its address, if it is in a container network.
    pub own_address: Option<String>,
}

/// The resources that a task uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsedResources {
    /// Cores.
    pub cpus: f64,
    /// Memory in MiB.
    pub mem: f64,
    /// GPUs.
    pub gpus: f64,
    /// Ports.
    pub ports: Vec<Range>,
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: Id,
    /// The host name that it reports.
    pub hostname: String,
    /// The address of its HTTP API.
    pub address: HostPort,
}

#[derive(Deserialize)]
struct TaskAnswer {
    id: String,
    #[serde(default)]
    name: String,
    slave_id: String,
    state: TaskState,
    #[serde(default)]
    resources: UsedAnswer,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    statuses: Vec<StatusAnswer>,
}

#[derive(Deserialize)]
struct StatusAnswer {
    container_status: Option<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UsedAnswer {
    cpus: f64,
    mem: f64,
    gpus: f64,
    ports: String,
}

#[derive(Deserialize)]
struct AgentAnswer {
    id: String,
    hostname: String,
    pid: String,
}

/// Parses a task in a response of `/master/tasks`.
pub(super) fn task(bytes: &[u8]) -> Result<MasterTask> {
    let answer: TaskAnswer = serde_json::from_slice(bytes).map_err(unknown)?;
    let UsedAnswer { cpus, mem, gpus, ports } = answer.resources;
    let ports = ranges(&ports).ok_or_else(|| {
        Error::protocol(format!("cannot parse the ports of a Mesos task: {ports:?}"))
    })?;
    Ok(MasterTask {
        id: Id::new(answer.id),
        name: answer.name,
        agent_id: Id::new(answer.slave_id),
        agent: None,
        state: answer.state,
        resources: UsedResources { cpus, mem, gpus, ports },
        labels: answer.labels,
        own_address: answer
            .statuses
            .iter()
            .rev()
            .find_map(|status| status.container_status.as_ref()?.own_address().map(str::to_owned)),
    })
}

/// Parses an agent in a response of `/master/slaves`.
pub(super) fn agent(bytes: &[u8]) -> Result<Agent> {
    let answer: AgentAnswer = serde_json::from_slice(bytes).map_err(unknown)?;
    let place = answer.pid.rsplit_once('@').and_then(|(_, place)| place.rsplit_once(':'));
    match place.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => Ok(Agent {
            id: Id::new(answer.id),
            hostname: answer.hostname,
            address: HostPort { host: host.to_owned(), port },
        }),
        None => Err(Error::protocol(format!(
            "cannot parse the address of a Mesos agent: {}",
            answer.pid
        ))),
    }
}

fn unknown(error: serde_json::Error) -> Error {
    Error::protocol("cannot parse the response of a Mesos master").with_source(error)
}

/// Parses `[31000-31001, 31005-31005]`.
fn ranges(text: &str) -> Option<Vec<Range>> {
    let inner = match text.trim() {
        "" => return Some(Vec::new()),
        text => text.strip_prefix('[')?.strip_suffix(']')?,
    };
    let one = |range: &str| {
        let (begin, end) = range.trim().split_once('-')?;
        Some(Range { begin: begin.parse().ok()?, end: end.parse().ok()? })
    };
    inner.split(',').filter(|range| !range.trim().is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_parsed() {
        let text = br#"{"id":"7","name":"n","framework_id":"F","executor_id":"","slave_id":"S0",
            "state":"TASK_RUNNING","resources":{"disk":0.0,"mem":32.5,"gpus":1.0,"cpus":0.1,
            "ports":"[31000-31001, 31005-31005]"},"role":"*","statuses":[],
            "labels":[{"key":"k","value":"v"},{"key":"alone"}]}"#;
        let known = task(text).unwrap();
        assert_eq!((known.id.value.as_str(), known.agent_id.value.as_str()), ("7", "S0"));
        let ports = vec![Range { begin: 31000, end: 31001 }, Range { begin: 31005, end: 31005 }];
        assert_eq!(known.resources, UsedResources { cpus: 0.1, mem: 32.5, gpus: 1.0, ports });
        assert_eq!(known.labels[1], Label { key: "alone".to_owned(), value: None });
        assert!(task(b"{}").is_err());
    }

    #[test]
    fn agent_addresses_are_parsed() {
        let of = |pid: &str| {
            agent(format!(r#"{{"id":"S0","hostname":"h","pid":"{pid}","port":1}}"#).as_bytes())
        };
        assert_eq!(of("slave(1)@10.0.0.7:5051").unwrap().address.to_string(), "10.0.0.7:5051");
        assert_eq!(of("slave(1)@[::1]:5051").unwrap().address.host, "[::1]");
        assert!(of("slave(1)").is_err());
    }
}
