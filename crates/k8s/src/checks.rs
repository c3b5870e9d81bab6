//! Validates properties before anything is created: what the API server or Spark's driver would
//! refuse later. The same rules apply to the properties of driver and executors.

use anymaster_core::conf::keys::{self as spark, Key, KeyInfo, Treatment};
use anymaster_core::conf::{Conf, check_executors, check_task_cpus, refers_to_surroundings};
use anymaster_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pods::{Role, container};
use crate::{keys, names, quantity};

const ROLES: [Role; 2] = [Role::Driver, Role::Executor];

/// Properties that Spark requires to be above 0.
const POSITIVE: [&KeyInfo; 11] = [
    &spark::DRIVER_MEMORY_OVERHEAD_FACTOR.info,
    &spark::EXECUTOR_MEMORY_OVERHEAD_FACTOR.info,
    &keys::ALLOCATION_BATCH_SIZE.info,
    &keys::ALLOCATION_BATCH_DELAY.info,
    &keys::ALLOCATION_DRIVER_READINESS_TIMEOUT.info,
    &keys::ALLOCATION_EXECUTOR_TIMEOUT.info,
    &keys::ALLOCATION_MAX_PENDING_PODS.info,
    &keys::API_POLLING_INTERVAL.info,
    &keys::EVENT_PROCESSING_INTERVAL.info,
    &keys::REPORT_INTERVAL.info,
    &keys::SNAPSHOTS_GRACE.info,
];

/// Properties with the names of one or several objects.
const OBJECT_NAME_PROPERTIES: [&str; 8] = [
    "spark.kubernetes.authenticate.driver.serviceAccountName",
    "spark.kubernetes.authenticate.executor.serviceAccountName",
    "spark.kubernetes.container.image.pullSecrets",
    "spark.kubernetes.driver.pod.name",
    "spark.kubernetes.hadoop.configMapName",
    "spark.kubernetes.kerberos.krb5.configMapName",
    "spark.kubernetes.kerberos.tokenSecret.name",
    "spark.kubernetes.driver.resourceNamePrefix",
];

/// Properties that Spark and the API server ignore where they are empty.
const MAY_BE_EMPTY: [&str; 3] = [
    "spark.kubernetes.authenticate.driver.serviceAccountName",
    "spark.kubernetes.authenticate.executor.serviceAccountName",
    "spark.kubernetes.container.image.pullSecrets",
];

/// Checks the properties of an application, for driver and executors. Returns warnings.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the property at fault.
pub(crate) fn check(conf: &Conf, is_spark: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_kinds(conf)?;
    if is_spark {
        if conf.read(&spark::DRIVER_MEMORY)? == 0 {
            return Err(Error::invalid("Driver memory must be a positive number")
                .with_hint("for example --driver-memory 1g"));
        }
        check_executors(conf)?;
        check_task_cpus(conf, Some(1.0))?;
        check_positive(conf)?;
        ROLES.iter().try_for_each(|role| container::check_image(conf, *role))?;
    }
    check_object_names(conf)?;
    check_service(conf)?;
    for role in ROLES {
        check_metadata(conf, role, &mut warnings)?;
        check_secrets(conf, role)?;
        check_cores(conf, role, is_spark)?;
        check_other_resources(conf, role)?;
    }
    Ok(warnings)
}

/// The value of a property, if it can be evaluated here: one that refers to the environment of a
/// pod is `None`.
fn value_known_here(conf: &Conf, key: &str) -> Result<Option<String>> {
    match conf.get(key) {
        Some(text) if refers_to_surroundings(text) && is_read_in_the_pod(key) => Ok(None),
        _ => Ok(conf.replaced(key)?.map(std::borrow::Cow::into_owned)),
    }
}

fn is_read_in_the_pod(key: &str) -> bool {
    key.contains(".executor.")
        || keys::describe(key).is_some_and(|info| info.treatment == Treatment::Passed)
}

/// Checks that every value is of its property's type.
fn check_kinds(conf: &Conf) -> Result<()> {
    let table = keys::TABLE.iter().chain(spark::TABLE);
    let described = table.filter(|info| !info.name.contains('*'));
    for info in described {
        if value_known_here(conf, info.name)?.is_some() {
            conf.check(info)?;
        }
    }
    Ok(())
}

fn check_positive(conf: &Conf) -> Result<()> {
    for info in POSITIVE {
        let value = value_known_here(conf, info.name)?;
        let digits =
            value.as_deref().map(|text| text.trim_end_matches(|c: char| !c.is_ascii_digit()));
        if digits.is_some_and(|digits| digits.trim().chars().all(|c| c == '0' || c == '.')) {
            return Err(Error::invalid(format!("{}: it must be above 0", info.name)));
        }
    }
    Ok(())
}

fn check_object_names(conf: &Conf) -> Result<()> {
    for key in OBJECT_NAME_PROPERTIES {
        let Some(text) = value_known_here(conf, key)? else { continue };
        if text.is_empty() && MAY_BE_EMPTY.contains(&key) {
            continue;
        }
        for name in text.split(',').map(str::trim) {
            if !names::is_subdomain(name) {
                return Err(not_a_name(key, name));
            }
        }
    }
    if let Some(namespace) = value_known_here(conf, keys::NAMESPACE.info.name)?
        && !names::is_label(&namespace)
    {
        return Err(Error::invalid(format!(
            "{}: {namespace:?} cannot be the name of a namespace",
            keys::NAMESPACE.info.name
        ))
        .with_hint(names::LABEL_RULE));
    }
    let prefix = keys::EXECUTOR_POD_NAME_PREFIX.info.name;
    value_known_here(conf, prefix)?.map_or(Ok(()), |given| names::check_executor_prefix(&given))
}

fn not_a_name(key: &str, name: &str) -> Error {
    let of = if key.ends_with("pod.name") { "a pod" } else { "an object" };
    Error::invalid(format!("{key}: {name:?} cannot be the name of {of}"))
        .with_hint("use lower-case letters, digits, '-' and '.', at most 253 of them")
}

/// Checks the properties of the driver's service.
fn check_service(conf: &Conf) -> Result<()> {
    let families = conf.read(&keys::SERVICE_IP_FAMILIES)?;
    let key = keys::SERVICE_IP_FAMILIES.info.name;
    let all: Vec<_> = families.iter().map(String::as_str).collect();
    match all.as_slice() {
        ["IPv4" | "IPv6"] => Ok(()),
        ["IPv4", "IPv6"] | ["IPv6", "IPv4"] => {
            let policy = &keys::SERVICE_IP_FAMILY_POLICY;
            if conf.read(policy)? == "SingleStack" {
                let policy = policy.info.name;
                return Err(Error::invalid(format!(
                    "{key}: there are two, and {policy} is SingleStack"
                ))
                .with_hint(format!("set {policy} to PreferDualStack or RequireDualStack")));
            }
            Ok(())
        }
        _ => Err(Error::invalid(format!(
            "{key}: {:?} is none of IPv4, IPv6, IPv4,IPv6, IPv6,IPv4",
            families.join(",")
        ))),
    }
}

/// Checks labels, annotations and node selectors.
fn check_metadata(conf: &Conf, role: Role, warnings: &mut Vec<String>) -> Result<()> {
    let mut labels = vec![role.prefix("label."), role.prefix("node.selector.")];
    let mut annotations = vec![role.prefix("annotation.")];
    if role == Role::Driver {
        labels.push("spark.kubernetes.node.selector.".to_owned());
        labels.push(role.prefix("service.label."));
        annotations.push(role.prefix("service.annotation."));
    }
    for prefix in &labels {
        for (name, value) in conf.with_prefix(prefix) {
            names::check_key(prefix, name)?;
            if value.contains("${") {
                warnings.push(format!(
                    "{prefix}{name}: Spark replaces nothing in labels, and {value} is no label: the API \
                     server will refuse it"
                ));
                continue;
            }
            // These placeholders are replaced with ids later.
            let value = value.replace("{{APP_ID}}", "id").replace("{{EXECUTOR_ID}}", "1");
            names::check_label_value(prefix, name, &value)?;
        }
    }
    for prefix in &annotations {
        conf.with_prefix(prefix).try_for_each(|(name, _)| names::check_key(prefix, name))?;
    }
    Ok(())
}

/// Checks secrets as files and as environment variables, and variables of the driver.
fn check_secrets(conf: &Conf, role: Role) -> Result<()> {
    let prefix = role.prefix("secrets.");
    for (name, path) in conf.with_prefix(&prefix) {
        // The volume gets this name, which has to be a DNS label.
        if !names::is_label(&format!("{name}-volume")) {
            return Err(Error::invalid(format!(
                "{prefix}{name}: the volume of a secret of this name would be {name}-volume, which is no \
                 valid name"
            ))
            .with_hint("of the secret's name, lower-case letters, digits and '-' are possible, at most 56; mount others by a pod template"));
        }
        check_mount_path(&format!("{prefix}{name}"), path)?;
    }
    let prefix = role.prefix("secretKeyRef.");
    for (variable, reference) in conf.with_prefix(&prefix) {
        let property = format!("{prefix}{variable}");
        check_variable(&property, variable)?;
        let (name, key) = reference.split_once(':').unwrap_or((reference, ""));
        if name.is_empty() || key.is_empty() || key.contains(':') {
            return Err(Error::invalid(format!(
                "{property}: SecretKeyRef must be in the form name:key."
            )));
        }
        if !names::is_subdomain(name) {
            return Err(not_a_name(&property, name));
        }
        if !names::is_config_key(key) {
            return Err(Error::invalid(format!("{property}: {key:?} cannot be a key of a secret"))
                .with_hint("use letters, digits, '-', '_' and '.', at most 253 of them"));
        }
    }
    if role == Role::Driver {
        let prefix = "spark.kubernetes.driverEnv.";
        for (variable, _) in conf.with_prefix(prefix) {
            check_variable(&format!("{prefix}{variable}"), variable)?;
        }
    }
    Ok(())
}

/// Checks the path of a mount in a container.
pub(crate) fn check_mount_path(property: &str, path: &str) -> Result<()> {
    if path.is_empty() || path.contains(':') {
        return Err(Error::invalid(format!(
            "{property}: {path:?} is not a path where something can be mounted"
        ))
        .with_hint("write a path such as /data; a ':' cannot be in it"));
    }
    Ok(())
}

fn check_variable(property: &str, name: &str) -> Result<()> {
    let valid = !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=');
    if valid {
        return Ok(());
    }
    Err(Error::invalid(format!("{property}: {name:?} cannot be the name of a variable")))
}

/// Checks that the CPU request does not exceed the limit.
fn check_cores(conf: &Conf, role: Role, is_spark: bool) -> Result<()> {
    let (request, limit, default): (&Key<String>, &Key<String>, _) = match role {
        Role::Driver => {
            (&keys::DRIVER_REQUEST_CORES, &keys::DRIVER_LIMIT_CORES, "spark.driver.cores")
        }
        Role::Executor => {
            (&keys::EXECUTOR_REQUEST_CORES, &keys::EXECUTOR_LIMIT_CORES, "spark.executor.cores")
        }
    };
    let amount = |key: &str| -> Result<Option<Quantity>> {
        value_known_here(conf, key)?.map(|text| quantity::of_cores(key, &text)).transpose()
    };
    let (given, limit_key) = (amount(request.info.name)?, limit.info.name);
    let Some(limit) = amount(limit_key)? else { return Ok(()) };
    let requested = match given {
        Some(given) => given,
        None if conf.get(request.info.name).is_some() => return Ok(()),
        // Other programs than Spark have another default, which is not a property.
        None => match conf.get(default).or_else(|| is_spark.then_some("1")) {
            Some(cores) => Quantity(cores.trim().to_owned()),
            None => return Ok(()),
        },
    };
    if quantity::thousandths(&limit) < quantity::thousandths(&requested) {
        return Err(Error::invalid(format!(
            "The {} cpu request ({}) should be less than or equal to cpu limit ({})",
            role.name(),
            requested.0,
            limit.0
        ))
        .with_hint(format!("raise {limit_key}, or lower {}", request.info.name)));
    }
    Ok(())
}

/// Checks `spark.ROLE.resource.NAME.amount` and `.vendor`.
fn check_other_resources(conf: &Conf, role: Role) -> Result<()> {
    let prefix = format!("spark.{}.resource.", role.name());
    for (rest, amount) in conf.with_prefix(&prefix) {
        let Some(name) = rest.strip_suffix(".amount") else { continue };
        let number = amount.trim().parse::<u32>().map_err(|_| {
            Error::invalid(format!("{prefix}{rest}: {amount:?} is not a whole number"))
        })?;
        if number > 0 {
            let whole = container::resource_name(conf, role, name)?;
            names::check_key(&format!("{prefix}{name}.vendor: "), &whole)?;
        }
    }
    Ok(())
}
