//! Builds the pods of executors: named, labelled and owned as Spark's are (Spark 3.5,
//! `KubernetesExecutorBuilder`), for any command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::conf::{Conf, keys as spark};
use anymaster_core::model::{AppId, ExecutorId, ExecutorTemplate, ProfileId, ResourceProfile};
use anymaster_core::native::Placeholder;
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, Result, SparkRelease, native};
use k8s_openapi::api::core::v1::{
    ExecAction, Lifecycle, LifecycleHandler, PersistentVolumeClaim, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::driver::native::{DIRECTORY, MODE, SECRET, VOLUME};
use crate::pod::CHECK_ALL_ANNOTATION;
use crate::pods::container::{self, Resources};
use crate::pods::template::{self, UnknownField};
use crate::pods::{
    EXECUTOR_LABEL, PROFILE_LABEL, PodDraft, Role, env, env_of_field, escaped, labels, local_dirs,
    placement, secrets, volumes,
};
use crate::submitter_env::SubmitterEnv;
use crate::{checks, keys, names, quantity};

/// The placeholder of an executor's id in the names of claims, as in Spark's properties.
const ID: &str = "SPARK_EXECUTOR_ID";
/// The environment variable with an executor's own address.
const ENV_HOST: &str = "ANYMASTER_EXECUTOR_HOST";
/// The first port of executors: the default of Spark's block manager.
const FIRST_PORT: u16 = 7079;
/// The longest prefix of pod names: `-exec-` and an id follow it.
const MAX_PREFIX: usize = 237;

/// Builds executor pods of one application.
#[derive(Debug)]
pub(crate) struct ExecutorPodBuilder {
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) namespace: String,
    pub(crate) conf: Conf,
    pub(crate) submitter: Arc<SubmitterEnv>,
    /// The driver's pod.
    pub(crate) owner: Option<OwnerReference>,
    /// The name of the Kubernetes secret with the secret that driver and executors share.
    pub(crate) secret: Option<String>,
    pub(crate) prefix: String,
    prototypes: Mutex<Vec<(ProfileId, Arc<Prototype>)>>,
}

/// The pod of executors of one profile and command, without their ids.
#[derive(Debug)]
pub(crate) struct Prototype {
    profile: ResourceProfile,
    template: Arc<ExecutorTemplate>,
    driver: DriverAddress,
    pod: Pod,
    /// The fields of the pod template that are unknown here.
    pub(crate) unknown: Vec<UnknownField>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

/// The address at which executors reach their driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DriverAddress {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
}

impl ExecutorPodBuilder {
    /// # Errors
    /// For an invalid `spark.kubernetes.executor.podNamePrefix`.
    pub(crate) fn new(
        app: AppId,
        app_name: String,
        namespace: String,
        mut conf: Conf,
        submitter: Arc<SubmitterEnv>,
        owner: Option<OwnerReference>,
        secret: Option<String>,
    ) -> Result<Self> {
        conf.set_variables(submitter.variables());
        let warnings = checks::check(&conf, false)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let prefix = match conf.read_optional(&keys::EXECUTOR_POD_NAME_PREFIX)? {
            Some(prefix) => {
                names::check_executor_prefix(&prefix)?;
                prefix
            }
            None => {
                let mut prefix = names::resource_prefix(&app_name, &names::unique_of_app(&app));
                prefix.truncate(MAX_PREFIX);
                prefix
            }
        };
        let prototypes = Mutex::default();
        Ok(Self { app, app_name, namespace, conf, submitter, owner, secret, prefix, prototypes })
    }

    /// The name of an executor's pod.
    pub(crate) fn name(&self, id: ExecutorId) -> String {
        format!("{}-exec-{id}", self.prefix)
    }

    /// Checks that pods can be built for this profile and command.
    pub(crate) fn check(
        &self,
        id: ProfileId,
        profile: &ResourceProfile,
        template: &ExecutorTemplate,
    ) -> Result<()> {
        let template = Arc::new(template.clone());
        let driver = DriverAddress { host: Some("HOST".to_owned()), port: Some(1) };
        self.build_prototype(id, profile, &template, driver).map(|_| ())
    }

    /// The prototype for an executor, built once per profile.
    pub(crate) fn prototype(
        &self,
        launch: &ExecutorLaunch,
        driver: &DriverAddress,
    ) -> Result<Arc<Prototype>> {
        let mut prototypes = self.prototypes.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = prototypes.iter().find(|(id, existing)| {
            *id == launch.profile_id
                && (Arc::ptr_eq(&existing.template, &launch.template)
                    || existing.template == launch.template)
                && existing.profile == launch.profile
                && existing.driver == *driver
        });
        if let Some((_, existing)) = existing {
            return Ok(Arc::clone(existing));
        }
        let prototype = self.build_prototype(
            launch.profile_id,
            &launch.profile,
            &launch.template,
            driver.clone(),
        )?;
        let prototype = Arc::new(prototype);
        prototypes.retain(|(id, _)| *id != launch.profile_id);
        prototypes.push((launch.profile_id, Arc::clone(&prototype)));
        Ok(prototype)
    }

    fn build_prototype(
        &self,
        id: ProfileId,
        profile: &ResourceProfile,
        template: &Arc<ExecutorTemplate>,
        driver: DriverAddress,
    ) -> Result<Prototype> {
        let conf = &self.conf;
        let mut warnings = Vec::new();
        let mut draft =
            template::start(None, conf, Role::Executor, &self.submitter, &mut warnings)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        if id != ProfileId(0) {
            // A resource profile replaces the resources of the template.
            draft.container.resources = None;
        }
        self.metadata(&mut draft, id)?;
        container::image(&mut draft, conf, Role::Executor)?;
        container::resources(&mut draft, self.resources(id, profile)?);
        placement::apply(&mut draft, conf, Role::Executor)?;
        self.termination(&mut draft)?;
        self.service_account(&mut draft)?;
        secrets::mount_all(&mut draft, conf, Role::Executor);
        secrets::variables(&mut draft, conf, Role::Executor)?;
        let name = |index| format!("{}-exec-{ID}-pvc-{index}", self.prefix);
        let metadata = |claim: &str| self.metadata_of_claim(claim);
        let newest = SparkRelease::newest();
        let claims = volumes::apply(&mut draft, conf, Role::Executor, &newest, name, metadata)?;
        let directory = "/var/data/anymaster".to_owned();
        let work_dir = local_dirs::apply(&mut draft, conf, None, directory)?;
        self.container_command(&mut draft, id, profile, template, &driver, &work_dir)?;
        let (pod, unknown) = draft.finish();
        Ok(Prototype {
            profile: profile.clone(),
            template: Arc::clone(template),
            driver,
            pod,
            unknown,
            claims,
        })
    }

    fn metadata(&self, draft: &mut PodDraft, id: ProfileId) -> Result<()> {
        let own = [(EXECUTOR_LABEL, String::new()), (PROFILE_LABEL, id.to_string())];
        let app = (self.app.as_str(), self.app_name.as_str());
        let substitute = |text: &str| text.replace("{{APP_ID}}", self.app.as_str());
        let mut labels = labels(&self.conf, Role::Executor, app, &own, substitute)?;
        let annotations = self.conf.with_prefix("spark.kubernetes.executor.annotation.");
        let annotations: BTreeMap<_, _> =
            annotations.map(|(name, value)| (name.to_owned(), substitute(value))).collect();
        let metadata = &mut draft.metadata;
        metadata.namespace = Some(self.namespace.clone());
        metadata.labels.get_or_insert_default().append(&mut labels);
        if !annotations.is_empty() {
            metadata.annotations.get_or_insert_default().extend(annotations);
        }
        if self.conf.read_optional(&keys::CHECK_ALL_CONTAINERS)? == Some(true) {
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(CHECK_ALL_ANNOTATION.to_owned(), "true".to_owned());
        }
        metadata.owner_references = self.owner.clone().map(|owner| vec![owner]);
        Ok(())
    }

    fn metadata_of_claim(&self, name: &str) -> ObjectMeta {
        let label = (crate::pods::APP_LABEL.to_owned(), self.app.to_string());
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([label])),
            ..ObjectMeta::default()
        }
    }

    fn resources(&self, id: ProfileId, profile: &ResourceProfile) -> Result<Resources> {
        let of_default = |key| match id {
            ProfileId(0) => container::quantity(&self.conf, key),
            _ => Ok(None),
        };
        let cpu = match of_default(&keys::EXECUTOR_REQUEST_CORES)? {
            Some(cores) => cores,
            None => container::cores(profile.cores),
        };
        let cpu_limit = of_default(&keys::EXECUTOR_LIMIT_CORES)?;
        if let Some(limit) = &cpu_limit
            && quantity::thousandths(limit) < quantity::thousandths(&cpu)
        {
            return Err(Error::invalid(format!(
                "The executor cpu request ({}) should be less than or equal to cpu limit ({})",
                cpu.0, limit.0
            )));
        }
        let mut others = BTreeMap::new();
        for (name, amount) in profile.extra.iter().filter(|(_, amount)| **amount > 0) {
            let name = container::resource_name(&self.conf, Role::Executor, name)?;
            others.insert(
                name,
                quantity::of_property("spark.executor.resource", &amount.to_string())?,
            );
        }
        Ok(Resources { cpu, cpu_limit, memory_mib: profile.memory_limit_mib(), others })
    }

    /// Sets how the pod terminates: grace period, process namespace, termination message, preStop
    /// hook.
    fn termination(&self, draft: &mut PodDraft) -> Result<()> {
        let grace = self.conf.read(&spark::EXECUTOR_STOP_GRACE)?.as_secs();
        let spec = &mut draft.spec;
        spec.termination_grace_period_seconds
            .get_or_insert(i64::try_from(grace).unwrap_or(i64::MAX));
        // PID 1 of a container ignores SIGTERM unless it installs a handler; with this, it is not
        // PID 1.
        spec.share_process_namespace.get_or_insert(true);
        // The last lines of a failed container's log become part of the pod's status.
        let policy = &mut draft.container.termination_message_policy;
        policy.get_or_insert_with(|| "FallbackToLogsOnError".to_owned());
        if self.conf.get("spark.decommission.enabled") == Some("true") {
            let script = self.conf.read(&keys::DECOMMISSION_SCRIPT)?;
            let exec = ExecAction { command: Some(vec![script]) };
            let handler = LifecycleHandler { exec: Some(exec), ..LifecycleHandler::default() };
            let lifecycle: &mut Lifecycle = draft.container.lifecycle.get_or_insert_default();
            lifecycle.pre_stop.get_or_insert(handler);
        }
        Ok(())
    }

    /// Without a configured service account, an executor gets no API token.
    fn service_account(&self, draft: &mut PodDraft) -> Result<()> {
        let account = self.conf.read_optional(&keys::EXECUTOR_SERVICE_ACCOUNT)?;
        let spec = &mut draft.spec;
        match account {
            Some(account) if spec.service_account_name.is_none() => {
                spec.service_account_name = Some(account);
            }
            None if spec.service_account_name.is_none() => {
                spec.automount_service_account_token.get_or_insert(false);
            }
            _ => {}
        }
        Ok(())
    }

    fn container_command(
        &self,
        draft: &mut PodDraft,
        id: ProfileId,
        profile: &ResourceProfile,
        template: &ExecutorTemplate,
        driver: &DriverAddress,
        work_dir: &str,
    ) -> Result<()> {
        let mut ports: Vec<String> = Vec::new();
        let mut uses_host = false;
        let mut expand = |text: &str| {
            native::expand(&escaped(text), |placeholder| {
                Some(match placeholder {
                    Placeholder::AppId => self.app.to_string(),
                    Placeholder::DriverHost => driver.host.clone()?,
                    Placeholder::DriverPort => driver.port?.to_string(),
                    Placeholder::ExecutorId => format!("$({})", native::ENV_EXECUTOR_ID),
                    Placeholder::ExecutorCores => profile.cores.to_string(),
                    Placeholder::ExecutorMemory => profile.memory_mib.to_string(),
                    Placeholder::ExecutorProfile => id.to_string(),
                    Placeholder::ExecutorHost => {
                        uses_host = true;
                        format!("$({ENV_HOST})")
                    }
                    Placeholder::ExecutorPort(name) => port(name, &mut ports)?,
                    Placeholder::WorkDir => work_dir.to_owned(),
                    Placeholder::Spark(_) => return None,
                })
            })
        };
        // The id comes first: others may refer to it.
        let mut variables = Vec::new();
        let own = native::executor_env(&self.app, ExecutorId(0), id, profile);
        variables.extend(own.into_iter().map(|(name, value)| match name {
            native::ENV_EXECUTOR_ID => {
                env_of_field(name, &format!("metadata.labels['{EXECUTOR_LABEL}']"))
            }
            _ => env(name, value),
        }));
        let master = self.conf.get(spark::MASTER.info.name);
        variables.extend(master.map(|master| env(native::ENV_MASTER, master)));
        variables.extend(driver.host.as_ref().map(|host| env(native::ENV_DRIVER_HOST, host)));
        variables.extend(driver.port.map(|port| env(native::ENV_DRIVER_PORT, port.to_string())));
        if let Some(secret) = &self.secret {
            secrets::mount_key(draft, VOLUME, secret, (SECRET, DIRECTORY), MODE);
            variables.push(env(native::ENV_SECRET_FILE, format!("{DIRECTORY}/{SECRET}")));
        }
        for (name, value) in &template.env {
            variables.push(env(name, expand(value)?));
        }
        let program = expand(&template.command.program)?;
        let args = template.command.args.iter().map(|arg| expand(arg)).collect::<Result<_>>()?;
        let directory = match &template.working_dir {
            Some(directory) => expand(&directory.to_string_lossy())?,
            None => work_dir.to_owned(),
        };
        if uses_host {
            // Before those that refer to it.
            variables.insert(0, env_of_field(ENV_HOST, "status.podIP"));
        }
        draft.env(variables);
        let container = &mut draft.container;
        container.command = Some(vec![program]);
        container.args = Some(args);
        container.working_dir = Some(directory);
        Ok(())
    }
}

/// The port of this name; a new name gets the next port, as all ports of a pod are free.
fn port(name: &str, ports: &mut Vec<String>) -> Option<String> {
    let at = ports.iter().position(|existing| existing == name).unwrap_or_else(|| {
        ports.push(name.to_owned());
        ports.len() - 1
    });
    Some((FIRST_PORT + u16::try_from(at).ok()?).to_string())
}

impl Prototype {
    /// The pod of one executor.
    pub(crate) fn pod(&self, pod_builder: &ExecutorPodBuilder, id: ExecutorId) -> Pod {
        let (mut pod, text) = (self.pod.clone(), id.to_string());
        let metadata = &mut pod.metadata;
        metadata.name = Some(pod_builder.name(id));
        let values = metadata.labels.iter_mut().chain(metadata.annotations.iter_mut());
        for value in values.flat_map(BTreeMap::values_mut).filter(|value| value.contains("{{")) {
            *value = value.replace("{{EXECUTOR_ID}}", &text);
        }
        metadata.labels.get_or_insert_default().insert(EXECUTOR_LABEL.to_owned(), text.clone());
        let volumes = pod.spec.iter_mut().flat_map(|spec| spec.volumes.iter_mut().flatten());
        for claim in volumes.filter_map(|volume| volume.persistent_volume_claim.as_mut()) {
            claim.claim_name = claim.claim_name.replace(ID, &text);
        }
        pod
    }

    /// The claims of one executor.
    pub(crate) fn claims(&self, id: ExecutorId) -> impl Iterator<Item = PersistentVolumeClaim> {
        self.claims.iter().cloned().map(move |mut claim| {
            if let Some(name) = &mut claim.metadata.name {
                *name = name.replace(ID, &id.to_string());
            }
            claim
        })
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::ErrorKind;
    use anymaster_core::model::CommandLine;

    use super::*;

    fn pod_builder(pairs: &[(&str, &str)]) -> ExecutorPodBuilder {
        let mut conf: Conf = [
            ("spark.master", "k8s://https://kubernetes.default.svc"),
            ("spark.kubernetes.container.image", "engine:1"),
        ]
        .into_iter()
        .collect();
        pairs.iter().for_each(|(key, value)| conf.set(*key, *value));
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: "engine-driver".to_owned(),
            uid: "u1".to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let submitter = Arc::new(SubmitterEnv::default());
        let app = AppId::new("app-1").unwrap();
        let (name, secret) = ("My Engine".to_owned(), Some("engine-application".to_owned()));
        ExecutorPodBuilder::new(app, name, "ns".to_owned(), conf, submitter, Some(owner), secret)
            .unwrap()
    }

    fn launch(profile_id: u32, profile: ResourceProfile) -> ExecutorLaunch {
        let command = CommandLine::new("worker").args([
            "--id={{executor.id}}",
            "--at={{executor.host}}:{{executor.port}}",
            "--rpc={{executor.port.rpc}},{{executor.port.rpc}}",
            "{{driver.host}}:{{driver.port}}",
            "$(HOME) {{work.dir}}",
        ]);
        let mut template = ExecutorTemplate::new(command);
        template.env.insert("NAME".to_owned(), "worker-{{executor.id}}".to_owned());
        ExecutorLaunch {
            id: ExecutorId(7),
            profile_id: ProfileId(profile_id),
            profile,
            template: Arc::new(template),
        }
    }

    fn pod(pod_builder: &ExecutorPodBuilder, launch: &ExecutorLaunch) -> Pod {
        let driver = DriverAddress { host: Some("10.0.0.1".to_owned()), port: Some(7078) };
        pod_builder.prototype(launch, &driver).unwrap().pod(pod_builder, launch.id)
    }

    #[test]
    fn an_executor_is_a_pod_as_spark_makes_it() {
        let plain = pod(&pod_builder(&[]), &launch(0, ResourceProfile::new(1.5, 512)));
        insta::assert_snapshot!(serde_json::to_string_pretty(&plain).unwrap());
    }

    #[test]
    fn properties_of_executors_are_honoured() {
        let volume = "spark.kubernetes.executor.volumes.persistentVolumeClaim.data";
        let pairs = [
            ("spark.kubernetes.executor.podNamePrefix", "mine"),
            ("spark.kubernetes.executor.label.team", "{{EXECUTOR_ID}}-of-{{APP_ID}}"),
            ("spark.kubernetes.executor.annotation.note", "{{EXECUTOR_ID}}"),
            ("spark.kubernetes.executor.request.cores", "250m"),
            ("spark.kubernetes.executor.limit.cores", "2"),
            ("spark.kubernetes.executor.node.selector.disk", "ssd"),
            ("spark.kubernetes.executor.scheduler.name", "mine"),
            ("spark.kubernetes.executor.secrets.creds", "/creds"),
            ("spark.kubernetes.executor.secretKeyRef.TOKEN", "creds:token"),
            ("spark.kubernetes.executor.checkAllContainers", "true"),
            ("spark.kubernetes.authenticate.executor.serviceAccountName", "worker"),
            ("spark.executor.resource.gpu.vendor", "nvidia.com"),
            ("spark.decommission.enabled", "true"),
            (&format!("{volume}.options.claimName"), "OnDemand"),
            (&format!("{volume}.options.storageClass"), "fast"),
            (&format!("{volume}.options.sizeLimit"), "1Gi"),
            (&format!("{volume}.mount.path"), "/data"),
        ];
        let mut profile = ResourceProfile::new(1.0, 512);
        profile.overhead_mib = 64;
        profile.extra.insert("gpu".to_owned(), 2);
        let (pod_builder, launch) = (pod_builder(&pairs), launch(0, profile));
        insta::assert_snapshot!(serde_json::to_string_pretty(&pod(&pod_builder, &launch)).unwrap());
        let error = pod_builder.prototype(&launch, &DriverAddress::default()).unwrap_err();
        assert!(error.message().contains("driver.host"), "{error}");
    }

    #[test]
    fn a_resource_profile_replaces_the_default_resources() {
        let pod_builder = pod_builder(&[("spark.kubernetes.executor.request.cores", "250m")]);
        let pod = pod(&pod_builder, &launch(3, ResourceProfile::new(2.0, 64)));
        let container = &pod.spec.unwrap().containers[0];
        let requests = container.resources.clone().unwrap().requests.unwrap();
        assert_eq!(requests["cpu"].0, "2");
        assert_eq!(pod.metadata.labels.unwrap()[PROFILE_LABEL], "3");
    }

    #[test]
    fn impossible_executors_are_refused_before_any_starts() {
        let mut profile = ResourceProfile::new(1.0, 64);
        let check = |pod_builder: &ExecutorPodBuilder, profile: &ResourceProfile| {
            let launch = launch(0, profile.clone());
            pod_builder.check(ProfileId(0), profile, &launch.template).unwrap_err()
        };
        let limited = pod_builder(&[("spark.kubernetes.executor.limit.cores", "500m")]);
        assert!(check(&limited, &profile).message().contains("less than or equal to cpu limit"));
        profile.extra.insert("gpu".to_owned(), 1);
        let error = check(&pod_builder(&[]), &profile);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.hint().unwrap().contains("spark.executor.resource.gpu.vendor"), "{error:?}");
    }
}
