//! The objects of a driver in cluster mode. Of a Spark driver: pod, headless service, config maps,
//! claims and secrets, equal to those that Spark's own submission creates (Spark 3.5 and 4.x,
//! `KubernetesDriverBuilder` and its feature steps, in their order). Of any other program: pod, config
//! map and secret.
//!
//! Nothing here talks to a cluster: objects are a function of the submission.

mod arguments;
mod basic;
mod canonical;
mod config_map;
mod credentials;
mod directory;
mod hadoop;
mod kerberos;
pub(crate) mod native;
mod network_policy;
mod service;
mod shown;
mod steps;
mod template;
mod version;

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::model::{
    ApplicationSpec, CommandLine, Payload, SparkJob, SparkLanguage, SubmissionId,
};
use anymaster_core::{Error, Result, SparkChange};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::names::{self, Ids};
use crate::pods::{self, APP_LABEL, PodDraft, Role, VERSION_LABEL, secrets, volumes};
use crate::upload::{self, Uploads};
use crate::{checks, keys, life};

pub(crate) use self::shown::shown;
use self::version::Version;
pub use crate::machine::Machine;
use crate::pods::template::Template;
use crate::pods::template::{Unknown, complete};

/// The label by which a submission is found again: its id.
pub(crate) const SUBMISSION_LABEL: &str = "anymaster.dev/submission-id";
/// The annotation that tells one specification from another.
pub(crate) const SPEC_ANNOTATION: &str = "anymaster.dev/spec";
/// The label that says how long after its end a driver is removed, in seconds.
pub(crate) const TTL_LABEL: &str = "anymaster.dev/ttl";
/// The annotation that says where its log is saved before.
pub(crate) const LOGS_ANNOTATION: &str = "anymaster.dev/logs-dir";
/// What a driver's objects are made from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The submission: names and ids are derived from it.
    pub id: &'a SubmissionId,
    /// The application.
    pub app: &'a ApplicationSpec,
    /// What the submitter's machine contributes.
    pub machine: &'a Machine,
    /// The namespace, where no property says it.
    pub default_namespace: &'a str,
    /// `spark.app.submitTime`, where no property says it.
    pub now: Timestamp,
}

/// All objects of one driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Objects {
    /// The driver's pod; always one.
    pub pods: Vec<Pod>,
    /// The headless service by which executors find the driver.
    pub services: Vec<Service>,
    /// `spark.properties`, and what else is mounted.
    pub configmaps: Vec<ConfigMap>,
    /// Claims made on demand.
    pub persistentvolumeclaims: Vec<PersistentVolumeClaim>,
    /// Who reaches the executors (from Spark 4.2).
    pub networkpolicies: Vec<NetworkPolicy>,
    /// Credentials for the driver. Their values are not for printing.
    #[serde(skip)]
    pub secrets: Vec<Secret>,
    /// What the user should know.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Local files that the driver will look for elsewhere.
    #[serde(skip)]
    pub(crate) uploads: Uploads,
    /// What else the template of the driver's pod has.
    #[serde(skip)]
    pub(crate) unknown: Vec<Unknown>,
    /// Nothing says that the driver is of a Spark that makes network policies.
    #[serde(skip)]
    pub(crate) can_lack_policies: bool,
}

impl Objects {
    /// The driver's pod.
    pub(crate) fn pod(&self) -> &Pod {
        &self.pods[0]
    }

    /// The driver's pod as it is sent: with the fields of its template that are not known here.
    pub(crate) fn whole_pod(&self) -> Result<serde_json::Value> {
        let mut pod = serde_json::to_value(self.pod()).map_err(|error| {
            Error::protocol("a pod cannot be written as JSON").with_source(error)
        })?;
        complete(&mut pod, &self.unknown);
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

/// Makes the objects of a driver.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property at fault.
pub fn objects(request: &Request<'_>) -> Result<Objects> {
    let mut objects = match &request.app.driver.payload {
        Payload::Spark(job) => of_spark(request, job)?,
        Payload::Command(command) => of_program(request, command)?,
    };
    canonical::apply(&mut objects);
    Ok(objects)
}

fn of_spark(request: &Request<'_>, job: &SparkJob) -> Result<Objects> {
    let mut draft = Draft::new(request)?;
    if job.language == SparkLanguage::Python && !draft.has(SparkChange::AnyPythonVersion) {
        keys::check_python_version(&draft.conf)?;
    }
    let too_new = keys::too_new(&draft.conf, &draft.version.release);
    draft.objects.warnings.extend(too_new);
    draft.number_application();
    let mut job = job.clone();
    let planned = upload::plan(draft.ids, &job, &draft.conf, request.machine)?;
    if let Some(uploaded) = planned.primary_resource {
        job.primary_resource = uploaded;
    }
    planned.properties.into_iter().for_each(|(key, value)| draft.add(key, value));
    draft.objects.uploads = planned.uploads;
    steps::apply(&mut draft, &job)?;
    config_map::apply(&mut draft)?;
    life::apply(&mut draft)?;
    Ok(draft.finish())
}

fn of_program(request: &Request<'_>, command: &CommandLine) -> Result<Objects> {
    let mut draft = Draft::new(request)?;
    credentials::apply(&mut draft)?;
    secrets::mount_all(&mut draft.pod, &draft.conf, Role::Driver);
    secrets::variables(&mut draft.pod, &draft.conf, Role::Driver)?;
    draft.volumes()?;
    template::ship_executors(&mut draft)?;
    native::apply(&mut draft, command)?;
    life::apply(&mut draft)?;
    Ok(draft.finish())
}

/// What the steps work on, one after another.
pub(crate) struct Draft<'a> {
    request: &'a Request<'a>,
    ids: Ids<'a>,
    /// Brought to present names; as the user gave them.
    pub(crate) conf: Conf,
    version: Version,
    fingerprint: String,
    app_id: String,
    prefix: String,
    namespace: String,
    pub(crate) pod: PodDraft,
    /// Properties that the steps set for the driver, over those of the user.
    added: BTreeMap<String, String>,
    pub(crate) objects: Objects,
}

impl<'a> Draft<'a> {
    fn new(request: &'a Request<'a>) -> Result<Self> {
        let mut conf = request.app.conf.clone();
        let mut warnings = keys::modernise(&mut conf)?;
        conf.set_variables(request.machine.variables());
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
            pods::template::start(template, &conf, Role::Driver, request.machine, &mut warnings)?;
        let version = Version::of(&conf, request.machine)?;
        warnings.extend(version.release.warning());
        let can_lack_policies = version.is_assumed;
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
            objects: Objects { warnings, can_lack_policies, ..Objects::default() },
        })
    }

    /// Spark chooses its own id, whatever was given.
    fn number_application(&mut self) {
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

    /// Whether the driver's Spark has something that a release brought.
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

    /// Puts ids in the place of Spark's placeholders.
    fn substitute(&self, text: &str) -> String {
        text.replace("{{APP_ID}}", &self.app_id).replace("{{EXECUTOR_ID}}", "")
    }

    /// The metadata of an object beside the pod.
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

    fn finish(mut self) -> Objects {
        let (pod, unknown) = self.pod.finish();
        self.objects.pods.push(pod);
        self.objects.unknown = unknown;
        self.objects
    }
}

/// Tells a specification from another, whenever it is submitted.
fn fingerprint(request: &Request<'_>) -> String {
    let mut app = request.app.clone();
    // How and when it is handed in is not what is handed in.
    let is_handing_in = |name: &str| {
        is_the_submitters(name)
            || matches!(name, "spark.app.submitTime" | "spark.kubernetes.trust.certificates")
    };
    app.conf = app.conf.iter().filter(|(name, _)| !is_handing_in(name)).collect();
    let mut hash = Sha256::new();
    // A specification is made of texts and numbers: it can be written as JSON.
    let templates = std::mem::take(&mut app.templates);
    hash.update(serde_json::to_vec(&app).unwrap_or_default());
    hash.update(serde_json::to_vec(&templates).unwrap_or_default());
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a property says who submits, from where, and how: nobody else has any use for it.
fn is_the_submitters(name: &str) -> bool {
    ["spark.kubernetes.submission.", "spark.kubernetes.authenticate.submission."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || matches!(name, "spark.kubernetes.context" | "spark.kubernetes.report.interval")
}
