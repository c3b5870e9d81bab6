//! Prometheus metrics, under the names that dashboards of kubeflow's operator read where they mean the same.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::notice::Notice;
use crate::v1beta2::{ExecutorState, Status};

/// The label of an application by which dashboards group.
const APP_TYPE: &str = "app_type";
/// What stands for a label that an application does not have.
const UNKNOWN: &str = "Unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: String,
    app_type: String,
}

/// A number that only grows. It is a gauge because OpenMetrics would end the name of a counter in `_total`.
type Count = Family<Labels, Gauge>;
type Seconds = Family<Labels, Histogram>;

/// The metrics of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    applications: Count,
    submitted: Count,
    failed_submissions: Count,
    succeeded: Count,
    failed: Count,
    running: Count,
    executors_running: Count,
    executors_succeeded: Count,
    executors_failed: Count,
    submit_latency: Seconds,
    start_latency: Seconds,
    success_time: Seconds,
    failure_time: Seconds,
    errors: Counter,
    leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut count = |name: &str, help: &str| {
            let family = Count::default();
            registry.register(name, help, family.clone());
            family
        };
        let applications = count("spark_application_count", "Applications that were seen first");
        let submitted = count("spark_application_submit_count", "Submissions that were accepted");
        let failed_submissions =
            count("spark_application_failed_submission_count", "Submissions that failed");
        let succeeded = count("spark_application_success_count", "Applications that completed");
        let failed = count("spark_application_failure_count", "Applications that failed");
        let running = count("spark_application_running_count", "Applications whose driver runs");
        let executors_running = count("spark_executor_running_count", "Executors that run");
        let executors_succeeded = count("spark_executor_success_count", "Executors that completed");
        let executors_failed = count("spark_executor_failure_count", "Executors that failed");
        let mut seconds = |name: &str, help: &str, least: f64| {
            let family = Seconds::new_with_constructor(if least < 1.0 {
                || Histogram::new(exponential_buckets(0.05, 2.0, 14))
            } else {
                || Histogram::new(exponential_buckets(1.0, 2.0, 18))
            });
            registry.register(name, help, family.clone());
            family
        };
        let submit_latency = seconds(
            "spark_application_submit_latency_seconds_histogram",
            "From the creation of an application to its first submission",
            0.05,
        );
        let start_latency = seconds(
            "spark_application_start_latency_seconds_histogram",
            "From the creation of an application to its first running driver",
            0.05,
        );
        let success_time = seconds(
            "spark_application_success_execution_time_seconds",
            "How long runs took that completed",
            1.0,
        );
        let failure_time = seconds(
            "spark_application_failure_execution_time_seconds",
            "How long runs took that failed",
            1.0,
        );
        let (errors, leading) = (Counter::default(), Gauge::default());
        registry.register(
            "anymaster_operator_reconcile_errors",
            "Steps of applications that failed and are tried again",
            errors.clone(),
        );
        registry.register(
            "anymaster_operator_leading",
            "1 while this process works, 0 while it stands by",
            leading.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            applications,
            submitted,
            failed_submissions,
            succeeded,
            failed,
            running,
            executors_running,
            executors_succeeded,
            executors_failed,
            submit_latency,
            start_latency,
            success_time,
            failure_time,
            errors,
            leading,
        }))
    }
}

impl Metrics {
    /// Records an error after which a step is tried again.
    pub(crate) fn error(&self) {
        self.0.errors.inc();
    }

    /// Records whether this process works.
    pub(crate) fn leading(&self, leads: bool) {
        self.0.leading.set(leads.into());
    }

    /// Records a status that was written, in place of another.
    pub(crate) fn moved(
        &self,
        app: &DynamicObject,
        before: &Status,
        now: &Status,
        notices: &[Notice],
    ) {
        let all = &*self.0;
        let labels = labels(app);
        let is_first = now.execution_attempts == 1;
        for notice in notices {
            match notice {
                Notice::Submitted if is_first => since_creation(app, &all.submit_latency, &labels),
                Notice::DriverRunning(_) if is_first => {
                    since_creation(app, &all.start_latency, &labels);
                }
                Notice::DriverCompleted(_) => lasted(now, &all.success_time, &labels),
                Notice::DriverFailed(..) | Notice::DriverMissing(_) => {
                    lasted(now, &all.failure_time, &labels);
                }
                _ => {}
            }
            let counted = match notice {
                Notice::Added => &all.applications,
                Notice::Submitted => &all.submitted,
                Notice::SubmissionFailed(_) => &all.failed_submissions,
                Notice::Completed => &all.succeeded,
                Notice::Failed(_) => &all.failed,
                _ => continue,
            };
            counted.get_or_create(&labels).inc();
        }
        self.executors(before, now, &labels);
    }

    fn executors(&self, before: &Status, now: &Status, labels: &Labels) {
        let all = &*self.0;
        for (name, state) in &now.executor_state {
            if before.executor_state.get(name) == Some(state) {
                continue;
            }
            let counted = match state {
                ExecutorState::Completed => &all.executors_succeeded,
                ExecutorState::Failed => &all.executors_failed,
                _ => continue,
            };
            counted.get_or_create(labels).inc();
        }
    }

    /// The metrics in the OpenMetrics text format. What runs is counted now: of these applications.
    pub(crate) fn text<'a>(
        &self,
        applications: impl Iterator<Item = &'a DynamicObject>,
    ) -> Result<String, std::fmt::Error> {
        let all = &*self.0;
        all.running.clear();
        all.executors_running.clear();
        for app in applications {
            let state =
                |status: &serde_json::Value| status["applicationState"]["state"] == "RUNNING";
            let Some(status) = app.data.get("status").filter(|status| state(status)) else {
                continue;
            };
            let labels = labels(app);
            all.running.get_or_create(&labels).inc();
            let executors = status["executorState"].as_object().into_iter().flatten();
            let running = executors.filter(|(_, state)| **state == "RUNNING").count();
            let running = i64::try_from(running).unwrap_or(i64::MAX);
            all.executors_running.get_or_create(&labels).inc_by(running);
        }
        let mut text = String::new();
        encode(&mut text, &all.registry)?;
        Ok(text)
    }
}

fn labels(app: &DynamicObject) -> Labels {
    let of = |name: &str| app.labels().get(name).cloned();
    Labels {
        namespace: app.namespace().unwrap_or_default(),
        app_type: of(APP_TYPE).unwrap_or_else(|| UNKNOWN.to_owned()),
    }
}

fn since_creation(app: &DynamicObject, family: &Seconds, labels: &Labels) {
    if let Some(created) = app.creation_timestamp() {
        let seconds = Timestamp::now().duration_since(created.0).as_secs_f64();
        family.get_or_create(labels).observe(seconds.max(0.0));
    }
}

/// Records how long a run took.
fn lasted(now: &Status, family: &Seconds, labels: &Labels) {
    if let (Some(began), Some(ended)) = (now.last_submission_attempt_time, now.termination_time) {
        let seconds = ended.duration_since(began).as_secs_f64();
        family.get_or_create(labels).observe(seconds.max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::v1beta2::State;

    fn app(status: serde_json::Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "status": status,
            "metadata": {"name": "a", "namespace": "ns", "labels": {"app_type": "etl"},
                "creationTimestamp": "2026-01-01T00:00:00Z"},
        }))
        .unwrap()
    }

    #[test]
    fn dashboards_find_the_names_and_labels_of_kubeflow() {
        let metrics = Metrics::default();
        let running = json!({"applicationState": {"state": "RUNNING"},
            "executorState": {"e-1": "RUNNING", "e-2": "COMPLETED"}});
        let app = app(running);
        let mut now = Status { execution_attempts: 1, ..Status::default() };
        now.executor_state.insert("e-2".to_owned(), ExecutorState::Completed);
        now.application_state.state = State::Running;
        metrics.moved(&app, &Status::default(), &now, &[Notice::Added, Notice::Submitted]);
        metrics.moved(&app, &now, &now, &[Notice::Completed]);
        let text = metrics.text([&app].into_iter()).unwrap();
        for (name, value) in [
            ("spark_application_count", 1),
            ("spark_application_submit_count", 1),
            ("spark_application_success_count", 1),
            ("spark_application_running_count", 1),
            ("spark_executor_running_count", 1),
            ("spark_executor_success_count", 1),
        ] {
            let line = format!("{name}{{namespace=\"ns\",app_type=\"etl\"}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(
            text.contains("spark_application_submit_latency_seconds_histogram_count{"),
            "{text}"
        );
    }
}
