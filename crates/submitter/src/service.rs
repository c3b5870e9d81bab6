//! Submits command lines: parses them, applies the service's restrictions, and launches the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anymaster_core::model::{ApplicationSpec, DeployMode, Payload, SubmissionId, Templates};
use anymaster_core::{
    Backend, ClusterManager, ClusterManagerExt as _, ConnectOptions, Error, Launched, MasterUrl,
    Registry, Result,
};
use anymaster_spark::{Action, Environment};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::wire::{Code, Refusal, Submission};

/// The time-out of a readiness check.
const READINESS_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of the service.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Concurrent submissions; more are refused with 503 and `Retry-After`.
    pub in_flight: usize,
    /// The largest request, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 64, body: 4 * 1024 * 1024 }
    }
}

/// Launches drivers for command lines, on one cluster.
#[derive(Debug, Clone)]
pub struct Submitter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster: Arc<dyn ClusterManager>,
    master: MasterUrl,
    backends: Registry,
    environment: Environment,
    slots: Semaphore,
    limits: Limits,
    draining: AtomicBool,
    metrics: Metrics,
}

impl Submitter {
    /// Creates the service for the cluster at `master`. `environment` is that of the service: its
    /// `SPARK_CONF_DIR` has the defaults of all submissions.
    ///
    /// # Errors
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) if the cluster cannot detect
    /// duplicate submissions.
    pub fn new(
        cluster: Arc<dyn ClusterManager>,
        master: MasterUrl,
        backends: Registry,
        environment: Environment,
        limits: Limits,
    ) -> Result<Self> {
        if !cluster.capabilities().chosen_ids {
            return Err(Error::unsupported(format!(
                "{master}: such a cluster cannot detect duplicate submissions"
            )));
        }
        Ok(Self(Arc::new(Inner {
            cluster,
            master,
            backends,
            environment: Environment { multi_tenant: true, ..environment },
            slots: Semaphore::new(limits.in_flight),
            limits,
            draining: AtomicBool::new(false),
            metrics: Metrics::default(),
        })))
    }

    /// Refuses new submissions: the service is shutting down.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Checks that submissions are accepted and the cluster is reachable.
    ///
    /// # Errors
    /// The reason if they are not.
    pub(crate) async fn check(&self) -> Result<()> {
        if self.is_draining() {
            return Err(Error::unavailable("the service is shutting down"));
        }
        let silent = |_| Err(Error::unavailable(format!("{} does not answer", self.0.master)));
        tokio::time::timeout(READINESS_TIMEOUT, self.0.cluster.ping()).await.unwrap_or_else(silent)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Launches a driver, or finds the existing one of the same submission id.
    pub(crate) async fn submit(&self, request: &Submission) -> Result<(Launched, String), Refusal> {
        let id = request.submission_id.as_str();
        if self.is_draining() {
            return Err(Refusal::new(id, Code::Overloaded, "the service is shutting down"));
        }
        let Ok(_slot) = self.0.slots.try_acquire() else {
            let limit = self.0.limits.in_flight;
            return Err(Refusal::new(
                id,
                Code::Overloaded,
                format!("{limit} submissions are in flight"),
            ));
        };
        let _timer = self.0.metrics.begin();
        let submission_id = SubmissionId::new(id)
            .map_err(|error| Refusal::new(id, Code::BadRequest, error.to_string()))?;
        let failed = |error| Refusal::of(id, &error);
        let templates = self.templates(request)?;
        let app = self.application(&request.spark_submit_args, templates).map_err(failed)?;
        let launched = self.0.cluster.launch_once(&submission_id, &app).await.map_err(failed)?;
        Ok((launched, app.name))
    }

    /// Launches a driver for a command line, or finds the existing one of the same submission id: the path of all
    /// submissions here, without the limits of the service.
    ///
    /// # Errors
    /// As [`launch_driver`](ClusterManager::launch_driver), and
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a line that is not accepted here.
    pub async fn launch(
        &self,
        id: &SubmissionId,
        line: &[String],
        templates: Templates,
    ) -> Result<Launched> {
        let app = self.application(line, templates)?;
        self.0.cluster.launch_once(id, &app).await
    }

    /// What [`launch`](Self::launch) would create, without a connection.
    ///
    /// # Errors
    /// As of [`launch`](Self::launch), as far as they are known before anything is sent.
    pub async fn preview(
        &self,
        id: &SubmissionId,
        line: &[String],
        templates: Templates,
    ) -> Result<Option<serde_json::Value>> {
        let app = self.application(line, templates)?;
        let options = ConnectOptions::new(self.0.master.clone()).with_conf(app.conf.clone());
        self.backend()?.preview(&options.multi_tenant(), id, &app).await
    }

    fn backend(&self) -> Result<&dyn Backend> {
        self.0.backends.find(&self.0.master)
    }

    fn application(&self, line: &[String], templates: Templates) -> Result<ApplicationSpec> {
        let args = anymaster_spark::parse(line)?;
        if args.action != Action::Submit {
            return Err(Error::invalid("the arguments do not submit an application"));
        }
        if args.value("--properties-file").is_some() {
            return Err(Error::invalid(
                "--properties-file names a file of the submitter's machine, which is not read here",
            )
            .with_hint("send its properties as --conf"));
        }
        let submission = anymaster_spark::resolve(&args, &self.0.environment, &self.0.backends)?;
        let ours = self.backend()?.info();
        if self.0.backends.find(&submission.master)?.info().name != ours.name {
            return Err(Error::invalid(format!(
                "--master {}: applications are submitted to {} here",
                submission.master, ours.title
            )));
        }
        if submission.deploy_mode != DeployMode::Cluster {
            return Err(Error::invalid(
                "--deploy-mode must be cluster: a driver cannot run in this service",
            ));
        }
        let Some(job) = submission.spark_job() else {
            return Err(Error::invalid(format!(
                "{} is not an application of Spark",
                submission.primary_resource
            )));
        };
        let mut app = submission.application(Payload::Spark(job))?;
        app.templates = templates;
        Ok(app)
    }

    fn templates(&self, request: &Submission) -> Result<Templates, Refusal> {
        let id = request.submission_id.as_str();
        let backend = self.backend().map_err(|error| Refusal::of(id, &error))?;
        let read = |which: &str, template: &Option<Box<RawValue>>| {
            let Some(template) = template else { return Ok(None) };
            let invalid = |why: String| {
                let message = format!("{which} is not a pod template: {why}");
                Refusal::new(id, Code::InvalidTemplate, message)
            };
            let value = serde_json::from_str(template.get());
            let value = value.map_err(|error: serde_json::Error| invalid(error.to_string()))?;
            backend.check_template(&value).map_err(|error| invalid(error.to_string()))?;
            Ok(Some(value))
        };
        let mut templates = Templates::default();
        templates.driver = read("driver_pod_template", &request.driver_pod_template)?;
        templates.executor = read("executor_pod_template", &request.executor_pod_template)?;
        Ok(templates)
    }
}
