//! Image, resources, ports, labels (`BasicDriverFeatureStep`).

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, keys as spark};
use anymaster_core::model::{SparkJob, SparkLanguage};
use anymaster_core::{Error, Result, SparkChange};
use k8s_openapi::api::core::v1::ContainerPort;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Draft, SPEC_ANNOTATION, SUBMISSION_LABEL};
use crate::pods::container::{self, Resources};
use crate::pods::{Role, env, env_of_field, placement};
use crate::{keys, names, quantity};

/// The ports of a driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) rpc: u16,
    pub(super) block_manager: u16,
    /// Spark's service and properties ignore `spark.blockManager.port`; its pod does not.
    pub(super) service_block_manager: u16,
    pub(super) ui: u16,
    /// The port of Spark Connect, if the release has it.
    pub(super) connect: Option<u16>,
}

impl Ports {
    pub(super) fn of(draft: &Draft<'_>) -> Result<Self> {
        let conf = &draft.conf;
        let block_manager = port(conf, "spark.blockManager.port", 7079)?;
        let connect = port(conf, "spark.connect.grpc.binding.port", 15002)?;
        Ok(Self {
            service_block_manager: port(conf, "spark.driver.blockManager.port", 7079)?,
            rpc: port(conf, "spark.driver.port", 7078)?,
            block_manager: port(conf, "spark.driver.blockManager.port", block_manager)?,
            ui: port_of("spark.ui.port", conf.replaced("spark.ui.port")?.as_deref(), 4040)?,
            connect: draft.has(SparkChange::ConnectPort).then_some(connect),
        })
    }

    /// The ports with their names.
    pub(super) fn named(self) -> impl Iterator<Item = (&'static str, i32)> {
        let named = [
            ("driver-rpc-port", Some(self.rpc)),
            ("blockmanager", Some(self.block_manager)),
            ("spark-ui", Some(self.ui)),
            ("spark-connect", self.connect),
        ];
        named.into_iter().filter_map(|(name, port)| Some((name, i32::from(port?))))
    }
}

/// A port from a property. Executors and the service need it beforehand, so 0 is refused.
pub(super) fn port(conf: &Conf, key: &str, default: u16) -> Result<u16> {
    port_of(key, conf.get(key), default)
}

fn port_of(key: &str, text: Option<&str>, default: u16) -> Result<u16> {
    let Some(text) = text else { return Ok(default) };
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::invalid(format!("{key}: {text:?} is not a port from 1 to 65535"))
            .with_hint("the driver's service needs a fixed port")),
    }
}

pub(super) fn apply(draft: &mut Draft<'_>, job: &SparkJob) -> Result<()> {
    metadata(draft)?;
    container::image(&mut draft.pod, &draft.conf, Role::Driver)?;
    environment(draft, job)?;
    resources(draft, job)?;
    privilege_escalation(draft)?;
    placement::apply(&mut draft.pod, &draft.conf, Role::Driver)?;
    draft.add("spark.app.id", draft.app_id.clone());
    draft.add("spark.kubernetes.submitInDriver", "true");
    Ok(())
}

/// Sets the name, labels and annotations of the pod.
pub(super) fn metadata(draft: &mut Draft<'_>) -> Result<()> {
    let name = match draft.conf.read_optional(&keys::DRIVER_POD_NAME)? {
        Some(name) => name,
        None => format!("{}-driver", draft.prefix),
    };
    if !names::is_subdomain(&name) {
        return Err(Error::invalid(format!(
            "spark.kubernetes.driver.pod.name: {name:?} cannot be the name of a pod"
        ))
        .with_hint("use lower-case letters, digits, '-' and '.', at most 253 of them"));
    }
    let mut labels = draft.labels()?;
    labels.insert(SUBMISSION_LABEL.to_owned(), draft.ids.label());
    let mut annotations: BTreeMap<String, String> = draft
        .conf
        .with_prefix("spark.kubernetes.driver.annotation.")
        .map(|(name, value)| (name.to_owned(), draft.substitute(value)))
        .collect();
    annotations.insert(SUBMISSION_LABEL.to_owned(), draft.request.id.to_string());
    annotations.insert(SPEC_ANNOTATION.to_owned(), draft.fingerprint.clone());
    draft.add(keys::DRIVER_POD_NAME.info.name, name.clone());
    let metadata = &mut draft.pod.metadata;
    metadata.name = Some(name);
    metadata.namespace = Some(draft.namespace.clone());
    metadata.labels.get_or_insert_default().append(&mut labels);
    metadata.annotations.get_or_insert_default().append(&mut annotations);
    Ok(())
}

/// The prefix of properties that are environment variables of the driver.
pub(super) const DRIVER_ENV: &str = "spark.kubernetes.driverEnv.";

/// A port of the container.
pub(super) fn container_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn environment(draft: &mut Draft<'_>, job: &SparkJob) -> Result<()> {
    let ports = Ports::of(draft)?;
    // Before 4.3, `SPARK_USER` takes precedence over the proxy user.
    let submitter = draft.request.submitter;
    let (named, proxy) = (submitter.vars.get("SPARK_USER"), job.proxy_user.as_ref());
    let named = named.filter(|_| !submitter.multi_tenant);
    let first = if draft.has(SparkChange::ProxyUserVariable) { proxy } else { None };
    let user = first.or(named).or(proxy).unwrap_or(&submitter.user);
    let variables = [env("SPARK_USER", user), env("SPARK_APPLICATION_ID", &draft.app_id)];
    draft.pod.env(variables);
    let given = draft.conf.with_prefix(DRIVER_ENV);
    draft.pod.env(given.map(|(name, value)| env(name, value)));
    draft.pod.env([env_of_field("SPARK_DRIVER_BIND_ADDRESS", "status.podIP")]);
    let named = ports.named().map(|(name, port)| container_port(name, port));
    draft.pod.container.ports.get_or_insert_default().extend(named);
    Ok(())
}

/// The memory overhead in MiB, and the default overhead factor of executors.
fn memory_overhead(draft: &Draft<'_>, job: &SparkJob) -> Result<(u64, f64)> {
    let conf = &draft.conf;
    let memory = conf.read(&spark::DRIVER_MEMORY)?;
    let by_language = match job.language {
        SparkLanguage::Java => conf.read(&keys::MEMORY_OVERHEAD_FACTOR)?,
        SparkLanguage::Python | SparkLanguage::R => {
            conf.read_optional(&keys::MEMORY_OVERHEAD_FACTOR)?.unwrap_or(0.4)
        }
    };
    let factor = conf.read_optional(&spark::DRIVER_MEMORY_OVERHEAD_FACTOR)?.unwrap_or(by_language);
    let overhead = match conf.read_optional(&spark::DRIVER_MEMORY_OVERHEAD)? {
        Some(overhead) => overhead,
        None => {
            let least = if draft.has(SparkChange::MinMemoryOverhead) {
                conf.read(&spark::DRIVER_MIN_MEMORY_OVERHEAD)?
            } else {
                384
            };
            ((memory as f64 * factor) as u64).max(least)
        }
    };
    Ok((overhead, by_language))
}

fn resources(draft: &mut Draft<'_>, job: &SparkJob) -> Result<()> {
    let (overhead, factor) = memory_overhead(draft, job)?;
    let conf = &draft.conf;
    let cpu = match container::quantity(conf, &keys::DRIVER_REQUEST_CORES)? {
        Some(cores) => cores,
        None => quantity::of_property(
            "spark.driver.cores",
            conf.get("spark.driver.cores").unwrap_or("1"),
        )?,
    };
    let given = Resources {
        cpu,
        cpu_limit: container::quantity(conf, &keys::DRIVER_LIMIT_CORES)?,
        memory_mib: conf.read(&spark::DRIVER_MEMORY)?.saturating_add(overhead),
        others: other_resources(conf)?,
    };
    container::resources(&mut draft.pod, given);
    // Formatted as Java does.
    draft.add(keys::MEMORY_OVERHEAD_FACTOR.info.name, format!("{factor:?}"));
    Ok(())
}

/// Sets `allowPrivilegeEscalation` (from 4.3), overriding the pod template.
fn privilege_escalation(draft: &mut Draft<'_>) -> Result<()> {
    if draft.has(SparkChange::NoPrivilegeEscalation) {
        let conf = &draft.conf;
        let allowed = match conf.read_optional(&keys::DRIVER_PRIVILEGE_ESCALATION)? {
            Some(allowed) => allowed,
            None => conf.read(&keys::PRIVILEGE_ESCALATION)?,
        };
        let context = draft.pod.container.security_context.get_or_insert_default();
        context.allow_privilege_escalation = Some(allowed);
    }
    Ok(())
}

/// `spark.driver.resource.gpu.amount=1` and `.vendor=nvidia.com`.
pub(super) fn other_resources(conf: &Conf) -> Result<BTreeMap<String, Quantity>> {
    const PREFIX: &str = "spark.driver.resource.";
    let mut resources = BTreeMap::new();
    for (rest, amount) in conf.with_prefix(PREFIX) {
        let Some(name) = rest.strip_suffix(".amount") else { continue };
        if amount.trim() == "0" {
            continue;
        }
        let amount = quantity::of_property(&format!("{PREFIX}{rest}"), amount)?;
        resources.insert(container::resource_name(conf, Role::Driver, name)?, amount);
    }
    Ok(resources)
}
