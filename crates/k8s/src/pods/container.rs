//! Sets the main container's image and resources.

use std::collections::BTreeMap;

use anymaster_core::conf::keys::Key;
use anymaster_core::conf::{Conf, refers_to_surroundings};
use anymaster_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{PodDraft, Role};
use crate::{keys, quantity};

/// Sets the image and its pull policy.
pub(crate) fn image(draft: &mut PodDraft, conf: &Conf, role: Role) -> Result<()> {
    let image = image_of(conf, role)?.filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| missing_image(role))?;
    let pull_policy = conf.read(&keys::IMAGE_PULL_POLICY)?;
    if draft.container.name.is_empty() {
        draft.container.name = format!("spark-kubernetes-{}", role.name());
    }
    draft.container.image = Some(image);
    draft.container.image_pull_policy = Some(pull_policy);
    Ok(())
}

fn image_of(conf: &Conf, role: Role) -> Result<Option<String>> {
    let own = match role {
        Role::Driver => &keys::DRIVER_IMAGE,
        Role::Executor => &keys::EXECUTOR_IMAGE,
    };
    Ok(match conf.read_optional(own)? {
        Some(image) => Some(image),
        None => conf.read_optional(&keys::IMAGE)?,
    })
}

fn missing_image(role: Role) -> Error {
    Error::invalid(format!("Must specify the {} container image", role.name()))
        .with_hint("write --conf spark.kubernetes.container.image=IMAGE")
}

/// Checks that an image is configured.
pub(crate) fn check_image(conf: &Conf, role: Role) -> Result<()> {
    let keys = [&keys::EXECUTOR_IMAGE, &keys::IMAGE].map(|key| conf.get(key.info.name));
    // A property that refers to the pod's environment is evaluated by the driver.
    if role == Role::Executor && keys.into_iter().flatten().any(refers_to_surroundings) {
        return Ok(());
    }
    match image_of(conf, role)? {
        Some(image) if !image.is_empty() => Ok(()),
        _ => Err(missing_image(role)),
    }
}

/// The resources of a container.
pub(crate) struct Resources {
    pub(crate) cpu: Quantity,
    pub(crate) cpu_limit: Option<Quantity>,
    /// Memory request and limit in MiB; 0 for none.
    pub(crate) memory_mib: u64,
    /// Limits of extended resources by name, for example `nvidia.com/gpu`.
    pub(crate) others: BTreeMap<String, Quantity>,
}

/// Sets the container's resources, overriding its template.
pub(crate) fn resources(draft: &mut PodDraft, given: Resources) {
    let resources = draft.container.resources.get_or_insert_default();
    let requests = resources.requests.get_or_insert_default();
    requests.insert("cpu".to_owned(), given.cpu);
    let mut limits = given.others;
    limits.extend(given.cpu_limit.map(|limit| ("cpu".to_owned(), limit)));
    if given.memory_mib > 0 {
        let memory = Quantity(format!("{}Mi", given.memory_mib));
        requests.insert("memory".to_owned(), memory.clone());
        limits.insert("memory".to_owned(), memory);
    }
    if !limits.is_empty() {
        resources.limits.get_or_insert_default().append(&mut limits);
    }
}

/// CPU cores as a quantity, rounded up to thousandths.
pub(crate) fn cores(cores: f64) -> Quantity {
    let thousandths = (cores * 1000.0).ceil();
    if thousandths % 1000.0 == 0.0 {
        Quantity(format!("{}", thousandths / 1000.0))
    } else {
        Quantity(format!("{thousandths}m"))
    }
}

/// Reads a property as a quantity of CPUs.
pub(crate) fn quantity(conf: &Conf, key: &Key<String>) -> Result<Option<Quantity>> {
    let text = conf.read_optional(key)?;
    text.map(|text| quantity::of_cores(key.info.name, &text)).transpose()
}

/// The name of an extended resource: `gpu` becomes `nvidia.com/gpu` with
/// `spark.ROLE.resource.gpu.vendor=nvidia.com`.
pub(crate) fn resource_name(conf: &Conf, role: Role, name: &str) -> Result<String> {
    let property = format!("spark.{}.resource.{name}.vendor", role.name());
    let vendor = conf.get(&property).filter(|vendor| !vendor.is_empty());
    let vendor = vendor.ok_or_else(|| {
        Error::invalid(format!("Resource: {name} was requested, but vendor was not specified."))
            .with_hint(format!("write for example --conf {property}=nvidia.com"))
    })?;
    Ok(format!("{vendor}/{name}"))
}
