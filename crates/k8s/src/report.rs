//! The report of a driver's pod, with the names and the order of Spark's submission
//! (`LoggingPodStatusWatcher`, `KubernetesUtils.formatPodState`), which other tools parse.

use anymaster_core::model::Report;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The report of a pod.
pub(crate) fn of(pod: &Pod) -> Report {
    let metadata = &pod.metadata;
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let labels = metadata.labels.iter().flatten().map(|(name, value)| format!("{name} -> {value}"));
    let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let facts = vec![
        ("pod name", text(metadata.name.as_ref())),
        ("namespace", text(metadata.namespace.as_ref())),
        ("labels", labels.collect::<Vec<_>>().join(", ")),
        ("pod uid", text(metadata.uid.as_ref())),
        ("creation time", instant(metadata.creation_timestamp.as_ref())),
        ("service account name", text(spec.and_then(|spec| spec.service_account_name.as_ref()))),
        (
            "volumes",
            volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(", "),
        ),
        ("node name", text(spec.and_then(|spec| spec.node_name.as_ref()))),
        ("start time", instant(status.and_then(|status| status.start_time.as_ref()))),
        ("phase", text(status.and_then(|status| status.phase.as_ref()))),
    ];
    let containers =
        status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    Report { facts, processes: containers.iter().map(container).collect() }
}

fn instant(time: Option<&Time>) -> String {
    time.map(|time| time.0.to_string()).unwrap_or_default()
}

fn container(status: &ContainerStatus) -> Vec<(&'static str, String)> {
    let mut facts =
        vec![("container name", status.name.clone()), ("container image", status.image.clone())];
    let mut fact = |name, value: String| facts.push((name, value));
    let state = status.state.as_ref();
    if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        fact("container state", "running".to_owned());
        fact("container started at", instant(running.started_at.as_ref()));
    } else if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        fact("container state", "waiting".to_owned());
        fact("pending reason", waiting.reason.clone().unwrap_or_default());
    } else if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        fact("container state", "terminated".to_owned());
        fact("container started at", instant(terminated.started_at.as_ref()));
        fact("container finished at", instant(terminated.finished_at.as_ref()));
        fact("exit code", terminated.exit_code.to_string());
        fact("termination reason", terminated.reason.clone().unwrap_or_default());
    } else {
        fact("container state", String::new());
    }
    facts
}
