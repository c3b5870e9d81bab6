//! What masters know of tasks and agents.

use std::sync::Arc;

use anymaster_core::{Error, HostPort, Result};
use serde::Deserialize;

use crate::model::{ContainerStatus, Id, Label, Range, TaskState};

/// A task: one that has not ended, or that the master remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its id.
    pub id: Id,
    /// For people.
    pub name: String,
    /// Where it runs.
    pub agent_id: Id,
    /// That agent, while the master knows it: one that is away it may not.
    pub agent: Option<Arc<Agent>>,
    /// Where it is in its life.
    pub state: TaskState,
    /// What it takes.
    pub resources: Used,
    /// What others may know it by.
    pub labels: Vec<Label>,
    /// Where it is reached, if it has a network of its own.
    pub own_address: Option<String>,
}

/// What a task takes of its agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Used {
    /// Cores.
    pub cpus: f64,
    /// Memory in MiB.
    pub mem: f64,
    /// GPUs.
    pub gpus: f64,
    /// Ports.
    pub ports: Vec<Range>,
}

/// An agent that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: Id,
    /// Its machine, as it calls it.
    pub hostname: String,
    /// Where the master reaches it, and so do we.
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

/// A task out of an answer of `/master/tasks`.
pub(super) fn task(bytes: &[u8]) -> Result<Known> {
    let answer: TaskAnswer = serde_json::from_slice(bytes).map_err(unknown)?;
    let UsedAnswer { cpus, mem, gpus, ports } = answer.resources;
    let ports = ranges(&ports).ok_or_else(|| {
        Error::protocol(format!("what Mesos says of ports is not understood: {ports:?}"))
    })?;
    Ok(Known {
        id: Id::new(answer.id),
        name: answer.name,
        agent_id: Id::new(answer.slave_id),
        agent: None,
        state: answer.state,
        resources: Used { cpus, mem, gpus, ports },
        labels: answer.labels,
        own_address: answer
            .statuses
            .iter()
            .rev()
            .find_map(|status| status.container_status.as_ref()?.own_address().map(str::to_owned)),
    })
}

/// An agent out of an answer of `/master/slaves`.
pub(super) fn agent(bytes: &[u8]) -> Result<Agent> {
    let answer: AgentAnswer = serde_json::from_slice(bytes).map_err(unknown)?;
    let place = answer.pid.rsplit_once('@').and_then(|(_, place)| place.rsplit_once(':'));
    match place.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => Ok(Agent {
            id: Id::new(answer.id),
            hostname: answer.hostname,
            address: HostPort { host: host.to_owned(), port },
        }),
        None => {
            Err(Error::protocol(format!("Mesos does not say where an agent is: {}", answer.pid)))
        }
    }
}

fn unknown(error: serde_json::Error) -> Error {
    Error::protocol("what a Mesos master answers is not understood").with_source(error)
}

/// `[31000-31001, 31005-31005]`.
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
    fn tasks_are_read() {
        let text = br#"{"id":"7","name":"n","framework_id":"F","executor_id":"","slave_id":"S0",
            "state":"TASK_RUNNING","resources":{"disk":0.0,"mem":32.5,"gpus":1.0,"cpus":0.1,
            "ports":"[31000-31001, 31005-31005]"},"role":"*","statuses":[],
            "labels":[{"key":"k","value":"v"},{"key":"alone"}]}"#;
        let known = task(text).unwrap();
        assert_eq!((known.id.value.as_str(), known.agent_id.value.as_str()), ("7", "S0"));
        let ports = vec![Range { begin: 31000, end: 31001 }, Range { begin: 31005, end: 31005 }];
        assert_eq!(known.resources, Used { cpus: 0.1, mem: 32.5, gpus: 1.0, ports });
        assert_eq!(known.labels[1], Label { key: "alone".to_owned(), value: None });
        assert!(task(b"{}").is_err());
    }

    #[test]
    fn agents_say_where_they_are() {
        let of = |pid: &str| {
            agent(format!(r#"{{"id":"S0","hostname":"h","pid":"{pid}","port":1}}"#).as_bytes())
        };
        assert_eq!(of("slave(1)@10.0.0.7:5051").unwrap().address.to_string(), "10.0.0.7:5051");
        assert_eq!(of("slave(1)@[::1]:5051").unwrap().address.host, "[::1]");
        assert!(of("slave(1)").is_err());
    }
}
