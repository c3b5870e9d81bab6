//! Builds the objects of a driver in cluster mode. For a Spark driver: pod, headless service,
//! config maps, claims and secrets, equal to those that Spark's own submission creates (Spark 3.5
//! and 4.x, `KubernetesDriverBuilder` and its feature steps, in their order). For any other
//! program: pod, config map and secret.
//!
//! There is no I/O to the cluster here: the objects are a function of the submission.

mod basic;
mod command;
mod config_dir;
mod config_map;
mod credentials;
mod hadoop;
mod kerberos;
pub(crate) mod native;
mod network_policy;
mod normalize;
mod overlay;
mod redacted;
mod service;
mod steps;
mod template;
mod version;

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    ApplicationSpec, CommandLine, Payload, SparkJob, SparkLanguage, SubmissionId,
};
use anymaster_core::text::hex;
use anymaster_core::{Error, Result, SparkChange};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::names::{self, Ids};
use crate::pods::{self, APP_LABEL, PodDraft, Role, VERSION_LABEL, secrets, volumes};
use crate::staging::{STAGING_ANNOTATION, StagedFile};
use crate::upload::{self, Uploads};
use crate::{checks, keys, ttl};

pub(crate) use self::redacted::redacted_json;
use self::version::Version;
use crate::pods::template::Template;
use crate::pods::template::{UnknownField, insert_unknown_fields};
pub use crate::submitter_env::SubmitterEnv;

/// The label with the id of the submission.
pub(crate) const SUBMISSION_LABEL: &str = "anymaster.dev/submission-id";
/// The annotation with a hash of the specification.
pub(crate) const SPEC_ANNOTATION: &str = "anymaster.dev/spec";
/// The label with the driver's time to live after its end, in seconds.
pub(crate) const TTL_LABEL: &str = "anymaster.dev/ttl";
/// The annotation with the directory where the driver's log is saved before its deletion.
pub(crate) const LOGS_ANNOTATION: &str = "anymaster.dev/logs-dir";
/// The input from which a driver's objects are built.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The submission: names and ids are derived from it.
    pub id: &'a SubmissionId,
    /// The application.
    pub app: &'a ApplicationSpec,
    /// The environment of the submitter.
    pub submitter: &'a SubmitterEnv,
    /// The namespace if no property sets it.
    pub default_namespace: &'a str,
    /// `spark.app.submitTime` if no property sets it.
    pub now: Timestamp,
    /// The files that a staging server has already; their URLs are unknown before.
    pub(crate) staged: &'a [StagedFile],
}

impl<'a> Request<'a> {
    /// A submission of which nothing is uploaded yet.
    pub fn new(
        id: &'a SubmissionId,
        app: &'a ApplicationSpec,
        submitter: &'a SubmitterEnv,
        default_namespace: &'a str,
        now: Timestamp,
    ) -> Self {
        Self { id, app, submitter, default_namespace, now, staged: &[] }
    }
}

/// All objects of one driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Objects {
    /// The driver's pod; always one.
    pub pods: Vec<Pod>,
    /// The headless service by which executors find the driver.
    pub services: Vec<Service>,
    /// `spark.properties`, and other mounted files.
    pub configmaps: Vec<ConfigMap>,
    /// Claims created on demand.
    pub persistentvolumeclaims: Vec<PersistentVolumeClaim>,
    /// The policy that restricts access to the executors (from Spark 4.2).
    pub networkpolicies: Vec<NetworkPolicy>,
    /// Credentials for the driver. Not to be printed.
    #[serde(skip)]
    pub secrets: Vec<Secret>,
    /// Warnings for the user.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Local files to be uploaded for the driver.
    #[serde(skip)]
    pub(crate) uploads: Uploads,
    /// The fields of the driver's pod template that are unknown here.
    #[serde(skip)]
    pub(crate) unknown: Vec<UnknownField>,
    /// The Spark release is only assumed, so a failure to create network policies is tolerated.
    #[serde(skip)]
    pub(crate) policies_optional: bool,
}

impl Objects {
    /// The driver's pod.
    pub(crate) fn pod(&self) -> &Pod {
        &self.pods[0]
    }

    /// The driver's pod as it is sent, with the unknown fields of its template.
    pub(crate) fn complete_pod(&self) -> Result<serde_json::Value> {
        let mut pod = serde_json::to_value(self.pod()).map_err(|error| {
            Error::protocol("a pod cannot be written as JSON").with_source(error)
        })?;
        insert_unknown_fields(&mut pod, &self.unknown);
        Ok(pod)
    }

    /// The namespace of all of them.
    pub(crate) fn namespace(&self) -> &str {
        self.pod().metadata.namespace.as_deref().unwrap_or("default")
    }

    /// The name of the driver's pod.
    pub(crate) fn pod_name(&self) -> &str {
        self.pod().metadata.name.as_deref().unwrap_or_default()
    }
}

/// Builds the objects of a driver.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property at fault.
pub fn objects(request: &Request<'_>) -> Result<Objects> {
    let mut objects = match &request.app.driver.payload {
        Payload::Spark(job) => spark_objects(request, job)?,
        Payload::Command(command) => program_objects(request, command)?,
    };
    normalize::apply(&mut objects);
    Ok(objects)
}

fn spark_objects(request: &Request<'_>, job: &SparkJob) -> Result<Objects> {
    let mut draft = Draft::new(request)?;
    if job.language == SparkLanguage::Python && !draft.has(SparkChange::AnyPythonVersion) {
        keys::check_python_version(&draft.conf)?;
    }
    let unsupported_by_release = keys::unsupported_by_release(&draft.conf, &draft.version.release);
    draft.objects.warnings.extend(unsupported_by_release);
    draft.assign_app_id();
    let mut job = job.clone();
    let planned = upload::plan(draft.ids, &job, &draft.conf, request.submitter, request.staged)?;
    if let Some(uploaded) = planned.primary_resource {
        job.primary_resource = uploaded;
    }
    planned.properties.into_iter().for_each(|(key, value)| draft.add(key, value));
    if let Some(base) = planned.uploads.staging_server() {
        let annotations = draft.pod.metadata.annotations.get_or_insert_default();
        annotations.insert(STAGING_ANNOTATION.to_owned(), base.to_owned());
    }
    draft.objects.uploads = planned.uploads;
    steps::apply(&mut draft, &job)?;
    config_map::apply(&mut draft)?;
    ttl::apply(&mut draft)?;
    draft.finish()
}

fn program_objects(request: &Request<'_>, command: &CommandLine) -> Result<Objects> {
    let mut draft = Draft::new(request)?;
    credentials::apply(&mut draft)?;
    secrets::mount_all(&mut draft.pod, &draft.conf, Role::Driver);
    secrets::variables(&mut draft.pod, &draft.conf, Role::Driver)?;
    draft.volumes()?;
    template::mount_executor_template(&mut draft)?;
    native::apply(&mut draft, command)?;
    ttl::apply(&mut draft)?;
    draft.finish()
}

/// The state that the feature steps modify in turn.
pub(crate) struct Draft<'a> {
    request: &'a Request<'a>,
    ids: Ids<'a>,
    /// The user's properties, with deprecated names migrated.
    pub(crate) conf: Conf,
    version: Version,
    fingerprint: String,
    app_id: String,
    prefix: String,
    namespace: String,
    pub(crate) pod: PodDraft,
    /// Properties that the steps set for the driver. They override the user's.
    added: BTreeMap<String, String>,
    pub(crate) objects: Objects,
}

impl<'a> Draft<'a> {
    fn new(request: &'a Request<'a>) -> Result<Self> {
        let mut conf = request.app.conf.clone();
        let mut warnings = keys::migrate_deprecated(&mut conf)?;
        conf.set_variables(request.submitter.variables());
        let is_spark = matches!(request.app.driver.payload, Payload::Spark(_));
        warnings.extend(checks::check(&conf, is_spark)?);
        let ids = Ids(request.id);
        let prefix = match conf.read_optional(&keys::DRIVER_RESOURCE_NAME_PREFIX)? {
            Some(prefix) => prefix,
            None => names::resource_prefix(&request.app.name, &ids.unique("pod")),
        };
        let namespace = match conf.read_optional(&keys::NAMESPACE)? {
            Some(namespace) => namespace,
            None => request.default_namespace.to_owned(),
        };
        let template = Template::given(request.app.templates.driver.as_ref(), Role::Driver)?;
        let template = template.as_ref();
        let pod =
            pods::template::start(template, &conf, Role::Driver, request.submitter, &mut warnings)?;
        let version = Version::of(&conf, request.submitter)?;
        warnings.extend(version.release.warning());
        let policies_optional = version.is_assumed;
        Ok(Self {
            request,
            ids,
            version,
            conf,
            fingerprint: fingerprint(request),
            app_id: ids.label(),
            prefix,
            namespace,
            pod,
            added: BTreeMap::new(),
            objects: Objects { warnings, policies_optional, ..Objects::default() },
        })
    }

    /// Sets the application id. Spark ignores `spark.app.id` here.
    fn assign_app_id(&mut self) {
        if self.conf.get("spark.app.id").is_some() {
            let warning = "spark.app.id has no effect on Kubernetes: Spark chooses its own";
            self.objects.warnings.push(warning.to_owned());
        }
        self.app_id = self.ids.application();
    }

    /// Mounts the driver's volumes, and checks those of its executors.
    fn volumes(&mut self) -> Result<()> {
        let release = self.version.release.clone();
        volumes::check(&self.conf, Role::Executor, &release)?;
        self.objects.warnings.extend(volumes::without_effect(&self.conf, &release));
        let (prefix, app) = (self.prefix.clone(), self.app_id.clone());
        let metadata = self.metadata("");
        let of_claim = |name: &str| {
            let mut metadata = ObjectMeta { name: Some(name.to_owned()), ..metadata.clone() };
            metadata.labels.get_or_insert_default().insert(APP_LABEL.to_owned(), app.clone());
            metadata
        };
        let name = |index| format!("{prefix}-driver-pvc-{index}");
        let claims =
            volumes::apply(&mut self.pod, &self.conf, Role::Driver, &release, name, of_claim)?;
        self.objects.persistentvolumeclaims.extend(claims);
        Ok(())
    }

    /// Whether the driver's Spark release has a change.
    fn has(&self, change: SparkChange) -> bool {
        self.version.release.has(change)
    }

    /// Sets a property for the driver.
    fn add(&mut self, key: &str, value: impl Into<String>) {
        self.added.insert(key.to_owned(), value.into());
    }

    /// The labels of the driver: Spark's own, and those of properties.
    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let app = (self.app_id.as_str(), self.request.app.name.as_str());
        let version = [(VERSION_LABEL, self.version.release.to_string())];
        let placeholders = self.has(SparkChange::LabelPlaceholders);
        let substitute =
            |value: &str| if placeholders { self.substitute(value) } else { value.to_owned() };
        pods::labels(&self.conf, Role::Driver, app, &version, substitute)
    }

    /// Replaces Spark's placeholders with ids.
    fn substitute(&self, text: &str) -> String {
        text.replace("{{APP_ID}}", &self.app_id).replace("{{EXECUTOR_ID}}", "")
    }

    /// The metadata of an object other than the pod.
    fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        let label = (SUBMISSION_LABEL.to_owned(), self.ids.label());
        let annotation = (SPEC_ANNOTATION.to_owned(), self.fingerprint.clone());
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([label])),
            annotations: Some(BTreeMap::from([annotation])),
            ..ObjectMeta::default()
        }
    }

    fn finish(mut self) -> Result<Objects> {
        overlay::apply(&mut self)?;
        let (pod, unknown) = self.pod.finish();
        self.objects.pods.push(pod);
        self.objects.unknown = unknown;
        Ok(self.objects)
    }
}

/// A hash of the specification, independent of when and how it is submitted.
fn fingerprint(request: &Request<'_>) -> String {
    let mut app = request.app.clone();
    // Properties of the submission itself are not part of the specification.
    let is_about_submission = |name: &str| {
        is_submitter_property(name)
            || matches!(name, "spark.app.submitTime" | "spark.kubernetes.trust.certificates")
    };
    app.conf = app.conf.iter().filter(|(name, _)| !is_about_submission(name)).collect();
    let mut hash = Sha256::new();
    // A specification consists of strings and numbers, so serialization does not fail.
    let templates = std::mem::take(&mut app.templates);
    hash.update(serde_json::to_vec(&app).unwrap_or_default());
    hash.update(serde_json::to_vec(&templates).unwrap_or_default());
    hex(&hash.finalize()[..16])
}

/// Whether a property concerns only the submission itself, and not the driver.
fn is_submitter_property(name: &str) -> bool {
    ["spark.kubernetes.submission.", "spark.kubernetes.authenticate.submission."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "spark.kubernetes.context"
                | "spark.kubernetes.report.interval"
                | "spark.anymaster.staging.tokenFile"
                | "spark.anymaster.staging.caCertFile"
        )
}
