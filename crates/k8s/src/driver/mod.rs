//! The objects of a Spark driver in cluster mode: pod, headless service, config maps, claims and
//! secrets, equal to those that Spark's own submission creates (Spark 3.5 and 4.x,
//! `KubernetesDriverBuilder` and its feature steps, in their order).
//!
//! Nothing here talks to a cluster: objects are a function of the submission.

mod arguments;
mod basic;
mod canonical;
mod config_map;
mod credentials;
mod hadoop;
mod kerberos;
mod local_dirs;
mod machine;
mod secrets;
mod service;
mod template;
mod version;
mod volumes;

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::model::{ApplicationSpec, Payload, SparkJob, SubmissionId};
use anymaster_core::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, Pod, PodSpec, Secret, Service, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::names::{self, Ids};
use crate::upload::{self, Uploads};
use crate::{keys, life};

pub use self::machine::Machine;
pub use self::template::Templates;
use self::version::Version;

/// The label by which a submission is found again: its id.
pub(crate) const SUBMISSION_LABEL: &str = "anymaster.dev/submission-id";
/// The annotation that tells one specification from another.
pub(crate) const SPEC_ANNOTATION: &str = "anymaster.dev/spec";
/// The label that says how long after its end a driver is removed, in seconds.
pub(crate) const TTL_LABEL: &str = "anymaster.dev/ttl";
/// The annotation that says where its log is saved before.
pub(crate) const LOGS_ANNOTATION: &str = "anymaster.dev/logs-dir";
/// Spark's label with the application's id.
pub(crate) const APP_LABEL: &str = "spark-app-selector";
/// Spark's label with the application's name.
pub(crate) const APP_NAME_LABEL: &str = "spark-app-name";
/// Spark's label that tells drivers from executors.
pub(crate) const ROLE_LABEL: &str = "spark-role";
/// Spark's label with its version.
const VERSION_LABEL: &str = "spark-version";

/// What a driver's objects are made from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The submission: names and ids are derived from it.
    pub id: &'a SubmissionId,
    /// The application.
    pub app: &'a ApplicationSpec,
    /// Pod templates that are not in files.
    pub templates: Templates,
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
    /// Credentials for the driver. Their values are not for printing.
    #[serde(skip)]
    pub secrets: Vec<Secret>,
    /// What the user should know.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Local files that the driver will look for elsewhere.
    #[serde(skip)]
    pub(crate) uploads: Uploads,
}

impl Objects {
    /// The driver's pod.
    pub(crate) fn pod(&self) -> &Pod {
        &self.pods[0]
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
    let mut draft = Draft::new(request)?;
    basic::apply(&mut draft)?;
    credentials::apply(&mut draft)?;
    service::apply(&mut draft)?;
    secrets::apply(&mut draft)?;
    volumes::apply(&mut draft)?;
    arguments::apply(&mut draft)?;
    hadoop::apply(&mut draft)?;
    kerberos::apply(&mut draft)?;
    template::ship_executors(&mut draft)?;
    local_dirs::apply(&mut draft)?;
    config_map::apply(&mut draft)?;
    life::apply(&mut draft)?;
    let mut objects = draft.finish();
    canonical::apply(&mut objects);
    Ok(objects)
}

/// What the steps work on, one after another.
pub(crate) struct Draft<'a> {
    request: &'a Request<'a>,
    ids: Ids<'a>,
    job: SparkJob,
    /// Brought to present names; as the user gave them.
    pub(crate) conf: Conf,
    version: Version,
    fingerprint: String,
    app_id: String,
    prefix: String,
    namespace: String,
    pub(crate) pod: Pod,
    spec: PodSpec,
    container: Container,
    /// Properties that the steps set for the driver, over those of the user.
    added: BTreeMap<String, String>,
    pub(crate) objects: Objects,
}

impl<'a> Draft<'a> {
    fn new(request: &'a Request<'a>) -> Result<Self> {
        let Payload::Spark(job) = &request.app.driver.payload else {
            return Err(Error::unsupported(
                "programs other than Spark's are not started on Kubernetes yet",
            )
            .with_hint("the application is a jar, a .py or a .R file"));
        };
        let mut conf = request.app.conf.clone();
        let mut warnings = keys::modernise(&mut conf)?;
        let ids = Ids(request.id);
        let version = Version::of(&conf, request.machine)?;
        let app_id = match conf.get("spark.app.id") {
            Some(id) if version.major >= 4 => id.to_owned(),
            Some(_) => {
                warnings.push(
                    "spark.app.id has no effect before Spark 4: it chooses its own".to_owned(),
                );
                ids.application()
            }
            None => ids.application(),
        };
        let prefix = match conf.read_optional(&keys::DRIVER_RESOURCE_NAME_PREFIX)? {
            Some(prefix) => prefix,
            None => names::resource_prefix(&request.app.name, &ids.unique("pod")),
        };
        let namespace = match conf.read_optional(&keys::NAMESPACE)? {
            Some(namespace) => namespace,
            None => request.default_namespace.to_owned(),
        };
        let (mut pod, container) = template::driver(&conf, request, &mut warnings)?;
        let spec = pod.spec.take().unwrap_or_default();
        let planned = upload::plan(ids, job, &conf, request.machine)?;
        let mut job = job.clone();
        if let Some(uploaded) = planned.primary_resource {
            job.primary_resource = uploaded;
        }
        let added = planned.properties.into_iter().map(|(key, value)| (key.to_owned(), value));
        let added: BTreeMap<String, String> = added.collect();
        let objects = Objects { warnings, uploads: planned.uploads, ..Objects::default() };
        Ok(Self {
            request,
            ids,
            job,
            conf,
            version,
            fingerprint: fingerprint(request),
            app_id,
            prefix,
            namespace,
            pod,
            spec,
            container,
            added,
            objects,
        })
    }

    /// Sets a property for the driver.
    fn add(&mut self, key: &str, value: impl Into<String>) {
        self.added.insert(key.to_owned(), value.into());
    }

    fn mount(&mut self, volume: Volume, mount: VolumeMount) {
        self.spec.volumes.get_or_insert_default().push(volume);
        self.container.volume_mounts.get_or_insert_default().push(mount);
    }

    /// The labels of the driver: Spark's own, and those of properties.
    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::from([
            (VERSION_LABEL.to_owned(), self.version.text.clone()),
            (APP_LABEL.to_owned(), self.app_id.clone()),
            (APP_NAME_LABEL.to_owned(), names::app_name_label(&self.request.app.name)),
            (ROLE_LABEL.to_owned(), "driver".to_owned()),
        ]);
        for (name, value) in self.conf.with_prefix("spark.kubernetes.driver.label.") {
            if labels.contains_key(name) {
                return Err(Error::invalid(format!(
                    "spark.kubernetes.driver.label.{name}: label {name} is not allowed, as it is reserved \
                     for Spark's bookkeeping"
                )));
            }
            let value =
                if self.version.major >= 4 { self.substitute(value) } else { value.to_owned() };
            labels.insert(name.to_owned(), value);
        }
        Ok(labels)
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
        self.spec.containers.push(self.container);
        self.pod.spec = Some(self.spec);
        self.objects.pods.push(self.pod);
        self.objects
    }
}

/// Tells a specification from another, whenever it is submitted.
fn fingerprint(request: &Request<'_>) -> String {
    let mut app = request.app.clone();
    // How and when it is handed in is not what is handed in.
    let of_submitter = |name: &str| {
        ["spark.kubernetes.submission.", "spark.kubernetes.authenticate.submission."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || matches!(
                name,
                "spark.app.submitTime"
                    | "spark.kubernetes.context"
                    | "spark.kubernetes.report.interval"
                    | "spark.kubernetes.trust.certificates"
            )
    };
    app.conf = app.conf.iter().filter(|(name, _)| !of_submitter(name)).collect();
    let mut hash = Sha256::new();
    // A specification is made of texts and numbers: it can be written as JSON.
    hash.update(serde_json::to_vec(&app).unwrap_or_default());
    hash.update(serde_json::to_vec(&request.templates).unwrap_or_default());
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
