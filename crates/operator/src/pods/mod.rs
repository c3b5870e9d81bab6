//! What an operator has to know of a pod: a few hundred bytes of the thousands that it has.

mod store;

use anymaster_core::text::clipped;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt as _;

pub(crate) use self::store::{AppPods, Pods};
use crate::translate::{APP_NAME_LABEL, DRIVER_CONTAINER, EXECUTOR_CONTAINERS, SUBMISSION_LABEL};
use crate::v1beta2::ExecutorState;

/// Spark's label of its pods: `driver` or `executor`.
const ROLE_LABEL: &str = "spark-role";
/// Spark's label with the id of the application.
const APP_ID_LABEL: &str = "spark-app-selector";
/// The longest reason that is kept of a pod, in bytes.
const MAX_REASON: usize = 1024;

/// A namespace, and the name of an application in it.
pub(crate) type Key = (String, String);

/// A pod of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppPod {
    Driver(DriverPod),
    Executor(ExecutorPod),
}

/// A driver's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriverPod {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The uid of its controller: the application.
    pub(crate) owner: String,
    pub(crate) submission_id: String,
    /// Spark's id of the application.
    pub(crate) app_id: String,
    pub(crate) is_being_deleted: bool,
    pub(crate) outcome: Outcome,
}

/// An executor's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecutorPod {
    pub(crate) name: String,
    pub(crate) submission_id: String,
    pub(crate) state: ExecutorState,
}

/// What becomes of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not started; with the reason if Kubernetes says one.
    Pending {
        why: Option<String>,
    },
    Running,
    /// It ended with exit code 0.
    Completed,
    Failed {
        why: String,
    },
    /// There is no such pod.
    Missing,
}

impl Outcome {
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed { .. })
    }
}

/// The application of a pod.
pub(crate) fn key(pod: &Pod) -> Option<Key> {
    Some((pod.namespace()?, pod.labels().get(APP_NAME_LABEL)?.clone()))
}

/// What counts of a pod of an application, unless its role is unknown.
pub(crate) fn read(pod: &Pod) -> Option<AppPod> {
    let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
    match label(ROLE_LABEL).as_str() {
        "driver" => {
            let references = pod.owner_references();
            let owner = references.iter().find(|reference| reference.controller == Some(true));
            Some(AppPod::Driver(DriverPod {
                name: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
                owner: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
                submission_id: label(SUBMISSION_LABEL),
                app_id: label(APP_ID_LABEL),
                is_being_deleted: pod.metadata.deletion_timestamp.is_some(),
                outcome: outcome(pod),
            }))
        }
        "executor" => Some(AppPod::Executor(ExecutorPod {
            name: pod.name_any(),
            submission_id: label(SUBMISSION_LABEL),
            state: executor_state(pod),
        })),
        _ => None,
    }
}

/// The main container of a driver says how it ended, whatever its sidecars do.
fn outcome(pod: &Pod) -> Outcome {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let main = container(status, &[DRIVER_CONTAINER]);
    if let Some(ended) = main.and_then(|main| main.state.as_ref()?.terminated.as_ref()) {
        if ended.exit_code == 0 {
            return Outcome::Completed;
        }
        let reason = ended.reason.as_deref().unwrap_or("Error");
        let mut why =
            format!("driver container failed with ExitCode: {}, Reason: {reason}", ended.exit_code);
        if let Some(said) = ended.message.as_deref().map(str::trim).filter(|said| !said.is_empty())
        {
            why = format!("{why}: {said}");
        }
        return Outcome::Failed { why: clipped(&why, MAX_REASON).into_owned() };
    }
    match status.phase.as_deref() {
        Some("Succeeded") => Outcome::Completed,
        Some("Failed") => {
            let reason = status.reason.as_deref().unwrap_or("its pod failed");
            let why = match status.message.as_deref() {
                Some(message) => format!("driver pod failed: {reason}: {message}"),
                None => format!("driver pod failed: {reason}"),
            };
            Outcome::Failed { why: clipped(&why, MAX_REASON).into_owned() }
        }
        Some("Running") => Outcome::Running,
        _ => Outcome::Pending { why: waiting(status) },
    }
}

/// Why a pod does not start: no node, or a container that cannot be made. That it is being made is no reason.
fn waiting(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let mut unscheduled = conditions.filter(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled.next() {
        let message = condition.message.as_deref().unwrap_or("no node");
        return Some(clipped(&format!("Unschedulable: {message}"), MAX_REASON).into_owned());
    }
    let containers = [&status.init_container_statuses, &status.container_statuses];
    let waiting = containers.into_iter().flatten().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let is_usual = matches!(reason, "ContainerCreating" | "PodInitializing");
        (!is_usual).then(|| match waiting.message.as_deref() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
    });
    waiting.map(|why| clipped(&why, MAX_REASON).into_owned())
}

fn executor_state(pod: &Pod) -> ExecutorState {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let state = container(status, EXECUTOR_CONTAINERS).and_then(|main| main.state.as_ref());
    if let Some(ContainerState { terminated: Some(ended), .. }) = state {
        return match ended.exit_code {
            0 => ExecutorState::Completed,
            137 | 143 if is_ended_on_request(pod, status) => ExecutorState::Completed,
            _ => ExecutorState::Failed,
        };
    }
    match status.phase.as_deref() {
        Some("Running") => ExecutorState::Running,
        Some("Succeeded") => ExecutorState::Completed,
        Some("Failed") => ExecutorState::Failed,
        Some("Unknown") => ExecutorState::Unknown,
        _ => ExecutorState::Pending,
    }
}

/// Whether a pod was deleted by whoever has it: Spark's driver deletes executors that it does not need any more, and the
/// signal that ends them is no failure. One that the cluster takes away says so in a condition.
fn is_ended_on_request(pod: &Pod, status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    let is_disrupted = conditions
        .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    pod.metadata.deletion_timestamp.is_some() && !is_disrupted
}

/// The status of the main container: by its name, else of the only one.
fn container<'a>(status: &'a PodStatus, names: &[&str]) -> Option<&'a ContainerStatus> {
    let all = status.container_statuses.as_deref().unwrap_or_default();
    let named = all.iter().find(|container| names.contains(&container.name.as_str()));
    named.or_else(|| all.first().filter(|_| all.len() == 1))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(role: &str, status: Value) -> AppPod {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}, "status": status,
            "metadata": {"name": "p", "namespace": "ns", "uid": "u-pod",
                "labels": {"spark-role": role, "sparkoperator.k8s.io/app-name": "app",
                    "sparkoperator.k8s.io/submission-id": "s-1", "spark-app-selector": "spark-1"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "A", "name": "other", "uid": "u-0"},
                    {"apiVersion": "v1", "kind": "B", "name": "app", "uid": "u-1", "controller": true}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(key(&pod), Some(("ns".to_owned(), "app".to_owned())));
        read(&pod).unwrap()
    }

    fn driver(status: Value) -> DriverPod {
        match pod("driver", status) {
            AppPod::Driver(driver) => driver,
            AppPod::Executor(_) => unreachable!("a driver"),
        }
    }

    #[test]
    fn a_driver_ends_as_its_main_container_does() {
        let ended = |code: i32| {
            json!({"phase": "Failed", "containerStatuses": [
                {"name": "side", "state": {"running": {}}, "image": "", "imageID": "", "ready": true, "restartCount": 0},
                {"name": "spark-kubernetes-driver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": code, "reason": "Error"}}}]})
        };
        assert_eq!(driver(ended(0)).outcome, Outcome::Completed);
        let why = "driver container failed with ExitCode: 3, Reason: Error".to_owned();
        assert_eq!(driver(ended(3)).outcome, Outcome::Failed { why });
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"});
        let why = "driver pod failed: Evicted: the node was low on memory".to_owned();
        assert_eq!(driver(evicted).outcome, Outcome::Failed { why });
        assert_eq!(driver(json!({"phase": "Running"})).outcome, Outcome::Running);
        assert_eq!(driver(json!({"phase": "Succeeded"})).outcome, Outcome::Completed);
    }

    #[test]
    fn a_driver_that_waits_says_why() {
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [
                {"name": "spark-kubernetes-driver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"waiting": {"reason": reason, "message": "no such image"}}}]})
        };
        let why = |status| match driver(status).outcome {
            Outcome::Pending { why } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(waiting("ErrImagePull")).as_deref(), Some("ErrImagePull: no such image"));
        assert_eq!(why(waiting("ContainerCreating")), None);
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
        assert_eq!(why(unscheduled).as_deref(), Some("Unschedulable: 0/3 nodes are available"));
        assert_eq!(why(json!({})), None);
    }

    #[test]
    fn the_controller_of_a_driver_is_its_owner() {
        let driver = driver(json!({}));
        assert_eq!((driver.owner.as_str(), driver.uid.as_str()), ("u-1", "u-pod"));
        assert_eq!((driver.submission_id.as_str(), driver.app_id.as_str()), ("s-1", "spark-1"));
    }

    #[test]
    fn executors_have_the_states_of_their_pods() {
        for (phase, want) in [
            ("Pending", ExecutorState::Pending),
            ("Running", ExecutorState::Running),
            ("Succeeded", ExecutorState::Completed),
            ("Failed", ExecutorState::Failed),
            ("Unknown", ExecutorState::Unknown),
        ] {
            let AppPod::Executor(executor) = pod("executor", json!({"phase": phase})) else {
                panic!("an executor")
            };
            assert_eq!(executor.state, want, "{phase}");
        }
    }

    #[test]
    fn an_executor_that_its_driver_has_deleted_is_no_failure() {
        let state = |code: i32, deleted: Option<&str>, conditions: Value| {
            let status = json!({"phase": "Failed", "conditions": conditions, "containerStatuses": [
                {"name": "spark-kubernetes-executor", "image": "", "imageID": "", "ready": false,
                 "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]});
            let mut pod: Pod =
                serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            let at = deleted.map(|at| at.parse().unwrap());
            pod.metadata.deletion_timestamp =
                at.map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
            executor_state(&pod)
        };
        let (at, none) = (Some("2026-01-01T00:00:00Z"), json!([]));
        let evicted = json!([{"type": "DisruptionTarget", "status": "True"}]);
        assert_eq!(state(143, at, none.clone()), ExecutorState::Completed);
        assert_eq!(state(137, None, none.clone()), ExecutorState::Failed);
        assert_eq!(state(1, at, none), ExecutorState::Failed);
        assert_eq!(state(143, at, evicted), ExecutorState::Failed);
    }
}
