//! Image, resources, ports, labels (`BasicDriverFeatureStep`).

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, keys as spark};
use anymaster_core::model::SparkLanguage;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    ContainerPort, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Draft, SPEC_ANNOTATION, SUBMISSION_LABEL};
use crate::{keys, names, quantity};

/// The ports of a driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) rpc: u16,
    pub(super) block_manager: u16,
    /// Spark's service and properties do not look at `spark.blockManager.port`, as its pod does.
    pub(super) service_block_manager: u16,
    pub(super) ui: u16,
    /// Spark Connect, from 4.0.
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
            ui: port(conf, "spark.ui.port", 4040)?,
            connect: (draft.version.major >= 4).then_some(connect),
        })
    }

    /// With their names.
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

/// Executors and the service need to know it beforehand, so it cannot be a random one.
fn port(conf: &Conf, key: &str, default: u16) -> Result<u16> {
    let Some(text) = conf.get(key) else { return Ok(default) };
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::invalid(format!("{key}: {text:?} is not a port from 1 to 65535"))
            .with_hint("the driver's service needs a fixed port")),
    }
}

pub(super) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..EnvVar::default() }
}

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    metadata(draft)?;
    container(draft)?;
    resources(draft)?;
    pod(draft)?;
    draft.add("spark.app.id", draft.app_id.clone());
    draft.add("spark.kubernetes.submitInDriver", "true");
    Ok(())
}

fn metadata(draft: &mut Draft<'_>) -> Result<()> {
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

fn container(draft: &mut Draft<'_>) -> Result<()> {
    let conf = &draft.conf;
    let image = match conf.read_optional(&keys::DRIVER_IMAGE)? {
        Some(image) => Some(image),
        None => conf.read_optional(&keys::IMAGE)?,
    };
    let image = image.filter(|image| !image.is_empty()).ok_or_else(|| {
        Error::invalid("Must specify the driver container image")
            .with_hint("write --conf spark.kubernetes.container.image=IMAGE")
    })?;
    let pull_policy = conf.read(&keys::IMAGE_PULL_POLICY)?;
    if !matches!(pull_policy.as_str(), "Always" | "Never" | "IfNotPresent") {
        return Err(Error::invalid(format!(
            "spark.kubernetes.container.image.pullPolicy: {pull_policy:?} is none of Always, Never, IfNotPresent"
        )));
    }
    let ports = Ports::of(draft)?;
    let user = draft.job.proxy_user.as_ref().unwrap_or(&draft.request.machine.user);
    let mut variables = vec![env("SPARK_USER", user), env("SPARK_APPLICATION_ID", &draft.app_id)];
    variables.extend(
        conf.with_prefix("spark.kubernetes.driverEnv.").map(|(name, value)| env(name, value)),
    );
    variables.push(EnvVar {
        name: "SPARK_DRIVER_BIND_ADDRESS".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "status.podIP".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
    let container = &mut draft.container;
    if container.name.is_empty() {
        "spark-kubernetes-driver".clone_into(&mut container.name);
    }
    container.image = Some(image);
    container.image_pull_policy = Some(pull_policy);
    container.env.get_or_insert_default().append(&mut variables);
    container.ports.get_or_insert_default().extend(ports.named().map(|(name, port)| {
        ContainerPort {
            name: Some(name.to_owned()),
            container_port: port,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }
    }));
    Ok(())
}

/// Memory in MiB beyond the heap, and the factor that executors get where they have none of their own.
fn memory_overhead(draft: &Draft<'_>) -> Result<(u64, f64)> {
    let conf = &draft.conf;
    let memory = conf.read(&spark::DRIVER_MEMORY)?;
    let by_language = match draft.job.language {
        SparkLanguage::Java => conf.read(&keys::MEMORY_OVERHEAD_FACTOR)?,
        SparkLanguage::Python | SparkLanguage::R => {
            conf.read_optional(&keys::MEMORY_OVERHEAD_FACTOR)?.unwrap_or(0.4)
        }
    };
    let factor = conf.read_optional(&spark::DRIVER_MEMORY_OVERHEAD_FACTOR)?.unwrap_or(by_language);
    let overhead = match conf.read_optional(&spark::DRIVER_MEMORY_OVERHEAD)? {
        Some(overhead) => overhead,
        None => {
            let least = match draft.version.major {
                0..4 => 384,
                _ => conf.read(&spark::DRIVER_MIN_MEMORY_OVERHEAD)?,
            };
            ((memory as f64 * factor) as u64).max(least)
        }
    };
    Ok((overhead, by_language))
}

fn resources(draft: &mut Draft<'_>) -> Result<()> {
    let (overhead, factor) = memory_overhead(draft)?;
    let memory = draft.conf.read(&spark::DRIVER_MEMORY)?.saturating_add(overhead);
    let memory = Quantity(format!("{memory}Mi"));
    let cores = match draft.conf.read_optional(&keys::DRIVER_REQUEST_CORES)? {
        Some(cores) => quantity::of_property(keys::DRIVER_REQUEST_CORES.info.name, &cores)?,
        None => quantity::of_property(
            "spark.driver.cores",
            draft.conf.get("spark.driver.cores").unwrap_or("1"),
        )?,
    };
    let mut limits = BTreeMap::from([("memory".to_owned(), memory.clone())]);
    if let Some(limit) = draft.conf.read_optional(&keys::DRIVER_LIMIT_CORES)? {
        limits.insert(
            "cpu".to_owned(),
            quantity::of_property(keys::DRIVER_LIMIT_CORES.info.name, &limit)?,
        );
    }
    limits.append(&mut other_resources(&draft.conf)?);
    let resources = draft.container.resources.get_or_insert_default();
    let requests = resources.requests.get_or_insert_default();
    requests.extend([("cpu".to_owned(), cores), ("memory".to_owned(), memory)]);
    resources.limits.get_or_insert_default().append(&mut limits);
    // As Java writes a number.
    draft.add(keys::MEMORY_OVERHEAD_FACTOR.info.name, format!("{factor:?}"));
    Ok(())
}

/// `spark.driver.resource.gpu.amount=1` and `.vendor=nvidia.com`.
fn other_resources(conf: &Conf) -> Result<BTreeMap<String, Quantity>> {
    const PREFIX: &str = "spark.driver.resource.";
    let mut resources = BTreeMap::new();
    for (rest, amount) in conf.with_prefix(PREFIX) {
        let Some(name) = rest.strip_suffix(".amount") else { continue };
        let vendor =
            conf.get(&format!("{PREFIX}{name}.vendor")).filter(|vendor| !vendor.is_empty());
        let vendor = vendor.ok_or_else(|| {
            Error::invalid(format!("Resource: {name} was requested, but vendor was not specified."))
                .with_hint(format!("write for example --conf {PREFIX}{name}.vendor=nvidia.com"))
        })?;
        resources.insert(
            format!("{vendor}/{name}"),
            quantity::of_property(&format!("{PREFIX}{rest}"), amount)?,
        );
    }
    Ok(resources)
}

fn pod(draft: &mut Draft<'_>) -> Result<()> {
    let conf = &draft.conf;
    let selectors = ["spark.kubernetes.node.selector.", "spark.kubernetes.driver.node.selector."];
    let mut selector: BTreeMap<String, String> = selectors
        .iter()
        .flat_map(|prefix| conf.with_prefix(prefix))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let secrets = conf.read_optional(&keys::IMAGE_PULL_SECRETS)?.unwrap_or_default();
    let scheduler = match conf.read_optional(&keys::DRIVER_SCHEDULER_NAME)? {
        Some(name) => Some(name),
        None => conf.read_optional(&keys::SCHEDULER_NAME)?,
    };
    let spec = &mut draft.spec;
    spec.restart_policy = Some("Never".to_owned());
    if !selector.is_empty() {
        spec.node_selector.get_or_insert_default().append(&mut selector);
    }
    if !secrets.is_empty() {
        let references = secrets.into_iter().map(|name| LocalObjectReference { name });
        spec.image_pull_secrets.get_or_insert_default().extend(references);
    }
    if scheduler.as_ref().is_some_and(|name| !name.is_empty()) {
        spec.scheduler_name = scheduler;
    }
    // A variable for each service of the namespace makes argument lists too long (kubeflow/spark-operator#2984).
    spec.enable_service_links.get_or_insert(false);
    Ok(())
}
