//! Derives the status of a driver or an executor from its pod.

use std::sync::Arc;

use anymaster_core::model::{
    AppId, Cause, DriverStatus, End, ExecutorId, ExecutorStatus, KilledBy, ProfileId, StartFailure,
    State, Status, SubmissionId,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use crate::driver::SUBMISSION_LABEL;
use crate::pods::{APP_LABEL, APP_NAME_LABEL, EXECUTOR_LABEL, PROFILE_LABEL, ROLE_LABEL};
use crate::report;

/// The annotation of executors that fail if any of their containers fails.
pub(crate) const CHECK_ALL_ANNOTATION: &str = "anymaster.dev/check-all-containers";

/// The status of the driver or executor that a pod is; `None` for other pods.
pub(crate) fn status(pod: &Pod) -> Option<Status> {
    let app = AppId::new(label(pod, APP_LABEL)?).ok()?;
    match label(pod, ROLE_LABEL)? {
        "driver" => driver(pod, app).map(Status::Driver),
        "executor" => executor(pod, app).map(Status::Executor),
        _ => None,
    }
}

/// The status of a driver or executor whose pod was deleted, from the pod's last known state.
pub(crate) fn status_after_deletion(pod: &Pod, now: Timestamp) -> Option<Status> {
    let mut status = status(pod)?;
    let state = match state(pod) {
        ended @ State::Ended(_) => ended,
        _ => {
            // A pod that was deleted while its image could not be pulled has failed for that
            // reason.
            let image = pending_reason(pod).filter(|why| is_image_problem(why));
            let cause = disruption(pod)
                .or_else(|| Some(image_failure(&image?)))
                .unwrap_or(Cause::Killed { by: KilledBy::Request });
            State::ended(cause, now)
        }
    };
    set_state(&mut status, state);
    Some(status)
}

/// The reason of an end that happened while the watch was interrupted.
pub(crate) const DELETED_UNSEEN: &str =
    "its pod was deleted while the API server could not be reached";

/// The status of a driver or executor whose pod was deleted while the watch was interrupted.
pub(crate) fn lost(mut status: Status, now: Timestamp) -> Status {
    let why = DELETED_UNSEEN.into();
    set_state(&mut status, State::ended(Cause::Lost { why }, now));
    status
}

fn set_state(status: &mut Status, state: State) {
    let state = state.bounded();
    match status {
        Status::Driver(driver) => driver.state = state,
        Status::Executor(executor) => executor.state = state,
        _ => {}
    }
}

/// The status of a driver; `None` for other pods.
pub(crate) fn driver_status(pod: &Pod) -> Option<DriverStatus> {
    match status(pod)? {
        Status::Driver(driver) => Some(driver),
        _ => None,
    }
}

fn driver(pod: &Pod, app: AppId) -> Option<DriverStatus> {
    let name = label(pod, APP_NAME_LABEL).unwrap_or_default();
    let mut driver = DriverStatus::new(submission_id(pod)?, app, name)
        .with_state(state(pod).bounded())
        .with_submitted(created(pod));
    driver.host = host(pod);
    driver.chosen = chosen(pod);
    driver.uid = pod.metadata.uid.as_deref().map(Into::into);
    driver.report = Some(Arc::new(report::of(pod)));
    Some(driver)
}

fn executor(pod: &Pod, app: AppId) -> Option<ExecutorStatus> {
    let state = state(pod);
    let since = match &state {
        State::Ended(end) => end.at,
        State::Running => pod
            .status
            .as_ref()
            .and_then(|status| time(status.start_time.as_ref()))
            .unwrap_or_else(|| created(pod)),
        _ => created(pod),
    };
    let profile = label(pod, PROFILE_LABEL).and_then(|id| id.parse().ok()).unwrap_or(0);
    let mut status =
        ExecutorStatus::new(app, executor_id(pod)?, ProfileId(profile), state.bounded())
            .with_since(since);
    status.host = host(pod);
    Some(status)
}

/// The id of an executor: its label, or the number at the end of the name of a pod that an engine
/// created itself.
pub(crate) fn executor_id(pod: &Pod) -> Option<ExecutorId> {
    let text = match label(pod, EXECUTOR_LABEL) {
        Some(text) => text,
        None => {
            let name = pod.metadata.name.as_deref()?;
            &name[name.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1)..]
        }
    };
    text.parse().ok().map(ExecutorId)
}

/// The submission id `namespace:name`, as for Spark's `--status` and `--kill`.
pub(crate) fn submission_id(pod: &Pod) -> Option<SubmissionId> {
    let metadata = &pod.metadata;
    SubmissionId::new(&format!("{}:{}", metadata.namespace.as_deref()?, metadata.name.as_deref()?))
        .ok()
}

/// The id that the submitter chose, if `anymaster` submitted it.
fn chosen(pod: &Pod) -> Option<SubmissionId> {
    SubmissionId::new(pod.metadata.annotations.as_ref()?.get(SUBMISSION_LABEL)?).ok()
}

/// The reference to a pod as the owner of other objects.
pub(crate) fn owner(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

pub(crate) fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn host(pod: &Pod) -> Option<Arc<str>> {
    pod.spec.as_ref()?.node_name.as_deref().map(Into::into)
}

pub(crate) fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

pub(crate) fn created(pod: &Pod) -> Timestamp {
    time(pod.metadata.creation_timestamp.as_ref()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The container of the driver or executor; others are sidecars.
pub(crate) fn main_container(pod: &Pod) -> Option<&Container> {
    let containers = pod.spec.as_ref()?.containers.as_slice();
    let is_spark = |container: &&Container| {
        let role = container.args.as_ref().and_then(|args| args.first());
        role.is_some_and(|role| role == "driver" || role == "executor")
            || matches!(
                container.name.as_str(),
                "spark-kubernetes-driver" | "spark-kubernetes-executor"
            )
    };
    containers.iter().find(is_spark).or(containers.first())
}

fn main_status(pod: &Pod) -> Option<&ContainerStatus> {
    let name = &main_container(pod)?.name;
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == *name)
}

/// The state of the main container. Sidecars do not count.
pub(crate) fn state(pod: &Pod) -> State {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let phase = status.phase.as_deref().unwrap_or("Pending");
    let being_deleted = pod.metadata.deletion_timestamp.is_some();
    let terminated = main_status(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    let failed = terminated.is_none().then(|| failed_sidecar(pod)).flatten();
    if phase == "Failed" || phase == "Succeeded" || terminated.is_some() || failed.is_some() {
        let found =
            failed.map_or_else(|| cause(pod, status, phase), |sidecar| exit_cause(pod, sidecar));
        let last_lines = terminated.and_then(|terminated| last_lines(terminated, &found));
        let cause = match found {
            // It was deleted: an exit code of 143 or 137 is then no failure.
            Cause::Exited { .. }
            | Cause::Signaled { .. }
            | Cause::CouldNotStart { .. }
            | Cause::Lost { .. }
                if being_deleted =>
            {
                disruption(pod).unwrap_or(Cause::Killed { by: KilledBy::Request })
            }
            cause => cause,
        };
        let mut end = End::new(cause, ended_at(pod));
        end.last_lines = last_lines;
        return end.into();
    }
    if let Some(cause) = permanent_failure(pod) {
        return State::ended(cause, ended_at(pod));
    }
    if being_deleted {
        return State::Ending;
    }
    match phase {
        "Running" => State::Running,
        "Unknown" => {
            State::ended(Cause::Lost { why: "its node does not answer".into() }, ended_at(pod))
        }
        _ => State::Pending { why: pending_reason(pod).map(Into::into) },
    }
}

fn ended_at(pod: &Pod) -> Timestamp {
    let terminated = main_status(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    let finished = terminated.and_then(|terminated| time(terminated.finished_at.as_ref()));
    let changed = || {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .filter_map(|condition| time(condition.last_transition_time.as_ref()))
            .max()
    };
    finished
        .filter(|at| *at > Timestamp::UNIX_EPOCH)
        .or_else(changed)
        .unwrap_or_else(|| created(pod))
}

/// A sidecar that has failed, where that counts (`spark.kubernetes.executor.checkAllContainers`).
fn failed_sidecar(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(CHECK_ALL_ANNOTATION).filter(|value| *value == "true")?;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?.iter();
    statuses
        .filter_map(|status| status.state.as_ref()?.terminated.as_ref())
        .find(|terminated| terminated.exit_code != 0)
}

/// A reason for which a pending pod can never start.
fn permanent_failure(pod: &Pod) -> Option<Cause> {
    let why = pending_reason(pod)?;
    let reason = why.split(':').next().unwrap_or_default();
    matches!(reason, "InvalidImageName" | "ErrImageNeverPull").then(|| image_failure(&why))
}

fn image_failure(why: &str) -> Cause {
    Cause::CouldNotStart { failure: StartFailure::Image, why: why.into() }
}

/// The last lines of a failed container's log, which Kubernetes keeps in its status
/// (`terminationMessagePolicy: FallbackToLogsOnError`).
fn last_lines(terminated: &ContainerStateTerminated, cause: &Cause) -> Option<Box<str>> {
    let is_own =
        matches!(cause, Cause::Exited { .. } | Cause::Signaled { .. } | Cause::OutOfMemory { .. });
    let text = terminated.message.as_deref().filter(|_| is_own)?.trim_end();
    (!text.is_empty()).then(|| text.into())
}

/// The cause of a container's end.
fn exit_cause(pod: &Pod, terminated: &ContainerStateTerminated) -> Cause {
    let reason = terminated.reason.as_deref().unwrap_or_default();
    let why = || terminated.message.as_deref().unwrap_or(reason).trim().into();
    match (reason, terminated.exit_code, terminated.signal) {
        ("OOMKilled", ..) => Cause::OutOfMemory { limit_mib: memory_limit_mib(pod) },
        ("ContainerCannotRun" | "StartError" | "CreateContainerError", ..) => {
            Cause::CouldNotStart { failure: StartFailure::BadCommand, why: why() }
        }
        ("ContainerStatusUnknown", ..) => {
            disruption(pod).unwrap_or_else(|| Cause::Lost { why: why() })
        }
        (_, 0, _) => Cause::Finished,
        (_, _, Some(signal)) if signal > 0 => Cause::Signaled { signal },
        // The shutdown of a node shows in the pod's reason. Container runtimes report signals as
        // 128 + signal, as shells do.
        (_, code, _) => disruption(pod).unwrap_or(match code {
            129..=159 => Cause::Signaled { signal: code - 128 },
            code => Cause::Exited { code },
        }),
    }
}

fn cause(pod: &Pod, status: &PodStatus, phase: &str) -> Cause {
    let terminated = main_status(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    if let Some(terminated) = terminated {
        return exit_cause(pod, terminated);
    }
    if let Some(cause) = disruption(pod) {
        return cause;
    }
    if phase == "Succeeded" {
        return Cause::Finished;
    }
    let reason = status.reason.as_deref().unwrap_or_default();
    let why = status.message.as_deref().unwrap_or(if reason.is_empty() {
        "the pod failed"
    } else {
        reason
    });
    match reason {
        "UnexpectedAdmissionError" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" | "NodeAffinity" => {
            Cause::CouldNotStart { failure: StartFailure::Unschedulable, why: why.into() }
        }
        _ => Cause::CouldNotStart { failure: StartFailure::Other, why: why.into() },
    }
}

/// The cause, if the cluster ended the pod: eviction, preemption, loss of the node.
fn disruption(pod: &Pod) -> Option<Cause> {
    let status = pod.status.as_ref()?;
    let message = status.message.as_deref();
    match status.reason.as_deref() {
        Some("Evicted") => {
            return Some(Cause::Evicted { why: message.unwrap_or("by its node").into() });
        }
        Some("Preempting" | "Preempted") => {
            return Some(Cause::Preempted {
                why: message.unwrap_or("by a pod of higher priority").into(),
            });
        }
        Some("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated") => {
            return Some(Cause::Lost { why: message.unwrap_or("its node went away").into() });
        }
        _ => {}
    }
    let target =
        condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let why = target.message.as_deref().unwrap_or_default().trim_end_matches('.').into();
    match target.reason.as_deref().unwrap_or_default() {
        "PreemptionByScheduler" => Some(Cause::Preempted { why }),
        "EvictionByEvictionAPI" | "TerminationByKubelet" => Some(Cause::Evicted { why }),
        "DeletionByTaintManager" | "DeletionByPodGC" => Some(Cause::Lost { why }),
        _ => None,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The memory limit of the main container, in MiB.
pub(crate) fn memory_limit_mib(pod: &Pod) -> Option<u64> {
    let limit = main_container(pod)?.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    let number = |suffix: &str, mib: u64| {
        limit.0.strip_suffix(suffix)?.parse::<u64>().ok()?.checked_mul(mib)
    };
    number("Mi", 1).or_else(|| number("Gi", 1024)).or_else(|| number("Ki", 1).map(|kib| kib / 1024))
}

/// Whether a pending reason is about the image.
pub(crate) fn is_image_problem(why: &str) -> bool {
    let reason = why.split(':').next().unwrap_or_default();
    matches!(reason, "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull")
        || why.starts_with("Back-off pulling image")
        || why.contains("pull image")
}

/// Why a pod is pending, from its status.
pub(crate) fn pending_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers =
        status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    for waiting in waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if !matches!(reason, "" | "PodInitializing" | "ContainerCreating") {
            return Some(match waiting.message.as_deref() {
                Some(message) if message.starts_with(reason) => message.to_owned(),
                Some(message) => format!("{reason}: {message}"),
                None => reason.to_owned(),
            });
        }
    }
    let scheduled =
        condition(status, "PodScheduled").filter(|condition| condition.status == "False")?;
    let message = scheduled.message.as_deref().unwrap_or_default().trim_end_matches('.');
    Some(format!("{}: {message}", scheduled.reason.as_deref().unwrap_or("not scheduled")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value, deleted: bool) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "pi-driver", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"spark-role": "driver", "spark-app-selector": "spark-1", "spark-app-name": "pi"},
            },
            "spec": {"containers": [
                {"name": "side", "image": "s"},
                {"name": "c1", "args": ["driver"], "resources": {"limits": {"memory": "1408Mi"}}},
            ]},
            "status": status,
        });
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    fn terminated(phase: &str, state: Value) -> Value {
        json!({"phase": phase, "containerStatuses": [
            {"name": "side", "image": "s", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "c1", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": state}},
        ]})
    }

    fn ended(status: Value, deleted: bool) -> String {
        match state(&pod(status, deleted)) {
            State::Ended(end) => end.cause.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn pods_with_invalid_labels_are_skipped() {
        let good = pod(json!({"phase": "Running"}), false);
        let with = |change: fn(&mut Value)| {
            let mut value = serde_json::to_value(&good).unwrap();
            value["metadata"]["name"] = json!("other");
            change(&mut value["metadata"]);
            serde_json::from_value::<Pod>(value).unwrap()
        };
        let pods = [
            with(|metadata| metadata["labels"]["spark-app-selector"] = json!("")),
            with(|metadata| metadata["labels"]["spark-role"] = json!("cook")),
            with(|metadata| {
                metadata["labels"]["spark-role"] = json!("executor");
                metadata["labels"]["spark-exec-id"] = json!("many");
            }),
            with(|metadata| drop(metadata.as_object_mut().unwrap().remove("labels"))),
            good,
        ];
        let statuses: Vec<_> = pods.iter().filter_map(status).collect();
        assert_eq!(statuses.len(), 1, "{statuses:?}");
    }

    #[test]
    fn the_cause_of_an_end_is_determined() {
        let exit = |code: i32, reason: &str| json!({"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:00:30Z"});
        let target = |reason: &str| {
            json!({"phase": "Failed", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "by it."}]})
        };
        for (status, deleted, want) in [
            (terminated("Succeeded", exit(0, "Completed")), false, "finished"),
            (terminated("Failed", exit(7, "Error")), false, "exited with code 7"),
            // Whether a sidecar runs or fails does not matter.
            (terminated("Running", exit(0, "Completed")), false, "finished"),
            (terminated("Failed", exit(0, "Completed")), false, "finished"),
            (
                terminated("Failed", exit(137, "OOMKilled")),
                false,
                "out of memory: used more than its 1408 MiB",
            ),
            (terminated("Failed", exit(143, "Error")), true, "killed on request"),
            (terminated("Failed", exit(143, "Error")), false, "ended by SIGTERM"),
            (terminated("Failed", exit(128, "StartError")), false, "could not start: StartError"),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}),
                false,
                "evicted: low on disk",
            ),
            (
                json!({"phase": "Failed", "reason": "OutOfcpu", "message": "full"}),
                false,
                "could not start: full",
            ),
            (target("PreemptionByScheduler"), false, "preempted: by it"),
            (target("DeletionByTaintManager"), true, "lost: by it"),
            (json!({"phase": "Unknown"}), false, "lost: its node does not answer"),
        ] {
            assert_eq!(ended(status.clone(), deleted), want, "{status}");
        }
    }

    #[test]
    fn executors_are_numbered_by_label_or_by_name() {
        let id = |value: Value| executor_id(&serde_json::from_value(value).unwrap()).map(|id| id.0);
        let labels = json!({"spark-exec-id": "7"});
        assert_eq!(id(json!({"metadata": {"name": "a-exec-8", "labels": labels}})), Some(7));
        assert_eq!(id(json!({"metadata": {"name": "sail-worker-x1-12"}})), Some(12));
        assert_eq!(id(json!({"metadata": {"name": "worker-a"}})), None);
    }

    #[test]
    fn a_pending_pod_says_why() {
        let unschedulable = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."}]});
        let image = json!({"phase": "Pending", "containerStatuses": [{"name": "c1", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "not there"}}}]});
        for (status, why) in [
            (unschedulable, Some("Unschedulable: 0/3 nodes are available")),
            (image, Some("ErrImagePull: not there")),
            (json!({"phase": "Pending"}), None),
        ] {
            assert_eq!(state(&pod(status, false)), State::Pending { why: why.map(Into::into) });
        }
        assert_eq!(state(&pod(json!({"phase": "Running"}), true)), State::Ending);
        assert_eq!(state(&pod(json!({"phase": "Running"}), false)), State::Running);
    }

    #[test]
    fn a_pod_that_is_gone_was_killed_unless_it_had_ended() {
        let lost = |value: Value| {
            let status = status_after_deletion(&pod(value, true), Timestamp::now()).unwrap();
            status.state().unwrap().end().unwrap().cause.to_string()
        };
        assert_eq!(lost(json!({"phase": "Running"})), "killed on request");
        assert_eq!(lost(json!({"phase": "Failed", "reason": "Evicted"})), "evicted: by its node");
    }
}
