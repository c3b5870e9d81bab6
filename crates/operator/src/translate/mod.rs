//! Translates a SparkApplication into a submission: a command line of spark-submit, templates of the pods, and what
//! goes on top of the driver's pod. There is no I/O here.
//!
//! Spark builds the driver's pod from a template and properties, and executors from a template that the driver reads.
//! So a driver is complete when it is created, and no admission webhook has to change pods. What cannot reach executors
//! in this way, and what is not honoured here, is [named](Translation::ignored).

mod checks;
mod line;
mod pod;
#[cfg(test)]
mod tests;
mod volumes;

use anymaster_core::Result;
use anymaster_core::model::Templates;
use serde_json::{Value, json};

pub(crate) use self::pod::{DRIVER_CONTAINER, EXECUTOR_CONTAINERS};
use crate::v1beta2::{self, Map, Read, Spec};

/// The label with the name of the application.
pub(crate) const APP_NAME_LABEL: &str = "sparkoperator.k8s.io/app-name";
/// The label of all pods that an operator has launched.
pub(crate) const LAUNCHED_LABEL: &str = "sparkoperator.k8s.io/launched-by-spark-operator";
/// The label with the id of the submission.
pub(crate) const SUBMISSION_LABEL: &str = "sparkoperator.k8s.io/submission-id";

/// Who an application is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) labels: Map,
}

/// A submission of an application.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Translation {
    /// The arguments of spark-submit.
    pub(crate) line: Vec<String>,
    pub(crate) templates: Templates,
    /// The paths of fields that have no effect, and why.
    pub(crate) ignored: Vec<Ignored>,
}

/// A field without effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// `spec.executor.memoryLimit`
    pub(crate) field: String,
    pub(crate) why: &'static str,
}

impl Ignored {
    fn new(field: impl Into<String>, why: &'static str) -> Self {
        Self { field: field.into(), why }
    }
}

/// Translates an application, to be submitted to `master` with this submission id.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) or
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported), with the path of the field at fault.
pub(crate) fn translate(
    identity: &Identity,
    read: &Read,
    master: &str,
    submission_id: &str,
) -> Result<Translation> {
    let spec = &read.spec;
    checks::check(identity, spec)?;
    let unknown = |field: &String| Ignored::new(field.as_str(), "it is not a known field");
    let mut ignored: Vec<Ignored> = read.unknown.iter().map(unknown).collect();
    let line = line::line(identity, spec, master, submission_id, &mut ignored)?;
    let owner = owner(identity);
    let driver = pod::template(spec, pod::Kind::Driver, &mut ignored)?;
    let executor = pod::template(spec, pod::Kind::Executor, &mut ignored)?;
    let mut templates = Templates::default();
    templates.driver_overlay = pod::driver_overlay(spec)?;
    templates.driver = Some(owned(driver, &owner));
    // The driver is the controller of its executors: Spark adds it.
    let mut of_executor = owner;
    if let Some(owner) = of_executor.as_object_mut() {
        owner.remove("controller");
        owner.remove("blockOwnerDeletion");
    }
    templates.executor = Some(owned(executor, &of_executor));
    not_honoured(spec, &mut ignored);
    ignored.sort_by(|a, b| a.field.cmp(&b.field));
    ignored.dedup();
    Ok(Translation { line, templates, ignored })
}

/// The name of the driver's pod.
pub(crate) fn driver_pod_name(name: &str, spec: &Spec) -> String {
    let of_conf =
        || spec.spark_conf.as_ref().and_then(|conf| conf.get("spark.kubernetes.driver.pod.name"));
    let given = spec.driver.pod_name.as_ref().or_else(of_conf);
    given.cloned().unwrap_or_else(|| format!("{name}-driver"))
}

/// The reference to an application as the owner and controller of its objects.
pub(crate) fn owner(identity: &Identity) -> Value {
    json!({
        "apiVersion": v1beta2::api_version(), "kind": v1beta2::KIND, "name": identity.name, "uid": identity.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn owned(mut template: Value, owner: &Value) -> Value {
    let references = &mut template["metadata"]["ownerReferences"];
    match references.as_array_mut() {
        Some(references) => references.push(owner.clone()),
        None => *references = json!([owner]),
    }
    template
}

/// Fields of the application that this operator does not honour yet.
fn not_honoured(spec: &Spec, ignored: &mut Vec<Ignored>) {
    const YET: &str = "it is not honoured yet";
    let ui = spec.spark_ui_options.as_ref();
    for (field, is_set) in [
        ("spec.monitoring", spec.monitoring.is_some()),
        ("spec.driverIngressOptions", spec.driver_ingress_options.is_some()),
        ("spec.driverPodDisruptionBudget", spec.driver_pod_disruption_budget.is_some()),
        (
            "spec.sparkUIOptions.ingressAnnotations",
            ui.is_some_and(|ui| ui.ingress_annotations.is_some()),
        ),
        ("spec.sparkUIOptions.ingressTLS", ui.is_some_and(|ui| ui.ingress_tls.is_some())),
    ] {
        if is_set {
            ignored.push(Ignored::new(field, YET));
        }
    }
    if spec.batch_scheduler.is_some() {
        ignored.push(Ignored::new(
            "spec.batchScheduler",
            "it is the scheduler of the pods, and no group of pods is made for it",
        ));
    }
    if let Some(options) = &spec.batch_scheduler_options {
        for (name, is_set) in [
            ("queue", options.queue.is_some()),
            ("priorityClassName", options.priority_class_name.is_some()),
            ("resources", options.resources.is_some()),
        ] {
            if is_set {
                ignored.push(Ignored::new(format!("spec.batchSchedulerOptions.{name}"), YET));
            }
        }
    }
    for (field, is_set) in [
        ("spec.failureRetries", spec.failure_retries.is_some()),
        ("spec.retryInterval", spec.retry_interval.is_some()),
    ] {
        if is_set {
            ignored.push(Ignored::new(field, "spec.restartPolicy says when to run again"));
        }
    }
}
